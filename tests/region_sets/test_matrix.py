"""The region x feature matrix against dense arrays, as its readers give it back: anndata, pandas, scipy."""

import gzip
import json
import logging

import numpy as np
import pandas as pd
import pytest
from region_sets import as_set
from scipy.io import mmread
from toy import random_dna
from track_oracle import FEATURES, activations, toy_source

from sae_tracks.errors import SaeTracksError
from sae_tracks.region_sets import stores
from sae_tracks.region_sets.matrix import region_matrix
from sae_tracks.region_sets.regions import unique_names
from sae_tracks.regions import GenomicRegion

anndata = pytest.importorskip("anndata", reason="needs anndata: pip install 'sae-tracks[single-cell]'")
RECORDS = {"b": random_dna(90) + "N" * 120 + random_dna(30, seed=1), "a": random_dna(70, seed=2), "n": "N" * 130}
SPANS = [("a", 0, 20), ("b", 80, 95), ("b", 85, 230), ("b", 90, 100), ("b", 0, 1), ("a", 69, 70), ("a", 0, 20)]
ORDER = [("b", 0, 1), ("b", 80, 95), ("b", 85, 230), ("b", 90, 100), ("a", 0, 20), ("a", 0, 20), ("a", 69, 70)]
THRESHOLD = 0.5  # of maxima of 1


@pytest.fixture(scope="module", params=["+", "-", "both"])
def strands(request):
    return ["+", "-"] if request.param == "both" else [request.param]


@pytest.fixture
def source(strands):
    with toy_source(RECORDS, None, strands) as (found, _):
        yield found


def dense(source, strand):
    """(7, 6) mean, maximum and share of active bases, and (7,) readable bases, from every base."""
    values, found, readable = activations(source), np.zeros((3, len(ORDER), 6)), np.zeros(len(ORDER), int)
    for i, (contig, start, end) in enumerate(ORDER):
        for feature in FEATURES:
            here = values[feature, strand][contig][start:end]
            here = here[~np.isnan(here)]
            readable[i] = len(here)
            if len(here):
                found[:, i, feature] = here.sum() / len(here), here.max(), (here > THRESHOLD).sum() / len(here)
    return found, readable


def written(source, out, **settings):
    regions = as_set([GenomicRegion(*span) for span in SPANS], source.genome.lengths)
    return region_matrix(source, regions, out, threshold=THRESHOLD, **settings)


def test_anndata_reads_what_dense_arrays_say(source, strands, tmp_path):
    report = written(source, tmp_path / "m.h5ad")
    found = anndata.read_h5ad(tmp_path / "m.h5ad")
    assert found.shape == (report.regions, report.columns) == (7, 6 * len(strands)) and report.unread == 1
    assert found.X.nnz == report.entries
    assert list(zip(found.obs["chrom"], found.obs["start"], found.obs["end"])) == ORDER
    assert found.obs["row"].tolist() == [4, 1, 2, 3, 0, 6, 5]
    assert found.obs_names.tolist()[3:6] == ["b:90-100", "a:0-20", "a:0-20-1"]
    for i, strand in enumerate(strands):
        (mean, maximum, active), readable = dense(source, strand)
        here = slice(6 * i, 6 * i + 6)
        layers = found.X, found.layers["maximum"], found.layers["active"]
        for matrix, expected in zip(layers, (mean, maximum, active)):
            assert matrix.has_sorted_indices
            np.testing.assert_allclose(matrix.toarray()[:, here], expected, rtol=1e-6)
        side = {"+": "plus", "-": "minus"}[strand]
        assert found.obs[f"readable.{side}" if len(strands) > 1 else "readable"].tolist() == readable.tolist()
        assert found.var_names[here].tolist() == [f"f{f}.{side}" if len(strands) > 1 else f"f{f}" for f in FEATURES]
        assert found.var["feature"].tolist()[here] == [*FEATURES] and set(found.var["read_strand"][here]) == {strand}
    record = json.loads(found.uns["sae_tracks"])
    assert record["sae_sha256"] == source.sae.checksum and record["regions_from"] == "drawn.bed"
    assert record["read_strands"] == strands and record["threshold"] == THRESHOLD


def test_composition_counts_known_letters(tmp_path):
    records = {"a": "CGCGNNAT", "z": "G"}
    with toy_source(records) as (source, _):
        regions = as_set(
            [GenomicRegion(*r) for r in (("a", 0, 8), ("a", 1, 6), ("a", 4, 6), ("z", 0, 1))], source.genome.lengths
        )
        region_matrix(source, regions, tmp_path / "m.h5ad")
    obs = anndata.read_h5ad(tmp_path / "m.h5ad").obs
    np.testing.assert_array_equal(obs["gc"], [4 / 6, 1, np.nan, 1])
    np.testing.assert_array_equal(obs["cpg"], [2 / 6, 1 / 3, np.nan, 0])


