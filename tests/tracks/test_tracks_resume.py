"""Exports that are killed, interrupted or run twice at once."""

import errno
import io
import json
import logging
import resource
import subprocess
import tempfile
import threading
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toy import random_dna
from track_oracle import FEATURES, toy_source

from sae_tracks.errors import SaeTracksError
from sae_tracks.features import FeatureBlock
from sae_tracks.files import values_differ
from sae_tracks.regions import GenomicRegion
from sae_tracks.tracks import TrackSpool, bigwig, spool, write_bed, write_bigwigs
from sae_tracks.tracks.spool import StoredRuns

SUPPORT = Path(__file__).parents[1] / "support"
RECORDS = {"a": random_dna(300), "b": random_dna(100, seed=1)}
CHANGES = [  # of a source: what the identity calls it, and the source with it changed
    ("black_list_sha256", lambda source: replace(source, black_list=[GenomicRegion("a", 40, 60)])),
    ("min_context", lambda source: replace(source, min_context=3)),
    ("regions", lambda source: replace(source, regions=[GenomicRegion("a", 0, 200), GenomicRegion("b", 0, 9)])),
    ("window", lambda source: replace(source, window=source.layout.window + 2)),
    ("context", lambda source: replace(source, context=source.layout.context + 2)),
    ("read_strands", lambda source: replace(source, read_strands=("-",))),
    ("sae_sha256", lambda source: replace(source, sae=replace(source.sae, b_enc=source.sae.b_enc + 0.5))),
    ("sae_architecture", lambda source: replace(source, sae=replace(source.sae, k=1))),
]


