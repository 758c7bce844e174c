"""The figures: what is drawn, from blocks and tables, and the errors."""

import numpy as np
import pandas as pd
import pytest
from toy import OneHotLM, identity_sae, random_dna, write_fasta

from sae_tracks.errors import SaeTracksError
from sae_tracks.figures import feature_values, plot_activation, plot_scores, save_figure
from sae_tracks.genome import Genome
from sae_tracks.regions import GenomicRegion
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
    assert [t.get_text() for t in right.get_xticklabels()] == ["MA14 (+)\nf3", "MA13 (-)\nf3", "MA12 (+)\nf3"]
    assert [bar.get_height() for bar in left.containers[0]] == [0.9, 0.7]
    assert [c.get_label() for c in right.containers] == ["precision", "recall", "F1"]


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
