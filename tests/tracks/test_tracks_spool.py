"""The spool gives back what went in, whatever the cuts of the stream and the size of its buffers."""

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from track_oracle import FEATURES, activations, any_readable, genomes, recut, regions_of, spans, toy_source, walk

from sae_tracks.errors import SaeTracksError
from sae_tracks.features import FeatureBlock
from sae_tracks.genome_line import GenomeLine
from sae_tracks.regions import GenomicRegion
from sae_tracks.tracks.bbi.runs import NO_RUNS, make_runs
from sae_tracks.tracks.bed import NO_INTERVALS, active_intervals
from sae_tracks.tracks.spool import StoredRuns, TrackSpool


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
        d_sae=feature + 1,
    )


@contextmanager
def stored(blocks, lengths, features=(3,), **how):
    """What a spool gives back of a stream of blocks."""
    with TrackSpool(lengths, features, **how) as spool:
        for each in blocks:
            spool.add(each)
        spool.seal()
        with StoredRuns([spool.folder]) as runs:
            yield runs


def runs_of(blocks, lengths=None, held=10, chunk=2, strand="+", **how):
    with stored(blocks, lengths or {"a": 100, "b": 100}, held=held, **how) as runs:
        return np.concatenate((NO_RUNS, *runs.value_runs(3, strand, chunk))).tolist()


def active_of(blocks, lengths=None, gap=0, held=10, chunk=2, cutoffs=None):
    with stored(blocks, lengths or {"a": 100, "b": 100}, held=held, cutoffs=cutoffs) as runs:
        chunks = active_intervals(runs.stored_runs(3, "+", chunk), gap, runs.line.offsets)
        return np.concatenate((NO_INTERVALS, *chunks)).tolist()


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


@pytest.mark.parametrize("held, chunk", [(1, 1), (2, 2), (10, 10)])
def test_active_intervals_are_strictly_above_the_cutoff_and_carry_their_maximum_and_its_first_base(held, chunk):
    cutoffs = np.full(8, 0.5, np.float32)
    blocks = [block(0, [0.5, 1, 3]), block(3, [3, 2, 0.25, 1])]
    assert active_of(blocks, held=held, chunk=chunk, cutoffs=cutoffs) == [(1, 5, 3, 2), (6, 7, 1, 6)]


@pytest.mark.parametrize("gap, expected", [(0, 3), (1, 3), (2, 2), (3, 1), (50, 1)])
def test_intervals_closer_than_the_gap_are_joined_but_not_over_contigs(gap, expected):
    ones = [block(0, [1, 0, 2, 0, 0, 1], contig="a"), block(0, [7], contig="b")]
    found = active_of(ones, {"a": 6, "b": 9}, gap=gap)
    assert len(found) == expected + 1
    assert found[-1] == (7, 8, 7, 7)
    assert gap < 3 or found[0] == (0, 6, 2, 2)


def test_a_feature_that_never_fires_is_zero_on_every_readable_base():
    assert runs_of([block(5, [0, 0, 0])]) == [(5, 8, 0)]
    assert active_of([block(5, [0, 0, 0])]) == []


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
        with (
            stored(source.blocks(FEATURES), lengths, FEATURES) as whole,
            stored(recut(source.blocks(FEATURES), pieces), lengths, FEATURES, held=held) as cut,
        ):
            for (feature, strand), expected in truth.items():
                runs = np.concatenate((NO_RUNS, *whole.value_runs(feature, strand)))
                assert runs.tolist() == np.concatenate((NO_RUNS, *cut.value_runs(feature, strand, chunk))).tolist()
                check_painted(dict(whole.line.split(runs)), expected)
                check_sums(cut.bases(feature, strand), expected)
                active = active_intervals(cut.stored_runs(feature, strand, chunk), 0, cut.line.offsets)
                active = np.concatenate((NO_INTERVALS, *active))
                found = {contig: part[["start", "end", "value"]].tolist() for contig, part in cut.line.split(active)}
                assert found == {name: walk(values, 0) for name, values in expected.items() if walk(values, 0)}


def check_sums(found, expected):
    values = np.concatenate(list(expected.values()))
    values = values[~np.isnan(values)]
    assert found == (len(values), (values > 0).sum(), pytest.approx(values.sum()))


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
    # the system gives the lowest free number, so the gaps below the highest count as room too
    highest = max(int(handle.name) for handle in Path("/proc/self/fd").iterdir())
    dense = FeatureBlock(
        GenomicRegion("a", 0, 1),
        "+",
        np.array([True]),
        np.array([0, 500]),
        np.arange(500, dtype=np.int32),
        np.ones(500, np.float32),
        d_sae=500,
    )
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 16, hard))
    try:
        with stored([dense, replace(dense, region=GenomicRegion("a", 1, 2))], {"a": 10}, range(500), held=1) as runs:
            streams = [runs.stored_runs(feature, "+", 1) for feature in range(500)]
            assert [next(stream).tolist() for stream in streams] == [[(0, 2, 1)]] * 500
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