def test_a_kill_at_any_moment_leaves_no_file_that_opens_as_if_whole_and_the_next_run_goes_on(warm_python, tmp_path):
    command = [warm_python, SUPPORT / "killed_export.py", tmp_path, "5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["status"] == 0 and len(found["whole"]) == 4
    assert len(found["killed"]) > 10
    reads = set()
    for moment, status, wrong, half, again, read, sums, names in found["killed"]:
        assert status == -9, moment
        assert not wrong and not half, moment
        assert again == 0 and sums == found["whole"], moment
        assert names == sorted([*found["whole"], "provenance.json"]), moment
        reads.add(read)
    assert max(reads) == found["reads"] and min(reads) == 0  # from the first window on, and none again
    assert len(reads) > 3  # and from between


def interrupted(blocks, count):
    """The stream, until Ctrl-C."""
    for i, block in enumerate(blocks):
        if i == count:
            raise KeyboardInterrupt
        yield block


@pytest.mark.parametrize(
    "write", [write_bigwigs, lambda source, ids, out: write_bed(source, ids, out / "f.bed", 0, "raw")]
)
def test_an_interrupted_export_goes_on_and_gives_the_same(monkeypatch, caplog, write):
    monkeypatch.setattr(spool, "HELD", 100)
    caplog.set_level(logging.INFO)
    with toy_source(RECORDS, strands=["+", "-"]) as (source, folder):
        write(source, FEATURES, folder / "whole")
        all_reads = len(source.lm.reads)
        uncut = source.blocks
        source.blocks = lambda ids, **how: interrupted(uncut(ids, **how), 20)
        with pytest.raises(KeyboardInterrupt):
            write(source, FEATURES, folder / "cut")
        assert [path.name[:7] for path in (folder / "cut").iterdir()] == [".spool-"]
        del source.blocks, source.lm.reads[:]
        write(source, FEATURES, folder / "cut")
        assert 0 < len(source.lm.reads) < all_reads
        assert "an interrupted run is continued from " in caplog.text
        for path in (folder / "whole").iterdir():
            if "provenance" not in path.name:
                assert (folder / "cut" / path.name).read_bytes() == path.read_bytes()
        assert {path.name for path in (folder / "cut").iterdir()} == {
            path.name for path in (folder / "whole").iterdir()
        }


def test_what_other_settings_left_is_not_touched_but_named(monkeypatch, caplog):
    monkeypatch.setattr(spool, "HELD", 10)
    with toy_source(RECORDS) as (source, folder):
        source_blocks = source.blocks
        source.blocks = lambda ids, **how: interrupted(source_blocks(ids, **how), 3)
        with pytest.raises(KeyboardInterrupt):
            write_bigwigs(source, [0, 1], folder / "t")
        del source.blocks
        (left,) = (folder / "t").iterdir()
        write_bigwigs(source, [0], folder / "t")
        assert f"{left} belongs to an export with other settings" in caplog.text
        assert left.is_dir()


@pytest.mark.parametrize("changed", [name for name, _ in CHANGES])
def test_an_interrupted_export_is_not_continued_with_other_settings(monkeypatch, changed):
    """Each value is then that of a fresh run."""
    monkeypatch.setattr(spool, "HELD", 60)
    with toy_source(RECORDS) as (source, folder):
        uncut = source.blocks
        source.blocks = lambda ids, **how: interrupted(uncut(ids, **how), 8)
        with pytest.raises(KeyboardInterrupt):
            write_bigwigs(source, FEATURES, folder / "cut")
        assert list((folder / "cut").glob(".spool-*/index.bin"))
        other = dict(CHANGES)[changed](source)
        fresh = write_bigwigs(other, FEATURES, folder / "fresh")
        assert values_differ(source.identity(), other.identity()) == changed
        again = write_bigwigs(other, FEATURES, folder / "cut")
        assert [path.read_bytes() for path in again] == [path.read_bytes() for path in fresh]


def test_a_bed_of_other_cutoffs_is_not_continued(monkeypatch):
    """The maxima may be measured again, for the same weights and the same threshold."""
    monkeypatch.setattr(spool, "HELD", 60)
    with toy_source(RECORDS) as (source, folder):
        uncut = source.blocks
        source.blocks = lambda ids, **how: interrupted(uncut(ids, **how), 8)
        with pytest.raises(KeyboardInterrupt):
            write_bed(source, FEATURES, folder / "cut" / "f.bed")
        other = replace(source, sae=replace(source.sae, stats=source.sae.stats.assign(max=np.float32(0.05))))
        assert write_bed(other, FEATURES, folder / "f.bed") == write_bed(other, FEATURES, folder / "cut" / "f.bed")
        assert (folder / "f.bed").read_bytes() == (folder / "cut" / "f.bed").read_bytes()


def one_base(start):
    """A block of one base on which feature 1 is active."""
    one = np.ones(1, np.int32)
    region = GenomicRegion("c", start, start + 1)
    return FeatureBlock(region, "+", np.ones(1, bool), np.array([0, 1]), one, one.astype(np.float32), d_sae=2)


def test_a_refusal_leaves_nothing_and_a_failure_what_was_read(tmp_path):
    def failing(error, folder=tmp_path / "spool", rows=9):
        with pytest.raises(type(error)), TrackSpool({"c": 9}, [1], folder, held=2) as spool:
            for start in range(rows):
                spool.add(one_base(start))
            raise error
        return spool.folder.exists()

    assert not failing(SaeTracksError("no readable base"))
    assert not failing(MemoryError(), rows=0)
    full = SaeTracksError("cannot write x: No space left on device")
    full.__cause__ = OSError(28, "No space left on device")
    for error in (full, MemoryError(), RuntimeError("the GPU is gone"), KeyboardInterrupt()):
        assert failing(error)
        assert not failing(error, folder=None)  # nobody would find a temporary one again


@pytest.mark.parametrize("name", [None, "spool"])
@pytest.mark.parametrize("room", [10, 30])  # in bytes: no run has room, and no row of the index
def test_a_disk_that_is_full_at_the_last_write_is_one_error_and_frees_the_spool(tmp_path, monkeypatch, name, room):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = None if name is None else tmp_path / name
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with (
            pytest.raises(SaeTracksError, match=f"^cannot write {tmp_path}: File too large$"),
            TrackSpool({"c": 9}, [1], folder) as spool,
        ):
            spool.add(one_base(0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
            spool.seal()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert folder or not list(tmp_path.iterdir())
    with TrackSpool({"c": 9}, [1], folder) as spool:  # the lock is free, and what was written in part does not count
        assert not spool.sealed and spool.position is None


def test_a_disk_that_is_full_when_a_shard_is_closed_is_one_error_and_frees_the_lock(tmp_path):
    class Full(io.BytesIO):
        def close(self):
            raise OSError(errno.EDQUOT, "Disk quota exceeded")

    with (
        pytest.raises(SaeTracksError, match=f"^cannot write {tmp_path}: Disk quota exceeded$"),
        TrackSpool({"c": 9}, [1], tmp_path / "s") as spool,
    ):
        spool._index.close()
        spool._index = Full(b"row")
        spool._index.seek(3)
    assert (tmp_path / "s" / "runs.bin").exists()  # what was read can be continued
    TrackSpool({"c": 9}, [1], tmp_path / "s").__exit__(None, None, None)


def test_a_temporary_spool_that_cannot_be_begun_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(spool, "write_json", lambda *_: (_ for _ in ()).throw(SaeTracksError("cannot write it")))
    with pytest.raises(SaeTracksError, match="cannot write it"):
        TrackSpool({"c": 9}, [1])
    assert not list(tmp_path.iterdir())


def test_two_writers_of_one_spool_are_refused(tmp_path):
    with TrackSpool({"c": 9}, [1], tmp_path / "spool"):
        with pytest.raises(SaeTracksError, match="another process is writing"):
            TrackSpool({"c": 9}, [1], tmp_path / "spool")
        with pytest.raises(SaeTracksError, match="is not complete"):
            StoredRuns([tmp_path / "spool"])


def test_exports_that_end_at_the_same_instant_keep_each_others_features(tmp_path, monkeypatch, caplog):
    """The first writes its record when the second has read the one before it, or waits for its turn to read."""
    caplog.set_level(logging.INFO, "sae_tracks")
    out = tmp_path / "out"
    read, write = bigwig._others, bigwig.write_provenance
    here, first_wrote, reads = threading.Event(), threading.Event(), []
    monkeypatch.setattr(caplog.handler, "emit", lambda record: "waiting for" in record.getMessage() and here.set())

    def others(*args):
        found = read(*args)
        if threading.current_thread() is second:
            reads.append(found)
            if len(reads) == 3:  # before, at the beginning and at the end of an export
                here.set()
        return found

    def write_record(*args, **facts):
        if threading.current_thread() is second:
            first_wrote.wait(60)
            write(*args, **facts)
        else:
            second.start()
            assert here.wait(60)
            write(*args, **facts)
            first_wrote.set()

    monkeypatch.setattr(bigwig, "_others", others)
    monkeypatch.setattr(bigwig, "write_provenance", write_record)
    with toy_source(RECORDS) as (source, _):
        second = threading.Thread(target=write_bigwigs, args=(source, FEATURES[1:2], out))
        write_bigwigs(source, FEATURES[:1], out)
        second.join(60)
    assert json.loads((out / "provenance.json").read_text())["features"] == sorted(FEATURES[:2])


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts file handles in /proc")
def test_a_refused_part_leaves_no_file_open(tmp_path):
    with TrackSpool({"c": 9}, [1], tmp_path / "whole", keep=True) as spool:
        spool.add(one_base(0))
        spool.seal()
    with TrackSpool({"c": 9}, [1], tmp_path / "open"):
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(3):
            with pytest.raises(SaeTracksError, match="is not complete"):
                StoredRuns([tmp_path / "whole", tmp_path / "open"])
        assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_spool_whose_runs_are_cut_goes_back_to_the_rows_that_are_whole(tmp_path):
    """After a loss of power the index may be ahead of the runs."""
    with TrackSpool({"c": 9}, [1], tmp_path / "s", keep=True, held=2) as spool:
        for start in (0, 4, 7):  # a row each, but for the last, which is written with the seal
            spool.add(one_base(start))
        spool.seal()
    runs = tmp_path / "s" / "runs.bin"
    runs.write_bytes(runs.read_bytes()[:-1])
    with TrackSpool({"c": 9}, [1], tmp_path / "s", keep=True, held=2) as spool:
        assert not spool.sealed and spool.position == ("+", 7)
        spool.add(one_base(7))
        spool.seal()
    with StoredRuns([tmp_path / "s"]) as stored:
        found = np.concatenate(list(stored.stored_runs(1, "+")))
    assert found.tolist() == [(0, 1, 1), (4, 5, 1), (7, 8, 1)]


def test_going_on_with_a_spool_does_not_load_its_index(tmp_path):
    """The index of a whole genome with all features takes gigabytes: only its last rows are read."""
    features = list(range(500))
    with TrackSpool({"c": 999}, features, tmp_path / "s", keep=True, held=501) as spool:
        for start in range(400):
            every = np.arange(500, dtype=np.int32)
            spool.add(
                FeatureBlock(
                    GenomicRegion("c", start, start + 1),
                    "+",
                    np.ones(1, bool),
                    np.array([0, 500]),
                    every,
                    every + np.float32(start + 1),
                    d_sae=500,
                )
            )
    size = (tmp_path / "s" / "index.bin").stat().st_size
    assert size > 400 * 8 * 1500
    (tmp_path / "s" / "runs.bin").open("ab").write(b"cut")
    tracemalloc.start()
    with TrackSpool({"c": 999}, features, tmp_path / "s", keep=True, held=501) as spool:
        peak = tracemalloc.get_traced_memory()[1]
        assert spool.position == ("+", 400) or spool.position == ("+", 399)
    tracemalloc.stop()
    assert peak < size / 10
