"""What a verb does when it is stopped, when nobody reads what it prints, and when its output cannot be written."""

import logging
import os
import signal
import subprocess
import sys
import time

import pytest
from command_line import run
from stored_rows import store
from toy import random_dna, write_fasta

from sae_tracks.activations.shuffle import permute_bucket

SITES = ">M1 one\nA [ 9 0 ]\nC [ 0 9 ]\nG [ 0 0 ]\nT [ 0 0 ]\n"


@pytest.mark.parametrize(
    ("number", "status", "name"), [(signal.SIGTERM, 143, "SIGTERM"), (signal.SIGINT, 130, "Ctrl-C")]
)
def test_a_signal_stops_a_verb_in_one_line_and_leaves_nothing(tmp_path, monkeypatch, number, status, name):
    source = store(tmp_path / "act", [300, 200])

    def signalled(*arguments):
        os.kill(os.getpid(), number)
        return permute_bucket(*arguments)

    monkeypatch.setattr("sae_tracks.activations.shuffle.permute_bucket", signalled)
    before = signal.getsignal(signal.SIGTERM)
    done = run("shuffle", source.folder, "-o", tmp_path / "out")
    assert done.returncode == status
    assert done.stderr == f"stopped by {name}: the same command begins from the start\n"
    assert not list((tmp_path / "out").iterdir())
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_verb_that_resumes_says_so(tmp_path, monkeypatch):
    def signalled(*_, **__):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

    monkeypatch.setattr("sae_tracks.fetch.fetch_genome", signalled)
    done = run("fetch", "genome", "hg38", "-o", tmp_path / "hg38.fa")
    assert done.returncode == 143
    assert done.stderr == "stopped by SIGTERM: the same command goes on from where it stopped\n"


def test_what_went_to_stdout_begins_again(tmp_path, monkeypatch):
    def signalled(*_, **__):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

    monkeypatch.setattr("sae_tracks.cli.tracks.open_source", signalled)
    for out, says in (("-", "begins from the start"), (tmp_path / "f.bed", "goes on from where it stopped")):
        done = run("export-bed", tmp_path, tmp_path / "g.fa", "-f", "0", "-o", out)
        assert done.stderr == f"stopped by SIGTERM: the same command {says}\n"


def test_a_signal_that_the_parent_ignores_stays_ignored(tmp_path, monkeypatch):
    source = store(tmp_path / "act", [30])

    def signalled(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return permute_bucket(*arguments)

    monkeypatch.setattr("sae_tracks.activations.shuffle.permute_bucket", signalled)
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        assert run("shuffle", source.folder, "-o", tmp_path / "out").returncode == 0
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """A folder, and a command there that prints far more than a pipe holds and loads no torch."""
    folder = tmp_path_factory.mktemp("scan")
    write_fasta(folder / "g.fa", c=random_dna(100_000))
    (folder / "m.pfm").write_text(SITES)
    words = "scan g.fa --motifs m.pfm --p-value 0.1"
    done = run(*words.split(), "-o", "whole.bed", cwd=folder)
    assert done.returncode == 0 and (folder / "whole.bed").stat().st_size > 1 << 17, done.stderr
    return folder, f"{sys.executable} -m sae_tracks {words}"


def in_shell(command, folder, **variables):
    environment = {**os.environ, **variables}
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_seen_enough_ends_it_in_silence(scan, unbuffered):
    folder, words = scan
    done = in_shell(f"{words} -o - | head -n1; echo ${{PIPESTATUS[0]}}", folder, PYTHONUNBUFFERED=unbuffered)
    assert done.stdout.splitlines() == [(folder / "whole.bed").read_text().splitlines()[0], "141"]
    assert "Traceback" not in done.stderr and "rror" not in done.stderr


@pytest.mark.parametrize(("to", "reason"), [(">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")])
def test_stdout_that_takes_nothing_is_one_line(scan, to, reason):
    folder, words = scan
    done = in_shell(f"{words} -o - {to}", folder)
    assert done.returncode == 1
    assert [line for line in done.stderr.splitlines() if "rror" in line] == [f"error: cannot write stdout: {reason}"]


def test_a_disk_that_fills_up_while_stdout_goes_there_is_one_line(scan):
    """The last write is cut short, not refused."""
    folder, words = scan
    done = in_shell(f"ulimit -f 100; {words} -o - >cut.bed", folder, PYTHONUNBUFFERED="1")
    assert done.returncode == 1 and done.stderr == "error: cannot write stdout: File too large\n"


def test_closed_streams_do_no_harm_to_a_file(scan):
    folder, words = scan
    assert in_shell(f"{words} -o closed.bed <&- >&- 2>&-", folder).returncode == 0
    assert (folder / "closed.bed").read_bytes() == (folder / "whole.bed").read_bytes()


FILES = ("scan g.fa", "export-bed sae g.fa -f 0", "variants sae g.fa v.vcf", "cells m.h5ad c.h5ad")
FOLDERS = (
    "extract lm g.fa",
    "shuffle act",
    "train act",
    "pretrain g.fa",
    "export-bigwig sae g.fa --all",
    "motifs sae g.fa",
)


@pytest.mark.parametrize("words", FILES)
def test_a_folder_where_a_file_will_be_is_refused_before_anything_is_read(words, tmp_path):
    done = run(*words.split(), "-o", tmp_path)  # the inputs are not there
    assert (done.returncode, done.stderr) == (1, f"error: {tmp_path} is a folder; name a file\n")


@pytest.mark.parametrize("words", FOLDERS)
def test_a_file_where_a_folder_will_be_is_refused_before_anything_is_read(words, tmp_path):
    (tmp_path / "file").write_text("")
    for out, said in ((tmp_path / "file", "it is a file; name a folder"), (tmp_path / "file" / "x", "is a file")):
        done = run(*words.split(), "-o", out)
        assert done.returncode == 1 and done.stderr.startswith(f"error: cannot write {out}: ")
        assert done.stderr.endswith(f"{said}\n") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [FILES[0], FOLDERS[1]])
