"""Rows straight from a language model: each once per pass, well mixed, the same after any interruption."""

from math import comb
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from command_line import run
from stored_rows import whole
from toy import OneHotLM, random_dna, write_fasta

from sae_tracks.activations.extract import extract, plan_extraction
from sae_tracks.activations.shards import open_shards
from sae_tracks.activations.shuffle import plan_shuffle, shuffle
from sae_tracks.activations.stream import COPIES, StreamedActivations
from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome
from sae_tracks.sae import load_sae
from sae_tracks.train.plan import plan_training
from sae_tracks.train.settings import TrainSettings
from sae_tracks.train.train import train_sae

M = 40  # rows per window
BYTES = COPIES * M * 2 * 2  # of one window


class PlaceLM(OneHotLM):
    """Its activation is the number of the window, then that of the base: each row is known by its values."""

    def __init__(self, max_length=M):
        super().__init__(max_length)
        self.d_model = 2

    def activations(self, sequence):
        self.reads.append(sequence)
        number = WINDOWS.index(sequence)
        return torch.stack([torch.full((len(sequence),), float(number)), torch.arange(float(len(sequence)))], 1)


WINDOWS = [random_dna(M, i).encode() for i in range(64)]


@pytest.fixture
def plan(tmp_path):
    genome = Genome(write_fasta(tmp_path / "g.fa", chr1=b"".join(WINDOWS).decode()))
    return plan_extraction(PlaceLM(), genome, window=M, context=0)


def streamed(plan, windows, seed=0):
    return StreamedActivations(plan, seed=seed, memory=BYTES * windows)


@pytest.mark.parametrize("windows", [1, 5, 16, 64, 1000])
def test_each_row_comes_once_per_pass_and_each_window_is_read_once(plan, windows):
    data = streamed(plan, windows)
    rows = data.read_rows(0, data.rows)
    assert data.rows == 64 * M and data.group_windows == min(windows, 64)
    assert sorted(map(tuple, rows.tolist())) == [(w, i) for w in range(64) for i in range(M)]
    assert len(plan.lm.reads) <= 64 + data.group_windows  # the last group is read twice: its rows also come first
    assert np.array_equal(data.read_rows(data.rows - 5, data.rows + 5), np.concatenate([rows[-5:], rows[:5]]))


def test_rows_are_a_function_of_the_seed_and_their_number(plan):
    rows = streamed(plan, 8).read_rows(0, 64 * M)
    for start, stop in [(0, 10), (315, 325), (2000, 2001), (64 * M - 3, 64 * M)]:
        assert np.array_equal(streamed(plan, 8).read_rows(start, stop), rows[start:stop])
    plan.lm.reads.clear()
    streamed(plan, 8).read_rows(1000, 1010)
    assert len(plan.lm.reads) == 16  # two groups, wherever a run goes on
    assert not np.array_equal(streamed(plan, 8, seed=1).read_rows(0, 100), rows[:100])
    assert streamed(plan, 8).checksum == streamed(plan, 8).checksum
    assert len({streamed(plan, g, seed=s).checksum for g, s in [(8, 0), (8, 1), (16, 0)]}) == 3


def test_rows_of_another_device_have_another_checksum(plan):
    """A training that went on with them would mix rows of two kinds."""
    on_cpu = streamed(plan, 8).checksum
    plan.lm.model = SimpleNamespace(device=torch.device("cuda:0"))
    on_gpu = plan_extraction(plan.lm, plan.genome, window=M, context=0)
    assert streamed(on_gpu, 8).checksum != on_cpu


