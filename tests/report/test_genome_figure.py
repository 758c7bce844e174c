"""The overview of a run: what is drawn where, and the verbs that read a model for a figure."""

import json

import numpy as np
import pandas as pd
import pytest
from command_line import run
from tiny import write_tiny_model
from toy import random_dna, write_fasta

from sae_tracks.region_sets.deeptools import read_deeptools
from sae_tracks.report.genome_figure import MOST_CONTIGS, plot_genome, verdict_colours


def along(contigs=2):
    """Two features in bins of 10 bases, of which one contig has four and each other one."""
    rows = [
        (feature, "+", f"c{i}", 10 * b, 10 * b + 10, 10, (1 + b) * (feature == "f7") + (i == 1))
        for feature in ("f7", "f2")
        for i in range(contigs)
        for b in range(1 if i else 4)
    ]
    names = ["feature", "read_strand", "contig", "start", "end", "readable", "active"]
    return pd.DataFrame(rows, columns=names)


def best():
    rows = [("CDS", "", "+", "f7", "+", 0.9, "supported"), ("MA1", "REB1", "-", "f2", "+", 0.5, "chance")]
    rows += [("A", "", "+", "f7", "+", 0.3, "chance"), ("x", "", ".", "f9", "+", 0.2, "chance")]
    return pd.DataFrame(rows, columns=["concept", "tf", "site_strand", "feature", "read_strand", "f1", "verdict"])


def test_shares_are_drawn_as_multiples_of_the_share_on_all_bases():
    figure = plot_genome(along())
    left, right = figure.axes[:2]
    f7, f2 = 12 / 50, 1 / 50  # active of 50 bases
    np.testing.assert_allclose(left.images[0].get_array(), [[0.25 / f7, 0.2 / f7], [0, 0.1 / f2]])
    np.testing.assert_allclose(right.images[0].get_array()[0], np.array([0.1, 0.2, 0.3, 0.4, 0.2]) / f7)
    assert [text.get_text() for text in left.get_yticklabels()] == ["f/7", "f/2"]
    assert [text.get_text() for text in right.get_xticklabels()] == ["c0", "c1"]
    assert right.get_xticks().tolist() == [1.5, 4]


def bins_of(*runs, size=500):
    """One feature in adjacent bins from start to end of each run, (contig, start, end)."""
    rows = [("f7", "+", c, at, min(at + size, end), size, at % 3) for c, s, end in runs for at in range(s, end, size)]
    return pd.DataFrame(rows, columns=["feature", "read_strand", "contig", "start", "end", "readable", "active"])


def positions(axes):
    """Where the labels of positions are, on an axis on which bin i has its middle at i."""
    return dict(zip((text.get_text() for text in axes.get_xticklabels(minor=True)), axes.get_xticks(minor=True)))


def test_adjacent_bins_that_are_wide_enough_have_positions_and_a_border_where_others_are_left_out():
    axes = plot_genome(bins_of(("c", 0, 50_000), ("d", 100_000, 160_000), ("d", 400_000, 440_250))).axes[1]
    borders = {line.get_xdata()[0]: line.get_linestyle() for line in axes.get_lines()}
    assert borders == {99.5: "-", 219.5: "--"}
    first = {"c": (0, 0), "d": (100_000, 100), "d2": (400_000, 220)}
    shown = {"c": (10, 20, 30, 40), "d": (110, 120, 130, 140, 150), "d2": (410, 420, 430)}
    expected = {
        f"{at} kb": first[one][1] + (1000 * at - first[one][0]) / 500 - 0.5 for one in shown for at in shown[one]
    }
    assert positions(axes) == pytest.approx(expected)
    assert [text.get_text() for text in axes.get_xticklabels()] == ["c", "d"]


