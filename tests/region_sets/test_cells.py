"""Deviations of cells: chromVAR's formula in plain loops, planted truth, shuffles, and files of single cells."""

import logging

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("anndata", reason="needs anndata: pip install 'sae-tracks[single-cell]'")
from scipy.sparse import csc_array, csr_array
from single_cells import names, places, write_10x, write_cells, write_matrix

from sae_tracks.errors import SaeTracksError
from sae_tracks.region_sets import deviations
from sae_tracks.region_sets.background import background_peaks
from sae_tracks.region_sets.counts import read_counts
from sae_tracks.region_sets.deviations import cell_deviations


def drawn(rng, peaks=60, features=3, cells=12):
    counts = rng.poisson(rng.lognormal(0, 0.7, peaks), (cells, peaks))
    means = rng.random((peaks, features)) * (rng.random((peaks, features)) < 0.5)
    return counts.astype(float), means.astype(np.float32), rng.uniform(0.3, 0.7, peaks)


def formula(counts, means, partners):
    """(c, f) deviations and z of Schep et al. 2017, cell by cell, feature by feature, draw by draw."""
    cells, peaks = counts.shape
    share = [sum(counts[c][p] for c in range(cells)) / counts.sum() for p in range(peaks)]
    deviation, z = np.empty((2, cells, means.shape[1]))
    for f in range(means.shape[1]):
        for c in range(cells):
            total, values = sum(counts[c]), []
            for partner in [range(peaks), *partners]:
                observed = sum(float(means[p][f]) * counts[c][partner[p]] for p in range(peaks))
                expected = sum(float(means[p][f]) * total * share[partner[p]] for p in range(peaks))
                values.append((observed - expected) / expected)
            deviation[c, f] = values[0] - np.mean(values[1:])
            z[c, f] = deviation[c, f] / np.std(values[1:], ddof=1)
    return deviation, z


