"""docs/faq.md: the program has every message that the page quotes, and prints it in the situation that it is about."""

import ast
import gzip
import json
import os
import re
import shutil
import socket
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import run
from tiny import write_tiny_model
from toy import random_dna, write_fasta
from variant_files import write_vcf

ROOT = Path(__file__).parents[2]
VARIES = "…"
GAP = "\0"  # in the text of an f-string: a value
QUOTED = re.findall(r"^### `([^`]+)`$", (ROOT / "docs" / "faq.md").read_text(), re.M)


def parts(message):
    """The words of a quoted message that do not vary."""
    return [part.strip(" ") for part in message.split(VARIES) if part.strip(" ")]


def pattern(message):
    return re.compile(".*?".join(map(re.escape, parts(message))))


@cache
def texts():
    """Every text of the source code but docstrings, with a gap for each value; and the commands of the Makefile."""
    found = [(ROOT / "Makefile").read_text()]
    for path in (ROOT / "src").rglob("*.py"):
        tree = ast.parse(path.read_text())
        said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                words = (one.value if isinstance(one, ast.Constant) else GAP for one in node.values)
                found.append("".join(words))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
                found.append(node.value)
    return found


def is_in_the_program(message):
    """Whether one text has all parts in order: what lies between them may be a gap, and no part reaches into one."""
    return any(pattern(message).search(text) for text in texts())


@pytest.mark.parametrize("message", QUOTED)
def test_the_program_has_the_message(message):
    assert len(max(parts(message), key=len)) >= 10, "too short to be recognised"
    assert is_in_the_program(message)


def test_a_message_that_changed_is_noticed():
    assert is_in_the_program("no contig … in …: …")
    assert not is_in_the_program("no contigs … in …: …")
    assert not is_in_the_program("region … ends past …, which has 9 bases")  # a value is no word of the message
    assert not is_in_the_program("Docstrings are not said")


