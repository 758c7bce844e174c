"""The spool gives back what went in, whatever the cuts of the stream and the size of its buffers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from track_oracle import FEATURES, activations, any_readable, genomes, recut, regions_of, spans, toy_source, walk

from sae_tracks.errors import SaeTracksError
from sae_tracks.features import FeatureBlock
from sae_tracks.regions import GenomicRegion
from sae_tracks.tracks.runs import NO_RUNS, GenomeLine, make_runs
from sae_tracks.tracks.spool import TrackSpool


def block(start, values, contig="a", strand="+", feature=3):
    """A block of one feature; NaN is a base that is not readable."""
    values = np.float32(values)
    active = values > 0
    return FeatureBlock(
        GenomicRegion(contig, start, start + len(values)),
        strand,
        ~np.isnan(values),
        np.concatenate(([0], np.cumsum(active))),
        np.full(active.sum(), feature, np.int32),
        values[active],
    )


def runs_of(blocks, lengths=None, held=10, chunk=2, kind="value_runs", strand="+", cutoffs=None):
    with TrackSpool(lengths or {"a": 100, "b": 100}, cutoffs=cutoffs, held=held) as spool:
        for each in blocks:
            spool.add(each)
        chunks = list(getattr(spool, kind)(3, strand, chunk))
    return np.concatenate((NO_RUNS, *chunks)).tolist()


def test_value_runs_join_over_blocks_and_end_at_gaps_contigs_and_unreadable_bases():
    nan = np.nan
    blocks = [block(0, [2, 2, 0]), block(3, [0, nan, 1]), block(6, [1]), block(8, [1]), block(0, [1, 0], contig="b")]
    found = runs_of(blocks)
    assert found == [(0, 2, 2), (2, 4, 0), (5, 7, 1), (8, 9, 1), (101, 102, 1), (102, 103, 0)]


def test_runs_at_the_touching_ends_of_two_contigs_stay_apart():
    blocks = [block(2, [1], contig="a"), block(0, [1], contig="b")]
    assert runs_of(blocks, {"a": 3, "b": 4}) == [(2, 3, 1), (4, 5, 1)]
    assert list(GenomeLine({"a": 3, "b": 4}).split(make_runs(np.array([2, 4]), np.array([3, 5]))))[1][1].tolist() == [
        (0, 1, 0)
    ]


def test_active_runs_are_strictly_above_the_cutoff_and_carry_their_maximum():
    cutoffs = np.full(8, 0.5, np.float32)
    found = runs_of([block(0, [0.5, 1, 3]), block(3, [2, 0.25, 1])], kind="active_runs", cutoffs=cutoffs)
    assert found == [(1, 4, 3), (5, 6, 1)]


def test_a_feature_that_never_fires_is_zero_on_every_readable_base():
    assert runs_of([block(5, [0, 0, 0])]) == [(5, 8, 0)]
    assert runs_of([block(5, [0, 0, 0])], kind="active_runs") == []


def test_nothing_readable_has_no_runs():
    assert runs_of([block(5, [np.nan] * 3)]) == []


def test_read_strands_are_kept_apart():
    blocks = [block(0, [1]), block(0, [2], strand="-")]
    assert runs_of(blocks) == [(0, 1, 1)]
    assert runs_of(blocks, strand="-") == [(0, 1, 2)]


def test_an_infinite_activation_is_refused():
    with pytest.raises(SaeTracksError, match="feature 3 is not finite in a:1-1"):
        runs_of([block(0, [np.inf])])


@given(genomes(), spans(), st.integers(1, 40), st.integers(1, 30), st.integers(1, 9))
@settings(max_examples=15, deadline=None)
def test_runs_tile_the_activations_whatever_the_cuts_and_buffers(records, drawn, pieces, held, chunk):
    regions = regions_of(records, drawn)
    assume(any_readable(records, regions))
    with toy_source(records, regions, ["+", "-"]) as (source, _):
        truth, lengths = activations(source), source.genome.lengths
        with TrackSpool(lengths) as whole, TrackSpool(lengths, held=held) as cut:
            for each in source.blocks(FEATURES):
                whole.add(each)
            for each in recut(source.blocks(FEATURES), pieces):
                cut.add(each)
            for (feature, strand), expected in truth.items():
                runs = np.concatenate((NO_RUNS, *whole.value_runs(feature, strand)))
                assert runs.tolist() == np.concatenate((NO_RUNS, *cut.value_runs(feature, strand, chunk))).tolist()
                assert len(runs) <= whole.most_value_runs(feature, strand)
                active = np.concatenate((NO_RUNS, *cut.active_runs(feature, strand, chunk)))
                check_painted(dict(whole.line.split(runs)), expected)
                found = {contig: part.tolist() for contig, part in whole.line.split(active)}
                assert found == {name: walk(values, 0) for name, values in expected.items() if walk(values, 0)}


def check_painted(runs, expected):
    """Runs, painted base by base, are the values; no two overlap and no two that touch have the same value."""
    for contig, values in expected.items():
        painted, before = np.full(len(values), np.nan), (0, -1, None)
        for start, end, value in runs[contig].tolist() if contig in runs else []:
            assert start < end and start >= before[1]
            assert (before[1], before[2]) != (start, value)
            painted[start:end] = value
            before = (start, end, value)
        np.testing.assert_array_equal(painted, values)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts file handles in /proc")
def test_many_features_need_few_file_handles():
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(handle.name) for handle in Path("/proc/self/fd").iterdir())
    dense = FeatureBlock(
        GenomicRegion("a", 0, 1),
        "+",
        np.array([True]),
        np.array([0, 500]),
        np.arange(500, dtype=np.int32),
        np.ones(500, np.float32),
    )
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 4, hard))
    try:
        with TrackSpool({"a": 10}, held=1) as spool:
            spool.add(dense)
            spool.add(replace(dense, region=GenomicRegion("a", 1, 2)))
            streams = [spool.active_runs(feature, "+", 1) for feature in range(500)]
            assert [len(next(stream)) for stream in streams] == [1] * 500
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
