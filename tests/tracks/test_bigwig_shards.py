"""Shards of an export, merged, against the export in one part."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from toy import random_dna
from track_oracle import FEATURES, any_readable, genomes, regions_of, spans, toy_source

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import provenance_record, write_json
from sae_tracks.json_file import read_json
from sae_tracks.regions import GenomicRegion, Shard
from sae_tracks.tracks import BigWigValues, StoredRuns, bigwig, merge_bigwigs, write_bigwig_shard, write_bigwigs

RECORDS = {"a": "N" * 110 + random_dna(200), "b": random_dna(60, seed=1)}


MEANS = BigWigValues(7, "mean", "max")


def parts_of(source, folder, count, features=FEATURES, values=MEANS):
    folders = [folder / f"part{i}" for i in range(1, count + 1)]
    for i, part in enumerate(folders, start=1):
        write_bigwig_shard(source, features, part, Shard(i, count), values)
    return folders


@given(genomes(), spans(), st.integers(1, 9), st.sampled_from([BigWigValues(), MEANS, BigWigValues(40)]))
@settings(max_examples=15, deadline=None)
def test_merged_shards_have_the_bytes_of_the_whole(records, drawn, count, values):
    regions = regions_of(records, drawn)
    assume(any_readable(records, regions))
    with toy_source(records, regions, ["+", "-"]) as (source, folder):
        whole = write_bigwigs(source, FEATURES, folder / "whole", values)
        parts = parts_of(source, folder, count, values=values)
        merged = merge_bigwigs(parts[::-1], folder / "merged", threads=2)
        assert [path.name for path in merged] == [path.name for path in whole]
        assert [path.read_bytes() for path in merged] == [path.read_bytes() for path in whole]
        record, facts = (read_json(folder / name / "provenance.json") for name in ("whole", "merged"))
        assert facts.pop("shards") == count and facts == record
        assert not list((folder / "whole").glob(".spool-*"))


def test_parts_are_spooled_again_without_reading():
    with toy_source(RECORDS) as (source, folder):
        parts = parts_of(source, folder, 2)
        source.lm.reads.clear()
        assert parts_of(source, folder, 2) == parts
        assert not source.lm.reads


def test_parts_that_do_not_make_one_run_are_refused():
    with toy_source(RECORDS) as (source, folder):
        parts = parts_of(source, folder, 3)
        others = parts_of(source, folder / "others", 3, [0])
        masked = parts_of(replace(source, black_list=[GenomicRegion("a", 120, 140)]), folder / "masked", 3)
        (coarse,) = parts_of(source, folder / "coarse", 1)
        for wrong, message in [
            (parts[:2], r"shard 3/3 is missing: run export-bigwig --shard 3/3"),
            ([*parts, parts[0]], "there twice"),
            ([*parts[:2], others[2]], "is of another run than .*: its features differs"),
            ([*parts[:2], masked[2]], "is of another run than .*: its black_list_sha256 differs"),
            ([*parts, coarse], "different divisions"),
            ([folder], "was not written by export-bigwig --shard"),
        ]:
            with pytest.raises(SaeTracksError, match=message):
                merge_bigwigs(wrong, folder / "merged")
        assert not (folder / "merged").exists()
        with pytest.raises(SaeTracksError, match="holds a shard of an export with other settings"):
            write_bigwig_shard(source, [0], parts[0], Shard(1, 3))


def test_shards_of_a_genome_with_its_contigs_in_another_order_are_refused():
    """Places on the line of all contigs would mean other contigs."""
    region = [GenomicRegion("a", 0, 310)]
    with (
        toy_source(RECORDS, region) as (source, folder),
        toy_source(dict(reversed(RECORDS.items())), region) as (other, _),
    ):
        one, two = parts_of(source, folder, 2)[0], parts_of(other, folder / "other", 2)[1]
        with pytest.raises(SaeTracksError, match=r"is of another run than .*: its lengths differs"):
            merge_bigwigs([one, two], folder / "merged")
        with pytest.raises(SaeTracksError, match="holds a shard of an export with other settings"):
            write_bigwig_shard(other, FEATURES, one, Shard(1, 2), MEANS)


def test_what_a_run_in_one_part_left_is_no_part(tmp_path):
    with toy_source(RECORDS) as (source, _):
        write_bigwig_shard(source, FEATURES, tmp_path / "spool", Shard(1, 1))
    record = read_json(tmp_path / "spool" / "spool.json")
    del record["shard"]
    (tmp_path / "spool" / "spool.json").write_text(json.dumps(record))
    with pytest.raises(SaeTracksError, match="belongs to an interrupted run without --shard"):
        merge_bigwigs([tmp_path / "spool"], tmp_path / "merged")


def test_a_part_that_was_copied_in_part_is_refused():
    with toy_source(RECORDS) as (source, folder):
        parts = parts_of(source, folder, 2)
        runs = parts[1] / "runs.bin"
        runs.write_bytes(runs.read_bytes()[:-1])
        with pytest.raises(SaeTracksError, match=r"part2/runs\.bin is cut short: copy it again"):
            merge_bigwigs(parts, folder / "merged")


def test_a_folder_gets_more_tracks_of_one_run_and_none_of_another(caplog):
    with toy_source(RECORDS) as (source, folder):
        tracks = folder / "tracks"
        write_bigwigs(source, [2], tracks)
        write_bigwigs(source, [0], tracks)
        write_bigwig_shard(source, [1], folder / "one", Shard(1, 1))
        merge_bigwigs([folder / "one"], tracks)
        assert read_json(tracks / "provenance.json")["features"] == [0, 1, 2]
        before = {path.name: path.read_bytes() for path in tracks.iterdir()}
        part = replace(source, regions=source.regions[:1])
        with pytest.raises(SaeTracksError, match="such as those of f1: the two differ in regions, and one"):
            write_bigwigs(part, [0], tracks)
        with pytest.raises(SaeTracksError, match=r"those of f1: the two differ in bin_size"):
            write_bigwigs(source, [0, 2], tracks, BigWigValues(bin_size=10))
        write_bigwig_shard(part, [0], folder / "two", Shard(1, 1))
        with pytest.raises(SaeTracksError, match="the two differ in regions"):
            merge_bigwigs([folder / "two"], tracks)
        with pytest.raises(SaeTracksError, match="the two differ in regions"):
            write_bigwig_shard(part, [0], tracks, Shard(1, 1))
        assert {path.name: path.read_bytes() for path in tracks.iterdir()} == before
        write_bigwigs(part, [0, 1, 2], tracks)  # none of the other run stays
        (tracks / "f1.bw").unlink()
        write_bigwigs(part, [2], tracks)
        assert read_json(tracks / "provenance.json")["features"] == [0, 2]
        (tracks / "provenance.json").write_text("{")
        with pytest.raises(SaeTracksError, match=r"provenance\.json.*delete it, or name another folder"):
            write_bigwigs(part, [0], tracks)
        write_json(tracks / "provenance.json", provenance_record(features=7))  # of another verb
        write_bigwigs(part, [0], tracks)
        assert read_json(tracks / "provenance.json")["features"] == [0]


def test_while_tracks_are_replaced_no_record_describes_them(monkeypatch):
    with toy_source(RECORDS) as (source, folder):
        write_bigwigs(source, [0, 2], folder / "tracks")
        part = replace(source, regions=source.regions[:1])
        written = bigwig._write_track

        def killed(path, *words):
            written(path, *words)
            raise KeyboardInterrupt

        monkeypatch.setattr(bigwig, "_write_track", killed)
        with pytest.raises(KeyboardInterrupt):
            write_bigwigs(part, [0, 2], folder / "tracks")
        assert not (folder / "tracks/provenance.json").exists()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts file handles in /proc")
def test_more_parts_than_may_be_open_are_an_error_that_says_so():
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with toy_source(RECORDS) as (source, folder):
        parts = parts_of(source, folder, 9)
        highest = max(int(handle.name) for handle in Path("/proc/self/fd").iterdir())
        fillers = [os.open("/dev/null", os.O_RDONLY) for _ in range(highest + 2)]  # the gaps between open handles
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(fillers) + 4, hard))
        try:
            with pytest.raises(
                SaeTracksError, match="Too many open files; a shard takes two file handles: raise ulimit -n"
            ):
                StoredRuns(parts)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for filler in fillers:
                os.close(filler)


def test_a_part_that_is_not_finished_or_of_another_version_is_refused():
    with toy_source(RECORDS) as (source, folder):
        parts = parts_of(source, folder, 2)
        index = parts[1] / "index.bin"
        index.write_bytes(index.read_bytes()[:-1])
        with pytest.raises(SaeTracksError, match=r"part2 is not complete: run that shard again"):
            merge_bigwigs(parts, folder / "merged")
        record = read_json(parts[0] / "spool.json")
        (parts[0] / "spool.json").write_text(json.dumps({**record, "format_version": 99}))
        with pytest.raises(SaeTracksError, match="another version"):
            merge_bigwigs(parts, folder / "merged")
