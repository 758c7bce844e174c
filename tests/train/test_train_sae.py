"""Training a sparse autoencoder: what it learns, what it writes, what it refuses."""

import json
import sys
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from command_line import run
from stored_rows import store, whole

from sae_tracks.activations.shards import WINDOWS, open_shards, shard_name, write_manifest, write_shard
from sae_tracks.errors import SaeTracksError
from sae_tracks.sae import SAE, load_sae
from sae_tracks.train import train as training
from sae_tracks.train.measure import batch_threshold
from sae_tracks.train.parallel import Processes
from sae_tracks.train.plan import plan_training
from sae_tracks.train.settings import PAPER, RECIPES, TrainSettings
from sae_tracks.train.train import train_sae

D = 8
SETTINGS = TrainSettings(
    arch="standard", first_bias=-2.0, lr_decay=0.0, loss="l2sq", l1=0.5, lr=5e-3, batch_size=256, expansion=4
)


def store_rows(folder, rows, shuffled=True):
    """A complete folder of one shard that holds these rows."""
    folder.mkdir(parents=True)
    rows = np.asarray(rows, np.float16)
    loci = np.stack([np.zeros(len(rows), np.int32), np.arange(len(rows), dtype=np.int32)], 1)
    (folder / WINDOWS).write_text(f"chr1\t0\t{len(rows)}\t0\t0\t+\n")
    lm = {"model": "toy", "revision": None, "weights_sha256": "toy", "layer": 3, "hook_name": "x", "d_model": D}
    genome = {"chr1": {"length": len(rows), "M5": "0" * 32}}
    facts = {"format_version": 1, "shuffled": shuffled, "lm": lm, "read_strands": ["+"], "genome": genome}
    write_manifest(folder, facts, [write_shard(folder, shard_name(0), rows, loci)])
    return open_shards(folder)


def sparse_rows(n, seed=0, offset=5.0):
    """Two of 16 fixed directions at a time, in D channels, far off centre."""
    rng = np.random.default_rng(seed)
    directions = np.random.default_rng(99).normal(size=(16, D))
    codes = np.zeros((n, 16))
    for row in codes:
        row[rng.choice(16, 2, replace=False)] = rng.uniform(1, 2, 2)
    return codes @ directions + offset


@pytest.fixture
def data(tmp_path):
    return store_rows(tmp_path / "shuffled", sparse_rows(3000))


def trained(data, out, settings=SETTINGS, **options):
    return train_sae(plan_training(data, settings, device="cpu", **options), out)


def test_training_reconstructs_sparsely(data, tmp_path):
    sae = trained(data, tmp_path / "sae", replace(SETTINGS, l1=0.2), rows=200 * 256)
    x = torch.from_numpy(whole(data)[0].astype(np.float32))
    f = sae.encode(x)
    fvu = (sae.decode(f) - x).square().sum() / (x - x.mean(0)).square().sum()
    assert fvu < 0.15
    assert (f > 0).float().sum(1).mean() < D
    assert torch.allclose(sae.W_dec.norm(dim=1), torch.ones(4 * D), atol=1e-5)

    log = [json.loads(line) for line in (tmp_path / "sae" / "train_log.jsonl").read_text().splitlines()]
    keys = {"step", "rows", "loss", "reconstruction", "penalty", "l0", "fvu", "dead", "lr", "rows_per_second"}
    assert all(set(line) == keys for line in log)
    assert [log[0]["step"], log[-1]["step"], log[-1]["rows"]] == [1, 200, 200 * 256]
    assert log[-1]["loss"] < log[0]["loss"]
    assert all(line["loss"] == pytest.approx(line["reconstruction"] + line["penalty"]) for line in log)


def test_tf32_is_for_the_training_alone(data, tmp_path):
    """What the same process computes afterwards, such as activations of a language model, is in full fp32."""
    backend, seen = torch.backends.cuda.matmul, []
    plan = replace(plan_training(data, SETTINGS, device="cpu", rows=1024), dtype="tf32")
    train_sae(plan, tmp_path / "sae", on_step=lambda *_: seen.append(backend.allow_tf32))
    assert seen and all(seen) and not backend.allow_tf32