def test_labels_of_positions_do_not_touch():
    for runs in (
        [("c", 1_000_000, 1_400_000)],
        [("c", 87_040_000, 87_090_000)],
        [(f"c{i}", 0, 40_000) for i in range(4)],
        [("c0", 0, 400_000), *((f"c{i}", 0, 4_000) for i in range(1, 30))],
    ):
        figure = plot_genome(bins_of(*runs, size=max(runs[0][2] - runs[0][1], 50_000) // 100))
        figure.draw_without_rendering()
        axes = figure.axes[1]
        boxes = [text.get_window_extent() for text in axes.get_xticklabels(minor=True)]
        assert len(boxes) >= 3
        assert all(one.x1 < other.x0 for one, other in zip(boxes, boxes[1:]))


def test_contigs_that_are_too_narrow_have_no_positions():
    assert positions(plot_genome(bins_of(*((f"c{i}", 0, 40_000) for i in range(16)))).axes[1]) == {}


def test_only_the_longest_contigs_are_drawn():
    left = plot_genome(along(MOST_CONTIGS + 5)).axes[0]
    assert [text.get_text() for text in left.get_xticklabels()] == [f"c{i}" for i in range(MOST_CONTIGS)]


def test_verdicts_and_f1_have_the_colours_of_the_page():
    density = pd.Series({"f7": 0.1, "f2": 0.01, "f9": 0.0})
    figure = plot_genome(along(), best(), density)
    above, below = figure.subfigs
    assert [text.get_text() for text in above.axes[0].get_yticklabels()] == ["f/7 CDS +", "f/2 REB1 -"]
    bars, points = below.axes
    widths = {bar.get_label(): bar.patches[0].get_width() for bar in bars.containers}
    assert widths == {"supported (1)": 1, "chance (3)": 3}
    drawn = sorted(tuple(map(float, place)) for one in points.collections for place in one.get_offsets())
    assert drawn == [(0.01, 0.5), (0.1, 0.3), (0.1, 0.9)]  # a feature that is never active has no place
    assert verdict_colours()["supported"] == "#009e73" and len(set(verdict_colours().values())) == 10


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("genome-figure")
    write_tiny_model(folder)
    write_fasta(folder / "toy.fa", a=random_dna(200), b=random_dna(80, 1))
    (folder / "sites.bed").write_text("a\t50\t60\tx\t0\t+\nb\t20\t25\ty\t0\t-\n")
    (folder / "scores").mkdir()
    best().to_csv(folder / "scores" / "metrics.tsv", sep="\t", index=False)
    return folder


READ = ["sae", "toy.fa", "-m", "lm", "-p", "1"]


def test_plot_genome_draws_the_best_features_and_writes_the_counts(project):
    out = run("plot", "genome", *READ, "--from", "scores", "--top", "2", "-t", "0.1", "-o", "o/g.png", cwd=project)
    assert out.returncode == 0 and out.stderr == "2 features along 2 contigs in o/g.png\n"
    table = pd.read_csv(project / "o" / "g.tsv", sep="\t")
    assert table["feature"].unique().tolist() == ["f7", "f2"]
    assert table.groupby("feature")["readable"].sum().tolist() == [280, 280]
    assert json.loads((project / "o" / "g.provenance.json").read_text())["threshold"] == 0.1


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ([], 2, "name the features"),
        (["-f", "1", "--top", "3"], 2, "-f names the features: leave out --top"),
        (["-f", "99"], 1, "no feature 99"),
        (["--from", "nothing"], 1, "no table nothing"),
    ],
)
def test_plot_genome_without_features_is_one_line(project, words, status, message):
    out = run("plot", "genome", *READ, *words, "-o", "no.png", cwd=project)
    assert out.returncode == status and message in out.stderr and out.stderr.count("\n") == 1
    assert not (project / "no.png").exists()


def test_plot_heatmap_reads_features_in_both_directions(project):
    bins = ["-b", "10", "-a", "10", "-bs", "5", "--read-strand", "both"]
    out = run("plot", "heatmap", *READ, "sites.bed", "-f", "3,1", *bins, "-o", "h.pdf", cwd=project)
    assert out.returncode == 0 and out.stderr == "2 regions in h.pdf\n"
    assert read_deeptools(project / "h.matrix.gz").columns == ["f3.along", "f3.against", "f1.along", "f1.against"]
    assert json.loads((project / "h.provenance.json").read_text())["read_strands"] == ["+", "-"]
