"""Sources with untrained models: which SAE they have, where it is kept, and that it is made once."""

import logging
import os
import subprocess
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path

import lm_zoo
import pandas as pd
import pytest
import torch
from toy import OneHotLM, UntrainedOneHotLM, random_dna, random_sae, write_fasta

from sae_tracks.activations.extract import extract, plan_extraction
from sae_tracks.activations.shards import open_shards
from sae_tracks.activations.shuffle import plan_shuffle, shuffle
from sae_tracks.controls.retrain import settings_like
from sae_tracks.controls.untrained import (
    check_untrained,
    open_trained_on,
    recorded_activations,
    untrained_facts,
    untrained_sources,
)
from sae_tracks.errors import SaeTracksError
from sae_tracks.features import run
from sae_tracks.genome import Genome
from sae_tracks.lm import load_lm
from sae_tracks.regions import GenomicRegion
from sae_tracks.sae import load_sae, save_sae
from sae_tracks.source import Source
from sae_tracks.train.plan import plan_training
from sae_tracks.train.settings import RECIPES, TrainSettings
from sae_tracks.train.train import train_sae

SETTINGS = TrainSettings(arch="topk", k=2, batch_size=64, expansion=2)
REGIONS = [GenomicRegion("c", 0, 300), GenomicRegion("c", 350, 600)]
ALL = [(kind, seed) for kind in ("random", "permuted") for seed in range(3)]


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch):
    monkeypatch.setattr("sae_tracks.controls.retrain.LEAST_STEPS", 20)


@pytest.fixture
def genome(tmp_path):
    return Genome(write_fasta(tmp_path / "g.fa", c=random_dna(600, 1)))


def trained(genome, folder, lm):
    """A source with an SAE that was trained on stored activations, and these."""
    extract(plan_extraction(lm, genome), folder / "act")
    data = open_shards(folder / "act")
    shuffle(data, folder / "shuffled", plan_shuffle(data, 1 << 30), seed=5)
    data = open_shards(folder / "shuffled")
    train_sae(plan_training(data, SETTINGS, rows=640, device="cpu"), folder / "sae")
    return Source(lm, load_sae(folder / "sae"), genome, REGIONS, ("-",), 48, 16, min_context=2), data


def imported(genome, folder, lm, architecture="topk"):
    """A source with an SAE of another program."""
    save_sae(random_sae(lm.d_model, 12, architecture), folder / "sae")
    return Source(lm, load_sae(folder / "sae"), genome, REGIONS, ("-",), 48, 16, min_context=2)


class Blocks(list):
    """Takes in all blocks of a stream."""

    add = list.append


@pytest.mark.parametrize("model", ["plug-in", "demo", "transformers"])
def test_untrained_models_read_the_same_bases_in_the_same_way(genome, tmp_path, model):
    lm = {
        "plug-in": lambda: UntrainedOneHotLM(64),
        "demo": lambda: load_lm("demo", device="cpu"),
        "transformers": lambda: load_lm(str(lm_zoo.six_mers(tmp_path / "lm")), 2, device="cpu"),
    }[model]()
    source, regions = trained(genome, tmp_path, lm) if model == "plug-in" else (imported(genome, tmp_path, lm), REGIONS)
    check_untrained(source, regions)
    found = list(untrained_sources(source, regions, tmp_path / "out"))
    assert [(kind, seed) for kind, seed, _ in found] == ALL
    assert len({other.lm.checksum for *_, other in found} | {lm.checksum}) == 7
    assert len({other.sae.checksum for *_, other in found}) == 6
    for *_, other in found:
        same = ("genome", "regions", "read_strands", "window", "context", "black_list", "min_context", "layout")
        assert all(getattr(other, name) == getattr(source, name) for name in same)
        assert other.sae.d_sae == source.sae.d_sae and other.sae.k == source.sae.k
        assert other.sae.metadata["lm"]["weights_sha256"] == other.lm.checksum
    blocks = Blocks()
    run(found[0][2].blocks(), blocks)
    assert sum(len(block.region) for block in blocks) == sum(map(len, REGIONS))


def test_they_are_made_once_and_kept_with_the_sae(genome, tmp_path, caplog):
    source, data = trained(genome, tmp_path, UntrainedOneHotLM(64))
    first = list(untrained_sources(source, data, tmp_path / "out"))
    assert sorted(p.name for p in (tmp_path / "sae" / "untrained").iterdir()) == sorted(f"{k}-{s}" for k, s in ALL)
    assert not (tmp_path / "out").exists()
    caplog.set_level(logging.INFO)
    caplog.clear()  # the level may have been as low before
    again = list(untrained_sources(replace(source, regions=REGIONS[:1]), data, tmp_path / "out"))
    assert [a.sae.checksum for *_, a in again] == [f.sae.checksum for *_, f in first]
    assert not any(other.lm.reads for *_, other in again)
    assert "an SAE is trained" not in caplog.text
    assert (load_sae(tmp_path / "sae").W_enc == source.sae.W_enc).all()


