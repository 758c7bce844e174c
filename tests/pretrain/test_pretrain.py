"""Training a language model: which windows are drawn, the loss, and going on after an interruption."""

import json
import os
import subprocess
from contextlib import nullcontext
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from toy import random_dna, write_fasta

from sae_tracks.cli.train import Size
from sae_tracks.dna import reverse_complement
from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome
from sae_tracks.lm import HyenaDNAConfig, HyenaDNAForCausalLM, base_tokens, load_causal_lm, load_lm
from sae_tracks.pretrain import pretrain as module
from sae_tracks.pretrain.loss import NextBaseLM, cross_entropy, cross_entropy_per_base
from sae_tracks.pretrain.pretrain import PretrainSettings, labels_of, learning_rate, new_model, pretrain, save_model
from sae_tracks.pretrain.windows import WindowSampler, stretches_outside
from sae_tracks.regions import GenomicRegion
from sae_tracks.train.checkpoint import checkpoints, run_of, save_checkpoint, step_of
from sae_tracks.train.log import cut_log

SMALL = module.Size(16, 3, 64)


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
    sampler = WindowSampler(genome, stretches_outside(genome, held_out), 64)
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
        region, flipped = sampler._draw(rng)
        window = sampler._read(region, flipped)
        if window not in places:
            window, reverse = reverse_complement(window), reverse + 1
            assert flipped
        seen.add(places[window])
    assert {("a", 400), ("a", 436), ("a", 636), ("b", 50), ("b", 136)} <= seen, "the borders can be drawn"
    assert 1300 < reverse < 1700


def test_a_batch_is_a_function_of_seed_and_step(genome):
    sampler = WindowSampler(genome, stretches_outside(genome, []), 64)
    assert np.array_equal(sampler.batch(4, 1, 7), sampler.batch(4, 1, 7))
    assert not np.array_equal(sampler.batch(4, 1, 7), sampler.batch(4, 1, 8))
    assert not np.array_equal(sampler.batch(4, 1, 7), sampler.batch(4, 2, 7))


def test_shares_of_a_batch_are_its_windows(genome):
    sampler = WindowSampler(genome, stretches_outside(genome, []), 64)
    whole = sampler.batch(5, 1, 7)
    for rank in range(3):
        assert np.array_equal(sampler.batch(5, 1, 7, slice(rank, None, 3)), whole[rank::3])


def test_a_genome_without_room_for_a_window_is_refused(genome):
    with pytest.raises(SaeTracksError, match="no stretch of 1,000 bases"):
        WindowSampler(genome, stretches_outside(genome, []), 1000)


class Killed(BaseException):
    """Not an error that anything catches."""


def kill_at(step):
    def killer(now, loss):
        if now == step:
            raise Killed

    return killer


def interrupted(genome, folder, settings, step, **where):
    with pytest.raises(Killed):
        pretrain(genome, folder, settings, on_step=kill_at(step), **where)
    return folder


def payload(folder):
    return (folder / "model.safetensors").read_bytes()


def steps_logged(folder):
    return [json.loads(line)["step"] for line in (folder / "train_log.jsonl").read_text().splitlines()]