def pairs_of_one_window(windows, size):
    """Share of the pairs within batches of consecutive rows that come from one window."""
    batches = windows[: len(windows) // size * size].reshape(-1, size)
    together = sum(comb(n, 2) for batch in batches for n in np.unique(batch, return_counts=True)[1].tolist())
    return together / (len(batches) * comb(size, 2))


@pytest.mark.parametrize("group", [4, 8, 16])
def test_the_share_of_pairs_from_one_window_is_what_the_docstring_says(plan, group):
    expected = (M - 1) * (group * M / 2 - 1) / (group * M - 1) ** 2
    rows = [streamed(plan, group, seed).read_rows(0, 64 * M)[:, 0] for seed in range(20)]
    measured = np.mean([pairs_of_one_window(windows, group * M // 4) for windows in rows])  # batches within chunks
    assert measured == pytest.approx(expected, rel=0.05)
    assert expected == pytest.approx(1 / (2 * group), rel=0.1)


def test_the_share_after_a_global_shuffle_is_what_the_docstring_says(plan, tmp_path):
    extract(plan, tmp_path / "act")
    stored = open_shards(tmp_path / "act")
    shares = []
    for seed in range(20):
        shuffle(stored, tmp_path / str(seed), plan_shuffle(stored, 1 << 30), seed=seed)
        shares.append(pairs_of_one_window(whole(open_shards(tmp_path / str(seed)))[1][:, 0], 80))
    expected = (M - 1) / (64 * M - 1)
    assert np.mean(shares) == pytest.approx(expected, rel=0.05)
    everything = [pairs_of_one_window(streamed(plan, 64, seed).read_rows(0, 64 * M)[:, 0], 80) for seed in range(20)]
    assert np.mean(everything) == pytest.approx(expected, rel=0.05)


def test_unreadable_bases_give_no_row(tmp_path):
    genome = Genome(write_fasta(tmp_path / "g.fa", chr1=random_dna(150, 1) + "NNNRY" + random_dna(95, 2)))
    plan = plan_extraction(OneHotLM(48), genome, window=48, context=16, read_strands=("+", "-"))
    extract(plan, tmp_path / "act")
    data = StreamedActivations(plan, memory=4 * 2 * 6 * 48 * 2)
    stored = whole(open_shards(tmp_path / "act"))[0]
    assert data.rows == len(stored)
    assert sorted(map(tuple, data.read_rows(0, data.rows).tolist())) == sorted(map(tuple, stored.tolist()))


def test_a_buffer_that_holds_no_window_is_refused(plan):
    with pytest.raises(SaeTracksError, match="--memory: 0 MiB hold no window"):
        StreamedActivations(plan, memory=100)


@pytest.fixture
def one_hot(tmp_path):
    genome = Genome(write_fasta(tmp_path / "g.fa", chr1=random_dna(4000, 3)))
    return plan_extraction(OneHotLM(100), genome, window=100, context=20)


SETTINGS = TrainSettings(batch_size=128, expansion=2, k=2)


def test_a_training_that_goes_on_ends_with_the_same_weights(one_hot, tmp_path, monkeypatch):
    def train(out, on_step=lambda words, step: None):
        data = StreamedActivations(one_hot, memory=COPIES * 2 * 6 * 80 * 10)
        return train_sae(plan_training(data, SETTINGS, device="cpu", rows=2 * data.rows), out, on_step)

    def stop(words, step):
        if step == 30:
            raise KeyboardInterrupt

    whole_run = train(tmp_path / "whole")
    monkeypatch.setattr("sae_tracks.train.train.SAVE_EVERY", 0.0)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "stopped", stop)
    assert list((tmp_path / "stopped" / "checkpoints").iterdir())
    again = train(tmp_path / "stopped")
    assert torch.equal(again.W_enc, whole_run.W_enc) and torch.equal(again.b_dec, whole_run.b_dec)
    assert again.stats.equals(whole_run.stats)
    assert load_sae(tmp_path / "whole").metadata["lm"]["model"] == "one-hot"


def test_the_command_line_trains_from_a_model(tmp_path):
    fasta = write_fasta(tmp_path / "g.fa", chr1=random_dna(6000, 3))
    words = ("train", "demo", "--genome", str(fasta), "-n", "2", "-o", str(tmp_path / "sae"), "--batch-size", "256")
    out = run(*words, "--expansion", "1", "--tokens", "1024", "--device", "cpu", "-p", "1")
    assert out.returncode == 0, out.stderr
    assert load_sae(tmp_path / "sae").metadata["lm"]["model"] == "demo"
    reading = ("--window-size", "200", "--context", "40", "--min-context", "8", "--read-strand", "both", "-r", "chr1")
    out = run(*words[:-3], str(tmp_path / "both"), "--batch-size", "64", "--expansion", "1", "-p", "1", *reading)
    assert out.returncode == 0, out.stderr
    assert load_sae(tmp_path / "both").metadata["read_strands"] == ["+", "-"]
    out = run("train", str(tmp_path), "-n", "2", "-o", str(tmp_path / "other"))
    assert (
        out.returncode == 2
        and "only train MODEL --genome FASTA reads a genome: leave out" in out.stderr.splitlines()[-1]
    )
