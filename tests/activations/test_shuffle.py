"""The shuffle: uniform, exact, bounded in memory, and no row loses its locus."""

import itertools
import subprocess
import tracemalloc
from math import comb
from pathlib import Path

import numpy as np
import pytest
from command_line import run
from scipy.stats import chisquare
from stored_rows import flip, store, whole
from toy import OneHotLM, random_dna, write_fasta

from sae_tracks.activations.extract import extract, plan_extraction
from sae_tracks.activations.shards import open_shards
from sae_tracks.activations.shuffle import ShufflePlan, distribute, parse_size, permute_bucket, plan_shuffle, shuffle
from sae_tracks.dna import reverse_complement
from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome

KIB, MIB = 1 << 10, 1 << 20


def shuffled(source, out, memory, seed=0):
    shuffle(source, out, plan_shuffle(source, memory), seed=seed)
    return open_shards(out)


def as_set(shards):
    """Every row with its locus, sorted."""
    rows, loci = whole(shards)
    return sorted(row.tobytes() + locus.tobytes() for row, locus in zip(rows, loci, strict=True))


@pytest.mark.parametrize("memory", [8 * KIB, 60 * KIB, 10**9])
def test_batches_hold_rows_of_one_window_no_more_often_than_chance(tmp_path, memory):
    """64 windows of 320 rows: pairs in a batch come from one window with probability 319 / 20,479, uncorrelated."""
    source = store(tmp_path / "act", [10240, 10240], d=1, windows=64)
    _, loci = whole(shuffled(source, tmp_path / "out", memory))
    batches = loci[:, 0].reshape(10, 2048)

    together = sum(comb(n, 2) for batch in batches for n in np.bincount(batch).tolist())
    pairs, p = 10 * comb(2048, 2), 319 / 20479
    assert abs(together - pairs * p) <= 4 * np.sqrt(pairs * p * (1 - p))
    assert sum(comb(n, 2) for n in np.bincount(loci[:, 0])) == 64 * comb(320, 2)


@pytest.mark.parametrize("buckets", [1, 2, 3])
def test_all_orders_of_four_rows_are_equally_likely(tmp_path, buckets):
    source = store(tmp_path / "act", [3, 1], d=1)
    plan = ShufflePlan(rows=4, buckets=buckets, chunk=2, disk=0)
    seen = dict.fromkeys(itertools.permutations(range(4)), 0)
    for seed in range(480):
        distribute(source, tmp_path, plan, np.random.default_rng([seed, 0]))
        shards = [permute_bucket(tmp_path, i, 1, seed) for i in range(buckets)]
        loci = [np.load(shard.paths(tmp_path)[1]) for shard in shards]
        seen[tuple(np.concatenate(loci)[:, 1].tolist())] += 1
    assert chisquare(list(seen.values())).pvalue > 1e-3


@pytest.mark.parametrize("memory", [4 * KIB, 64 * KIB, 10**9])
def test_rows_are_conserved(tmp_path, memory):
    source = store(tmp_path / "act", [3000, 0, 2001], d=8, windows=7)
    plan = plan_shuffle(source, memory)
    shuffle(source, tmp_path / "out", plan, seed=3)
    after = open_shards(tmp_path / "out")
    assert as_set(after) == as_set(source)
    assert not np.array_equal(whole(after)[0], whole(source)[0])
    assert len(after) == plan.buckets and (plan.buckets > 1) == (memory < 10**9)
    assert after.manifest["shuffled"] and after.manifest["source_sha256"] == source.checksum
    assert (after.folder / "windows.bed").read_bytes() == (source.folder / "windows.bed").read_bytes()
    assert not list(after.folder.glob(".*"))


def test_memory_is_bounded(tmp_path):
    source = store(tmp_path / "act", [60_000, 60_000], d=128)
    tracemalloc.start()
    shuffle(source, tmp_path / "out", plan_shuffle(source, 8 * MIB))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert source.rows * (2 * 128 + 8) > 30 * MIB
    assert peak <= 8 * MIB + 9 * MIB  # for its checksum a file is read 4 MiB at a time, two of them in memory


@pytest.mark.parametrize("memory", [2 * KIB, 10**9])
def test_every_row_still_knows_its_base(tmp_path, memory):
    fasta = write_fasta(tmp_path / "g.fa", chr1=random_dna(700, 1) + "N" * 100 + random_dna(90, 2), chr2="ACRNT" * 20)
    lm, genome = OneHotLM(), Genome(fasta)
    plan = plan_extraction(lm, genome, read_strands=("+", "-"), window=48, context=16)
    extract(plan, tmp_path / "act")
    result = shuffled(open_shards(tmp_path / "act"), tmp_path / "out", memory, seed=1)

    for row, (window_id, offset) in zip(*whole(result), strict=True):
        window = plan.windows[window_id]
        sequence, at = genome.sequence(window.fed), window.kept.start + offset - window.fed.start
        if window.read_strand == "-":
            sequence, at = reverse_complement(sequence), len(sequence) - 1 - at
        assert np.array_equal(row, lm.activations(sequence)[at].numpy().astype(np.float16))


