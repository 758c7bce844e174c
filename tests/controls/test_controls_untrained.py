"""The control that begins anew with another model: the same bases, the same settings, nothing else."""

from dataclasses import replace

import pytest
import torch
from toy import OneHotLM, random_dna, write_fasta

from sae_tracks.activations.extract import extract, plan_extraction
from sae_tracks.activations.shards import open_shards
from sae_tracks.activations.shuffle import plan_shuffle, shuffle
from sae_tracks.controls.retrain import as_before, left_out, make
from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome
from sae_tracks.regions import GenomicRegion
from sae_tracks.sae import load_sae
from sae_tracks.train.plan import plan_training
from sae_tracks.train.settings import TrainSettings
from sae_tracks.train.train import train_sae

SETTINGS = TrainSettings(arch="standard", batch_size=64, expansion=2)
BLACK = [GenomicRegion("c", 0, 20), GenomicRegion("c", 130, 150), GenomicRegion("c", 310, 350)]
SEQUENCE = random_dna(200, 1) + "NRN" + random_dna(97, 2) + "N" * 120 + random_dna(80, 3)


@pytest.fixture
def genome(tmp_path):
    return Genome(write_fasta(tmp_path / "g.fa", c=SEQUENCE))


def stored(genome, folder, **options):
    """Activations of the toy, in order and shuffled."""
    extract(plan_extraction(OneHotLM(48), genome, window=48, context=16, rows_per_shard=100, **options), folder / "act")
    data = open_shards(folder / "act")
    shuffle(data, folder / "shuffled", plan_shuffle(data, 1 << 30), seed=5)
    return open_shards(folder / "shuffled")


def trained(data, folder):
    train_sae(plan_training(data, SETTINGS, rows=640, seed=5, device="cpu"), folder)
    return load_sae(folder)


def retrain(sae, lm, genome, trained_on, out):
    return make(as_before(sae, genome, trained_on), lm, out)


@pytest.mark.parametrize("strands", ["+", "-", "+-"])
@pytest.mark.parametrize("black_list", [[], BLACK])
def test_the_same_model_gives_the_same_sae_again(genome, tmp_path, strands, black_list):
    """Whatever differs in the bases, their order or the settings would differ in the weights."""
    how = {"read_strands": tuple(strands), "black_list": black_list, "min_context": 3}
    data = stored(genome, tmp_path, **how)
    sae = trained(data, tmp_path / "sae")
    again = retrain(sae, OneHotLM(48), genome, data, tmp_path / "control" / "sae")
    for name in ("W_enc", "b_enc", "W_dec", "b_dec"):
        assert torch.equal(getattr(again, name), getattr(sae, name))
    assert [path.name for path in sorted((tmp_path / "control").iterdir())] == ["made_from.json", "sae"]
    kept = retrain(sae, OneHotLM(48), genome, data, tmp_path / "control" / "sae")
    assert torch.equal(kept.W_dec, sae.W_dec)


@pytest.mark.parametrize("strands", ["+", "-", "+-"])
def test_what_no_row_is_of_was_left_out(genome, tmp_path, strands):
    data = stored(genome, tmp_path, read_strands=tuple(strands), black_list=BLACK, min_context=3)
    lines = [line.split("\t") for line in (data.folder / "windows.bed").read_text().splitlines()]
    windows = [GenomicRegion(line[0], int(line[1]), int(line[2])) for line in lines]
    read = {windows[w].start + offset for _, loci in data for w, offset in loci.tolist()}
    covered = {base for window in windows for base in range(window.start, window.end)}
    found = [base for region in left_out(data, windows) for base in range(region.start, region.end)]
    assert set(found) == covered - read
    assert {base for region in BLACK for base in range(region.start, region.end)} & covered <= set(found)


def test_windows_drawn_in_both_directions_are_refused(genome, tmp_path):
    data = stored(genome, tmp_path, read_strands=("+", "-"), sample=3, seed=1)
    sae = trained(data, tmp_path / "sae")
    with pytest.raises(SaeTracksError, match="its windows cannot be read again"):
        retrain(sae, OneHotLM(48), genome, data, tmp_path / "control" / "sae")


def test_another_genome_and_other_activations_are_refused(genome, tmp_path):
    data = stored(genome, tmp_path)
    sae = trained(data, tmp_path / "sae")
    other = Genome(write_fasta(tmp_path / "other.fa", c=SEQUENCE.replace("NRN", "ACG")))
    with pytest.raises(SaeTracksError, match=r"shuffled has 377 rows, but other\.fa gives 380"):
        retrain(sae, OneHotLM(48), other, data, tmp_path / "control" / "sae")
    with pytest.raises(SaeTracksError, match="this SAE was not trained on"):
        retrain(sae, OneHotLM(48), genome, open_shards(tmp_path / "act"), tmp_path / "control" / "sae")
    elsewhere = replace(sae, metadata={})
    with pytest.raises(SaeTracksError, match="this SAE was not trained on"):
        retrain(elsewhere, OneHotLM(48), genome, data, tmp_path / "control" / "sae")


@pytest.mark.parametrize("left", ["sae", "shuffled"])
def test_a_control_that_was_made_from_other_activations_is_not_used(genome, tmp_path, left):
    """The settings are equal; only the bases differ."""
    control = tmp_path / "control" / "sae"
    first = stored(genome, tmp_path / "one")
    retrain(trained(first, tmp_path / "sae"), OneHotLM(48), genome, first, control)
    control.rename(control.with_name(left))
    second = stored(genome, tmp_path / "two", black_list=BLACK)
    with pytest.raises(SaeTracksError, match="is a control made from other activations: delete it"):
        retrain(trained(second, tmp_path / "other"), OneHotLM(48), genome, second, control)
