"""What info says of an SAE, the rule by which it is ready, and what is measured of features."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from command_line import run
from safetensors.torch import save_file
from stored_rows import store, whole
from toy import unit_stats

from sae_tracks.errors import SaeTracksError
from sae_tracks.evaluate.info import density_histogram, reasons_against, report_lines, sae_record
from sae_tracks.files import sha256
from sae_tracks.sae import SAE, save_sae
from sae_tracks.train import measure
from sae_tracks.train.checkpoint import checkpoint_name

D, F = 4, 20
READY = {
    "complete": True,
    "d_in": 128,
    "d_sae": 1000,
    "rows": 100_000,
    "dead": 0.0999,
    "fvu": 0.4999,
    "l0": 64.0,
    "evaluation": {"recovered_mean": 0.8, "trained_bases": 0},
}


BEYOND = "language model better than Markov models:"
UNMEASURED = "not measured (`evaluate` does, if the FASTA has more than the regions)"


def against(**changes):
    return reasons_against(READY | changes)


def evaluated(**changes):
    return against(evaluation=READY["evaluation"] | changes)


def test_every_bound_from_its_good_side_is_ready():
    assert against() == []


@pytest.mark.parametrize(
    ("reasons", "expected"),
    [
        (against(dead=0.1), "dead 10.0%, wanted less than 10%"),
        (against(dead=None), "statistics not measured"),
        (against(fvu=0.5), "FVU 0.5, wanted less than 0.5"),
        (against(fvu=float("nan")), "FVU nan, wanted less than 0.5"),
        (against(fvu=None), "FVU and L0 not measured"),
        (against(l0=64.1), "L0 64.1, wanted at most 64 (half of the 128 inputs)"),
        (against(l0=None), "FVU and L0 not measured"),
        (against(rows=99_999), "trained on 99,999 rows, wanted at least 100,000 (100 per feature)"),
        (against(rows=None), "rows trained on not known"),
        (against(evaluation=None), "cross entropy recovered not measured"),
        (evaluated(recovered_mean=0.7999), "cross entropy recovered 0.7999 against the mean, wanted at least 0.8"),
        (evaluated(recovered_mean=None), "the language model predicts no better than without its activations"),
        (evaluated(trained_bases=1), "1 of the bases evaluated lie where it was trained, wanted none"),
        (evaluated(trained_bases=None), "not known whether the regions evaluated were trained on"),
        (reasons_against({"complete": False}), "training is not complete"),
    ],
)
def test_a_bound_that_is_not_kept_is_one_reason_with_both_numbers(reasons, expected):
    assert reasons == [expected]


def test_all_reasons_are_named_in_one_order():
    assert against(dead=0.5, fvu=0.9, l0=100.0, rows=1, evaluation=None) == [
        "dead 50.0%, wanted less than 10%",
        "FVU 0.9, wanted less than 0.5",
        "L0 100, wanted at most 64 (half of the 128 inputs)",
        "trained on 1 row, wanted at least 100,000 (100 per feature)",
        "cross entropy recovered not measured",
    ]


def test_densities_are_counted_in_half_decades_and_dead_ones_apart():
    density = np.float32([0, 0, 0.0011, 0.0031, 0.0032, 0.09, 0.11, 0.5, 1])  # 10 ** -2.5 is 0.00316
    found = density_histogram(pd.DataFrame({"density": density}))
    assert found == {"log10": [-3.0, -2.5, -2.0, -1.5, -1.0, -0.5, 0.0], "features": [2, 1, 0, 1, 1, 2], "dead": 2}


@pytest.mark.parametrize("density", [[0, 0], [1, 1], [0, 1]])
def test_densities_at_the_ends_have_a_bin(density):
    found = density_histogram(pd.DataFrame({"density": np.float32(density)}))
    assert found == {"log10": [-0.5, 0.0], "features": [sum(density)], "dead": density.count(0)}


@pytest.fixture
def folder(tmp_path):
    """A directory as training and evaluating leave it."""
    torch.manual_seed(0)
    lm = {"model": "owner/lm", "revision": "abc", "layer": 3, "hook_name": "hyena.backbone.layers.2"}
    metadata = {
        "lm": lm,
        "read_strands": ["+", "-"],
        "genome": {"chr1": {"length": 9, "M5": "0"}},
        "training": {
            "loss": "l2sq",
            "l1": 3.0,
            "batch_size": 256,
            "d_sae": 20,
            "seed": 7,
            "rows": 5000,
            "data_rows": 2500,
        },
        "maxima": {"rows": 2500, "l0": 1.5, "fvu": 0.25, "dead": 0.05, "l0_at_threshold": 0.5, "threshold": 0.15},
    }
    stats = unit_stats(F)
    stats["density"] = np.float32([0] + [0.02] * 10 + [0.2] * 9)
    stats["dead"] = stats["density"] == 0
    sae = SAE(torch.randn(D, F), torch.randn(F), torch.randn(F, D), torch.randn(D), metadata, stats)
    save_sae(sae, tmp_path / "sae")
    write(tmp_path / "sae" / "provenance.json", {"sae_tracks": "1.2.3", "command": "sae-tracks train sh -o sae"})
    write(tmp_path / "sae" / "evaluation.json", evaluation_of(sae))
    lines = [{"step": 1, "loss": 9.0}, {"step": 20, "loss": 4.25}]
    (tmp_path / "sae" / "train_log.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines) + '{"step": 4')
    return tmp_path / "sae"


def evaluation_of(sae):
    numbers = {"l0": 1.25, "l0_at_threshold": 0.75, "threshold": 0.15, "fvu": 0.125, "trained_bases": 0}
    shares = {"recovered_mean": 0.9, "recovered_zero": 0.95}
    nats = {"nats_lm": 1.0, "nats_sae": 1.04, "nats_mean": 1.4, "nats_zero": 1.8}
    facts = {"format_version": 1, "sae_sha256": sae.checksum, "bases": 1234, "regions": ["chr2:1-1234"]}
    return facts | numbers | shares | nats


def write(path, record):
    path.write_text(json.dumps(record))


def change(path, **changes):
    write(path, json.loads(path.read_text()) | changes)


def test_a_finished_sae_in_words(folder):
    lines = list(report_lines(sae_record(folder)))
    assert lines[0] == f"{folder}: standard SAE, 4 dimensions to 20 features"
    words = {line[:16].strip(): line[16:] for line in lines[1:]}
    assert words["language model"] == "owner/lm@abc"
    assert words["read at"] == "layer 3: hidden_states[3], the output of hyena.backbone.layers.2"
    assert words["trained on"] == "5,000 rows, 250 per feature (2,500 rows 2.0 times)"
    assert words["genome"] == "chr1; read strand + -"
    assert words["settings"] == "loss l2sq, l1 3, batch_size 256, seed 7"
    assert words["training rows"] == "L0 1.5, 0.5 above 0.15 of their maxima; FVU 0.2500 (on 2,500)"
    assert words["evaluated"] == ("L0 1.2, 0.8 above 0.15 of their maxima; FVU 0.1250 (on 1,234 bases of chr2:1-1234)")
    assert words["recovered"] == (
        "0.900 against the mean (1.4000), 0.950 against zero (1.8000); 1.0000 nats per base, 1.0400 through the SAE"
    )
    assert words["-2.0 to -1.5"].split() == ["10", "#" * 40]
    assert words["-1.5 to -1.0"].split() == ["0"]
    assert words["-1.0 to -0.5"].split() == ["9", "#" * 36]
    assert words["dead"].split() == ["1", "of", "20"]
    assert words["last step"] == "step 20, loss 4.25"
    assert words["made by"] == "sae-tracks 1.2.3: sae-tracks train sh -o sae"
    assert len(words["SHA-256"]) == 64
    assert lines[-2:] == ["SAE faithful to its language model: yes", f"{BEYOND} {UNMEASURED}"]


def test_a_finished_sae_as_a_record(folder):
    record = sae_record(folder)
    assert (record["l0"], record["fvu"], record["dead"]) == (1.25, 0.125, pytest.approx(0.05))  # evaluated, not trained
    assert (record["faithful"], record["reasons"]) == (True, [])
    assert (record["settings"]["seed"], record["log"], record["architecture"]) == (
        7,
        {"step": 20, "loss": 4.25},
        "standard",
    )
    assert json.loads(json.dumps(record)) == record


def scored(folder, sae, rows, **facts):
    """A folder of scores, as far as `info` reads it."""
    folder.mkdir()
    names = ("concept", "tf", "site_strand", "verdict")
    pd.DataFrame(rows, columns=list(names)).to_csv(folder / "metrics.tsv", sep="\t", index=False)
    write(folder / "provenance.json", {"sae_sha256": sae_record(sae)["checksum"]} | facts)
    return folder


ROWS = [
    ("A", "", "+", "supported"),  # a letter is no concept
    ("MA1.1", "X", "+", "chance"),
    ("MA1.1", "X", "-", "supported"),  # the stronger strand counts
    ("MA2.1", "Y", "+", "repeat"),
    ("A", "Z", "+", "repeat"),  # a factor of that name
]


def test_the_yield_is_concepts_by_verdict_per_thousand_features(folder, tmp_path):
    scores = scored(tmp_path / "scores", folder, ROWS)
    record = sae_record(folder, scores)
    found = record["yield"]
    assert (found["concepts"], found["features"]) == (3, F)
    assert {name: n for name, n in found["verdicts"].items() if n} == {"supported": 1, "repeat": 2}
    assert found["per_thousand"]["repeat"] == 2 * 1000 / F
    said = "yield           supported 50 (1), repeat 100 (2) (of 3 concepts, per 1,000 of 20 features)"
    assert said in report_lines(record)
    np.savez(scores / "counts.npz", feature=np.arange(4))  # a run of some features
    assert sae_record(folder, scores)["yield"]["features"] == 4
    assert json.loads(json.dumps(record)) == record


def test_without_scores_the_yield_line_says_how_to_give_them(folder):
    said = f"yield           not known here: sae-tracks info {folder} --scores FOLDER, which metrics wrote"
    assert said in report_lines(sae_record(folder))


def test_scores_of_another_sae_or_none_are_refused(folder, tmp_path):
    with pytest.raises(SaeTracksError, match="scores of another SAE"):
        sae_record(folder, scored(tmp_path / "other", folder, ROWS, sae_sha256="0"))
    with pytest.raises(SaeTracksError, match="'certain' is no verdict"):
        sae_record(folder, scored(tmp_path / "odd", folder, [("x", "", "+", "certain")]))
    with pytest.raises(SaeTracksError, match="no table"):
        sae_record(folder, tmp_path)
    (folder / "cfg.json").unlink()
    (folder / "checkpoints").mkdir()
    with pytest.raises(SaeTracksError, match="not complete"):
        sae_record(folder, tmp_path)


def test_without_an_evaluation_the_training_rows_count_and_the_command_is_named(folder):
    (folder / "evaluation.json").unlink()
    record = sae_record(folder)
    assert (record["l0"], record["fvu"], record["evaluation"]) == (1.5, 0.25, None)
    assert record["reasons"] == ["cross entropy recovered not measured"]
    assert f"recovered       not measured: sae-tracks evaluate {folder} GENOME -r REGION" in report_lines(record)


def test_an_evaluation_of_other_weights_is_none_and_one_of_another_version_is_refused(folder):
    change(folder / "evaluation.json", sae_sha256="another")
    assert sae_record(folder)["evaluation"] is None
    change(folder / "evaluation.json", sae_sha256=sae_record(folder)["checksum"], format_version=2)
    with pytest.raises(SaeTracksError, match="field format_version must be 1; it is 2; run sae-tracks evaluate again"):
        sae_record(folder)


@pytest.mark.parametrize(
    ("nats", "answer"),
    [(1.0, "yes (1.0000 nats per base against 1.2787 of the best, order 6)"), (1.2787, "no"), (1.2865, "no")],
)
def test_a_faithful_sae_of_a_model_no_better_than_markov_is_told_apart(folder, nats, answer):
    change(folder / "evaluation.json", nats_lm=nats, markov={"order": 6, "nats": 1.2787, "trained_bases": 9})
    faithful, beyond = list(report_lines(sae_record(folder)))[-2:]
    assert faithful == "SAE faithful to its language model: yes"
    assert beyond.startswith(f"{BEYOND} {answer}")


def test_a_model_with_outputs_of_its_own_is_not_asked(folder):
    change(folder / "evaluation.json", kl_sae=0.1, kl_mean=1.0, kl_zero=2.0)
    assert list(report_lines(sae_record(folder)))[-1] == f"{BEYOND} not asked (it has outputs of its own)"


def test_a_share_that_is_not_there_is_left_out(folder):
    change(folder / "evaluation.json", recovered_mean=None, recovered_zero=None)
    lines = list(report_lines(sae_record(folder)))
    assert "recovered       nothing to recover; 1.0000 nats per base, 1.0400 through the SAE" in lines


def test_training_that_was_interrupted_says_how_far_it_came(folder):
    for name in ("feature_stats.parquet", "cfg.json", "evaluation.json", "provenance.json"):
        (folder / name).unlink()
    checkpoints = folder / "checkpoints"
    checkpoints.mkdir()
    for step in (8, 16):
        run = json.dumps({"settings": {"l1": 3.0, "steps": 1200}})
        save_file({"w": torch.zeros(1)}, path := checkpoints / "written", {"run": run})
        path.rename(checkpoints / checkpoint_name(step, sha256(path)))
    (checkpoints / "step-000000024-0123456789ab.safetensors").write_bytes(b"torn")
    begun = f"{folder}: training is not complete; the same command goes on from the last checkpoint, "
    assert list(report_lines(sae_record(folder))) == [
        begun + "16 of 1,200 steps",
        "settings        l1 3, steps 1,200",
        "last step       step 20, loss 4.25",
        "SAE faithful to its language model: no (training is not complete)",
        f"{BEYOND} {UNMEASURED}",
    ]
    for path in (*checkpoints.iterdir(), folder / "train_log.jsonl"):
        path.unlink()
    unknown = sae_record(folder)
    assert list(report_lines(unknown)) == [
        begun + "0 steps",
        "SAE faithful to its language model: no (training is not complete)",
        f"{BEYOND} {UNMEASURED}",
    ]
    assert json.loads(json.dumps(unknown)) == unknown
    checkpoints.rmdir()
    with pytest.raises(SaeTracksError, match=r"no file .*cfg\.json"):
        sae_record(folder)


def test_an_sae_of_another_program_says_what_is_known(tmp_path):
    metadata = {"model_name": "owner/lm", "hook_name": "blocks.3"}
    save_sae(SAE(torch.zeros(D, F), torch.zeros(F), torch.zeros(F, D), torch.zeros(D), metadata, k=5), tmp_path)
    lines = list(report_lines(sae_record(tmp_path)))
    assert lines[:3] == [
        f"{tmp_path}: topk SAE, 4 dimensions to 20 features, k 5",
        "language model  owner/lm",
        "read at         the output of blocks.3",
    ]
    change(tmp_path / "cfg.json", metadata={"lm": {"model": "owner/lm", "layer": 4}})
    assert list(report_lines(sae_record(tmp_path)))[2] == "read at         layer 4: hidden_states[4]"
    assert lines[-2] == (
        "SAE faithful to its language model: not known (statistics not measured; FVU and L0 not measured; "
        "rows trained on not known; cross entropy recovered not measured)"
    )


def test_the_command_prints_text_a_record_and_a_comparison(folder, tmp_path):
    shutil.copytree(folder, other := tmp_path / "other")
    text = run("info", str(folder), "--against", str(other))
    assert text.returncode == 0, text.stderr
    *_, told, verdict, _ = text.stdout.splitlines()
    assert verdict == "SAE faithful to its language model: yes"
    assert told == (
        f"against {other}: matched cosine 1.000 (nearest 1.000); 100.0% of 19 features have a partner above 0.7, "
        "100.0% above 0.9, among 19"
    )
    record = json.loads(run("info", str(folder), "--against", str(other), "--against", str(folder), "--json").stdout)
    assert [pair["sae"] for pair in record["against"]] == [str(other), str(folder)]
    assert record["against"][0]["matched_cosine"] == pytest.approx(1) and record["faithful"] is True


KINDS = {"relu": {}, "topk": {"k": 2}, "jumprelu": {"threshold": torch.full((F,), 1.0)}}


@pytest.mark.parametrize("kind", KINDS)
def test_features_are_measured_as_by_hand_in_chunks(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(measure, "ROWS", 7)
    monkeypatch.setattr(measure, "THRESHOLD_ROWS", 31)
    data = store(tmp_path / "act", [40, 25], d=D, shuffled=True)
    x = torch.from_numpy(whole(data)[0][:60].astype(np.float32))
    torch.manual_seed(3)
    sae = SAE(torch.randn(D, F), torch.randn(F) - 1, torch.randn(F, D), torch.randn(D), **KINDS[kind])
    sae.b_enc[4] = -100.0  # dead
    stats, summary = measure.measure_features(sae, data, 60, x.mean(0))

    f = np.stack([sae.encode(row[None])[0].numpy() for row in x])
    assert stats.columns.tolist() == ["feature", "max", "mean", "density", "dead"]
    assert np.allclose(stats["max"], f.max(0), rtol=1e-5, atol=1e-6)
    assert np.allclose(stats["mean"], f.mean(0), rtol=1e-4, atol=1e-6)
    assert np.allclose(stats["density"], (f > 0).mean(0))
    assert stats["dead"].tolist() == (f.max(0) == 0).tolist() and stats["dead"][4]
    above = [[value > 0.15 * top for value, top in zip(row, f.max(0)) if top > 0] for row in f[:31]]
    error = np.square(sae.decode(torch.from_numpy(f)).numpy() - x.numpy()).sum()
    assert summary == {
        "rows": 60,
        "l0": pytest.approx((f > 0).sum() / 60),
        "fvu": pytest.approx(error / np.square(x.numpy() - x.numpy().mean(0)).sum(), rel=1e-4),
        "dead": pytest.approx((f.max(0) == 0).mean()),
        "l0_at_threshold": pytest.approx(sum(map(sum, above)) / 31),
        "threshold": 0.15,
        "threshold_rows": 31,
    }