def test_the_page_quotes_many_messages_once():
    assert len(QUOTED) == len(set(QUOTED)) > 25


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What a new user has: a genome, annotations, a tiny model, activations, an SAE and its tracks."""
    folder = tmp_path_factory.mktemp("faq")
    write_tiny_model(folder)
    sequence = random_dna(6000)
    write_fasta(folder / "g.fa", chr1=sequence[:4000], chr2="N" * 300 + sequence[4000:])
    with gzip.open(folder / "plain.fa.gz", "wt") as file:
        file.write(">chr1\nACGT\n")
    rows = [(start, start + 9) for start in range(100, 3900, 40)]
    (folder / "sites.bed").write_text("".join(f"chr1\t{start}\t{end}\tsite\t0\t+\n" for start, end in rows))
    (folder / "ensembl.bed").write_text("".join(f"1\t{start}\t{end}\tsite\t0\t+\n" for start, end in rows))
    (folder / "peaks.bed").write_text("".join(f"chr1\t{start}\t{end}\tpeak{start}\n" for start, end in rows))
    (folder / "hg19.gff3").write_text("##sequence-region chr1 1 5000\nchr1\t.\texon\t1\t9\t.\t+\t.\tID=e\n")
    for words in (
        "extract lm g.fa -r chr1 -o act",
        "shuffle act -o shuffled",
        "train shuffled -o trained --d-sae 32 --batch-size 256 --tokens 512",
        "export-bigwig sae g.fa -r chr1:1-500 -f 1 -o tracks",
        "metrics sae g.fa sites.bed -r chr1 -o half --shard 1/2 --controls none --no-split",
    ):
        done = run(*words.split(), cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder


def another_fai(folder):
    shutil.copy(folder / "g.fa", folder / "old.fa")
    (folder / "old.fa.fai").write_text("chr1\t9000\t6\t50\t51\n")


def another_model(folder):
    """The same width and layer, other weights."""
    shutil.copytree(folder / "lm", folder / "tuned", dirs_exist_ok=True)
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "lm" / "model.safetensors")
    save_file({name: one * 1.5 for name, one in weights.items()}, folder / "tuned" / "model.safetensors")


def code_of_its_own(folder):
    shutil.copytree(folder / "lm", folder / "remote", dirs_exist_ok=True)
    config = json.loads((folder / "lm" / "config.json").read_text())
    config |= {"model_type": "else", "auto_map": {"AutoModel": "their_code.Model"}}
    (folder / "remote" / "config.json").write_text(json.dumps(config))


def a_changed_shard(folder):
    shutil.copytree(folder / "shuffled", folder / "damaged", dirs_exist_ok=True)
    path = folder / "damaged" / "shard-00000.npy"
    rows = np.load(path)
    rows[5] += 1
    np.save(path, rows)


def an_imported_sae(folder):
    """As `import-sae` leaves it without --model, and with it."""
    for name in ("unnamed", "named"):
        shutil.copytree(folder / "sae", folder / name, dirs_exist_ok=True)
        (folder / name / "feature_stats.parquet").unlink()
    config = json.loads((folder / "sae" / "cfg.json").read_text())
    (folder / "unnamed" / "cfg.json").write_text(json.dumps(config | {"metadata": {}}))


def a_deletion_without_letters(folder):
    write_vcf(folder / "deletion.vcf", [("chr1", 10, random_dna(6000)[9], "<DEL>")], contigs=("chr1",))


def tracks_of_two_genomes(folder):
    write_fasta(folder / "other.fa", chr1=random_dna(700))
    done = run("export-bigwig", "sae", "other.fa", "-f", "2", "-o", "mixed", cwd=folder)
    assert done.returncode == 0, done.stderr
    shutil.copy(folder / "tracks" / "f1.bw", folder / "mixed")


SITUATIONS = [  # the beginning of the message on the page, a command that leads to it, what it needs beside `made`
    ("… is gzip, not bgzip", "extract lm plain.fa.gz -o x", None),
    ("it has changed since", "extract lm old.fa -o x", another_fai),
    ("did you mean", "extract lm g.fa -r 1:1-100 -o x", None),
    ("region … ends past", "extract lm g.fa -r chr1:3,000-5,000 -o x", None),
    ("ALT … is symbolic", "variants sae g.fa deletion.vcf -o x.vcf", a_deletion_without_letters),
    ("no contig of … is in …", "metrics sae g.fa ensembl.bed -r chr1 -o x --no-split", None),
    ("… and … do not match", "metrics sae g.fa hg19.gff3 -r chr1 -o x --no-split", None),
    ("nothing to read", "export-bed sae g.fa -r chr2:1-300 -f 1 -o -", None),
    ("--window-size …", "extract lm g.fa --window-size 9000 -o x", None),
    ("--n-windows …", "extract lm g.fa -r chr1 -n 9000 -o x", None),
    ("no layer … in …", "extract lm g.fa --layer 9 -o x", None),
    ("cannot load a language", "extract ./none g.fa -o x", None),
    ("… brings Python code", "extract remote g.fa -o x", code_of_its_own),
    ("… is in genome order", "train act -o x", None),
    ("a batch of … rows", "train shuffled -o x --batch-size 90000", None),
    ("… features need …", "train shuffled -o x --d-sae 9000000000 --batch-size 256", None),
    ("… is of a run with …", "train shuffled -o trained --d-sae 32 --batch-size 256 --tokens 512 --seed 1", None),
    ("…: its SHA-256 is not", "train damaged -o x --batch-size 256", a_changed_shard),
    ("the SAE was trained on", "export-bed sae g.fa -m tuned -f 1 -o -", another_model),
    ("this SAE does not say", "export-bed unnamed g.fa -f 1 -o -", an_imported_sae),
    ("this SAE has no feature_stats", "export-bed named g.fa -f 1 -o -", an_imported_sae),
    ("no site of … is left", "metrics sae g.fa peaks.bed -r chr1 -o x --no-split", None),
    ("the regions, … bases, lie", "metrics sae g.fa sites.bed -r chr1 -o x", None),
    ("the activations that it was", "metrics sae g.fa sites.bed -r chr1 -o x --controls untrained", None),
    ("no feature …: this SAE", "export-bed sae g.fa -f 357 -o -", None),
    ("name the genome", "hub tracks", None),
    ("… is of another genome", "hub mixed --assembly mine1", tracks_of_two_genomes),
    ("shard … is missing", "merge-metrics half -o x", None),
]


def said(done):
    assert done.returncode in (1, 2) and done.stderr.count("error: ") == 1, done.stderr
    return done.stderr.partition("error: ")[2]


def is_explained(error, begins):
    """One entry of the page quotes the error: the one that begins so."""
    (entry,) = (message for message in QUOTED if message.startswith(begins))
    assert [message for message in QUOTED if pattern(message).search(error)] == [entry]


@pytest.mark.parametrize(("begins", "words", "prepare"), SITUATIONS, ids=[begins for begins, *_ in SITUATIONS])
def test_the_situation_leads_to_the_message(made, begins, words, prepare):
    if prepare:
        prepare(made)
    is_explained(said(run(*words.split(), cwd=made)), begins)
    assert not (made / "x").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_torch_does_not_see(made):
    is_explained(said(run("extract", "lm", "g.fa", "-o", "x", "--device", "cuda", cwd=made)), "--device cuda")


def test_a_package_that_is_not_installed(made, monkeypatch):
    monkeypatch.setitem(sys.modules, "anndata", None)
    words = "matrix sae g.fa sites.bed -f 1 -o x.h5ad"
    is_explained(said(run(*words.split(), cwd=made)), "… is not installed")


def test_a_model_that_is_not_in_the_cache_without_a_network(made, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    error = said(run("extract", "owner/name", "g.fa", "-o", "x", cwd=made))
    is_explained(error, "cannot load a language model")
    assert "does not answer" in error and f"{tmp_path} has no copy" in error


def test_a_port_that_is_taken(made):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("view", "tracks", "--no-browser", "--port", port, cwd=made)
    is_explained(said(done), "cannot listen on port")


def test_variables_of_torchrun_that_are_missing(made):
    env = {**os.environ, "TORCHELASTIC_RUN_ID": "1"}
    done = run("train", "shuffled", "-o", "x", "--batch-size", 256, cwd=made, env=env)
    is_explained(said(done), "these are not variables of torchrun")