def test_deviations_are_those_of_the_formula(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    counts, means, gc = drawn(rng)
    where = places(60)
    write_matrix(tmp_path / "m.h5ad", means, gc, where)
    order = rng.permutation(60)
    peaks = [names(where)[i] for i in order]
    write_cells(tmp_path / "c.h5ad", csr_array(counts[:, order]), peaks)
    monkeypatch.setattr(deviations, "_HELD", 300)  # a feature at a time
    found = cell_deviations(tmp_path / "m.h5ad", tmp_path / "c.h5ad", draws=11, seed=3)
    partners = background_peaks(counts.mean(axis=0)[order], gc[order], 11, seed=3)
    deviation, z = formula(counts[:, order], means[order], partners)
    np.testing.assert_allclose(found.deviations, deviation, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.z, z, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.var["variability"], z.std(axis=0, ddof=1), rtol=1e-4)
    assert found.obs["counts"].tolist() == counts.sum(axis=1).tolist()


@pytest.mark.parametrize(
    ("cells", "held", "widths"),
    [(12, 240, [2, 1]), (3, 240, [3]), (3, 120, [2, 1]), (3, 59, [1, 1, 1])],  # 10 draws, 60 peaks
)
def test_draws_of_cells_and_peaks_both_count_as_held(tmp_path, monkeypatch, cells, held, widths):
    counts, means, gc = drawn(np.random.default_rng(6), cells=cells)
    counts[0] += 1  # every peak is open
    matrix = write_matrix(tmp_path / "m.h5ad", means, gc, places(60))
    write_cells(tmp_path / "c.h5ad", csr_array(counts), names(places(60)))
    seen, real = [], deviations._deviations

    def spy(counts, weights, partners):
        seen.append(weights.shape)
        return real(counts, weights, partners)

    monkeypatch.setattr(deviations, "_deviations", spy)
    monkeypatch.setattr(deviations, "_HELD", held)
    cell_deviations(matrix, tmp_path / "c.h5ad", draws=10)
    assert seen == [(60, width) for width in widths]


def test_cells_without_a_label_are_in_no_group(tmp_path, caplog):
    counts, means, gc = drawn(np.random.default_rng(7))
    counts[0] += 1
    labels = np.array(["A", "B", None] * 4, object)
    obs = pd.DataFrame({"kind": pd.Categorical(labels)}, index=[f"cell{i}" for i in range(12)])
    matrix = write_matrix(tmp_path / "m.h5ad", means, gc, places(60))
    write_cells(tmp_path / "c.h5ad", csr_array(counts), names(places(60)), obs)
    found = cell_deviations(matrix, tmp_path / "c.h5ad", clusters="kind", draws=10)
    assert "4 of 12 cells have no kind and are left out of its groups" in caplog.text
    assert (found.z == cell_deviations(matrix, tmp_path / "c.h5ad", draws=10).z).all() and len(found.z) == 12
    a, b = found.z[labels == "A"].astype(float), found.z[labels == "B"].astype(float)
    rows = found.markers.set_index(["cluster", "feature"])
    assert rows["cells"].unique().tolist() == [4]
    for f in range(3):
        row = rows.loc[("A", f"f{f}")]
        pairs = [(one > other) + (one == other) / 2 for one in a[:, f] for other in b[:, f]]
        assert row["difference"] == pytest.approx(a[:, f].mean() - b[:, f].mean(), abs=1e-5)
        assert row["auroc"] == pytest.approx(np.mean(pairs))
        assert rows.loc[("B", f"f{f}"), "difference"] == pytest.approx(-row["difference"])


@pytest.mark.parametrize(
    ("kept", "message"), [([], r"no cell of c\.h5ad has a kind"), (["A"], r"all cells of c\.h5ad are of one kind: A")]
)
def test_one_label_beside_missing_ones_is_refused(tmp_path, kept, message):
    counts, means, gc = drawn(np.random.default_rng(7))
    obs = pd.DataFrame({"kind": pd.Categorical([*kept, *[None] * (12 - len(kept))], ["A"])}, list("abcdefghijkl"))
    matrix = write_matrix(tmp_path / "m.h5ad", means, gc, places(60))
    write_cells(tmp_path / "c.h5ad", csr_array(counts), names(places(60)), obs)
    with pytest.raises(SaeTracksError, match=message):
        cell_deviations(matrix, tmp_path / "c.h5ad", clusters="kind", draws=10)


@pytest.mark.parametrize(("usable", "peaks"), [(49, 60), (50, 60), (1, 1)])
def test_a_handful_of_peaks_is_refused(tmp_path, usable, peaks):
    counts, means, gc = drawn(np.random.default_rng(8), peaks=peaks)
    counts += 1
    counts[:, usable:] = 0
    means[0] = 1
    matrix = write_matrix(tmp_path / "m.h5ad", means, gc, places(peaks))
    write_cells(tmp_path / "c.h5ad", csr_array(counts), names(places(peaks)))
    if usable == 50:
        assert cell_deviations(matrix, tmp_path / "c.h5ad", draws=10).record["peaks"] == 50
    else:
        with pytest.raises(SaeTracksError, match=rf"^{usable} of {peaks} peaks of c\.h5ad can be used, at least 50 "):
            cell_deviations(matrix, tmp_path / "c.h5ad", draws=10)


def test_a_draw_is_held_against_the_other_draws():
    rng = np.random.default_rng(1)
    values = rng.normal(size=(12, 5, 2))
    found = deviations._Draws(values)
    for i in range(12):
        others = np.delete(values, i, axis=0)
        np.testing.assert_allclose(found.z_of_draw(i), (values[i] - others.mean(0)) / others.std(0, ddof=1))
    value, own = rng.normal(size=(20, 3)), rng.normal(size=3) + 1
    standardised = [(own[f] - value[:, f].mean()) / value[:, f].std(ddof=1) for f in range(3)]
    pool = []
    for f in range(3):
        for i in range(20):
            rest = np.delete(value[:, f], i)
            pool.append((value[i, f] - rest.mean()) / rest.std(ddof=1))
    expected = [(1 + sum(one >= s for one in pool)) / 61 for s in standardised]
    np.testing.assert_allclose(deviations._pooled_p(own, value), expected)


def test_background_peaks_are_permutations_of_peaks_that_are_alike():
    rng = np.random.default_rng(2)
    accessibility, gc = rng.lognormal(0, 1, 3000), rng.beta(8, 8, 3000)
    partners = background_peaks(accessibility, gc, 40)
    assert (np.sort(partners, axis=1) == np.arange(3000)).all()
    for values in (gc, np.log10(accessibility)):
        assert np.corrcoef(values, values[partners].mean(axis=0))[0, 1] > 0.98
        assert np.abs(values[partners] - values).mean() < 0.2 * values.std()
    assert (partners == background_peaks(accessibility, gc, 40)).all()
    assert (partners != background_peaks(accessibility, gc, 40, seed=1)).any()


def test_peaks_of_one_group_are_permuted_evenly():
    rng = np.random.default_rng(3)
    partners = background_peaks(rng.lognormal(0, 1, 20), rng.random(20), 4000)
    seen = np.stack([np.bincount(of, minlength=20) for of in partners.T])
    assert seen.min() > 140 and seen.max() < 260  # 200 is expected, with a standard deviation of 14


def planted(seed, *, peaks=1500, cells=120, strength=0.8):
    """Half of the cells open the peaks of f0; f1 is GC, for which every cell has its own bias; f2 to f9 are drawn."""
    rng = np.random.default_rng(seed)
    gc = rng.beta(10, 10, peaks)
    means = rng.exponential(1, (peaks, 10)) * (rng.random((peaks, 10)) < 0.3)
    means[:, 1] = np.maximum(gc - 0.45, 0) * 10
    cluster = np.arange(cells) % 2
    rate = rng.lognormal(-1.5, 0.7, peaks) * np.exp(strength * means[:, 0] * cluster[:, None] * 0.5)
    rate = rate * np.exp(rng.normal(0, 2, (cells, 1)) * (gc - 0.5))
    rate *= rng.lognormal(0, 0.4, (cells, 1))
    return rng.poisson(rate), means, gc, cluster


def run_planted(folder, seed, **how):
    counts, means, gc, cluster = planted(seed, **how)
    where = places(len(gc))
    write_matrix(folder / "m.h5ad", means, gc, where)
    obs = pd.DataFrame({"cluster": np.array(["A", "B"])[cluster]}, index=[f"c{i}" for i in range(len(cluster))])
    write_cells(folder / "c.h5ad", csr_array(counts.astype(np.int64)), names(where), obs)
    return cell_deviations(folder / "m.h5ad", folder / "c.h5ad", clusters="cluster", draws=60)


def test_a_planted_feature_is_found_and_gc_is_not(tmp_path):
    found = run_planted(tmp_path, 0)
    var = found.var
    assert var["variability"].idxmax() == "f0" and var.loc["f0", "q"] < 0.05
    assert (var["q"].drop("f0") > 0.05).all()
    assert var.loc["f0", "variability"] > 1.5 * var.loc["f0", "null_95"]
    clusters = found.names().set_index("cluster")
    assert clusters["name"].to_dict() == {"A": "no name", "B": "f0"}
    assert clusters.loc["B", "auroc"] > 0.9 and clusters["cells"].tolist() == [60, 60]


def test_the_bias_that_is_corrected_is_there(tmp_path):
    """Without the background, GC would be more variable than any drawn feature."""
    counts, means, gc, _ = planted(0)
    raw, _ = deviations._deviations(csr_array(counts.astype(float)), means, np.zeros((0, len(gc)), np.int64))
    assert raw[:, 1].std() > 1.5 * raw[:, 2:].std(axis=0).max()


def test_without_a_planted_feature_p_values_are_not_too_small(tmp_path):
    features, markers = [], []
    for seed in range(8):
        found = run_planted(tmp_path, seed, strength=0, peaks=400, cells=50)
        features += [*found.var["p"]]
        markers += [*found.markers["p"]]
    for p in (np.array(features), np.array(markers)):
        assert (p < 0.05).mean() < 0.1 and (p < 0.2).mean() < 0.3
    assert abs(np.mean(markers) - 0.5) < 0.1  # a cluster of two is the mirror of the other


def test_cells_and_peaks_without_partner_are_counted(tmp_path, caplog):
    rng = np.random.default_rng(4)
    counts, means, gc = drawn(rng)
    counts[3] = 0
    counts[:, 5] = 0
    where = places(60)
    gc[7] = np.nan
    write_matrix(tmp_path / "m.h5ad", means, gc, where)
    write_cells(tmp_path / "c.h5ad", csc_array(counts), [*names(where)[:59], "chr1:5-6"])
    with caplog.at_level(logging.INFO):
        found = cell_deviations(tmp_path / "m.h5ad", tmp_path / "c.h5ad", draws=10)
    assert "2 of 60 peaks of c.h5ad are no readable region of the matrix" in caplog.text
    assert "1 of 60 peaks of c.h5ad are open in no cell" in caplog.text
    assert "1 of 12 cells have no counts in these peaks" in caplog.text
    assert found.z.shape == (11, 3) and found.record["peaks"] == 57 and "cell3" not in found.obs.index


@pytest.mark.parametrize("form", ["{}:{}-{}", "{}_{}_{}", "{}-{}-{}"])
def test_peaks_are_read_from_their_names(tmp_path, form):
    where = [("chr1", 5, 10), ("chrUn_KI270742v1", 0, 7), ("HLA-A*01", 1, 2)]
    counts = np.arange(6).reshape(2, 3)
    found = read_counts(write_cells(tmp_path / "c.h5ad", counts, names(where, form)))
    assert found.places == where and (found.counts.toarray() == counts).all()
    found = read_counts(write_10x(tmp_path / "c.h5", counts, names(where, form)))
    assert found.places == where and (found.counts.toarray() == counts).all()
    assert found.obs.index.tolist() == ["AAAC-0", "AAAC-1"]


def test_peaks_are_read_from_columns_and_from_multiome(tmp_path):
    var = pd.DataFrame({"Chr": ["chr1", "chr2"], "Start": [1, 2], "End": [5, 6]}, index=["peak1", "peak2"])
    found = read_counts(write_cells(tmp_path / "c.h5ad", np.ones((2, 2)), None, var=var))
    assert found.places == [("chr1", 1, 5), ("chr2", 2, 6)]
    kinds = ["Gene Expression", "Peaks", "Peaks"]
    counts = np.array([[9, 1, 0], [9, 0, 2]])
    found = read_counts(write_10x(tmp_path / "c.h5", counts, ["ENSG1", "chr1:1-5", "chr2:2-6"], kinds))
    assert found.places == [("chr1", 1, 5), ("chr2", 2, 6)] and found.counts.toarray().tolist() == [[1, 0], [0, 2]]


@pytest.mark.parametrize("value", [-1.0, 0.5, np.nan, np.inf, -np.inf])
def test_the_value_that_is_no_count_is_named(tmp_path, value):
    counts = np.array([[1, 0, 2], [3, value, 0]])
    with pytest.raises(SaeTracksError, match=rf"^c\.h5ad holds no counts, but values such as {value:g}$"):
        read_counts(write_cells(tmp_path / "c.h5ad", csr_array(counts), names(places(3))))


@pytest.mark.parametrize(
    ("column", "values", "what"),
    [
        ("start", [1.0, np.nan], "whole number"),
        ("start", pd.array([1, None], "Int64"), "whole number"),
        ("end", [5, np.inf], "whole number"),
        ("end", [5, 6.5], "whole number"),
        ("end", ["5", "x"], "whole number"),
        ("chrom", pd.Categorical(["chr1", None]), "name of a contig"),
    ],
)
def test_a_place_that_is_missing_names_its_column(tmp_path, column, values, what):
    var = pd.DataFrame({"chrom": ["chr1", "chr2"], "start": [1, 2], "end": [5, 6]}, index=["peak1", "peak2"])
    var[column] = values
    path = write_cells(tmp_path / "c.h5ad", np.ones((2, 2)), None, var=var)
    with pytest.raises(SaeTracksError, match=rf"^c\.h5ad: column '{column}' of var has no {what} for peak 'peak2'$"):
        read_counts(path)


@pytest.mark.parametrize("values", [[1.0, 2.0], ["1", "2"], pd.Categorical(["1", "2"]), pd.array([1, 2], "Int64")])
def test_whole_numbers_of_any_type_are_places(tmp_path, values):
    var = pd.DataFrame({"chrom": ["chr1", "chr2"], "start": values, "end": [5, 6]}, index=["peak1", "peak2"])
    found = read_counts(write_cells(tmp_path / "c.h5ad", np.ones((2, 2)), None, var=var))
    assert found.places == [("chr1", 1, 5), ("chr2", 2, 6)]


def test_what_cannot_be_used_is_refused(tmp_path):
    counts, means, gc = drawn(np.random.default_rng(5))
    where = places(60)
    matrix = write_matrix(tmp_path / "m.h5ad", means, gc, where)
    call = lambda counts, peaks, **how: cell_deviations(  # noqa: E731
        matrix, write_cells(tmp_path / "c.h5ad", counts, peaks), **{"draws": 10, **how}
    )
    with pytest.raises(SaeTracksError, match="is no place such as chr1:100-200"):
        call(counts, [f"p{i}" for i in range(60)])
    with pytest.raises(SaeTracksError, match=r"no peak of c\.h5ad, such as chr1:1-100.*its starts count from 1"):
        call(counts, names([(c, s + 1, e) for c, s, e in where]))
    with pytest.raises(SaeTracksError, match="make the matrix of the peaks that were counted"):
        call(counts, names([("chr9", s, e) for _, s, e in where]))
    with pytest.raises(SaeTracksError, match=r"c\.h5ad holds no counts, but values such as"):
        call(counts + 0.5, names(where))
    with pytest.raises(SaeTracksError, match="have no column 'x'"):
        call(counts, names(where), clusters="x")
    with pytest.raises(SaeTracksError, match="9 draws of background peaks are too few"):
        call(counts, names(where), draws=9)
    with pytest.raises(SaeTracksError, match="has 0 cells with counts"):
        call(counts * 0, names(where))
    write_matrix(matrix, means * 0, gc, where)
    with pytest.raises(SaeTracksError, match=r"no feature of m\.h5ad is active in a peak"):
        call(counts, names(where))
    write_matrix(matrix, means, gc * 0 + 0.5, where)
    with pytest.raises(SaeTracksError, match="do not differ in GC and accessibility"):
        call(counts, names(where))
    (tmp_path / "x.h5").write_text("text")
    with pytest.raises(SaeTracksError, match=r"cannot read .*x\.h5 as cells x peaks"):
        read_counts(tmp_path / "x.h5")
    with pytest.raises(SaeTracksError, match="has no peaks, but Gene Expression"):
        read_counts(write_10x(tmp_path / "g.h5", counts, names(where), ["Gene Expression"] * 60))
