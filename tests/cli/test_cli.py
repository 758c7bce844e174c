"""The command line as a whole: help, examples, error lines."""

import json
import re
import shlex

import click
import pytest
import typer
from command_line import COMMANDS, run, run_program

FETCHES = {f"fetch {what}" for what in ("model", "genome", "annotation", "jaspar-matrices", "jaspar-sites")}


def test_the_verbs_of_the_path_are_there():
    verbs = {"extract", "shuffle", "train", "export-bigwig", "export-bed", "metrics", "hub", "igv", "pretrain", "demo"}
    verbs |= {
        "plot activation",
        "plot scores",
        "check-hub",
        "check-model",
        "check-seams",
        "evaluate",
        "info",
        "import-sae",
        "export-sae",
        "scan",
        "report",
        "view",
        "merge-metrics",
        "merge-bigwig",
        "pygenometracks",
        "plot logo",
        "plot offsets",
        "plot heatmap",
        "plot profile",
        "plot genome",
    }
    verbs |= {"motifs", "insert", "saturate", "variants", "effects", "compare", "atlas", "merge-shards", "describe"}
    verbs |= {"match-regions", "enrich", "matrix", "gene-lists", "cells", "publish", "benchmark"}
    assert verbs | FETCHES == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_verb_has_help_for_each_option_and_an_example_that_parses(name):
    command = COMMANDS[name]
    assert command.help
    assert not [p.name for p in command.params if isinstance(p, click.Option | typer.core.TyperOption) and not p.help]
    example = re.search(r"Example: (sae-tracks [^|]+)", command.epilog or "")
    assert example, "no example"
    words = shlex.split(example[1])[1:]
    assert " ".join(words).startswith(name)
    command.make_context(name, words[len(name.split()) :], resilient_parsing=False)


def test_no_two_options_of_one_verb_share_a_name():
    for command in COMMANDS.values():
        names = [name for p in command.params for name in p.opts if name.startswith("-")]
        assert len(names) == len(set(names))


SHARED = (
    "--region",
    "--regions",
    "--black-list",
    "--read-strand",
    "--model",
    "--window-size",
    "--context",
    "--min-context",
)
SHARED += ("--device", "--threads", "--allow-mismatch", "--trust-remote-code")


@pytest.mark.parametrize(
    "name, left_out",
    [
        ("export-bigwig", ()),
        ("export-bed", ()),
        ("metrics", ()),
        ("check-seams", ("--min-context",)),
        ("extract", ("--model", "--allow-mismatch")),
        ("train", ("--model", "--allow-mismatch")),
        ("evaluate", ("--black-list", "--min-context")),
        ("plot activation", ("--regions", "--black-list", "--min-context")),
    ],
)
def test_verbs_that_read_a_genome_share_their_options(name, left_out):
    flags = {flag for p in COMMANDS[name].params for flag in p.opts}
    assert [flag for flag in SHARED if flag not in flags] == list(left_out)
    assert {"-r", "-p", "--numberOfProcessors"} <= flags
    if "--black-list" not in left_out:
        assert {"-bl", "--blackListFileName"} <= flags


def test_flags_are_written_with_hyphens_and_deeptools_words_are_aliases():
    for command in COMMANDS.values():
        for flags in ([flag for flag in p.opts if flag.startswith("--")] for p in command.params):
            assert not flags or re.fullmatch("--[a-z0-9]+(-[a-z0-9]+)*", flags[0]), flags


def test_a_wrong_option_is_a_usage_error():
    out = run("extract", "--no-such-option")
    assert out.returncode == 2


