"""A model's own outputs through an SAE, against torch's divergence and numpy's correlation over all scored bases."""

import importlib
import json
import sys

import numpy as np
import pytest
import torch
from command_line import run
from torch.nn import functional as F
from toy import OneHotLM, identity_sae, random_dna, unit_stats, write_fasta

from sae_tracks.errors import SaeTracksError
from sae_tracks.evaluate.info import report_lines, sae_record
from sae_tracks.evaluate.outputs import RecoveredOutputs, measure_outputs
from sae_tracks.genome import Genome
from sae_tracks.json_file import read_json
from sae_tracks.lm.outputs import OffersOutputs, read_outputs
from sae_tracks.reading import window_layout
from sae_tracks.regions import GenomicRegion
from sae_tracks.sae import SAE, save_sae

D = 6
PLUGIN = """
from test_outputs import NeighboursLM

def load(argument, layer, *, hook, revision, device):
    lm = NeighboursLM()
    lm.model_id = f"neighbours:{argument}"
    return lm
"""


class NeighboursLM(OneHotLM):
    """Its outputs depend on the activations of a base and of both bases beside it."""

    causal, output_names = False, ("none", "left", "right")
    weights = torch.randn(3, D, 3, generator=torch.Generator().manual_seed(0)) / 4  # class, channel, neighbour

    def activations(self, sequence):
        x = super().activations(sequence)
        x[:, 4:] = 0  # what a base was told of its place in the window
        x[:, 5] = torch.tensor([letter == ord("G") for letter in sequence]) * 0.5
        return x

    def outputs(self, sequence, activations=None):
        x = self.activations(sequence) if activations is None else activations
        return F.conv1d(x.T[None], self.weights, padding=1)[0].T.log_softmax(1)


def random_sae():
    g = torch.Generator().manual_seed(3)
    sae = SAE(*(torch.randn(*shape, generator=g) for shape in ((D, 12), (12,), (12, D), (D,))), stats=unit_stats(12))
    sae.stats["max"] = np.linspace(0, 3, 12, dtype=np.float32)
    return sae


COMPLEMENT = dict(zip("ACGTNR", "TGCANY", strict=True))
TEXT = random_dna(90, 1) + "NNR" + random_dna(110, 2)


@pytest.fixture
def genome(tmp_path):
    return Genome(write_fasta(tmp_path / "g.fa", c=TEXT, gap="N" * 200))


def by_hand(lm, sae, start, end, strands):
    """Log probabilities (bases, 3) of the model and with each replacement, from whole contigs; and the scored rows."""
    reads = []
    for strand in strands:
        text = TEXT if strand == "+" else "".join(COMPLEMENT[letter] for letter in reversed(TEXT))
        at = range(start, end) if strand == "+" else range(len(TEXT) - end, len(TEXT) - start)
        reads.append((text.encode(), [i for i in at if text[i] in "ACGT"]))
    rows = torch.cat([lm.activations(text)[kept] for text, kept in reads])
    changes = {
        "own": lambda x: x,
        "sae": lambda x: sae.decode(sae.encode(x)),
        "zero": torch.zeros_like,
        "mean": rows.double().mean(0).float().expand_as,
    }
    logs = {
        name: torch.cat([lm.outputs(text, change(lm.activations(text)))[kept] for text, kept in reads]).double()
        for name, change in changes.items()
    }
    return logs, rows


@pytest.mark.parametrize("strands", ["+", "-", "+-"])
def test_the_numbers_are_those_of_the_whole_sequence(genome, strands):
    lm, sae = NeighboursLM(256), random_sae()
    layout = window_layout(lm, 40, 8)
    found = measure_outputs(lm, sae, genome, [GenomicRegion("c", 20, 170)], layout, list(strands))
    logs, rows = by_hand(lm, sae, 20, 170, strands)
    assert found.bases == len(rows) == (150 - 3) * len(strands) and found.read_strands == list(strands)
    for name in ("sae", "zero", "mean"):
        expected = F.kl_div(logs[name], logs["own"], log_target=True, reduction="sum").item() / len(rows)
        assert getattr(found, f"kl_{name}") == pytest.approx(expected, rel=1e-5)
    p, q = logs["own"].exp().numpy(), logs["sae"].exp().numpy()
    assert found.difference == pytest.approx(np.abs(p - q).mean(0), rel=1e-5)
    assert found.correlation == pytest.approx([np.corrcoef(p[:, i], q[:, i])[0, 1] for i in range(3)], rel=1e-5)
    features = sae.encode(rows)
    assert found.l0 == pytest.approx((features > 0).sum(1).double().mean().item())
    spread = (rows - rows.mean(0)).square().sum()
    assert found.fvu == pytest.approx(((sae.decode(features) - rows).square().sum() / spread).item(), rel=1e-4)
    assert found.recovered_mean == pytest.approx(1 - found.kl_sae / found.kl_mean)
    assert found.recovered_zero == pytest.approx(1 - found.kl_sae / found.kl_zero)


