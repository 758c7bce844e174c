"""The Snakemake workflow and the Slurm array on a small genome: jobs are killed, and the bytes are those of one run."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tiny import write_tiny_model
from toy import random_dna, write_fasta

ROOT = Path(__file__).parents[2]
SCORED = 40_000  # bases of each half
SITE = "ACGATTC"
VERDICTS = ["supported", "not-tested", "dimension", "local-sequence", "chance", "word", "repeat", "low-power"]
# kills the first call of every job when it renames its second file
KILLER = """#!/bin/sh
call=$(echo "$*" | cksum | tr ' ' _)
if mkdir "{seen}/$call" 2>/dev/null; then export DIE_AT=2; fi
"{command}" "$@"
status=$?
[ $status -le 128 ] || echo "$1 $status" >>"{killed}"
exit $status
"""


@pytest.fixture(scope="module")
def folder(warm, tmp_path_factory):
    """A model, a genome, its annotation and matrices, a configuration of the workflow, and the command."""
    folder = tmp_path_factory.mktemp("workflow")
    write_tiny_model(folder, max_seq_len=514)
    write_fasta(folder / "g.fa", chr1=random_dna(20_000, 1), chr2=planted(2), chr3=planted(3))
    counts = "".join(f"{base} [ {' '.join(str(1 + 97 * (base == letter)) for letter in SITE)} ]\n" for base in "ACGT")
    (folder / "m.jaspar").write_text(f">MA0001.1\tTOY\n{counts}")
    (folder / "genes.bed").write_text(
        "".join(
            f"{contig}\t{i}\t{i + 90}\tgene\t0\t+\n" for contig in ("chr2", "chr3") for i in range(500, SCORED, 500)
        )
    )
    write_config(folder / "config.json", folder / "snake")
    (folder / "bin").symlink_to(warm.parent)
    return folder


def planted(seed):
    """Random DNA with a site in every 400 bases."""
    text = random_dna(SCORED, seed)
    return SITE.join(text[i : i + 400] for i in range(0, SCORED, 400))


def write_config(path, out, **changes):
    here = path.parent
    known = {"model": here / "lm", "genome": here / "g.fa", "annotations": [here / "genes.bed"], "out": out}
    known |= {
        "train_on": "-r chr1",
        "score_on": "-r chr2 -r chr3",
        "motifs": here / "m.jaspar",
        "shards": 2,
        "threads": 1,
    }
    insert = " ".join(["--contexts 20", *(f"--verdict {verdict}" for verdict in VERDICTS)])
    options = {
        "train": "--expansion 2 --k 4 --batch-size 512",
        "metrics": "--decoys 5 --report-on chr3",
        "insert": insert,
    }
    options |= {
        "motifs": "-f 0-3 --places 20 --report-on chr3",
        "atlas": "-f 0-15",
        "tracks": "--top 3",
        "hub": f"--genome {here / 'g.fa'}",
    }
    path.write_text(json.dumps(known | {"options": options} | changes, default=str))


def run(folder, *words, path=None, **more):
    environment = os.environ | {"PATH": f"{path or folder / 'bin'}:{os.environ['PATH']}"} | more
    out = subprocess.run(
        list(map(str, words)), capture_output=True, text=True, check=False, cwd=folder, env=environment
    )
    assert out.returncode == 0, out.stdout + out.stderr
    return out.stdout + out.stderr


def snakemake(folder, *words, **more):
    if shutil.which("snakemake") is None:
        pytest.skip("snakemake is not installed (pip install 'snakemake>=8,<10', in an environment of its own)")
    return run(folder, "snakemake", "-s", ROOT / "workflow/Snakefile", *words, **more)


@pytest.fixture(scope="module")
def whole(folder):
    """The same results by one command per verb, without shards."""
    out = folder / "whole"
    options = json.loads((folder / "config.json").read_text())["options"]

    def verb(*words):
        run(folder, "sae-tracks", *words)

    genome, motifs, source = (
        folder / "g.fa",
        ("--motifs", folder / "m.jaspar"),
        (out / "sae", folder / "g.fa", "-r", "chr2", "-r", "chr3"),
    )
    verb("extract", folder / "lm", genome, "-r", "chr1", "-o", out / "act")
    verb("shuffle", out / "act", "-o", out / "shuffled")
    verb("train", out / "shuffled", *options["train"].split(), "-o", out / "sae")
    verb("scan", genome, "-r", "chr2", "-r", "chr3", *motifs, "-o", out / "sites.bed.gz")
    scored = ("--annotation", folder / "genes.bed", "--annotation", out / "sites.bed.gz")
    verb("metrics", *source, *scored, *motifs, *options["metrics"].split(), "-o", out / "metrics")
    verb("insert", *source, *motifs, "--from", out / "metrics", *options["insert"].split())
    verb("motifs", *source, *motifs, *options["motifs"].split(), "-o", out / "insight/motifs")
    table = ("--from", out / "metrics/metrics.tsv")
    verb("export-bigwig", *source, *table, *options["tracks"].split(), "-o", out / "tracks")
    return out


PAYLOADS = (
    *("act/shard-*.npy", "shuffled/shard-*.npy", "sae/sae_weights.safetensors", "sae/feature_stats.parquet"),
    *("sites.bed.gz", "metrics/counts.npz", "metrics/*.tsv", "metrics/metrics.parquet", "metrics/offsets.parquet"),
    *("tracks/*.bw", "insight/motifs/motifs.meme", "insight/motifs/motifs.tsv", "insight/motifs/places.bed"),
)


def assert_same(one, other, patterns=PAYLOADS):
    for pattern in patterns:
        paths = sorted(one.glob(pattern))
        assert paths, pattern
        for path in paths:
            assert (other / path.relative_to(one)).read_bytes() == path.read_bytes(), path


@pytest.mark.slow
def test_every_job_is_killed_once_and_the_bytes_are_those_of_one_run(folder, whole):
    seen, path = folder / "seen", folder / "killer"
    seen.mkdir()
    path.mkdir()
    killer = path / "sae-tracks"
    killer.write_text(KILLER.format(seen=seen, command=folder / "bin/sae-tracks", killed=folder / "killed"))
    killer.chmod(0o755)
    snakemake(folder, "--configfile", "config.json", "--cores", 2, "--retries", 1, path=path)
    verbs = {line.split()[0] for line in (folder / "killed").read_text().splitlines()}
    assert verbs > {
        "extract",
        "shuffle",
        "train",
        "metrics",
        "merge-metrics",
        "export-bigwig",
        "merge-bigwig",
        "merge-shards",
    }
    assert_same(whole, folder / "snake")
    for made in ("site/index.html", "tracks/hub.txt", "metrics/atlas.tsv"):
        assert (folder / "snake" / made).is_file()
    assert "Nothing to be done" in snakemake(folder, "--configfile", "config.json", "--cores", 2)


def test_without_motifs_and_with_two_processes_nothing_is_inserted(folder):
    write_config(folder / "plain.json", folder / "plain", motifs=None, processes=2)
    said = snakemake(folder, "--configfile", "plain.json", "--cores", 2, "-n", "-p")
    assert "insert" not in said
    assert "torchrun --standalone --nproc-per-node 2 -m sae_tracks train" in said


def test_the_profiles_are_read_and_slurm_gets_the_threads_of_a_job(folder):
    if "slurm" not in snakemake(folder, "--help"):
        pytest.skip("snakemake-executor-plugin-slurm is not installed")
    for name in ("local", "slurm"):
        said = snakemake(
            folder, "--profile", ROOT / "workflow/profiles" / name, "--configfile", "config.json", "-n", "-F"
        )
        assert "dry-run" in said
    assert "mem_mb=8000" in said


def test_an_array_of_slurm_jobs_writes_what_one_run_writes(folder, whole):
    stub = folder / "slurm"
    stub.mkdir()
    (stub / "sbatch").write_text(SBATCH)
    (stub / "sbatch").chmod(0o755)
    array = ROOT / "workflow/sbatch-array.sh"
    out = folder / "an array"
    path = f"{stub}:{folder / 'bin'}"
    options = {"path": path, "SBATCH": "--partition=short --time=1:00:00"}
    run(folder, array, 2, out / "act", "extract", folder / "lm", folder / "g.fa", "-r", "chr1", **options)
    source = (whole / "sae", folder / "g.fa", "-r", "chr2", "-r", "chr3")
    run(folder, array, 3, out / "tracks", "export-bigwig", *source, "-f", "0-2", **options)
    motifs = ("motifs", *source, "-f", "0-3", "--places", 20, "--report-on", "chr3")
    run(folder, array, 2, out / "insight/motifs", *motifs, **options)
    assert_same(whole, out, ["act/shard-*.npy"])
    run(folder, "sae-tracks", "export-bigwig", *source, "-f", "0-2", "-o", folder / "one/tracks")
    run(folder, "sae-tracks", *motifs, "-o", folder / "one/insight/motifs")
    assert_same(folder / "one", out, ["tracks/*.bw", "insight/motifs/motifs.meme"])
    calls = (folder / "calls").read_text().splitlines()
    assert len(calls) == 6
    assert all("--partition=short --time=1:00:00" in call for call in calls)
    assert [("--dependency=afterok:" in call) for call in calls] == [False, True] * 3


SBATCH = """#!/bin/bash
# runs at once what sbatch would queue: each index of the array, two at a time
printf '%s ' "$@" >>calls; echo >>calls
while [ $# -gt 0 ]; do
    case $1 in
        --array=1-*) n=${1#--array=1-} ;;
        --wrap) command=$2; shift ;;
    esac
    shift
done
if [ -n "${n:-}" ]; then
    export command
    seq "$n" | xargs -P 2 -I{} env SLURM_ARRAY_TASK_ID={} bash -c "$command" >&2 || exit 1
else
    bash -c "$command" >&2 || exit 1
fi
echo "$RANDOM;cluster"
"""
