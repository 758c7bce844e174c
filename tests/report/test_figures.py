"""The figures: what is drawn, from blocks and tables, and the errors."""

import re

import logomaker
import numpy as np
import pandas as pd
import pytest
from toy import OneHotLM, identity_sae, random_dna, write_fasta

from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome
from sae_tracks.motifs import Motif
from sae_tracks.regions import GenomicRegion
from sae_tracks.report.figures import (
    feature_values,
    plot_activation,
    plot_offsets,
    plot_scores,
    read_offsets,
    save_figure,
)
from sae_tracks.report.logos import glyphs, letter_heights, plot_logo
from sae_tracks.source import Source


@pytest.fixture
def genome(tmp_path):
    return Genome(write_fasta(tmp_path / "g.fa", a=random_dna(150) + "NNN" + random_dna(100, 1)))


@pytest.fixture
def region():
    return GenomicRegion("a", 40, 200)


@pytest.fixture
def blocks(genome, region):
    return list(Source(OneHotLM(), identity_sae(), genome, [region]).blocks([1]))


def test_values_of_a_feature_lie_at_its_bases(genome, region, blocks):
    values = feature_values(blocks, region, 1)
    letters = np.array(list(genome.sequence(region).decode()))
    assert np.array_equal(values == 1, letters == "C")
    assert np.array_equal(np.isnan(values), letters == "N")


def test_fig_2_draws_the_activation_over_1_based_positions(genome, region, blocks):
    axes = plot_activation(blocks, genome, region, 1).axes[0]
    drawn = axes.patches[0].get_data()
    assert drawn.edges[0] == 40.5 and drawn.edges[-1] == 200.5
    letters = np.array(list(genome.sequence(region).decode()))
    assert np.array_equal(drawn.values == 1, letters == "C")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["f/1", "C", "not readable"]


def test_fig_2_refuses_a_chromosome_and_a_wrong_base(genome, region, blocks):
    with pytest.raises(SaeTracksError, match="at most 20,000"):
        plot_activation([], genome, GenomicRegion("a", 0, 20_001), 1)
    with pytest.raises(SaeTracksError, match="A, C, G or T"):
        plot_activation(blocks, genome, region, 1, "U")


def table(concepts):
    rows = [(c, tf, s, "f3", 500, p, r, 2 * p * r / (p + r)) for c, tf, s, p, r in concepts]
    names = ["concept", "tf", "site_strand", "feature", "instances", "precision", "recall", "f1"]
    return pd.DataFrame(rows, columns=names)


def test_fig_3_has_nucleotides_left_and_the_best_annotations_right():
    rows = [("A", "", "+", 0.9, 0.8), ("T", "", "+", 0.7, 0.6)]
    rows += [(f"MA{i}", f"TF{i}", "+-"[i % 2], 0.05 * i + 0.05, 0.5) for i in range(15)]
    left, right = plot_scores(table(rows), most=3).axes
    assert [t.get_text() for t in left.get_xticklabels()] == ["A\nf3", "T\nf3"]
    assert [t.get_text() for t in right.get_xticklabels()] == [
        "TF14 MA14 (+)\nf3",
        "TF13 MA13 (-)\nf3",
        "TF12 MA12 (+)\nf3",
    ]
    assert [bar.get_height() for bar in left.containers[0]] == [0.9, 0.7]
    assert [c.get_label() for c in right.containers] == ["precision", "recall", "F1"]


def test_matches_that_nothing_speaks_for_are_pale():
    rows = table(
        [("A", "", "+", 0.9, 0.8), ("x", "", ".", 0.9, 0.8), ("y", "", ".", 0.5, 0.8), ("z", "", ".", 0.3, 0.8)]
    )
    left, right = plot_scores(rows.assign(verdict=["word", "supported", "chance", "low-power"])).axes
    assert [bar.get_alpha() for bar in right.containers[2]] == [1, 0.25, 0.25]
    assert [bar.get_alpha() for bar in left.containers[2]] == [1]
    assert right.get_legend().get_texts()[-1].get_text() == "pale: chance or low-power"
    assert [text.get_color() for text in right.get_xticklabels()] == ["black", "#888888", "#888888"]