@pytest.mark.parametrize("loss", ["l2norm", "l2sq", "nmse"])
@pytest.mark.parametrize("scale_input", [True, False])
def test_every_loss_trains(data, tmp_path, loss, scale_input):
    l1 = {"l2norm": 0.1, "l2sq": 0.5, "nmse": 0.05}[loss]
    sae = trained(data, tmp_path / "sae", replace(SETTINGS, loss=loss, l1=l1, scale_input=scale_input), rows=60 * 256)
    assert sae.metadata["maxima"]["fvu"] < 0.5


def test_the_statistics_are_those_of_the_training_rows(data, tmp_path):
    sae = trained(data, tmp_path / "sae")
    rows = whole(data)[0][: 11 * 256].astype(np.float32)  # 3,000 rows are 11 whole batches
    f = np.stack([sae.encode(torch.from_numpy(row)).numpy() for row in rows])
    stats = sae.stats
    assert stats["feature"].tolist() == list(range(4 * D))
    assert np.allclose(stats["max"], f.max(0), rtol=1e-4, atol=1e-5)
    assert np.allclose(stats["mean"], f.mean(0), rtol=1e-4, atol=1e-5)
    assert np.allclose(stats["density"], (f > 0).mean(0), atol=2e-3)
    assert stats["dead"].tolist() == (stats["density"] == 0).tolist()
    assert sae.metadata["maxima"]["rows"] == 11 * 256
    assert sae.metadata["maxima"]["l0"] == pytest.approx(stats["density"].sum(), rel=1e-5)


def test_what_was_written_is_loaded_and_says_where_it_comes_from(data, tmp_path):
    sae = trained(data, tmp_path / "sae", seed=4)
    loaded = load_sae(tmp_path / "sae")
    for name in ("W_enc", "b_enc", "W_dec", "b_dec"):
        assert torch.equal(getattr(loaded, name), getattr(sae, name))
    assert loaded.checksum == sae.checksum != ""
    pd.testing.assert_frame_equal(loaded.stats, sae.stats)
    metadata = loaded.metadata
    assert metadata["lm"] == data.manifest["lm"] and metadata["genome"] == data.manifest["genome"]
    assert (metadata["model_name"], metadata["hook_name"]) == ("toy", "x")
    assert metadata["training"]["data_sha256"] == data.checksum
    assert metadata["training"]["seed"] == 4 and metadata["training"]["rows"] == 11 * 256
    assert (tmp_path / "sae" / "provenance.json").is_file()


