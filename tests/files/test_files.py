"""Atomic writing, checksums and provenance."""

import gzip
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from sae_tracks import files
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import (
    atomic,
    replace_folder,
    sha256,
    without_folders,
    write_json,
    write_provenance,
)
from sae_tracks.json_file import read_json


def test_a_file_takes_its_name_only_when_whole(tmp_path):
    path = tmp_path / "deep" / "out.txt"
    with pytest.raises(RuntimeError), atomic(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert list(path.parent.iterdir()) == []
    with atomic(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
    assert [p.name for p in path.parent.iterdir()] == ["out.txt"]
    assert path.read_text() == "whole"


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    path = tmp_path / "out.txt"
    with atomic(path) as first:
        with atomic(path) as second:
            assert first != second
            second.write_text("second")
        first.write_text("first")
    assert path.read_text() == "first"


def test_a_full_disk_is_one_line_that_names_the_file(tmp_path):
    with pytest.raises(SaeTracksError, match=r"cannot write .*out\.txt: No space left"), atomic(tmp_path / "out.txt"):
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "missing",
    [
        lambda folder, temporary: shutil.copyfile(folder / "input.bed", temporary),
        lambda folder, temporary: temporary.write_bytes((folder / "input.bed").read_bytes()),
        lambda folder, temporary: gzip.decompress(b"no gzip"),
    ],
    ids=["copied", "read", "decompressed"],
)
def test_an_error_of_an_input_is_not_one_of_the_output(tmp_path, missing):
    with pytest.raises(OSError) as caught, atomic(tmp_path / "out.txt") as temporary:
        missing(tmp_path, temporary)
    assert "out.txt" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "fail",
    [
        lambda temporary: temporary.with_name("input.bed").replace(temporary / "x"),
        lambda temporary: (temporary.unlink(), temporary.mkdir(), temporary.open("wb")),
    ],
    ids=["renamed", "opened"],
)
def test_an_error_that_names_the_output_is_of_the_output(tmp_path, fail):
    (tmp_path / "input.bed").write_text("")
    with pytest.raises(SaeTracksError, match=r"cannot write .*out\.txt: "), atomic(tmp_path / "out.txt") as temporary:
        fail(temporary)


def test_a_full_device_is_of_the_output_whoever_writes(tmp_path):
    values = np.zeros(1 << 20)
    for write in (values.tofile, lambda file: np.save(file, values), lambda file: file.write(values.tobytes())):
        with (
            pytest.raises(SaeTracksError, match=r"cannot write .*out\.txt: "),
            atomic(tmp_path / "out.txt"),
            Path("/dev/full").open("wb") as full,
        ):
            write(full)


def test_files_of_many_threads_have_the_mode_that_the_umask_gives(tmp_path):
    def write(i):
        with atomic(tmp_path / f"{i}.txt") as temporary:
            temporary.write_text("")

    umask, interval = os.umask(0o027), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(64) as pool:
            list(pool.map(write, range(3200)))
        assert os.umask(0o027) == 0o027
    finally:
        sys.setswitchinterval(interval)
        os.umask(umask)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o640}


def test_a_file_in_the_way_of_a_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SaeTracksError, match="cannot write"), atomic(tmp_path / "file" / "out.txt"):
        pass
    with pytest.raises(SaeTracksError, match="is a folder"), atomic(tmp_path):
        pass


def test_a_pipe_is_not_replaced_by_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SaeTracksError, match="is a device or a pipe"), atomic(tmp_path / "pipe"):
        pass
    assert (tmp_path / "pipe").is_fifo()


def test_checksums_and_json(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 10_000_000)
    assert sha256(tmp_path / "a") == hashlib.sha256(b"x" * 10_000_000).hexdigest()
    write_json(tmp_path / "a.json", {"b": [1]})
    assert read_json(tmp_path / "a.json") == {"b": [1]}
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(SaeTracksError, match=r"bad\.json as JSON"):
        read_json(tmp_path / "bad.json")
    with pytest.raises(SaeTracksError, match="no file"):
        read_json(tmp_path / "none.json")


def test_provenance_says_how(tmp_path):
    write_provenance(tmp_path, seed=3)
    record = json.loads((tmp_path / "provenance.json").read_text())
    assert record["seed"] == 3
    assert {"sae_tracks", "command"} <= record.keys()


def ended_process():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path):
    here, dead, alive = files._machine(), ended_process(), os.getppid()
    gone = [f".out.bed.{here}-{dead}-abcdef.part", f".shuffle.{here}-{dead}-000000.part", ".old.0123abcd-1-abcdef.part"]
    kept = [f".out.bed.{here}-{alive}-abcdef.part", f".out.bed.{here}-{os.getpid()}-abcdef.part", "out.part"]
    kept += [".new.0123abcd-1-abcdef.part", f"out.bed.{here}-{dead}-abcdef.part", f".out.{here}-{dead}-abc.part"]
    for name in (*gone, *kept):
        (tmp_path / name).write_text("")
    (tmp_path / gone[1]).unlink()
    (tmp_path / gone[1] / "deep").mkdir(parents=True)
    week = time.time() - 1.1 * files.ABANDONED
    os.utime(tmp_path / gone[2], (week, week))
    with atomic(tmp_path / "out.bed") as temporary:
        temporary.write_text("")
    assert {path.name for path in tmp_path.iterdir()} == {*kept, "out.bed"}


def test_a_scratch_folder_goes_with_its_block(tmp_path):
    with pytest.raises(KeyboardInterrupt), files.scratch_folder("spool", tmp_path) as folder:
        (folder / "deep").mkdir()
        assert folder.parent == tmp_path and folder.name.startswith(".spool.")
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_a_folder_is_replaced_whole_even_if_another_is_put_there_meanwhile(tmp_path, monkeypatch):
    def folder(name, content):
        (tmp_path / name).mkdir()
        (tmp_path / name / content).touch()
        return tmp_path / name

    out, replace = folder("out", "old"), Path.replace
    others = iter([None, folder("other", "theirs")])

    def after_another(path, target):
        if target == out and (other := next(others, None)):
            replace(other, out)
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", after_another)
    for content in ("first", "second"):
        replace_folder(folder("new", content), out)
        assert [path.name for path in out.iterdir()] == [content]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert next(others, "both were used") == "both were used"


def test_a_record_for_a_page_names_no_folder_of_this_machine():
    command = "sae-tracks export-bigwig '/home/my dir/sae' ../../x/hg38.fa -o=/srv/t --to ~/t --shard 1/4 /a/b/"
    record = {
        "command": command,
        "genome": {"path": "/home/me/hg38.fa", "contigs": {"chr1": {"length": 3}}},
        "annotations": {"/home/me/sites.bed": "ab12"},
        "files": ["./x/a.bw", "data/b.bw", "https://example.org/a/b.bw", 7, None],
    }
    shown = {
        "command": "sae-tracks export-bigwig sae hg38.fa -o=t --to t --shard 1/4 b/",
        "genome": {"path": "hg38.fa", "contigs": {"chr1": {"length": 3}}},
        "annotations": {"sites.bed": "ab12"},
        "files": ["a.bw", "data/b.bw", "https://example.org/a/b.bw", 7, None],
    }
    assert without_folders(record) == shown
    unbalanced = without_folders({"scored": {"command": "x 'open /home/me/a"}})
    assert shlex.split(unbalanced["scored"]["command"]) == ["x", "'open", "a"]