def test_fig_3_refuses_another_table():
    with pytest.raises(SaeTracksError, match="no column 'concept'"):
        plot_scores(pd.DataFrame({"x": [1]}))
    with pytest.raises(SaeTracksError, match="no row"):
        plot_scores(table([]))


@pytest.mark.parametrize("ending", ["png", "pdf", "svg"])
def test_the_same_figure_gives_the_same_bytes(genome, region, blocks, tmp_path, ending):
    made = []
    for name in ("one", "two"):
        save_figure(plot_activation(blocks, genome, region, 1), tmp_path / f"{name}.{ending}")
        made.append((tmp_path / f"{name}.{ending}").read_bytes())
    assert made[0] == made[1]
    with pytest.raises(SaeTracksError, match="ends in"):
        save_figure(plot_activation(blocks, genome, region, 1), tmp_path / "x.jpeg")


def ctcf_like():
    counts = np.array([[87, 291, 76, 459], [167, 145, 414, 187], [0, 900, 10, 3], [5, 5, 5, 5], [1, 0, 0, 0]])
    return Motif("MA0000.1", "X", counts.astype(float))


def test_letters_of_a_logo_are_as_high_as_logomaker_has_them():
    motif = ctcf_like()
    p = pd.DataFrame(motif.probabilities(), columns=list("ACGT"))
    expected = logomaker.transform_matrix(p, from_type="probability", to_type="information")
    assert letter_heights(motif) == pytest.approx(expected.to_numpy())
    assert letter_heights(motif)[3] == pytest.approx(0)


def test_a_logo_shows_every_position_on_a_scale_of_two_bits():
    axes = plot_logo(ctcf_like()).axes[0]
    assert axes.get_ylim() == (0, 2)
    assert [tick.get_text() for tick in axes.get_xticklabels()] == list("12345")
    assert axes.get_title("left") == "MA0000.1 X"


def test_outlines_of_letters_fill_the_unit_square():
    for path in glyphs().values():
        numbers = np.array(re.findall(r"[\d.e-]+", path), float).reshape(-1, 2)
        assert numbers.min() == 0 and numbers.max() == 1
        assert path.startswith("M") and path.endswith("Z")


def offsets_file(path):
    key = {"concept": "M", "site_strand": "-", "feature": 7, "read_strand": "+", "sites": 5, "background": 0.1}
    rows = [
        key | {"anchor": a, "offset": o, "active_share": 0.1 * (o + 2)} for a in ("start", "end") for o in (1, -1, 0)
    ]
    pd.DataFrame(rows).to_parquet(path)
    return path


def test_a_profile_is_drawn_from_left_to_right_around_both_ends(tmp_path):
    offsets = read_offsets(offsets_file(tmp_path / "offsets.parquet"))
    assert set(offsets["feature"]) == {"f7"}
    for axes in plot_offsets(offsets, "M", "-").axes:
        profile, background = axes.lines[:2]
        assert profile.get_xdata().tolist() == [-1, 0, 1]
        assert profile.get_ydata() == pytest.approx([0.1, 0.2, 0.3])
        assert set(background.get_ydata()) == {0.1}


def test_without_a_strand_the_profile_is_that_of_the_best_one(tmp_path):
    offsets = read_offsets(offsets_file(tmp_path / "offsets.parquet"))
    weak = offsets.assign(site_strand="+", feature="f9", active_share=0.05)
    (line, *_) = plot_offsets(pd.concat([weak, offsets]), "M").axes[0].lines
    assert line.get_label() == "f/7 (read strand +)"
    with pytest.raises(SaeTracksError, match="no profile of N"):
        plot_offsets(offsets, "N")


def test_a_profile_that_is_not_there_says_what_is(tmp_path):
    offsets = read_offsets(offsets_file(tmp_path / "offsets.parquet"))
    with pytest.raises(SaeTracksError, match="there on strand -"):
        plot_offsets(offsets, "M", "+")
    with pytest.raises(SaeTracksError, match="such as M"):
        plot_offsets(offsets, "N", "+")
    with pytest.raises(SaeTracksError, match="metrics` writes it"):
        read_offsets(tmp_path / "none.parquet")
    pd.DataFrame({"x": [1]}).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(SaeTracksError, match="no column 'concept'"):
        read_offsets(tmp_path / "x.parquet")
