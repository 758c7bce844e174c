"""Region texts, merging and shards."""

from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import values_differ
from sae_tracks.regions import (
    GenomicRegion,
    check_complete,
    merge_regions,
    one_run,
    parse_region,
    parse_shard,
    spread_regions,
)

LENGTHS = {"chr14": 107_043_718, "chr1": 1000, "HLA*01:01": 300}


@pytest.mark.parametrize(
    ("text", "contig", "start", "end"),
    [
        ("chr14:87,049,332-87,049,831", "chr14", 87_049_331, 87_049_831),
        ("chr1", "chr1", 0, 1000),
        ("chr1:1-1", "chr1", 0, 1),
        ("chr1:1000-1000", "chr1", 999, 1000),
        ("chr1:7", "chr1", 6, 7),
        ("chr1:900-", "chr1", 899, 1000),
        (" chr1:1 - 10 ", "chr1", 0, 10),
        ("HLA*01:01", "HLA*01:01", 0, 300),
        ("HLA*01:01:5-6", "HLA*01:01", 4, 6),
    ],
)
def test_region_texts_are_1_based_inclusive(text, contig, start, end):
    assert parse_region(text, LENGTHS) == GenomicRegion(contig, start, end)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("14", "did you mean 'chr14'"),
        ("14:5-10", "did you mean 'chr14'"),
        ("chrX", "it has chr14, chr1"),
        ("chr1:0-5", "count from 1"),
        ("chr1:9-5", "not before the start"),
        ("chr1:5-1001", "ends past chr1, which has 1,000"),
        ("chr1:1:1000", "has deepTools' colons: write chr1:1-1000"),
        ("chr2:1:1000", "no contig 'chr2:1'"),
        ("NC_000014.9:5-10", "did you mean 'chr14'"),
        ("NC_000014.9:5:10", "no contig 'NC_000014.9:5'"),
        ("MT", "it has chr14, chr1"),
        ("chr1:a-b", "cannot read region"),
        ("chr1:-5", "cannot read region"),
    ],
)
def test_bad_region_texts_say_what_is_wrong(text, message):
    with pytest.raises(SaeTracksError, match=message.replace("(", r"\(")):
        parse_region(text, LENGTHS)


@given(st.integers(1, 1000), st.data())
def test_the_text_of_a_region_reads_back(end, data):
    region = GenomicRegion("chr1", data.draw(st.integers(0, end - 1)), end)
    assert parse_region(str(region), LENGTHS) == region


@given(st.lists(st.tuples(st.sampled_from(["b", "a"]), st.integers(0, 50), st.integers(1, 20)), min_size=1))
def test_merged_regions_cover_the_same_bases_and_never_touch(drawn):
    regions = [GenomicRegion(contig, start, start + n) for contig, start, n in drawn]
    merged = merge_regions(regions, ["b", "a"])

    bases = {(r.contig, i) for r in regions for i in range(r.start, r.end)}
    assert {(r.contig, i) for r in merged for i in range(r.start, r.end)} == bases
    assert sum(map(len, merged)) == len(bases)
    keys = [("ba".index(r.contig), r.start) for r in merged]
    assert keys == sorted(keys)
    for left, right in zip(merged, merged[1:]):
        assert left.contig != right.contig or left.end < right.start


@given(st.integers(0, 100), st.integers(1, 30))
def test_shards_partition_the_work_in_order(n, count):
    items = list(range(n))
    parts = [items[parse_shard(f"{i}/{count}").slice(n)] for i in range(1, count + 1)]
    assert sum(parts, []) == items
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "a/b", "1/0", "-1/2"])
def test_bad_shards_are_refused(text):
    with pytest.raises(SaeTracksError, match="i/n"):
        parse_shard(text)


def test_an_empty_region_is_refused():
    with pytest.raises(SaeTracksError, match="empty"):
        GenomicRegion("chr1", 5, 5)


@pytest.mark.parametrize(
    ("parts", "message"),
    [([], "there is no shard to merge"), (["1/2"], "shard 2/2 is missing"), (["1/2", "1/2"], "1/2 is there twice")],
)
def test_shards_that_are_not_the_whole_are_refused(parts, message):
    with pytest.raises(SaeTracksError, match=message):
        check_complete([parse_shard(part) for part in parts], "metrics")


def test_folders_of_one_run_come_in_the_order_of_its_shards():
    folders, records = [Path("x"), Path("y"), Path("z")], [{"shard": f"{i}/3", "seed": 0} for i in (3, 1, 2)]
    differ = partial(values_differ, ignore=["shard"])
    assert one_run(folders, records, "metrics", differ) == [Path("y"), Path("z"), Path("x")]
    records[2]["seed"] = 1
    with pytest.raises(SaeTracksError, match="z is of another run than x: its seed differs"):
        one_run(folders, records, "metrics", differ)


@given(st.lists(st.integers(1, 200_000), min_size=1, max_size=6), st.integers(1, 300_000))
def test_bins_are_disjoint_and_as_many_bases_as_wanted(sizes, most):
    regions = [GenomicRegion("a", 300_000 * i, 300_000 * i + n) for i, n in enumerate(sizes)]
    bins = spread_regions(regions, most)
    total = sum(map(len, bins))
    assert total == sum(sizes) if sum(sizes) <= most else most - min(32_768, most) < total <= most
    assert all(a.end <= b.start for a, b in zip(bins, bins[1:]))
    assert all(any(r.start <= b.start and b.end <= r.end for r in regions) for b in bins)