def test_what_was_interrupted_is_continued(genome, tmp_path, monkeypatch):
    source, data = trained(genome, tmp_path, UntrainedOneHotLM(64))
    whole = next(untrained_sources(source, data, tmp_path / "out", tmp_path / "whole"))[2]
    assert whole.lm.reads

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("sae_tracks.controls.retrain.train_sae", stop)
        next(untrained_sources(source, data, tmp_path / "out"))
    on = next(untrained_sources(source, data, tmp_path / "out"))[2]
    assert not on.lm.reads
    assert on.sae.checksum == whole.sae.checksum


def test_what_a_process_killed_after_the_last_step_left_is_removed(genome, tmp_path):
    source, data = trained(genome, tmp_path, UntrainedOneHotLM(64))
    next(untrained_sources(source, data, tmp_path / "out"))
    place = tmp_path / "sae" / "untrained" / "random-0"
    for left in ("act", "shuffled"):
        (place / left).mkdir()
        (place / left / "shard-00000.npy").write_text("")
    *_, again = next(untrained_sources(source, data, tmp_path / "out"))
    assert not again.lm.reads
    assert sorted(p.name for p in place.iterdir()) == ["made_from.json", "sae", "sae.lock"]


def test_one_of_another_k_is_refused(genome, tmp_path):
    first, second = (random_sae(6, 12, "jumprelu") for _ in "ab")
    for sae, density in ((first, 0.25), (second, 0.5)):
        sae.stats = pd.DataFrame({"feature": range(12), "density": density})
    lm = UntrainedOneHotLM(64)
    next(untrained_sources(Source(lm, first, genome), REGIONS, tmp_path / "out"))
    with pytest.raises(SaeTracksError, match="is a control of an SAE with another k: delete it"):
        next(untrained_sources(Source(lm, second, genome), REGIONS, tmp_path / "out"))


def test_the_output_folder_is_used_if_the_sae_directory_cannot_be_written(genome, tmp_path, caplog):
    source, data = trained(genome, tmp_path, UntrainedOneHotLM(64))
    (tmp_path / "sae" / "untrained").write_text("")  # as root, no mode makes a folder read-only
    caplog.set_level(logging.INFO)
    assert len(list(untrained_sources(source, data, tmp_path / "out"))) == 6
    assert f"so the SAE is kept in {tmp_path / 'out'}" in caplog.text
    assert (tmp_path / "out" / "permuted-2" / "sae" / "cfg.json").is_file()


