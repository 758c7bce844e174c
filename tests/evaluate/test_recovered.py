"""Cross entropy recovered: the stream replaced by a forward hook gives the same numbers."""

import json
import re
from dataclasses import replace

import hooked
import lm_zoo
import numpy as np
import pytest
import torch
from command_line import run
from hooked import LAYERS, WINDOW, D, small_hyenadna
from hypothesis import given
from hypothesis import strategies as st
from toy import OneHotLM, unit_stats, write_fasta

from sae_tracks.cli.evaluate import _target
from sae_tracks.errors import SaeTracksError
from sae_tracks.evaluate.recovered import (
    Recovered,
    _covered_bases,
    best_markov,
    measure_recovered,
    trained_bases,
)
from sae_tracks.files import sha256
from sae_tracks.genome import Genome
from sae_tracks.json_file import read_json
from sae_tracks.lm import HyenaDNAConfig, HyenaDNAForCausalLM, HyenaDNAReader, describe, load_lm
from sae_tracks.lm.rest import next_base_reader
from sae_tracks.pretrain.loss import NextBaseLM, cross_entropy
from sae_tracks.pretrain.pretrain import save_model
from sae_tracks.regions import GenomicRegion
from sae_tracks.sae import SAE, save_sae

IDS = hooked.IDS | {"R": 6}


@pytest.fixture(scope="module")
def model():
    return small_hyenadna()


