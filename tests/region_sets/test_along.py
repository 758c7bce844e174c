"""How often features are active along the genome, against a count base by base."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest
from toy import OneHotLM, identity_sae, random_dna, write_fasta

from sae_tracks import Genome, Source, activity_along
from sae_tracks.errors import SaeTracksError
from sae_tracks.region_sets.along import round_size
from sae_tracks.regions import GenomicRegion

RECORDS = {"a": random_dna(150) + "NN" + random_dna(70, 1) + "N" * 130 + random_dna(31, 2), "b": random_dna(45, 3)}


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    return Genome(write_fasta(tmp_path_factory.mktemp("along") / "g.fa", **RECORDS))


@pytest.mark.parametrize("size", [1, 7, 40, 1000])
@pytest.mark.parametrize("regions", [None, ["a:11-160", "b"], ["a:41-60", "a:201-230", "b:31-45"]])
def test_active_bases_equal_a_count_base_by_base(genome, size, regions):
    chosen = None if regions is None else [genome.region(text) for text in regions]
    source = Source(OneHotLM(), identity_sae(), genome, chosen, read_strands=("+", "-"), context=10)
    found = activity_along(source, [4, 1], threshold=0.02, scale="raw", bin_size=size)
    counts = {}
    for block in source.blocks():
        values = block.to_scipy().toarray()
        for i in np.flatnonzero(block.readable):
            base = block.region.start + int(i)
            for feature in (4, 1):
                key = f"f{feature}", block.read_strand, block.region.contig, base // size * size
                readable, active = counts.get(key, (0, 0))
                counts[key] = readable + 1, active + int(values[i, feature] > np.float32(0.02))
    key = ["feature", "read_strand", "contig", "start"]
    rows = {tuple(row[:4]): tuple(row[4:]) for row in found[[*key, "readable", "active"]].itertuples(index=False)}
    assert rows == counts
    lengths = found["contig"].map(genome.lengths)
    assert (found["end"] == np.minimum(found["start"] + size, lengths)).all()
    assert found["share"].tolist() == (found["active"] / found["readable"]).tolist()
    order = found[["feature", "read_strand"]].drop_duplicates().to_numpy().tolist()
    assert order == [["f4", "+"], ["f4", "-"], ["f1", "+"], ["f1", "-"]]


def test_a_fraction_of_the_maximum_is_the_default_and_bins_are_about_400(genome):
    source = Source(OneHotLM(), identity_sae(), genome, context=10)
    found = activity_along(source, [1])
    letters = pd.Series(list("".join(RECORDS.values())))
    assert found["active"].sum() == (letters == "C").sum()
    assert (found["end"] - found["start"]).max() == 2  # of 428 bases
    assert [round_size(least) for least in (0.2, 1, 1.1, 3, 6, 20, 21, 7e6)] == [1, 1, 2, 5, 10, 20, 50, 10_000_000]


def test_a_short_region_of_a_long_contig_takes_memory_of_its_own_bins_only(tmp_path):
    text = "N" * 700_000 + random_dna(400) + "N" * 300_000
    genome = Genome(write_fasta(tmp_path / "g.fa", a=text))
    source = Source(OneHotLM(), identity_sae(), genome, [GenomicRegion("a", 700_000, 700_400)], context=10)
    activity_along(source, [0])  # imports and compiles
    tracemalloc.start()
    found = activity_along(source, [0, 1, 2, 3])
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found["start"].tolist() == [*range(700_000, 700_400)] * 4 and found["active"].sum() == 400
    assert most < 16 << 20  # bytes; five numbers for each base of the contig take 40 MB


def test_what_cannot_be_counted_is_refused(genome):
    source = Source(OneHotLM(), identity_sae(), genome, [genome.region("a:151-152")], context=10)
    with pytest.raises(SaeTracksError, match="no base of the regions is readable"):
        activity_along(source, [1])
    with pytest.raises(SaeTracksError, match="no feature 6"):
        activity_along(source, [6])
