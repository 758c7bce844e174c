"""Ranked lists and gene sets, read back line by line."""

import numpy as np
import pytest
from annotation_files import write
from region_sets import as_set
from toy import random_dna
from track_oracle import toy_source

from sae_tracks.errors import SaeTracksError
from sae_tracks.region_sets import read
from sae_tracks.region_sets.gene_lists import gene_lists
from sae_tracks.region_sets.matrix import region_matrix
from sae_tracks.region_sets.read import read_matrix
from sae_tracks.region_sets.regions import read_gene_set
from sae_tracks.regions import GenomicRegion

anndata = pytest.importorskip("anndata", reason="needs anndata: pip install 'sae-tracks[single-cell]'")
h5py = pytest.importorskip("h5py")
GENES = {
    "G1": (0, 20, "AAA"),
    "G2": (20, 40, "CCC"),
    "G3": (30, 60, "BBB"),
    "G4": (60, 99, "CCC"),
    "G5": (110, 120, "NNN"),
}


@pytest.fixture
def matrix(tmp_path):
    text = random_dna(100) + "N" * 120
    lines = [
        f'a\tx\tgene\t{start + 1}\t{end}\t.\t+\t.\tgene_id "{gene}"; gene_name "{name}"'
        for gene, (start, end, name) in GENES.items()
    ]
    with toy_source({"a": text}, None, ["+", "-"]) as (source, _):
        genes = read_gene_set(write(tmp_path, "g.gtf", *lines), source.genome)
        region_matrix(source, genes, tmp_path / "m.h5ad")
    return tmp_path / "m.h5ad"


def ranked(path):
    return [(name, float(score)) for name, score in (line.split("\t") for line in path.read_text().splitlines())]


def read_gmt(path):
    """Name -> (description, genes), as the format's page says: tabs, one set a line."""
    rows = [line.split("\t") for line in path.read_text().splitlines()]
    return {name: (about, genes) for name, about, *genes in rows}


def test_lists_are_ranked_by_the_means_of_the_matrix(matrix, tmp_path):
    report = gene_lists(matrix, tmp_path / "out", top=2)
    whole = anndata.read_h5ad(matrix)
    sets = read_gmt(tmp_path / "out" / "features.gmt")
    assert report.genes == 3 and report.features == len(sets)
    assert whole.obs["gene_name"].tolist() == ["AAA", "CCC", "BBB", "CCC", "NNN"]
    for i, feature in enumerate(whole.var_names):
        best = {}
        for name, score in list(zip(whole.obs["gene_name"], whole.X.toarray()[:, i]))[:4]:
            best[name] = max(best.get(name, 0), score)
        expected = sorted(best.items(), key=lambda pair: (-pair[1], pair[0]))
        if not any(best.values()):
            assert feature not in sets and not (tmp_path / "out" / f"{feature}.rnk").exists()
            continue
        found = ranked(tmp_path / "out" / f"{feature}.rnk")
        assert [name for name, _ in found] == [name for name, _ in expected]
        np.testing.assert_allclose([score for _, score in found], [score for _, score in expected], rtol=1e-5)
        assert sets[feature] == ("na", [name for name, score in expected[:2] if score > 0])


def test_only_the_features_asked_for_are_read(matrix, tmp_path):
    gene_lists(matrix, tmp_path / "out", features=[2])
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"f2.plus.rnk", "f2.minus.rnk", "features.gmt", "provenance.json"}
    with pytest.raises(SaeTracksError, match=r"m\.h5ad has no feature 9"):
        gene_lists(matrix, tmp_path / "out", features=[2, 9])


@pytest.mark.parametrize("held", [1, 5, 1 << 20])
def test_a_matrix_is_read_in_parts(matrix, monkeypatch, held):
    monkeypatch.setattr(read, "_READ", held)
    whole = anndata.read_h5ad(matrix)
    np.testing.assert_array_equal(read_matrix(matrix).means.toarray(), whole.X.toarray())
    some = read_matrix(matrix, [4, 0])
    assert some.var.index.tolist() == ["f0.plus", "f4.plus", "f0.minus", "f4.minus"]
    np.testing.assert_array_equal(some.means.toarray(), whole[:, some.var.index].X.toarray())
    assert some.readable().tolist() == [True] * 4 + [False]


def test_other_files_are_refused(tmp_path):
    with toy_source({"a": random_dna(60)}) as (source, _):
        region_matrix(source, as_set([GenomicRegion("a", 0, 9)], source.genome.lengths), tmp_path / "m.h5ad")
    with pytest.raises(SaeTracksError, match=r"m\.h5ad has regions, not genes"):
        gene_lists(tmp_path / "m.h5ad", tmp_path / "out")
    h5py.File(tmp_path / "x.h5ad", "w").close()
    with pytest.raises(SaeTracksError, match="is no matrix of features"):
        gene_lists(tmp_path / "x.h5ad", tmp_path / "out")
    with h5py.File(tmp_path / "m.h5ad", "r+") as file:
        file["uns/sae_tracks"][()] = (
            file["uns/sae_tracks"].asstr()[()].replace('"format_version": 1', '"format_version": 2')
        )
    with pytest.raises(SaeTracksError, match=r"m\.h5ad is of another format"):
        gene_lists(tmp_path / "m.h5ad", tmp_path / "out")
    with pytest.raises(SaeTracksError, match="no file"):
        gene_lists(tmp_path / "y.h5ad", tmp_path / "out")
    (tmp_path / "z.h5ad").write_text("text")
    with pytest.raises(SaeTracksError, match=r"cannot read .*z\.h5ad"):
        gene_lists(tmp_path / "z.h5ad", tmp_path / "out")