def test_a_read_only_folder_is_refused_before_anything_is_read(words, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    done = run(*words.split(), "-o", tmp_path / "deep" / "out")
    assert (done.returncode, done.stderr) == (
        1,
        f"error: cannot write {tmp_path / 'deep' / 'out'}: the folder {tmp_path} is read-only\n",
    )


TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"LOCAL_WORLD_SIZE": None}, "LOCAL_RANK=0 and LOCAL_WORLD_SIZE=(missing)"),
        ({"LOCAL_WORLD_SIZE": "0"}, "LOCAL_RANK=0 and LOCAL_WORLD_SIZE=0"),
        ({"RANK": None}, "RANK=(missing) and WORLD_SIZE=1"),
        ({"WORLD_SIZE": "two"}, "RANK=0 and WORLD_SIZE=two"),
        ({"RANK": "1"}, "RANK=1 and WORLD_SIZE=1"),
    ],
)
def test_variables_of_torchrun_that_make_no_sense_are_one_line(change, said, tmp_path):
    environment = {k: v for k, v in {**os.environ, **TORCHRUN, **change}.items() if v is not None}
    done = run("train", store(tmp_path / "act", [30]).folder, "-o", tmp_path / "sae", env=environment)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"error: {said}: these are not variables of torchrun")


@pytest.mark.parametrize("address", [{}, {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}])
def test_processes_that_cannot_be_reached_are_one_line_in_bounded_time(warm_python, address):
    script = (
        "from datetime import timedelta; from sae_tracks.errors import SaeTracksError\n"
        "from sae_tracks.train import parallel; parallel.WAIT = timedelta(seconds=1)\n"
        "try:\n    parallel.processes('cpu').__enter__()\n"
        "except SaeTracksError as error: print(error)\n"
    )
    ranks = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    environment = {**os.environ, **TORCHRUN, **ranks, **address}
    done = subprocess.run([warm_python, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("process 1 of 2 cannot reach the others at "), done.stderr
    assert done.stdout.count("\n") == 1


def test_a_table_in_a_log_is_not_cut(capsys):
    from sae_tracks.cli.tables import print_table

    long = "a name of more than eighty letters " * 4
    print_table("title", ["name", "number"], [[long, "1"]], left=["name"])
    assert long.strip() in capsys.readouterr().out


def test_a_home_that_cannot_be_written_is_said_with_the_variable_of_the_cache(tmp_path):
    (tmp_path / "home").write_text("")  # no folder can be made below a file
    environment = {**os.environ, "HOME": str(tmp_path / "home")}
    for name in ("SAE_TRACKS_CACHE", "XDG_CACHE_HOME"):
        environment.pop(name, None)
    done = run("fetch", "genome", "hg38", "-r", "chrM", "-o", tmp_path / "m.fa", env=environment)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"error: cannot write the cache {tmp_path / 'home'}")
    assert done.stderr.endswith("name another by --cache or SAE_TRACKS_CACHE\n")


def test_matplotlib_does_not_warn_of_a_home_that_cannot_be_written(tmp_path):
    code = (
        "import sys; from sae_tracks.cli import main\nsys.argv = ['x', '--version']\ntry: main()\nexcept SystemExit: "
    )
    code += "import matplotlib; matplotlib.get_configdir()"
    (tmp_path / "home").write_text("")
    environment = {**os.environ, "HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path)}
    for name in ("MPLCONFIGDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        environment.pop(name, None)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == "" and sorted(path.name for path in tmp_path.iterdir()) == ["home"]


def test_a_log_gets_a_line_of_progress_from_time_to_time(monkeypatch, caplog):
    from sae_tracks import progress

    caplog.set_level(logging.INFO)
    clock = iter([0.0, 30.0, 61.0, 90.0, 122.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    assert list(progress.track("abcd", "reading", 4)) == list("abcd")
    assert caplog.messages == ["reading 2 of 4", "reading 4 of 4"]
