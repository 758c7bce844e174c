"""The figures of saturation mutagenesis: what is drawn where."""

import numpy as np
import pytest
from toy import OneHotLM, identity_sae, random_dna, write_fasta

from sae_tracks.genome import Genome
from sae_tracks.insight.saturate import saturate
from sae_tracks.regions import GenomicRegion
from sae_tracks.report.saturation import plot_contributions, plot_dependency, write_saturation_figures
from sae_tracks.source import Source


@pytest.fixture
def found(tmp_path):
    """130 bases, of which base 44 is N; features 5 (the base before is C) and 4 (silent at the first base only)."""
    dna = random_dna(43, 1) + "N" + random_dna(120, 2)
    genome = Genome(write_fasta(tmp_path / "g.fa", c=dna))
    source = Source(OneHotLM(256), identity_sae(), genome, read_strands=["+", "-"], context=10)
    return saturate(source, GenomicRegion("c", 20, 150), [5, 2])


def test_letters_stand_at_their_positions_in_rows_of_100_bases(found):
    figure = plot_contributions(found, 1, 0)
    title = figure.get_suptitle()
    assert title.startswith("f/5 at c:21-150, read strand - (right to left): what each base does")
    assert f"peak: base {found.peaks[1, 0] + 1}, activation 1" in title
    panels = figure.axes[:6]
    assert [tuple(axes.get_xlim()) for axes in panels[1::3]] == [(20.5, 120.5), (120.5, 220.5)]
    changes = np.concatenate([axes.images[0].get_array().T for axes in panels[2::3]])
    np.testing.assert_array_equal(np.ma.filled(changes, np.nan), found.changes[1, 0])
    assert [axes.images[0].get_extent()[:2] for axes in panels[2::3]] == [[20.5, 120.5], [120.5, 150.5]]
    drawn = panels[0].patches[0].get_data()
    np.testing.assert_array_equal(drawn.values, np.nan_to_num(found.activations[1, 0, :100]))
    low, high = panels[1].get_ylim()
    assert low < 0 < np.nanmax(found.contributions[1, 0]) < high


def test_the_map_is_drawn_with_the_changed_base_downwards(found):
    axes = plot_dependency(found, 0, 1).axes[1]
    image = axes.images[0]
    np.testing.assert_array_equal(np.ma.filled(image.get_array(), np.nan), found.dependency[0, 1])
    assert image.get_extent() == [20.5, 150.5, 150.5, 20.5]
    assert axes.get_xlabel() == "c position of the base whose activation moves"


def test_a_feature_that_nothing_moves_and_a_region_of_one_base_are_drawn(found, tmp_path, recwarn):
    genome = Genome(write_fasta(tmp_path / "h.fa", c="ACGT"))
    one = saturate(Source(OneHotLM(), identity_sae(), genome, context=0), GenomicRegion("c", 1, 2), [3, 4])
    paths = write_saturation_figures(one, tmp_path / "out")
    names = ["f3.contributions.png", "f3.dependency.png", "f4.contributions.png", "f4.dependency.png"]
    assert [path.name for path in paths] == names and all(path.stat().st_size > 1000 for path in paths)
    assert not [str(warned.message) for warned in recwarn if "singular" in str(warned.message)]
