"""Heatmaps and profiles: what is drawn where, the files beside them, and the verbs."""

import json

import numpy as np
import pandas as pd
import pyBigWig
import pytest
from command_line import run

from sae_tracks.errors import SaeTracksError
from sae_tracks.region_sets.deeptools import read_deeptools
from sae_tracks.region_sets.profile import BinLayout, Profiles
from sae_tracks.report.profile_figures import plot_heatmap, plot_profile, write_profiles


def profiles(layout=None, rows=20, columns=("f357.along", "atac")):
    layout = layout or BinLayout(1500, 200, 100)
    bins = len(layout.offsets)
    values = np.arange(rows * bins * len(columns), dtype=np.float32).reshape(rows, bins, len(columns))
    values[3, 2] = np.nan
    sites = pd.DataFrame({"Chromosome": "a", "Start": np.arange(rows) * 9000, "Name": "", "Score": np.nan})
    group = pd.Categorical(["peaks"] * (rows // 4) + ["genes"] * (rows - rows // 4), ["peaks", "genes"])
    sites = sites.assign(End=sites["Start"] + 5, Strand="+", Group=group)
    return Profiles(sites, layout, list(columns), values)


def labels(axes):
    return {int(at): text.get_text() for at, text in zip(axes.get_xticks(), axes.get_xticklabels())}


def test_a_heatmap_has_a_panel_per_group_and_column_under_their_means():
    drawn = profiles()
    means = drawn.means()
    figure = plot_heatmap(drawn, means)
    tops, (peaks, _), (genes, atac) = figure.axes[:2], figure.axes[2:4], figure.axes[4:6]
    assert [axes.get_title() for axes in tops] == ["f/357 along", "atac"]
    assert [axes.get_ylabel() for axes in (peaks, genes)] == ["peaks\n(5)", "genes\n(15)"]
    np.testing.assert_array_equal(peaks.images[0].get_array().filled(np.nan), drawn.values[:5, :, 0])
    np.testing.assert_array_equal(atac.images[0].get_array(), drawn.values[5:, :, 1])
    assert labels(genes) == {-1500: "-1.5 kb", 0: "start", 200: "+200"}
    assert tuple(genes.images[0].get_extent()) == (-1500, 200, 15, 0)
    line = tops[1].get_lines()[0]
    mine = means[(means["group"] == "peaks") & (means["column"] == "atac")]
    np.testing.assert_allclose(line.get_ydata(), mine["mean"])
    np.testing.assert_allclose(line.get_xdata(), mine["start"] + 50)
    assert genes.images[0].get_clim() == (0, pytest.approx(np.nanquantile(drawn.values[:, :, 0], 0.99), rel=0.01))


def test_columns_are_titled_as_features_or_files():
    drawn = profiles(columns=["f357", "f357.against", "f357.bw", "f2.plus", "atac"])
    titles = [axes.get_title("left") for axes in plot_profile(drawn, drawn.means()).axes]
    assert titles == ["f/357", "f/357 against", "f357.bw", "f/2 plus", "atac"]


def test_columns_that_lack_values_are_named(tmp_path, caplog):
    drawn = profiles(columns=["f1", "f47.bw", "atac"])
    drawn.values[:, :, 1] = np.nan
    drawn.values[:7, :, 2] = np.nan
    write_profiles(drawn, tmp_path / "h.png", plot_heatmap)
    assert caplog.messages == ["f47.bw: 0 of 20 regions have a value", "atac: 13 of 20 regions have a value"]


def test_no_value_at_all_is_an_error_and_nothing_is_written(tmp_path):
    drawn = profiles(columns=["f1", "atac"])
    drawn.values[:] = np.nan
    with pytest.raises(SaeTracksError, match="f1, atac: 0 of 20 regions have a value"):
        write_profiles(drawn, tmp_path / "h.png", plot_profile)
    assert not list(tmp_path.iterdir())


def test_values_below_0_get_two_colours_around_0():
    drawn = profiles(columns=["phylop"])
    low, high = plot_heatmap(Profiles(drawn.sites, drawn.layout, drawn.columns, drawn.values - 100), drawn.means()) \
        .axes[1].images[0].get_clim()  # fmt: skip
    assert low == -high < 0


def test_more_regions_and_bins_than_a_panel_can_show_are_averaged():
    drawn = profiles(BinLayout(500, 500, 1), rows=4000, columns=["f1"])
    image = plot_heatmap(drawn, drawn.means()).axes[2].images[0].get_array()
    assert image.shape[0] <= 600 and image.shape[1] == 200
    step = -(-3000 // image.shape[0])
    assert image[1, 2] == pytest.approx(drawn.values[1000 + step : 1000 + 2 * step, 10:15, 0].mean())


def test_a_profile_of_scaled_regions_has_a_line_and_a_band_per_group():
    drawn = profiles(BinLayout(100, 100, 50, body=1000))
    means = drawn.means()
    figure = plot_profile(drawn, means)
    assert [axes.get_title("left") for axes in figure.axes] == ["f/357 along", "atac"]
    assert labels(figure.axes[0]) == {-100: "-100", 0: "start", 1000: "end", 1100: "+100"}
    assert [text.get_text() for text in figure.axes[1].get_legend().get_texts()] == ["peaks", "genes"]
    band = figure.axes[0].collections[1].get_paths()[0].vertices
    mine = means[(means["group"] == "genes") & (means["column"] == "f357.along")]
    assert band[:, 1].min() == pytest.approx(mine["low"].min())
    assert band[:, 1].max() == pytest.approx(mine["high"].max())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    with pyBigWig.open(str(folder / "s.bw"), "w") as file:
        file.addHeader([("a", 100), ("b", 50)])
        file.addEntries(["a"] * 100, list(range(100)), ends=list(range(1, 101)), values=[float(i) for i in range(100)])
    (folder / "one.bed").write_text("a\t20\t30\tx\t0\t+\na\t50\t61\ty\t0\t-\n")
    (folder / "two.bed").write_text("b\t20\t30\na\t70\t71\n")
    return folder


BINS = ["-b", "10", "-a", "10", "-bs", "5"]


def test_a_heatmap_of_signals_writes_what_it_shows_and_a_profile_draws_it_again(folder):
    words = ["plot", "heatmap", "one.bed", "two.bed", "--bigwig", "s.bw", *BINS, "--referencePoint", "TSS"]
    out = run(*words, "-o", "h.png", cwd=folder)
    assert out.returncode == 0 and out.stderr == "s: 3 of 4 regions have a value\n4 regions in h.png\n"
    found = read_deeptools(folder / "h.matrix.gz")
    assert found.sites[["Start", "Group"]].to_numpy().tolist() == [[50, "one"], [20, "one"], [70, "two"], [20, "two"]]
    assert found.values[:3, :, 0].tolist() == [[68, 63, 58, 53], [12, 17, 22, 27], [62, 67, 72, 77]]
    assert np.isnan(found.values[3]).all()
    table = pd.read_csv(folder / "h.tsv", sep="\t")
    assert table[table["group"] == "one"]["mean"].tolist() == [40, 40, 40, 40]
    assert json.loads((folder / "h.provenance.json").read_text())["layout"]["point"] == "TSS"
    again = run("plot", "profile", "h.matrix.gz", "-o", "p.svg", cwd=folder)
    assert again.returncode == 0 and (folder / "p.svg").exists() and not (folder / "p.matrix.gz").exists()
    assert (folder / "p.tsv").read_bytes() == (folder / "h.tsv").read_bytes()
    kept = run(*words, "-r", "a:55-75", "--sort", "keep", "-o", "k.png", cwd=folder)
    assert kept.returncode == 0
    assert read_deeptools(folder / "k.matrix.gz").sites["Start"].tolist() == [50, 70]


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ("one.bed -o h.png", 2, "name what to draw"),
        ("one.bed --bigwig s.bw -o h.jpg", 1, "a figure ends in"),
        ("one.bed --bigwig s.bw --scale-regions 50 --reference-point end -o h.png", 2, "no reference point"),
        ("one.bed --bigwig s.bw --read-strand both -o h.png", 2, "no model is read"),
        ("sae one.bed -f 1 -o h.png", 1, "name the SAE, the genome and at least one file of regions"),
        ("one.bed --bigwig s.bw -b 15 -o h.png", 1, "multiple of the bin size"),
        ("one.bed --bigwig s.bw --concept z -o h.png", 1, "no site is called 'z'"),
        ("m.matrix.gz -bs 20 -o h.png", 2, "a matrix has its bins: leave out --bin-size"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(folder, tmp_path, words, status, message):
    run("plot", "profile", "one.bed", "--bigwig", "s.bw", *BINS, "-o", "m.png", cwd=folder)
    paths = {name: folder / name for name in ("one.bed", "s.bw", "m.matrix.gz")}
    out = run("plot", "heatmap", *(paths.get(word, word) for word in words.split()), cwd=tmp_path)
    assert out.returncode == status and message in out.stderr and out.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