def test_the_seed_decides(tmp_path):
    source = store(tmp_path / "act", [400, 300])
    once, again, other = (
        shuffled(source, tmp_path / name, 8 * KIB, seed) for name, seed in [("a", 1), ("b", 1), ("c", 2)]
    )
    for shard in once.shards:
        for one, two in zip(shard.paths(once.folder), shard.paths(again.folder), strict=True):
            assert one.read_bytes() == two.read_bytes()
    assert once.checksum == again.checksum != other.checksum


def test_the_input_is_verified_and_nothing_is_left_behind(tmp_path):
    source = store(tmp_path / "act", [50, 50])
    flip(source.folder / "shard-00001.loci.npy")
    with pytest.raises(SaeTracksError, match=r"shard-00001\.loci\.npy"):
        shuffled(source, tmp_path / "out", 10**9)
    assert not list((tmp_path / "out").iterdir())


def test_an_interrupt_leaves_nothing_behind(tmp_path, monkeypatch):
    source = store(tmp_path / "act", [50, 50])

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("sae_tracks.activations.shuffle.permute_bucket", interrupt)
    with pytest.raises(KeyboardInterrupt):
        shuffled(source, tmp_path / "out", 10**9)
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("moved", range(5))
def test_a_kill_between_the_renames_does_not_stop_the_rerun(tmp_path, monkeypatch, moved):
    source = store(tmp_path / "act", [400, 300])
    expected = shuffled(source, tmp_path / "whole", 8 * KIB)
    moves, replace = iter(range(moved + 1)), Path.replace

    def killed_after(path, target):
        if target.parent == tmp_path / "out" and target.name.startswith("shard-") and next(moves) == moved:
            raise KeyboardInterrupt
        return replace(path, target)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Path, "replace", killed_after)
        shuffled(source, tmp_path / "out", 8 * KIB)
    (tmp_path / "out" / "shard-99999.npy").write_bytes(b"of a run with less memory")
    again = shuffled(source, tmp_path / "out", 8 * KIB)
    assert again.checksum == expected.checksum
    assert {path.name for path in again.folder.iterdir()} == {path.name for path in expected.folder.iterdir()}


def test_a_full_disk_is_one_line_and_leaves_nothing_behind(warm, tmp_path):
    source = store(tmp_path / "act", [5000], d=64)
    words = f"shuffle {source.folder} -o {tmp_path / 'out'}"
    command = ["bash", "-c", f"ulimit -f 100; exec {warm} {words}"]
    out = subprocess.run(command, capture_output=True, text=True, check=False)
    assert out.returncode == 1 and out.stderr.startswith("error: cannot write"), out.stderr
    assert len(out.stderr.splitlines()) == 1
    assert not list((tmp_path / "out").iterdir())


def test_folders_that_cannot_be_the_output(tmp_path):
    source = store(tmp_path / "act", [5])
    with pytest.raises(SaeTracksError, match="is the input"):
        shuffled(source, tmp_path / "x" / ".." / "act", 10**9)
    with pytest.raises(SaeTracksError, match="holds activation shards already"):
        shuffled(source, store(tmp_path / "other", [5]).folder, 10**9)
    with pytest.raises(SaeTracksError, match="allow more"):
        plan_shuffle(store(tmp_path / "wide", [500], d=64), 2 * KIB)


@pytest.mark.parametrize(
    ("text", "size"), [("4G", 4 << 30), ("512M", 512 << 20), ("1.5k", 1536), ("10", 10), ("2GiB", 2 << 30)]
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "G", "4X", "-1G", "4 G B"])
def test_sizes_that_are_none(text):
    with pytest.raises(SaeTracksError, match="write it as"):
        parse_size(text)


def test_the_command_line(tmp_path):
    source = store(tmp_path / "act", [300, 200])
    words = ("shuffle", str(source.folder), "-o", str(tmp_path / "out"), "--memory", "4K", "--seed", "5")
    assert run(*words, "--dry-run").returncode == 0
    assert not (tmp_path / "out").exists()
    assert run(*words).returncode == 0
    assert as_set(open_shards(tmp_path / "out")) == as_set(source)
    assert (tmp_path / "out" / "provenance.json").is_file()
    again = run(*words)
    assert again.returncode == 0 and "has been made before" in again.stderr
    other = run(*words[:-1], "6")
    assert other.returncode == 1 and other.stderr.startswith("error: ")