@pytest.fixture(scope="module")
def text(model):
    """300 bases drawn from the model itself, so that it predicts them better than any constant does."""
    generator, ids = torch.Generator().manual_seed(0), [IDS["A"]]
    for _ in range(299):
        with torch.no_grad():
            logits = model(torch.tensor([ids[-WINDOW // 2 :]])).logits[0, -1, 7:11]
        ids.append(7 + int(torch.multinomial(logits.softmax(0), 1, generator=generator)))
    return "".join("ACGT"[i - 7] for i in ids)


@pytest.fixture(scope="module")
def genome(tmp_path_factory, text):
    """Long and short runs of N, another letter, a lone base between N."""
    odd = text[:40] + "NNN" + text[43:90] + "R" + text[91:150] + "N" * 120 + text[150:210] + "N" * 100 + "A" + "N" * 100
    return Genome(write_fasta(tmp_path_factory.mktemp("genome") / "g.fa", plain=text, odd=odd))


REGIONS = [GenomicRegion("plain", 0, 300), GenomicRegion("odd", 5, 460), GenomicRegion("odd", 461, 531)]


def random_sae(seed=0, features=24, **how):
    torch.manual_seed(seed)
    shapes = (D, features), (features,), (features, D), (D,)
    sae = SAE(*(torch.randn(*shape) for shape in shapes), **how)
    sae.stats = unit_stats(features)
    sae.stats["max"] = np.linspace(0, 9, features, dtype=np.float32)
    return sae


def by_hand(genome, regions, context=WINDOW // 2):
    """(letters of a window, its scored positions), walked base by base along the parts between long runs of N."""
    for region in regions:
        contig = genome.sequence(GenomicRegion(region.contig, 0, genome.lengths[region.contig])).decode()
        gaps = re.sub("N{100,}", lambda run: "|" * len(run[0]), contig)
        for stretch in gaps[region.start : region.end].split("|"):
            start, done = 0, 1
            while done < len(stretch):
                window = stretch[start : start + WINDOW]
                yield window, [i for i in range(done - start, len(window)) if window[i] in "ACGT"]
                done = start + len(window)
                start = done - context


def stream_and_logits(model, layer, letters, change=lambda x: x):
    """What the block gave before the change, and the logits after it, by a hook that replaces its output."""
    seen = []

    def replace_output(_module, _inputs, output):
        seen.append(output[0])
        return change(output[0])[None]

    handle = model.hyena.backbone.layers[layer - 1].register_forward_hook(replace_output)
    with torch.no_grad():
        logits = model(torch.tensor([[IDS[letter] for letter in letters]])).logits[0]
    handle.remove()
    return seen[0], logits[:, 7:11].double().log_softmax(1)


def nats(model, layer, genome, regions, change):
    total, bases = 0.0, 0
    for letters, scored in by_hand(genome, regions):
        _, logs = stream_and_logits(model, layer, letters, change)
        total -= sum(logs[i - 1, "ACGT".index(letters[i])].item() for i in scored)
        bases += len(scored)
    return total / bases, bases


def scored_rows(model, layer, genome, regions):
    """The stream at every scored base, (bases, D) float64."""
    windows = by_hand(genome, regions)
    return torch.cat([stream_and_logits(model, layer, letters)[0][scored] for letters, scored in windows]).double()


@pytest.mark.parametrize("layer", range(1, LAYERS + 1))
@pytest.mark.parametrize(
    "kind", [{}, {"k": 3}, {"threshold": torch.full((24,), 1.5)}], ids=["relu", "topk", "jumprelu"]
)
def test_the_numbers_are_those_of_a_hook_that_replaces_the_stream(model, genome, layer, kind):
    sae = random_sae(layer, **kind)
    found = measure_recovered(HyenaDNAReader(model, layer), sae, genome, REGIONS)

    rows = scored_rows(model, layer, genome, REGIONS)
    mean = rows.mean(0).float()
    changes = {
        "nats_lm": lambda x: x,
        "nats_sae": lambda x: sae.decode(sae.encode(x)),
        "nats_zero": torch.zeros_like,
        "nats_mean": mean.expand_as,
    }
    for name, change in changes.items():
        expected, bases = nats(model, layer, genome, REGIONS, change)
        assert getattr(found, name) == pytest.approx(expected, abs=1e-5), name
        assert found.bases == bases == len(rows)
    f = sae.encode(rows.float())
    error = (sae.decode(f).double() - rows).square().sum() / (rows - rows.mean(0)).square().sum()
    assert found.fvu == pytest.approx(error.item(), rel=1e-5)
    assert found.l0 == pytest.approx((f > 0).sum(1).double().mean().item(), rel=1e-3)
    above = (f > torch.linspace(0, 9, 24) * 0.15) & (torch.arange(24) > 0)  # feature 0 has no maximum: never active
    assert found.l0_at_threshold == pytest.approx(above.sum(1).double().mean().item(), rel=1e-3)
    assert found.recovered_zero == (found.nats_zero - found.nats_sae) / (found.nats_zero - found.nats_lm)
    assert found.recovered_mean == (found.nats_mean - found.nats_sae) / (found.nats_mean - found.nats_lm)


def test_the_model_as_it_is_scores_as_it_does_after_pretraining(model, genome):
    found = measure_recovered(HyenaDNAReader(model, 2), random_sae(), genome, REGIONS)
    loss, bases = cross_entropy(NextBaseLM(model), genome, REGIONS)
    assert found.bases == bases == 299 + (145 - 1 - 4) + 59
    assert found.nats_lm == pytest.approx(float(loss), abs=1e-6)


def test_a_perfect_sae_recovers_everything(model, genome):
    eye = torch.eye(D)
    perfect = SAE(torch.cat([eye, -eye], 1), torch.zeros(2 * D), torch.cat([eye, -eye]), torch.zeros(D))
    for layer in (1, LAYERS):
        found = measure_recovered(HyenaDNAReader(model, layer), perfect, genome, REGIONS[:1])
        assert found.nats_zero > found.nats_lm and found.nats_mean > found.nats_lm
        assert (found.recovered_zero, found.recovered_mean, found.fvu) == (1, 1, 0)
        assert found.l0 == D and found.l0_at_threshold is None  # x or -x is > 0; there are no maxima


def silent(bias):
    """An SAE of which no feature ever fires."""
    return SAE(torch.zeros(D, 4), torch.full((4,), -1.0), torch.randn(4, D), bias)


@pytest.mark.parametrize("layer", [1, LAYERS])
def test_an_sae_that_says_nothing_recovers_nothing(model, genome, layer):
    reader, region = HyenaDNAReader(model, layer), REGIONS[:1]
    mean = scored_rows(model, layer, genome, region).mean(0).float()
    zero, same = (measure_recovered(reader, silent(bias), genome, region) for bias in (torch.zeros(D), mean))
    assert zero.recovered_zero == pytest.approx(0, abs=1e-4)
    assert same.recovered_mean == pytest.approx(0, abs=1e-4)
    assert same.fvu == pytest.approx(1, abs=1e-5) and same.l0 == 0


def test_windows_of_more_rows_than_are_encoded_at_once(model, genome, monkeypatch):
    whole = measure_recovered(HyenaDNAReader(model, 2), random_sae(), genome, REGIONS)
    monkeypatch.setattr("sae_tracks.evaluate.recovered.ROWS", 7)
    parts = measure_recovered(HyenaDNAReader(model, 2), random_sae(), genome, REGIONS).record()
    assert {**parts, "markov": 0} == pytest.approx({**whole.record(), "markov": 0}, rel=1e-5)


def test_a_model_that_predicts_no_better_than_a_constant_has_nothing_to_recover():
    found = Recovered(10, 1.4, 1.5, 1.39, 1.4, 2.0, None, None)
    assert found.recovered_zero is None and found.recovered_mean is None
    assert [line for line in found.lines() if "instead" in line] == [
        "mean instead        1.4000   the model is no better",
        "zero instead        1.3900   the model is no better",
    ]
    assert found.lines()[-1] == "L0 2.0; FVU none"


def test_the_best_markov_model_is_counted_on_the_rest_alone(tmp_path, monkeypatch):
    """The rest is ACAC...: order 1 knows the next base. The region is of G and T, which the rest has once each."""
    genome = Genome(write_fasta(tmp_path / "g.fa", a="AC" * 300 + "GT", b="G" * 40))
    region = GenomicRegion("a", 0, 200)
    found = best_markov(genome, [region])
    assert found["trained_bases"] == 402 + 40 and found["order"] > 0 and found["nats"] < 0.3
    other = best_markov(genome, [GenomicRegion("b", 0, 40)])
    assert other["trained_bases"] == 602 and other["order"] == 0  # both strands are counted, and no G follows a G
    assert best_markov(genome, [GenomicRegion("a", 0, 602), GenomicRegion("b", 0, 40)]) is None
    monkeypatch.setattr("sae_tracks.evaluate.recovered.MARKOV_BASES", 100)
    monkeypatch.setattr("sae_tracks.evaluate.recovered.PIECE", 20)
    assert 40 <= best_markov(genome, [region])["trained_bases"] <= 100


def test_lines_name_the_best_markov_model():
    found = Recovered(10, 1.25, 1.3, 1.39, 1.4, 2.0, None, 0.1, {"order": 6, "nats": 1.2787, "trained_bases": 9})
    assert "Markov order 6      1.2787   the best of orders 0 to 12, counted on the rest" in found.lines()


def test_one_base_has_no_spread(model, genome):
    found = measure_recovered(HyenaDNAReader(model, 2), random_sae(), genome, [GenomicRegion("plain", 3, 5)])
    assert found.bases == 1 and found.fvu is None


def test_what_cannot_be_measured_is_refused(model, genome):
    with pytest.raises(SaeTracksError, match="one-hot is a 'toy' model read at toy"):
        next_base_reader(OneHotLM())
    with pytest.raises(SaeTracksError, match="no base to score"):
        measure_recovered(HyenaDNAReader(model, 1), random_sae(), genome, [GenomicRegion("odd", 150, 270)])


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (
            "LlamaForSequenceClassification",
            r"\(LlamaForSequenceClassification\) has no language-model head, so .* info",
        ),
        ("LlamaModel", r"\(LlamaModel\) has no language-model head"),
        ("LlamaForCausalLM", "a HyenaDNA, whose next-base head is known"),
        ("LlamaLMHeadModel", "a HyenaDNA, whose next-base head is known"),
    ],
)
def test_a_model_without_a_language_model_head_is_said_to_have_none(tmp_path, head, said):
    folder = lm_zoo.letters(tmp_path / "lm", "llama")
    lm_zoo.edit_config(folder, architectures=[head])
    with pytest.raises(SaeTracksError, match=said) as refused:
        next_base_reader(load_lm(folder, 2, device="cpu"))
    assert "\n" not in str(refused.value) and "outputs()" in str(refused.value)


def trained_on(tmp_path, genome, contig, windows, called="chrT"):
    """An SAE directory whose shards were read in these windows of a contig that went by another name."""
    data = tmp_path / "shuffled"
    data.mkdir()
    (data / "windows.bed").write_text("".join(f"{called}\t{a}\t{b}\t{i}\t0\t+\n" for i, (a, b) in enumerate(windows)))
    (data / "manifest.json").write_text(json.dumps({"windows_sha256": sha256(data / "windows.bed")}))
    (tmp_path / "sae").mkdir()
    (tmp_path / "sae" / "provenance.json").write_text(json.dumps({"data": str(data)}))
    facts = {"genome": {called: genome.identity([contig])[contig]}}
    return replace(random_sae(), metadata=facts | {"training": {"data_sha256": sha256(data / "manifest.json")}}), data


def test_what_was_trained_on_is_known_by_sequence_whatever_its_name(tmp_path, genome):
    sae, data = trained_on(tmp_path, genome, "plain", [(0, 20), (50, 60), (55, 70), (290, 300)])
    folder = tmp_path / "sae"
    plain, odd = GenomicRegion("plain", 10, 295), GenomicRegion("odd", 0, 100)
    assert trained_bases(sae, folder, genome, [plain, odd]) == 10 + 20 + 5
    assert trained_bases(sae, folder, genome, [GenomicRegion("plain", 20, 50)]) == 0
    assert trained_bases(sae, folder, genome, [odd]) == 0
    (data / "windows.bed").write_text("chrT\t0\t1\t0\t0\t+\n")
    assert trained_bases(sae, folder, genome, [plain]) is None
    assert trained_bases(sae, tmp_path / "elsewhere", genome, [plain]) is None
    assert trained_bases(random_sae(), folder, genome, [plain]) is None


spans = st.tuples(st.integers(0, 40), st.integers(1, 15)).map(lambda pair: (pair[0], sum(pair)))


@given(st.lists(spans, min_size=1, max_size=8), spans)
def test_bases_that_windows_cover_are_counted_once(tmp_path_factory, windows, span):
    bed = tmp_path_factory.mktemp("bed") / "windows.bed"
    bed.write_text("".join(f"c\t{start}\t{end}\t0\t0\t+\n" for start, end in windows))
    covered = {i for start, end in windows for i in range(start, end)}
    assert _covered_bases(bed, [GenomicRegion("c", *span)]) == len(covered & set(range(*span)))


@pytest.fixture
def folders(tmp_path, model):
    """A language model on disk, and an SAE of it."""
    save_model(model, tmp_path / "lm")
    reader = load_lm(str(tmp_path / "lm"), 2, device="cpu")
    sae = random_sae(metadata={"lm": describe(reader)})
    save_sae(sae, tmp_path / "sae")
    return reader, sae, tmp_path / "sae"


def test_the_command_writes_what_the_library_measures(folders, genome):
    reader, sae, folder = folders
    words = ("evaluate", str(folder), str(genome.path), "-r", "plain:11-200", "-p", "1", "--device", "cpu")
    out = run(*words, "--json")
    assert out.returncode == 0, out.stderr
    record = read_json(folder / "evaluation.json")
    assert json.loads(out.stdout) == record
    measured = measure_recovered(reader, sae, genome, [GenomicRegion("plain", 10, 200)]).record()
    assert measured.pop("markov") is None
    assert {name: record[name] for name in measured} == pytest.approx(measured, rel=1e-6)
    assert record["markov"] == best_markov(genome, [GenomicRegion("plain", 10, 200)])
    assert record["bases"] == 189 and record["regions"] == ["plain:11-200"] and record["trained_bases"] is None
    assert record["sae_sha256"] == sae.checksum and record["lm"] == describe(reader)
    assert record["genome"]["contigs"] == genome.identity(["plain"]) and "evaluate" in record["command"]

    table = run(*words, "-o", str(folder.parent / "there.json"))
    assert table.stdout.splitlines()[0] == "189 bases scored, next-base cross entropy in nats per base"
    assert table.stdout.splitlines()[-1] == "whether the SAE was trained on these regions is not known"
    assert {**read_json(folder.parent / "there.json"), "command": ""} == {**record, "command": ""}


def test_where_to_write_is_settled_first(tmp_path, monkeypatch):
    assert _target(str(tmp_path), None) == tmp_path / "evaluation.json"
    assert _target("owner/name", tmp_path / "e.json") == tmp_path / "e.json"
    with pytest.raises(SaeTracksError, match="owner/name is not a local folder: name the file to write with -o"):
        _target("owner/name", None)
    with pytest.raises(SaeTracksError, match="it is a folder; name a file"):
        _target(str(tmp_path), tmp_path)
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(SaeTracksError, match=r"cannot write into .*: name another file with -o"):
        _target(str(tmp_path), None)


def test_an_sae_of_another_model_is_refused(folders, genome, tmp_path):
    _, _, folder = folders
    torch.manual_seed(5)
    other = HyenaDNAForCausalLM(HyenaDNAConfig(d_model=D, n_layer=LAYERS, max_seq_len=WINDOW + 2))
    save_model(other, tmp_path / "other")
    out = run("evaluate", str(folder), str(genome.path), "-m", str(tmp_path / "other"), "--device", "cpu", "-p", "1")
    assert out.returncode == 1 and "trained on another weights" in out.stderr
    assert not (folder / "evaluation.json").exists()


@pytest.mark.parametrize("option", [("--read-strand", "both"), ("--window-size", "50"), ("--context", "8")])
def test_the_windows_of_the_next_base_loss_are_fixed(folders, genome, option):
    _, _, folder = folders
    out = run("evaluate", folder, genome.path, "-p", "1", "--device", "cpu", *option)
    assert out.returncode == 2 and f"the windows of the next-base loss are fixed: leave out {option[0]}" in out.stderr
    assert not (folder / "evaluation.json").exists()