def test_parquet_has_a_row_per_entry(source, tmp_path):
    report = written(source, tmp_path / "m.parquet", features=[4, 1, 5])
    table = pd.read_parquet(tmp_path / "m.parquet")
    assert len(table) == report.entries
    written(source, tmp_path / "m.h5ad", features=[4, 1, 5])
    matrix = anndata.read_h5ad(tmp_path / "m.h5ad")
    for name, expected in (
        ("mean", matrix.X),
        ("maximum", matrix.layers["maximum"]),
        ("active", matrix.layers["active"]),
    ):
        wide = table.pivot_table(name, "region", "feature", observed=True)
        wide = wide.reindex(index=matrix.obs_names, columns=matrix.var_names).fillna(0)
        np.testing.assert_array_equal(wide.to_numpy(), expected.toarray())
    places = dict(zip(matrix.obs_names, zip(matrix.obs["chrom"], matrix.obs["start"], matrix.obs["end"])))
    rows = table[["region", "chrom", "start", "end"]].itertuples(index=False)
    assert all(places[region] == (chrom, start, end) for region, chrom, start, end in rows)


def test_matrix_market_is_in_the_layout_of_10x(source, tmp_path):
    report = written(source, tmp_path / "m.mtx")
    written(source, tmp_path / "m.h5ad")
    matrix = anndata.read_h5ad(tmp_path / "m.h5ad")
    found = mmread(tmp_path / "m.mtx" / "matrix.mtx.gz").tocsr()
    assert found.nnz == report.entries
    np.testing.assert_allclose(found.toarray().T, matrix.X.toarray(), rtol=1e-6)
    lines = {}
    for name in ("features", "barcodes"):
        with gzip.open(tmp_path / "m.mtx" / f"{name}.tsv.gz", "rt") as file:
            lines[name] = file.read().splitlines()
    assert lines["barcodes"] == matrix.obs_names.tolist()
    assert lines["features"] == [f"{name}\t{name}\tSAE feature" for name in matrix.var_names]
    rows = pd.read_csv(tmp_path / "m.mtx" / "regions.tsv", sep="\t")
    assert rows["region"].tolist() == matrix.obs_names.tolist() and rows["row"].tolist() == matrix.obs["row"].tolist()
    assert {path.name for path in (tmp_path / "m.mtx").iterdir()} == {
        *("matrix.mtx.gz", "features.tsv.gz", "barcodes.tsv.gz", "regions.tsv", "columns.tsv", "provenance.json")
    }


def test_names_that_are_unique_name_the_rows(tmp_path, caplog):
    places = [GenomicRegion("a", 0, 9), GenomicRegion("a", 3, 5)]
    with toy_source({"a": random_dna(40)}) as (source, _), caplog.at_level(logging.INFO):
        for names, expected in (
            (["x", "y"], ["x", "y"]),
            (["x", "x"], ["a:0-9", "a:3-5"]),
            (["x", ""], ["a:0-9", "a:3-5"]),
        ):
            region_matrix(source, as_set(places, source.genome.lengths, names), tmp_path / "m.h5ad")
            found = anndata.read_h5ad(tmp_path / "m.h5ad")
            assert found.obs_names.tolist() == expected and found.obs["name"].tolist() == names
    assert caplog.text.count("drawn.bed: the regions are called by their places") == 2


def test_buffers_do_not_show(source, tmp_path, monkeypatch):
    written(source, tmp_path / "a.h5ad")
    monkeypatch.setattr(stores, "_HELD", 5)
    monkeypatch.setattr(stores, "_CHUNK", 3)
    written(source, tmp_path / "b.h5ad")
    one, other = (anndata.read_h5ad(tmp_path / name) for name in ("a.h5ad", "b.h5ad"))
    assert (one.X != other.X).nnz == 0 and (one.layers["active"] != other.layers["active"]).nnz == 0
    pd.testing.assert_frame_equal(one.obs, other.obs)


def test_regions_outside_of_those_that_are_read_are_left_out(tmp_path, caplog):
    with toy_source(RECORDS, [GenomicRegion("b", 0, 95)]) as (source, _):
        written(source, tmp_path / "m.h5ad")
        assert anndata.read_h5ad(tmp_path / "m.h5ad").obs_names.tolist() == ["b:0-1", "b:80-95"]
        assert "5 regions of drawn.bed are left out" in caplog.text
        with pytest.raises(SaeTracksError, match="no feature 6"):
            written(source, tmp_path / "m.h5ad", features=[6])
        with pytest.raises(SaeTracksError, match=r"ends in \.h5ad or \.parquet, or a folder in \.mtx"):
            written(source, tmp_path / "m.csv")


def test_nothing_is_left_of_a_matrix_that_fails(tmp_path):
    with toy_source(RECORDS) as (source, _):
        regions = as_set([GenomicRegion("n", 0, 9)], source.genome.lengths)
        for name in ("m.h5ad", "m.parquet"):
            with pytest.raises(SaeTracksError, match="nothing to read"):
                region_matrix(source, regions, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_repeated_names_are_numbered_and_meet_no_other():
    assert unique_names(["a", "a", "a-1", "a", "b"]) == ["a", "a-2", "a-1", "a-3", "b"]
