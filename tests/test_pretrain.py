"""Training a language model: which windows are drawn, the loss, and going on after an interruption."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from toy import random_dna, write_fasta

from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome, reverse_complement
from sae_tracks.lm import HyenaDNAConfig, HyenaDNAForCausalLM, base_tokens, load_lm
from sae_tracks.regions import GenomicRegion
from sae_tracks.training import lm as module
from sae_tracks.training.lm import (
    PretrainSettings,
    WindowSampler,
    cross_entropy,
    labels_of,
    learning_rate,
    new_model,
    pretrain,
)

SMALL = (16, 3, 64)  # d_model, blocks, bases


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setitem(module.SIZES, "small", SMALL)
    return PretrainSettings(size="small", steps=12, batch_size=4, save_every=5)


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    sequence = "ACGGT" * 60 + "N" * 100 + random_dna(300)
    return Genome(write_fasta(tmp_path_factory.mktemp("g") / "g.fa", a=sequence, b=random_dna(200, 1)))


def test_windows_come_from_either_strand_and_never_touch_what_is_held_out(genome):
    held_out = [GenomicRegion("a", 500, 600), GenomicRegion("b", 0, 50)]
    sampler = WindowSampler(genome, 64, held_out)
    allowed = {"a": [(0, 300), (400, 500), (600, 700)], "b": [(50, 200)]}
    text = {name: genome.sequence(GenomicRegion(name, 0, n)) for name, n in genome.lengths.items()}
    places = {
        text[name][i : i + 64]: (name, i)
        for name, spans in allowed.items()
        for start, end in spans
        for i in range(start, end - 63)
    }
    rng, seen, reverse = np.random.default_rng(0), set(), 0
    for _ in range(3000):
        window = sampler._draw(rng)
        if window not in places:
            window, reverse = reverse_complement(window), reverse + 1
        seen.add(places[window])
    assert {("a", 400), ("a", 436), ("a", 636), ("b", 50), ("b", 136)} <= seen, "the borders can be drawn"
    assert 1300 < reverse < 1700


def test_a_batch_is_a_function_of_seed_and_step(genome):
    sampler = WindowSampler(genome, 64, [])
    assert np.array_equal(sampler.batch(4, 1, 7), sampler.batch(4, 1, 7))
    assert not np.array_equal(sampler.batch(4, 1, 7), sampler.batch(4, 1, 8))
    assert not np.array_equal(sampler.batch(4, 1, 7), sampler.batch(4, 2, 7))


def test_a_genome_without_room_for_a_window_is_refused(genome):
    with pytest.raises(SaeTracksError, match="no stretch of 1,000 bases"):
        WindowSampler(genome, 1000, [])


def test_an_interrupted_run_goes_on_to_the_same_weights(genome, small, tmp_path):
    pretrain(genome, tmp_path / "whole", small)

    class Killed(Exception):
        pass

    def killer(step, loss):
        if step == 8:
            raise Killed

    with pytest.raises(Killed):
        pretrain(genome, tmp_path / "parts", small, on_step=killer)
    assert not (tmp_path / "parts" / "model.safetensors").exists()
    with pytest.raises(SaeTracksError, match="other settings"):
        pretrain(genome, tmp_path / "parts", replace(small, lr=1e-4))
    steps = []
    pretrain(genome, tmp_path / "parts", small, on_step=lambda step, loss: steps.append(step))

    assert steps == list(range(6, 13))
    whole, parts = (tmp_path / name / "model.safetensors" for name in ("whole", "parts"))
    assert whole.read_bytes() == parts.read_bytes()
    assert not (tmp_path / "parts" / "checkpoint.pt").exists()


def test_training_learns_a_repeat_and_the_loss_is_that_of_the_saved_model(genome, small, tmp_path):
    held_out = [GenomicRegion("a", 0, 300)]
    whole = Genome(write_fasta(tmp_path / "r.fa", a="ACGGT" * 60, b="ACGGT" * 200))
    before = pretrain(whole, tmp_path / "none", replace(small, steps=0), held_out=held_out)
    after = pretrain(whole, tmp_path / "lm", replace(small, steps=60, lr=1e-2), held_out=held_out)
    assert before > 1.2
    assert after < 0.3
    record = json.loads((tmp_path / "lm" / "provenance.json").read_text())
    assert record["held_out_nats_per_base"] == after
    assert record["held_out"] == ["a:1-300"]
    assert load_lm(tmp_path / "lm", layer=3).d_model == 16


def test_cross_entropy_scores_every_base_once_against_a_loop_over_bases(tmp_path):
    genome = Genome(write_fasta(tmp_path / "g.fa", a=random_dna(50) + "R" + random_dna(40, 1) + "N" * 100 + "ACGT"))
    torch.manual_seed(0)
    model = HyenaDNAForCausalLM(HyenaDNAConfig(d_model=16, n_layer=2, max_seq_len=34)).eval()
    mean, per_base = cross_entropy(model, genome, genome.whole)

    expected = []
    for stretch in genome.stretches("a"):
        sequence = genome.sequence(stretch)
        for i in range(1, len(sequence)):
            if sequence[i : i + 1] not in (b"A", b"C", b"G", b"T"):
                continue
            start = 0 if i < 32 else 16 * ((i - 16) // 16)  # windows of 32, of which the second half is scored
            ids = torch.from_numpy(base_tokens(sequence[start:i]))[None]
            with torch.inference_mode():
                logits = model(ids).logits[0, -1, 7:11].double()
            expected.append(-logits.log_softmax(0)["ACGT".index(chr(sequence[i]))].item())
    np.testing.assert_allclose(per_base, expected, atol=1e-4)
    assert mean == pytest.approx(np.mean(expected), abs=1e-5)


def test_only_bases_count_in_the_loss():
    ids = torch.arange(12)
    assert labels_of(ids).tolist() == [-100] * 7 + [7, 8, 9, 10, -100]


def test_the_schedule_rises_and_falls():
    settings = PretrainSettings(steps=1000, lr=1.0)
    rates = [learning_rate(step, settings) for step in range(1000)]
    assert rates[0] == 0.02 and rates[49] == 1.0
    assert rates[49:] == sorted(rates[49:], reverse=True)
    assert rates[-1] == pytest.approx(0.01, abs=1e-3)


def test_the_sizes_that_have_a_name():
    assert sum(p.numel() for p in new_model("nano", 0).parameters()) == 871_936
    assert module.SIZES["small-32k"] == (256, 4, 32768)