@pytest.mark.parametrize(
    "words, flags",
    [
        ("extract demo g.fa -o act --seed 1", "--seed"),
        ("export-bigwig sae g.fa -f 1 -o tracks --bin-stat mean", "--bin-stat"),
        ("pretrain g.fa -o lm --steps 0 --lr 1e-4 --batch-size 5", "--batch-size, --lr"),
        ("train shards -o sae --layer 3", "--layer"),
        ("train shards -o sae -bl b.bed -r chr1 --read-strand both", "--region, --black-list, --read-strand"),
        ("train shards -o sae --window-size 9 --context 0 --min-context 1", "--window-size, --context, --min-context"),
        ("train shards -o sae -n 2 --memory 1G --trust-remote-code", "--n-windows, --trust-remote-code, --memory"),
    ],
)
def test_options_that_would_do_nothing_are_refused_before_anything_is_read(tmp_path, words, flags):
    out = run(*words.split(), cwd=tmp_path)
    assert out.returncode == 2
    assert out.stderr.startswith("error: ") and out.stderr.endswith(f": leave out {flags}\n")
    assert out.stderr.count("\n") == 1 and not list(tmp_path.iterdir())


def test_an_option_that_states_the_default_is_no_error_of_usage(tmp_path):
    for words in ("extract demo g.fa -o act --seed 0", "export-bigwig sae g.fa -f 1 -o t -bs 1 --bin-stat mean"):
        assert run(*words.split(), cwd=tmp_path).returncode == 1  # there is no g.fa and no SAE


@pytest.mark.parametrize(
    "words",
    [
        "train shards -o sae --d-sae 8 --expansion 2",
        "train shards -o sae --arch topk --l1 1",
        "export-bigwig sae g.fa -o tracks --top 3",
        "export-bigwig sae g.fa -o tracks -f 1 --all",
        "plot activation sae g.fa -r chr1:1-9 -f 1 --read-strand both -o a.png",
        "hub tracks",
        "report scores -o site --annotation genes.gtf",
    ],
)
def test_options_that_exclude_each_other_are_errors_of_usage(tmp_path, words):
    out = run(*words.split(), cwd=tmp_path)
    assert out.returncode == 2 and out.stderr.count("\n") == 1 and not list(tmp_path.iterdir())


def test_an_error_is_one_line_and_debug_shows_where(tmp_path):
    words = ("pretrain", str(tmp_path / "none.fa"), "-o", str(tmp_path / "lm"))
    out = run(*words)
    assert out.returncode == 1
    assert out.stderr.startswith("error: no FASTA file")
    assert len(out.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "lm").exists()
    assert "Traceback" in run(*words, "--debug").stderr


def test_no_name_in_a_file_or_an_argument_controls_the_terminal(tmp_path):
    name = "a\x1b[2K\r\x9b31m\x07b"
    (tmp_path / "provenance.json").write_text(json.dumps({"annotations": {name: 5}}))
    for words, status in (
        (("merge-metrics", tmp_path, "-o", tmp_path / "out"), 1),
        (("benchmark", "-o", tmp_path / name), 2),
    ):
        out = run(*words)
        assert out.returncode == status and re.search(r"a \[2K 31m b", out.stderr), out.stderr
        assert out.stderr.removesuffix("\n").isprintable()


def test_the_version_is_printed():
    from sae_tracks import __version__

    assert run_program("--version").stdout.strip() == f"sae-tracks {__version__}"


def test_feature_lists_are_read_or_refused(tmp_path):
    from sae_tracks.cli.inputs import parse_features
    from sae_tracks.errors import SaeTracksError

    (tmp_path / "list").write_text("f3\n4 5,6\n")
    assert parse_features("357,f12,0-2") == [357, 12, 0, 1, 2]
    assert parse_features(f"@{tmp_path / 'list'}") == [3, 4, 5, 6]
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for text in (
        "",
        "a",
        "3-",
        "-3",
        "5-2",
        "1.5",
        f"@{tmp_path / 'binary'}",
        f"@{tmp_path / 'none'}",
        "0-99999999999",
    ):
        with pytest.raises(SaeTracksError):
            parse_features(text)


def test_a_device_that_is_none_is_refused():
    from sae_tracks.errors import SaeTracksError
    from sae_tracks.lm.device import resolve_device

    assert resolve_device("cpu").type == "cpu"
    with pytest.raises(SaeTracksError, match="auto, cpu or cuda"):
        resolve_device("gpu")