def test_the_seed_decides_every_bit(data, tmp_path):
    weights = []
    for name, seed in [("a", 1), ("b", 1), ("c", 2)]:
        trained(data, tmp_path / name, seed=seed)
        weights.append((tmp_path / name / "sae_weights.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]


def test_the_start_is_the_mean_of_the_data(data, tmp_path):
    sae = trained(data, tmp_path / "sae", replace(SETTINGS, lr=0.0))
    assert np.allclose(sae.b_dec, whole(data)[0].astype(np.float64).mean(0), atol=1e-4)


def test_a_start_at_bias_0_is_about_the_identity_and_one_below_is_sparse(data, tmp_path):
    settings = replace(SETTINGS, lr=0.0, expansion=500)
    near = trained(data, tmp_path / "near", replace(settings, first_bias=0.0, first_encoder=0.0))
    sparse = trained(data, tmp_path / "sparse", replace(settings, first_bias=-2.0, first_encoder=0.5))
    assert near.metadata["maxima"]["fvu"] < 0.05
    assert near.metadata["maxima"]["l0"] == pytest.approx(250 * D, rel=0.05)
    assert sparse.metadata["maxima"]["l0"] < 50 * D
    assert torch.allclose(near.W_enc, 2 / 500 * near.W_dec.T) and torch.allclose(sparse.W_enc, 0.5 * sparse.W_dec.T)
    assert torch.allclose(near.W_dec.norm(dim=1), torch.ones(500 * D))


def test_gamma_is_reported_before_training(data, tmp_path, caplog):
    with caplog.at_level("INFO", "sae_tracks"):
        trained(data, tmp_path / "sae")
    x = whole(data)[0].astype(np.float64)
    gamma = np.linalg.norm(x.mean(0)) / np.sqrt(((x - x.mean(0)) ** 2).sum(1).mean())
    assert f"(gamma) {gamma:.3g}" in caplog.text


def refuses(message, data, **options):
    with pytest.raises(SaeTracksError, match=message) as error:
        plan_training(data, options.pop("settings", SETTINGS), device="cpu", **options)
    assert "\n" not in str(error.value)


def test_what_cannot_work_is_refused_before_it_starts(data, tmp_path):
    refuses("shuffle", store(tmp_path / "act", [500], d=D))
    refuses("a batch of 256 rows", store_rows(tmp_path / "short", sparse_rows(255)))
    refuses("a batch of 256 rows; there are 100", data, rows=100)
    refuses("lower --expansion", data, d_sae=10**12)
    refuses("no loss 'huber'", data, settings=replace(SETTINGS, loss="huber"))


def nan_row(rows):
    rows[123, 3] = np.nan


def infinite_row(rows):
    rows[-1, 0] = np.inf


def constant_rows(rows):
    rows[:] = rows[0]


@pytest.mark.parametrize(
    ("spoil", "message"), [(nan_row, "NaN or infinite"), (infinite_row, "NaN or infinite"), (constant_rows, "the same")]
)
def test_activations_that_teach_nothing_are_refused(tmp_path, spoil, message):
    rows = sparse_rows(600)
    spoil(rows)
    data = store_rows(tmp_path / "data", rows)
    with pytest.raises(SaeTracksError, match=message):
        trained(data, tmp_path / "sae")
    assert not (tmp_path / "sae").exists()


def test_a_loss_that_diverges_stops_and_writes_no_sae(data, tmp_path):
    with pytest.raises(SaeTracksError, match=r"diverged at step \d+: lower --lr"):
        trained(data, tmp_path / "sae", replace(SETTINGS, lr=1e30))
    assert not (tmp_path / "sae" / "cfg.json").exists()


def test_dead_features_are_those_that_have_not_fired_for_long(data, tmp_path):
    settings = replace(SETTINGS, l1=300.0, lr=0.01, dead_after=512)
    trained(data, tmp_path / "sae", settings, rows=100 * 256)
    log = [json.loads(line) for line in (tmp_path / "sae" / "train_log.jsonl").read_text().splitlines()]
    assert log[0]["dead"] == 0 and log[-1]["dead"] > 0.5


def test_the_paper_is_a_preset_and_each_architecture_has_a_recipe():
    assert RECIPES["topk"] == TrainSettings() and all(recipe.arch == name for name, recipe in RECIPES.items())
    assert (PAPER.lr, PAPER.l1, PAPER.lr_warmup, PAPER.batch_size, PAPER.expansion) == (1e-6, 0.1, 0.05, 2048, 32)


def test_the_command_line(data, tmp_path):
    words = (
        "train",
        str(data.folder),
        "-o",
        str(tmp_path / "sae"),
        "--batch-size",
        "256",
        "--device",
        "cpu",
        "-p",
        "1",
    )
    out = run(*words, "--d-sae", "20", "--dry-run")
    assert out.returncode == 0 and "20 features (topk), 11 steps of 256 rows" in out.stderr
    assert not (tmp_path / "sae").exists()
    out = run(*words, "--arch", "standard", "--d-sae", "20", "--loss", "nmse", "--l1", "0.05", "--tokens", "5200")
    assert out.returncode == 0, out.stderr
    training = load_sae(tmp_path / "sae").metadata["training"]
    assert (training["loss"], training["l1"], training["rows"]) == ("nmse", 0.05, 20 * 256)


def test_a_dry_run_refuses_what_the_run_would_refuse(data, tmp_path, monkeypatch):
    words = ("train", str(data.folder), "-o", str(tmp_path / "sae"), "--batch-size", "256", "-p", "1", "--dry-run")
    trained(data, tmp_path / "sae", SETTINGS)
    out = run(*words)
    assert out.returncode == 1 and "is of a run with other settings" in out.stderr.splitlines()[-1]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    out = run(*words, "--tensorboard")
    assert out.returncode == 1 and "pip install 'sae-tracks[tensorboard]'" in out.stderr.splitlines()[-1]
    with pytest.raises(SaeTracksError, match=r"first_threshold is -1; expected 0 or more"):
        plan_training(data, replace(RECIPES["jumprelu"], first_threshold=-1, batch_size=256))


@pytest.mark.parametrize("arch", ["topk", "batchtopk", "jumprelu", "standard"])
def test_every_architecture_through_the_command_line(data, tmp_path, arch):
    words = ("train", str(data.folder), "-o", str(tmp_path / "sae"), "--batch-size", "256", "-p", "1")
    own = {"standard": ("--l1", "0.5"), "jumprelu": ("--l0-coefficient", "0.5")}.get(arch, ("--k", "3"))
    out = run(*words, "--arch", arch, *own, "--expansion", "4", "--tokens", "25600", "--dtype", "float64")
    assert out.returncode == 0, out.stderr
    sae = load_sae(tmp_path / "sae")
    x = torch.from_numpy(whole(data)[0].astype(np.float32))
    f = sae.encode(x)
    active, error = (f > 0).sum(1).float(), (sae.decode(f) - x).square().sum() / (x - x.mean(0)).square().sum()
    assert sae.architecture == {"batchtopk": "jumprelu"}.get(arch, arch)
    assert error < 0.35 and sae.metadata["training"]["arch"] == arch
    if arch == "topk":
        assert active.max() <= 3 and sae.k == 3
    if arch == "batchtopk":
        assert active.mean() == pytest.approx(3, rel=0.02) and sae.threshold.unique().numel() == 1
    if arch == "jumprelu":
        assert sae.threshold.min() > 0 and sae.threshold.unique().numel() > 1


def test_the_threshold_of_a_batchtopk_leaves_k_features_a_row(data):
    draw = torch.Generator().manual_seed(0)
    parts = [torch.randn(shape, generator=draw) for shape in ((D, 64), (64,), (64, D), (D,))]
    sae, x = SAE(*parts), torch.from_numpy(whole(data)[0][:2500].astype(np.float32))
    h = ((x - sae.b_dec) @ sae.W_enc + sae.b_enc).flatten()
    for k in (1, 5, 20):
        threshold = batch_threshold(sae, data, 2500, k)[0].item()
        kth = h.kthvalue(len(h) - k * 2500 + 1).values.item()
        assert threshold <= kth and threshold == pytest.approx(kth, rel=1 / 256)
    assert batch_threshold(sae, data, 2500, 64)[0] == 0  # fewer are positive


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_every_row_of_a_batch_is_of_one_process(count):
    groups = [Processes(rank, count, torch.device("cpu")) for rank in range(count)]
    rows = [row for group in groups for row in range(100)[group.share(100)]]
    assert rows == [*range(100)]
    with pytest.raises(SaeTracksError, match=f"less than the {count}") if count > 1 else nullcontext():
        groups[0].share(count - 1 or 1)


def test_the_learning_rate_rises_stays_and_falls():
    settings = TrainSettings(lr=2.0, lr_warmup=0.05, lr_decay=0.2)
    rates = [training.learning_rate(step, 1000, settings) for step in range(1, 1001)]
    assert rates[:50] == pytest.approx([2 * (i + 1) / 50 for i in range(50)])
    assert set(rates[50:800]) == {2.0}
    assert rates[800:] == pytest.approx([2 * (200 - i) / 200 for i in range(200)])
    assert training.learning_rate(1, 1, TrainSettings(lr_warmup=0.0, lr_decay=0.0)) == TrainSettings().lr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--batch-size", "99999"), "a batch of 99,999 rows"),
        (("--batch-size", "64", "--k", "33", "--expansion", "4"), "--k 33: there are 32 features"),
        (("--batch-size", "64", "--dtype", "tf32"), "--dtype tf32 needs an NVIDIA GPU"),
        (("--batch-size", "64", "--l1", "3"), "--l1 is of --arch standard; the architecture is topk"),
        (("--batch-size", "64", "--preset", "paper", "--k", "3"), "--k is of --arch topk and batchtopk"),
        (("--batch-size", "64", "--d-sae", "99999999999"), "lower --expansion"),
        (("--batch-size", "64", "--d-sae", "8", "--expansion", "2"), "give one"),
        (("--batch-size", "64", "--lr", "1e30"), "diverged"),
    ],
)
def test_errors_of_the_command_line_are_one_line(data, tmp_path, words, message):
    out = run("train", str(data.folder), "-o", str(tmp_path / "sae"), "--device", "cpu", "-p", "1", *words)
    of_usage = "--arch" in message or message == "give one"  # options that exclude each other
    assert out.returncode == (2 if of_usage else 1)
    assert out.stderr.splitlines()[-1].startswith("error: ") and message in out.stderr.splitlines()[-1]
    assert not (tmp_path / "sae" / "cfg.json").exists()


def test_a_plan_is_short_in_print(data):
    plan = plan_training(data, SETTINGS, device="cpu")
    assert repr(plan) == f"TrainPlan({SETTINGS.arch}, {D} -> {4 * D}, 11 steps of 256 rows, float32 on cpu)"