def test_an_interrupted_run_goes_on_to_the_same_weights_and_log(genome, small, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LOG_EVERY", 2)
    pretrain(genome, tmp_path / "whole", small)
    parts = interrupted(genome, tmp_path / "parts", small, 8)
    assert not (parts / "model.safetensors").exists()
    assert steps_logged(parts) == [2, 4, 6, 8]
    with (parts / "train_log.jsonl").open("a") as journal:
        journal.write('{"step": 1')  # the kill came in the middle of a line
    steps = []
    pretrain(genome, parts, small, on_step=lambda step, loss: steps.append(step))

    assert steps == list(range(6, 13))
    assert payload(tmp_path / "whole") == payload(parts)
    assert steps_logged(parts) == steps_logged(tmp_path / "whole") == [2, 4, 6, 8, 10, 12]
    assert not (parts / "checkpoints").exists()


def test_a_run_goes_on_with_checkpoints_at_another_interval(genome, small, tmp_path):
    pretrain(genome, tmp_path / "whole", small)
    folder, steps = interrupted(genome, tmp_path / "lm", small, 8), []
    pretrain(genome, folder, replace(small, save_every=7), on_step=lambda step, loss: steps.append(step))
    assert steps == list(range(6, 13)) and payload(folder) == payload(tmp_path / "whole")
    pretrain(genome, folder, small, on_step=kill_at(1))  # complete, and the same run


@pytest.mark.parametrize("where", ["save_model", "score_held_out", "write_provenance"])
def test_a_run_killed_after_its_last_step_goes_on_to_the_same_weights(genome, small, tmp_path, monkeypatch, where):
    held_out = [GenomicRegion("b", 0, 100)]
    pretrain(genome, tmp_path / "whole", small, held_out=held_out)

    def killer(*args, **named):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(module, where, killer)
        with pytest.raises(Killed):
            pretrain(genome, tmp_path / "parts", small, held_out=held_out)
    pretrain(genome, tmp_path / "parts", small, held_out=held_out, on_step=kill_at(12))
    assert payload(tmp_path / "whole") == payload(tmp_path / "parts")


def test_a_checkpoint_of_another_run_is_refused_with_what_differs(genome, small, tmp_path):
    held_out = [GenomicRegion("b", 0, 100)]
    folder = interrupted(genome, tmp_path / "lm", small, 8, held_out=held_out)
    (path,) = checkpoints(folder)
    before = path.read_bytes()
    other = Genome(write_fasta(tmp_path / "o.fa", a="ACGGT" * 60, b=random_dna(200, 1)))
    with pytest.raises(SaeTracksError, match=r"other settings \(lr 0.003, now 0.0001\): name another folder"):
        pretrain(genome, folder, replace(small, lr=1e-4), held_out=held_out)
    turned = Genome(
        write_fasta(
            tmp_path / "t.fa",
            **{c: genome.sequence(GenomicRegion(c, 0, n)).decode() for c, n in reversed(genome.lengths.items())},
        )
    )
    with pytest.raises(SaeTracksError, match="a run with other order of contigs"):
        pretrain(turned, folder, small, held_out=held_out)
    with pytest.raises(SaeTracksError, match="a run with other genome"):
        pretrain(other, folder, small, held_out=held_out)
    with pytest.raises(SaeTracksError, match="a run with other held-out regions"):
        pretrain(genome, folder, small, held_out=[GenomicRegion("b", 0, 101)])
    assert checkpoints(folder) == [path] and path.read_bytes() == before


@pytest.mark.parametrize("damage", ["empty", "half", "no safetensors"])
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(genome, small, tmp_path, damage, caplog):
    pretrain(genome, tmp_path / "whole", small)
    torn, good = checkpoints(interrupted(genome, tmp_path / "lm", small, 11))
    assert [step_of(torn), step_of(good)] == [10, 5]
    whole, steps = torn.read_bytes(), []
    torn.write_bytes({"empty": b"", "half": whole[: len(whole) // 2], "no safetensors": b"hello\n" * 100}[damage])
    with caplog.at_level("INFO", "sae_tracks"):
        pretrain(genome, tmp_path / "lm", small, on_step=lambda step, loss: steps.append(step))
    assert f"{torn} is torn" in caplog.text and "going on from step 5" in caplog.text
    assert steps == list(range(6, 13)) and payload(tmp_path / "lm") == payload(tmp_path / "whole")


def test_a_checkpoint_of_another_version_is_refused(genome, small, tmp_path):
    (path,) = checkpoints(interrupted(genome, tmp_path / "lm", small, 8))
    run = run_of(path)
    path.unlink()
    save_checkpoint(tmp_path / "lm", 5, {"weights": torch.zeros(2)}, run)
    with pytest.raises(SaeTracksError, match="is not a checkpoint of this version: delete it"):
        pretrain(genome, tmp_path / "lm", small)


def test_a_finished_run_is_left_as_it_is_and_another_is_refused(genome, small, tmp_path):
    held_out = [GenomicRegion("b", 0, 100)]
    scores = pretrain(genome, tmp_path / "lm", small, held_out=held_out)
    files = {path: path.read_bytes() for path in (tmp_path / "lm").iterdir()}
    assert pretrain(genome, tmp_path / "lm", small, held_out=held_out, on_step=kill_at(1)) == scores
    with pytest.raises(SaeTracksError, match=r"provenance.json is of a run with other settings"):
        pretrain(genome, tmp_path / "lm", replace(small, seed=1), held_out=held_out)
    with pytest.raises(SaeTracksError, match="other held-out regions"):
        pretrain(genome, tmp_path / "lm", small)
    assert {path: path.read_bytes() for path in (tmp_path / "lm").iterdir()} == files


def test_a_model_from_elsewhere_is_not_overwritten(genome, small, tmp_path):
    save_model(new_model("small", 3), tmp_path)
    before = payload(tmp_path)
    with pytest.raises(SaeTracksError, match="was not made by this run"):
        pretrain(genome, tmp_path, small)
    assert payload(tmp_path) == before


@pytest.mark.parametrize(
    "record", [[], {"genome": None}, {"genome": "g.fa", "seed": 0}, {"data": "act"}, "text"], ids=json.dumps
)
def test_a_folder_of_another_command_is_refused_in_one_line(genome, small, tmp_path, record):
    (tmp_path / "provenance.json").write_text(json.dumps(record))
    with pytest.raises(
        SaeTracksError, match=r"provenance.json.*not of a pretraining run of this version: name another"
    ):
        pretrain(genome, tmp_path, small, on_step=kill_at(1))
    assert [path.name for path in tmp_path.iterdir()] == ["provenance.json"]


@pytest.mark.parametrize("region", [("a", 300, 400), ("a", 250, 390), ("b", 0, 1)], ids=["N", "edge", "one base"])
def test_held_out_regions_that_cannot_be_scored_are_refused_before_training(small, tmp_path, region):
    sequence = random_dna(249) + "RN" + "N" * 149 + random_dna(300)  # 250: R after the last base
    genome = Genome(write_fasta(tmp_path / "g.fa", a=sequence, b=random_dna(200, 1)))
    with pytest.raises(SaeTracksError, match="the held-out regions hold no base to score"):
        pretrain(genome, tmp_path / "lm", small, held_out=[GenomicRegion(*region)], on_step=kill_at(1))
    assert not (tmp_path / "lm").exists()


def test_processes_that_found_different_checkpoints_are_refused(genome, small, tmp_path, monkeypatch):
    folder = interrupted(genome, tmp_path / "lm", small, 8)

    def add_up(self, values):
        return values + 0  # the other process has no checkpoint: it is at step 0

    monkeypatch.setattr(module.Processes, "add_up", add_up)
    monkeypatch.setattr(module, "processes", lambda device: nullcontext(module.Processes(0, 2, torch.device("cpu"))))
    with pytest.raises(SaeTracksError, match=r"the processes found different checkpoints in .*: it must be one that"):
        pretrain(genome, folder, small, on_step=kill_at(6))


FULL_DISK = """
import sys
from pathlib import Path
from typing import get_args
import torch
from sae_tracks.errors import SaeTracksError
from sae_tracks.pretrain import pretrain as lm
lm.SIZES["small"] = lm.Size(64, 2, 64)
model, folder = lm.new_model("small", 0), Path(sys.argv[1])
state = lm.LMState(model, torch.optim.AdamW(model.parameters()))
for save in (lambda: state.save(folder, {}), lambda: lm.save_model(model, folder)):
    try:
        save()
    except SaeTracksError as error:
        print(error)
"""


def test_a_full_disk_is_one_line_and_leaves_no_partial_file(warm_python, tmp_path):
    command = ["bash", "-c", f"ulimit -f 40; exec {warm_python} - {tmp_path}"]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    out = subprocess.run(command, input=FULL_DISK, capture_output=True, text=True, check=False, env=environment)
    assert out.returncode == 0, out.stderr
    checkpoint_said, model_said = out.stdout.splitlines()
    assert checkpoint_said.startswith(f"cannot write {tmp_path / 'checkpoints'} (is the disk full?): ")
    assert model_said.startswith(f"cannot write {tmp_path}")
    assert not list(tmp_path.iterdir())


def test_every_file_of_a_model_has_the_mode_that_the_umask_gives(small, tmp_path):
    umask = os.umask(0o027)
    try:
        save_model(new_model("small", 3), tmp_path)
    finally:
        os.umask(umask)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer_config.json"} <= set(modes)
    assert set(modes.values()) == {0o640}


def test_a_model_half_saved_never_stands_under_its_name(small, tmp_path, monkeypatch):
    def killer(self, folder):
        assert not (tmp_path / "model.safetensors").exists()
        raise Killed

    monkeypatch.setattr(module.HyenaDNATokenizer, "save_pretrained", killer)
    with pytest.raises(Killed):
        save_model(new_model("small", 3), tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_is_saved_is_the_weights_in_half_precision(small, tmp_path):
    model = new_model("small", 3)
    save_model(model, tmp_path)
    loaded = load_causal_lm(str(tmp_path))
    for (name, ours), theirs in zip(model.named_parameters(), loaded.parameters()):
        assert ours.dtype == torch.float32
        assert torch.equal(ours.half().float(), theirs), name


def test_the_log_is_cut_at_a_step(tmp_path):
    cut_log(tmp_path, 5)
    assert (tmp_path / "train_log.jsonl").read_text() == ""
    lines = [f'{{"step": {step}}}\n' for step in (2, 4, 5, 6)]
    (tmp_path / "train_log.jsonl").write_text("".join(lines))
    cut_log(tmp_path, 5)
    assert (tmp_path / "train_log.jsonl").read_text() == "".join(lines[:3])


@pytest.mark.parametrize("broken", [b"killed", b"\0\0\0", b"7", b'{"loss": 1}', b'"\xe9"', b'{"step": null}'])
def test_a_line_of_the_log_that_is_broken_is_dropped(tmp_path, broken):
    (tmp_path / "train_log.jsonl").write_bytes(b'{"step": 2}\n' + broken + b'\n{"step": 4}\n')
    cut_log(tmp_path, 5)
    assert (tmp_path / "train_log.jsonl").read_bytes() == b'{"step": 2}\n{"step": 4}\n'


def test_training_learns_a_repeat_and_the_loss_is_that_of_the_saved_model(genome, small, tmp_path):
    held_out = [GenomicRegion("a", 0, 300)]
    whole = Genome(write_fasta(tmp_path / "r.fa", a="ACGGT" * 60, b="ACGGT" * 200))
    before = pretrain(whole, tmp_path / "none", replace(small, steps=0), held_out=held_out)
    after = pretrain(whole, tmp_path / "lm", replace(small, steps=60, lr=1e-2), held_out=held_out)
    assert before.nats_per_base > 1.2
    assert after.nats_per_base < 0.3
    record = json.loads((tmp_path / "lm" / "provenance.json").read_text())
    assert record["held_out_scores"]["nats_per_base"] == after.nats_per_base
    assert len(after.markov_nats_per_base) == 13
    assert after.best_order > 2, "the repeat is five bases long"
    assert (after.overlap.fraction, after.overlap.longest) == (1, 300)
    saved = load_causal_lm(str(tmp_path / "lm"))
    assert after.nats_per_base == cross_entropy(NextBaseLM(saved), whole, held_out)[0]
    assert record["bases_read"] == 60 * 4 * 64
    assert record["seconds"] > 0
    assert record["held_out"] == ["a:1-300"]
    assert load_lm(tmp_path / "lm", layer=3).d_model == 16


def test_cross_entropy_scores_every_base_once_against_a_loop_over_bases(tmp_path):
    genome = Genome(write_fasta(tmp_path / "g.fa", a=random_dna(50) + "R" + random_dna(40, 1) + "N" * 100 + "ACGT"))
    torch.manual_seed(0)
    model = HyenaDNAForCausalLM(HyenaDNAConfig(d_model=16, n_layer=2, max_seq_len=34)).eval()
    mean, bases = cross_entropy(NextBaseLM(model), genome, genome.whole)
    (per_base,) = cross_entropy_per_base(NextBaseLM(model), genome, genome.whole)

    expected = np.full(genome.lengths["a"], np.nan)
    for stretch in genome.stretches("a"):
        sequence = genome.sequence(stretch)
        for i in range(1, len(sequence)):
            if sequence[i : i + 1] not in (b"A", b"C", b"G", b"T"):
                continue
            start = 0 if i < 32 else 16 * ((i - 16) // 16)  # windows of 32, of which the second half is scored
            ids = torch.from_numpy(base_tokens(sequence[start:i]))[None]
            with torch.inference_mode():
                logits = model(ids).logits[0, -1, 7:11].double()
            expected[stretch.start + i] = -logits.log_softmax(0)["ACGT".index(chr(sequence[i]))].item()
    np.testing.assert_allclose(per_base, expected, atol=1e-4)
    assert bases == np.isfinite(expected).sum() == 49 + 40 + 3
    assert mean == pytest.approx(np.nanmean(expected), abs=1e-5)


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
    assert module.SIZES["small-32k"] == (256, 4, 32768, 5)


def test_the_verb_lists_every_size():
    assert set(get_args(Size)) == set(module.SIZES)