def test_a_perfect_sae_recovers_everything_and_a_silent_one_nothing(genome):
    lm, region = NeighboursLM(), [GenomicRegion("c", 0, 203)]
    layout = window_layout(lm, 40, 8)
    perfect = measure_outputs(lm, identity_sae(D), genome, region, layout)
    assert (perfect.kl_sae, perfect.recovered_mean, perfect.recovered_zero, perfect.fvu) == (0, 1, 1, 0)
    assert perfect.correlation == pytest.approx([1, 1, 1]) and perfect.difference == [0, 0, 0]
    silent = SAE(torch.zeros(D, 4), torch.full((4,), -1.0), torch.zeros(4, D), torch.zeros(D))
    nothing = measure_outputs(lm, silent, genome, region, layout)
    assert nothing.kl_sae == nothing.kl_zero and nothing.recovered_zero == 0 and nothing.l0 == 0


def test_outputs_that_nothing_changes_have_nothing_to_recover():
    found = RecoveredOutputs(10, ["+"], ["a", "b"], 0.0, 0.0, 0.0, [0.0, 0.0], [None, None], 1.0, None, None)
    assert found.recovered_mean is None and found.recovered_zero is None
    assert [line.split("   ")[-1] for line in found.lines()[2:4]] == ["the outputs do not change"] * 2
    assert found.lines()[-2].endswith("none")


def test_regions_without_a_base_are_refused(genome):
    lm = NeighboursLM()
    with pytest.raises(SaeTracksError, match="no base to score"):
        measure_outputs(lm, random_sae(), genome, [GenomicRegion("c", 90, 93)], window_layout(lm, 40, 8))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y: y[1:], r"one-hot: the outputs have the shape \(8, 3\), expected \(9, 3\)"),
        (lambda y: y[:, :2], r"one-hot: the outputs have the shape \(9, 2\), expected \(9, 3\)"),
        (lambda y: y * float("nan"), "one-hot: the outputs are not finite"),
        (lambda y: y.exp(), "one-hot: the outputs are no log probabilities"),
    ],
)
def test_outputs_that_are_none_are_one_line(monkeypatch, change, message):
    lm, outputs = NeighboursLM(), NeighboursLM.outputs
    monkeypatch.setattr(NeighboursLM, "outputs", lambda *arguments: change(outputs(*arguments)))
    with pytest.raises(SaeTracksError, match=message):
        read_outputs(lm, b"ACGTACGTA")


def test_a_model_without_outputs_offers_none():
    assert isinstance(NeighboursLM(), OffersOutputs) and not isinstance(OneHotLM(), OffersOutputs)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An SAE of the model of a plug-in."""
    (tmp_path / "neighbours_plugin.py").write_text(PLUGIN)
    info = tmp_path / "neighbours_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: neighbours-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[sae_tracks.models]\nneighbours = neighbours_plugin:load\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    sae = random_sae()
    sae.metadata = {"lm": {"model": "neighbours:x", "layer": 3, "weights_sha256": "one-hot"}}
    save_sae(sae, tmp_path / "sae")
    yield tmp_path / "sae"
    sys.modules.pop("neighbours_plugin", None)


def test_the_command_compares_outputs(folder, genome):
    words = ("evaluate", folder, genome.path, "-r", "c:21-170", "-p", "1", "--device", "cpu")
    out = run(*words, "--read-strand", "both", "--window-size", "40", "--context", "8", "--json")
    assert out.returncode == 0, out.stderr
    record, lm = read_json(folder / "evaluation.json"), NeighboursLM()
    regions = [GenomicRegion("c", 20, 170)]
    measured = measure_outputs(lm, random_sae(), genome, regions, window_layout(lm, 40, 8), ["+", "-"]).record()
    assert json.loads(out.stdout) == record
    assert {name: record[name] for name in measured if name.startswith(("kl", "rec"))} == pytest.approx(
        {name: value for name, value in measured.items() if name.startswith(("kl", "rec"))}, rel=1e-5
    )
    assert record["outputs"] == ["none", "left", "right"] and record["read_strands"] == ["+", "-"]
    table = run(*words, "-o", folder.parent / "there.json").stdout.splitlines()
    assert table[0] == "147 bases scored, divergence from the outputs of the model in nats per base"
    assert [line.split()[0] for line in table[5:8]] == ["none", "left", "right"]
    (line,) = (line for line in report_lines(sae_record(folder)) if line.startswith("recovered"))
    assert line.endswith("through the SAE, in nats per base from the outputs of the model")