def test_what_is_kept_in_a_read_only_directory_is_used(genome, tmp_path):
    source, data = trained(genome, tmp_path, UntrainedOneHotLM(64))
    list(islice(untrained_sources(source, data, tmp_path / "out"), 1))
    folders = [tmp_path / "sae", *(p for p in (tmp_path / "sae").rglob("*") if p.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        if os.access(tmp_path / "sae", os.W_OK):
            pytest.skip("no mode keeps this user from writing")
        found = list(islice(untrained_sources(source, data, tmp_path / "out"), 2))
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert not found[0][2].lm.reads and found[1][2].lm.reads
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["random-1"]


def test_an_sae_that_was_not_loaded_from_a_directory_uses_the_output_folder(genome, tmp_path):
    source = Source(UntrainedOneHotLM(64), random_sae(6, 12, "topk"), genome)
    next(untrained_sources(source, REGIONS, tmp_path / "out"))
    assert (tmp_path / "out" / "random-0" / "sae" / "cfg.json").is_file()


PROCESS = """
import sys
from pathlib import Path
from toy import UntrainedOneHotLM
from sae_tracks.controls import retrain, untrained
from sae_tracks.genome import Genome
from sae_tracks.regions import GenomicRegion
from sae_tracks.sae import load_sae
from sae_tracks.source import Source

retrain.LEAST_STEPS, models = 20, [("random", 0), ("permuted", 0)]
folder = Path(sys.argv[1])
source = Source(UntrainedOneHotLM(64), load_sae(folder / "sae"), Genome(folder / "g.fa"))
regions = [GenomicRegion("c", 0, 600)]
found = list(untrained.untrained_sources(source, regions, folder / "out", models=models))
print(sum(len(other.lm.reads) for *_, other in found), *(other.sae.checksum for *_, other in found))
"""


def test_of_two_processes_one_makes_them(genome, warm_python, tmp_path):
    imported(genome, tmp_path, UntrainedOneHotLM(64))
    paths = os.pathsep.join([str(Path(__file__).parents[1] / "support"), *sys.path])
    start = [warm_python, "-c", PROCESS, str(tmp_path)]
    both = [subprocess.Popen(start, env=os.environ | {"PYTHONPATH": paths}, stdout=subprocess.PIPE) for _ in "ab"]
    (one, *ours), (other, *theirs) = (process.communicate()[0].decode().split() for process in both)
    assert ours == theirs and len(set(ours)) == 2
    windows = len(plan_extraction(UntrainedOneHotLM(64), genome).windows)
    assert int(one) + int(other) == 2 * windows


def test_regions_are_trained_on_whatever_is_scored(genome, tmp_path):
    source = imported(genome, tmp_path, UntrainedOneHotLM(64))
    *_, made = next(untrained_sources(source, REGIONS, tmp_path / "out"))
    training, expected = made.sae.metadata["training"], RECIPES["topk"]
    assert (training["arch"], training["k"], training["d_sae"]) == ("topk", source.sae.k, 12)
    assert training["lr"] == expected.lr
    assert training["data_rows"] == training["batch_size"] == 550  # fewer rows than a batch has by default
    assert training["steps"] == 20
    assert made.sae.metadata["read_strands"] == ["+"]
    others = {"read_strands": ("+", "-"), "regions": None, "min_context": 0}
    *_, again = next(untrained_sources(replace(source, **others), REGIONS, tmp_path / "out"))
    assert not again.lm.reads
    with pytest.raises(SaeTracksError, match="random-0 is a control made from other activations: delete it"):
        next(untrained_sources(source, REGIONS[:1], tmp_path / "out"))
    assert untrained_facts(source, REGIONS) == {
        "regions": ["c:1-300", "c:351-600"], "elsewhere": True, "arch": "topk", "k": source.sae.k
    }  # fmt: skip


def test_an_sae_whose_activations_are_gone_is_trained_like_on_regions(genome, tmp_path):
    source, data = trained(genome, tmp_path, UntrainedOneHotLM(64))
    *_, made = next(untrained_sources(source, REGIONS, tmp_path / "out"))
    was, now = source.sae.metadata["training"], made.sae.metadata["training"]
    differ = {name for name in was if was[name] != now[name]}
    assert differ == {"data_rows", "data_sha256", "gamma"}
    assert untrained_facts(source, data) == {"data_sha256": data.checksum, "elsewhere": False}


@pytest.mark.parametrize(
    ("architecture", "arch", "k"), [("topk", "topk", 2), ("jumprelu", "batchtopk", 3), ("standard", "standard", 0)]
)
def test_a_dictionary_like_one_of_another_program(architecture, arch, k):
    sae = random_sae(6, 12, architecture)
    sae.stats = pd.DataFrame({"feature": range(12), "density": 0.25})
    settings = settings_like(sae)
    assert (settings.arch, settings.k) == (arch, k)
    sae.stats = None
    assert settings_like(sae).arch == architecture


def test_what_can_be_trained_on(genome, tmp_path):
    source, data = trained(genome, tmp_path, UntrainedOneHotLM(64))
    assert open_trained_on(str(tmp_path / "shuffled"), source.sae, genome).checksum == data.checksum
    assert recorded_activations(tmp_path / "sae") == str(tmp_path / "shuffled")
    (tmp_path / "r.bed").write_text("c\t350\t600\nc\t0\t200\nc\t100\t300\n")
    assert open_trained_on(str(tmp_path / "r.bed"), source.sae, genome) == REGIONS
    assert open_trained_on("c:1-300", source.sae, genome) == REGIONS[:1]
    with pytest.raises(SaeTracksError, match=r"--trained-on d is no folder of activations, no BED file, no region"):
        open_trained_on("d", source.sae, genome)
    with pytest.raises(
        SaeTracksError, match=r"this SAE was not trained on .*act: name the folder that `train` was given"
    ):
        open_trained_on(str(tmp_path / "act"), source.sae, genome)
    (tmp_path / "shuffled").rename(tmp_path / "gone")
    with pytest.raises(SaeTracksError, match="the activations that it was trained on are not there"):
        recorded_activations(tmp_path / "sae")


def test_what_cannot_be_done_is_said_before_the_first_window(genome, tmp_path):
    lm = OneHotLM(64)
    with pytest.raises(SaeTracksError, match=r"one-hot offers no untrained\(\)"):
        check_untrained(imported(genome, tmp_path, lm), REGIONS)
    source = imported(genome, tmp_path, UntrainedOneHotLM(64))
    with pytest.raises(SaeTracksError, match="no contig"):
        check_untrained(source, [GenomicRegion("d", 0, 9)])
    with pytest.raises(SaeTracksError, match="the regions hold no base"):
        check_untrained(source, [])
    assert not lm.reads and not source.lm.reads


@pytest.mark.parametrize(
    ("gives", "message"),
    [
        (lambda lm: lm, "has the trained weights"),
        (lambda lm: 1 / 0, r"untrained\('random', 0\) fails: ZeroDivisionError"),
        (lambda lm: wider(), "has 7 dimensions, not 6"),
    ],
)
def test_a_plug_in_that_gives_something_else_is_refused(genome, tmp_path, gives, message):
    lm = UntrainedOneHotLM(64)
    source = imported(genome, tmp_path, lm)
    lm.untrained = lambda kind, seed: gives(lm)
    with pytest.raises(SaeTracksError, match=message):
        next(untrained_sources(source, REGIONS, tmp_path / "out"))


def wider():
    lm = OneHotLM()
    lm.d_model, lm.checksum = 7, "wide"
    return lm


def test_weights_of_the_untrained_differ_from_the_trained(genome, tmp_path):
    source, data = trained(genome, tmp_path, UntrainedOneHotLM(64))
    for *_, other in untrained_sources(source, data, tmp_path / "out"):
        assert not torch.equal(other.sae.W_dec, source.sae.W_dec)
