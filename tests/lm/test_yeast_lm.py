"""The bundled yeast model: what its card says, and that it predicts a chromosome it has not seen."""

import gzip
import json

import pytest
from conftest import shared
from safetensors.numpy import load_file
from toy import write_fasta

from sae_tracks.files import bundled
from sae_tracks.genome import Genome
from sae_tracks.lm import load_causal_lm, load_lm
from sae_tracks.pretrain.loss import NextBaseLM, cross_entropy
from sae_tracks.regions import GenomicRegion

HELD_OUT = ("XIII", "XVI")


def test_the_card_and_the_record_agree_with_the_weights():
    folder = bundled("yeast-lm")
    assert (folder / "model.safetensors").stat().st_size < 5_000_000
    lm = load_lm("yeast", device="cpu")
    assert (lm.model_id, lm.layer, lm.d_model, lm.max_length) == ("yeast", 3, 128, 512)
    record = json.loads((folder / "provenance.json").read_text())
    unique = record["held_out_scores"]["unique"]
    card = (folder / "README.md").read_text()
    low, high = unique["interval"]
    assert high < 0, "better than every Markov model"
    for number in (unique["nats_per_base"], min(unique["markov_nats_per_base"]), low, high):
        assert f"{number:.4f}" in card
    numbers = sum(tensor.size for tensor in load_file(folder / "model.safetensors").values())
    assert f"{numbers:,}" in card


def test_it_predicts_sequence_that_it_has_not_seen(tmp_path):
    path = shared("data/yeast/Saccharomyces_cerevisiae.R64-1-1.dna.toplevel.fa.gz")
    records = dict(record.split("\n", 1) for record in gzip.decompress(path.read_bytes()).decode().split(">")[1:])
    records = {name.split()[0]: "".join(lines.split()) for name, lines in records.items()}
    genome = Genome(write_fasta(tmp_path / "yeast.fa", **{name: records[name] for name in HELD_OUT}))
    record = json.loads((bundled("yeast-lm") / "provenance.json").read_text())
    contigs = record["genome"]["contigs"]
    assert all(genome.m5(name) == contigs[name]["M5"] for name in HELD_OUT)
    assert {region.partition(":")[0] for region in record["held_out"]} == set(HELD_OUT)
    model = load_causal_lm(str(bundled("yeast-lm")))
    loss, bases = cross_entropy(NextBaseLM(model), genome, [GenomicRegion("XIII", 400_000, 430_000)])
    assert bases == 29_999
    assert loss == pytest.approx(record["held_out_scores"]["nats_per_base"], abs=0.03)
    assert loss < min(record["held_out_scores"]["unique"]["markov_nats_per_base"])
