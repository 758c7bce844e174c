"""The strongest examples of a feature against a search over all bases."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from toy import random_dna
from track_oracle import activations, any_readable, genomes, regions_of, spans, toy_source

from sae_tracks.errors import SaeTracksError
from sae_tracks.tracks import loci, top_examples

PLACE, AFTER_C = 4, 5  # features of the toy model


def by_search(source, feature, n, flank):
    """Again and again the highest base of all, the first of equal ones, then none that overlaps its place."""
    whole = activations(source)
    values = {
        (strand, contig): np.nan_to_num(whole[feature, strand][contig])
        for strand in source.read_strands
        for contig in source.genome.lengths
    }
    found = []
    while len(found) < n:
        strand, contig = max(values, key=lambda key: values[key].max())  # the first of equal ones
        peak = int(values[strand, contig].argmax())
        value = values[strand, contig][peak]
        if value <= 0:
            break
        length = source.genome.lengths[contig]
        found.append((contig, max(peak - flank, 0), min(peak + flank + 1, length), peak, strand, value))
        for other in source.read_strands:
            values[other, contig][max(peak - 2 * flank, 0) : peak + 2 * flank + 1] = 0
    return found


@given(genomes(), spans(), st.integers(1, 6), st.integers(0, 12), st.sampled_from([PLACE, AFTER_C]), st.data())
@settings(max_examples=25, deadline=None)
def test_places_are_those_of_a_search_over_all_bases(records, drawn, n, flank, feature, data):
    regions = regions_of(records, drawn)
    assume(any_readable(records, regions))
    held, strands = data.draw(st.sampled_from([0, 5, 1 << 20])), data.draw(st.sampled_from([["+"], ["-"], ["+", "-"]]))
    with toy_source(records, regions, strands) as (source, _), pytest.MonkeyPatch.context() as patch:
        patch.setattr(loci, "HELD", held)
        table = top_examples(source, feature, n, flank=flank)
        expected = by_search(source, feature, n, flank)
        columns = ["contig", "start", "end", "peak", "read_strand"]
        assert list(table[columns].itertuples(index=False, name=None)) == [row[:5] for row in expected]
        assert table["value"].tolist() == [np.float32(row[5]) for row in expected]
        assert table["value"].dtype == np.float32
        for row in table.itertuples():
            assert row.sequence == records[row.contig][row.start : row.end].upper()


def test_a_dead_feature_has_no_places_and_a_wrong_request_is_an_error():
    with toy_source({"a": "ACGT" * 9}) as (source, _):
        source.sae.b_enc[0] = -2
        table = top_examples(source, 0)
        assert len(table) == 0 and list(table)[:3] == ["contig", "start", "end"]
        for wrong in ({"n": 0}, {"flank": -1}):
            with pytest.raises(SaeTracksError, match="n is at least 1"):
                top_examples(source, 0, **wrong)
        with pytest.raises(SaeTracksError, match="no feature 99"):
            top_examples(source, 99)


def test_memory_does_not_grow_with_the_genome(monkeypatch):
    monkeypatch.setattr(loci, "HELD", 200)
    with toy_source({"a": random_dna(9_000)}, window=64, context=0) as (source, _):
        peaks = []
        add = loci.HighestBases.add

        def watched(self, *bases):
            add(self, *bases)
            peaks.append(sum(map(len, self._held)))

        monkeypatch.setattr(loci.HighestBases, "add", watched)
        top_examples(source, 0, 3, flank=5)
    assert max(peaks) < 2 * 200
