"""Models of transformers' own architectures, random weights, against plain calls of the model and its tokenizer."""

import lm_zoo
import numpy as np
import pyBigWig
import pytest
import torch
from toy import random_dna, unit_stats, write_fasta
from transformers import AutoModel, AutoTokenizer
from typer.testing import CliRunner

from sae_tracks.cli.app import app
from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome
from sae_tracks.lm import GeneLM, describe, load_lm
from sae_tracks.lm.auto import Tap
from sae_tracks.lm.protocol import place
from sae_tracks.regions import GenomicRegion
from sae_tracks.sae import SAE, save_sae
from sae_tracks.sae.directory import check_match
from sae_tracks.source import sae_language_model

KINDS = ("six_mers", "byte_pairs", "mamba", "llama")
DNA = random_dna(60, 5)
SEQUENCES = [DNA, "A", "N", "ACGTNACGRYTTAGACCANNNGATTACATT", "acgtu" * 6]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("zoo")
    made = {"six_mers": lm_zoo.six_mers(root / "six"), "byte_pairs": lm_zoo.byte_pairs(root / "bpe")}
    return made | {kind: lm_zoo.letters(root / kind, kind) for kind in ("mamba", "llama")}


def plain(folder, sequence, layer):
    """hidden_states[layer] of the sequence's tokens, one row a base, by the library alone (in BPE N is [UNK])."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    text = "".join(base if base in "ACGT" else "N" for base in sequence.upper())
    if "N" not in tokenizer.get_vocab():
        text = text.replace("N", "[UNK]")
    inputs = tokenizer(text, return_tensors="pt")
    with torch.no_grad():
        states = model(**inputs, output_hidden_states=True).hidden_states[layer][0]
    words = tokenizer.convert_ids_to_tokens(inputs["input_ids"][0].tolist())
    rows = []
    for word, state in zip(words, states):
        rows += [state] * (0 if word in ("[CLS]", "[SEP]", "<cls>") else 1 if word == "[UNK]" else len(word))
    return torch.stack(rows)


@pytest.mark.parametrize("sequence", SEQUENCES)
@pytest.mark.parametrize("layer", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_activations_equal_hidden_states_repeated_over_the_bases_of_a_token(folders, kind, layer, sequence):
    lm = load_lm(folders[kind], layer, device="cpu")
    ours = lm.activations(sequence.encode())
    assert ours.shape == (len(sequence), 16) and ours.dtype == torch.float32
    torch.testing.assert_close(ours, plain(folders[kind], sequence, layer), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "causal", "max_length", "blocks"),
    [
        ("six_mers", False, 39 * 6, "encoder.layer."),
        ("byte_pairs", False, None, "encoder.layer."),
        ("mamba", True, 8192, "layers."),
        ("llama", True, 80, "layers."),
    ],
)
def test_the_facts_of_a_model_are_measured(folders, kind, causal, max_length, blocks):
    lm = load_lm(folders[kind], 2, device="cpu")
    assert isinstance(lm, GeneLM)
    assert lm.causal is causal
    assert max_length in (None, lm.max_length)
    assert lm.hook_name.startswith(blocks)
    assert place(lm.layer, lm.hook_name) == f"layer 2: hidden_states[2], the output of {lm.hook_name}"
    assert lm.model_id == str(folders[kind].absolute())
    again = describe(load_lm(folders[kind], 2, device="cpu"))
    assert again == describe(lm) and again["layer"] == 2 and again["d_model"] == 16


def test_a_layer_that_ends_in_a_norm_has_no_block_of_its_own(folders):
    assert load_lm(folders["llama"], 3, device="cpu").hook_name == "hidden_states[3]"
    assert load_lm(folders["byte_pairs"], 3, device="cpu").hook_name == "encoder.layer.2"


@pytest.mark.parametrize("hook", ["encoder.layer.1", "esm.encoder.layer.1", "encoder.layer.1.output"])
def test_a_named_module_equals_the_hidden_state(folders, hook):
    by_layer, by_hook = load_lm(folders["six_mers"], 2, device="cpu"), load_lm(folders["six_mers"], hook=hook)
    assert (by_hook.layer, by_hook.hook_name) == (None, hook.removeprefix("esm."))
    assert torch.equal(by_hook.activations(DNA.encode()), by_layer.activations(DNA.encode()))
    assert place(by_hook.layer, by_hook.hook_name) == f"the output of {by_hook.hook_name}"


def test_nothing_behind_the_module_that_is_read_is_run(folders):
    lm = load_lm(folders["six_mers"], 1, device="cpu")
    lm.model.encoder.layer[1].register_forward_hook(lambda *_: pytest.fail("the second block was run"))
    assert lm.activations(b"ACGTAC").shape == (6, 16)


def test_hyenadna_can_be_read_at_a_module(folders):
    by_layer, by_hook = load_lm("demo", 2, device="cpu"), load_lm("demo", hook="hyena.backbone.layers.1", device="cpu")
    assert by_hook.causal and by_hook.max_length == by_layer.max_length
    a, b = by_hook.activations(b"ACGTN"), by_layer.activations(b"ACGTN")
    assert (a - b).norm() <= 1e-5 * b.norm()
    assert by_hook.activations(b"A" * by_hook.max_length).shape == (by_layer.max_length, by_layer.d_model)


@pytest.mark.parametrize("where", [{"layer": 2}, {"hook": "layers.1.mlp"}])
def test_a_probe_can_be_trained_on_activations(folders, where):
    rows = load_lm(folders["llama"], **where, device="cpu").activations(DNA.encode())
    probe = torch.nn.Linear(16, 1, bias=False)
    probe(rows).sum().backward()
    torch.testing.assert_close(probe.weight.grad[0], rows.sum(0))


def test_token_starts_are_the_borders_of_the_tokens(folders):
    sequence = b"ACGTACGTNACGTACGA"
    six = load_lm(folders["six_mers"], 1, device="cpu").token_starts(sequence)
    assert np.flatnonzero(six).tolist() == [0, 6, 7, 8, 9, 15, 16]
    assert load_lm(folders["mamba"], 1, device="cpu").token_starts(sequence).all()


def test_bases_of_one_token_have_one_activation_and_those_of_two_have_two(folders):
    lm = load_lm(folders["six_mers"], 2, device="cpu")
    rows = lm.activations(DNA.encode()).reshape(10, 6, 16)
    assert torch.equal(rows, rows[:, :1].expand(-1, 6, -1))
    assert not torch.equal(rows[0], rows[1])


@pytest.mark.parametrize("n", [1, 39, 40, 77, 78, 79, 100])
def test_more_tokens_than_the_model_reads_at_once_are_read_in_pieces(folders, n):
    lm = load_lm(folders["six_mers"], 2, device="cpu")
    tokenizer, model = (
        AutoTokenizer.from_pretrained(folders["six_mers"]),
        AutoModel.from_pretrained(folders["six_mers"]),
    )
    sequence = ("N" + random_dna(4, n) * 40)[:n] if n < 40 else "N".join(random_dna(2 * n, n))[:n]
    ids = tokenizer(sequence, add_special_tokens=False)["input_ids"]
    expected = {}
    for start in [*range(0, len(ids) - 39, 39), max(len(ids) - 39, 0)]:
        piece = torch.tensor([[tokenizer.cls_token_id, *ids[start : start + 39]]])
        with torch.no_grad():
            states = model.eval()(piece, output_hidden_states=True).hidden_states[2][0, 1:]
        for i, state in enumerate(states, start):
            expected.setdefault(i, state)
    ours = lm.activations(sequence.encode())[torch.from_numpy(lm.token_starts(sequence.encode()))]
    torch.testing.assert_close(ours, torch.stack([expected[i] for i in range(len(ids))]), rtol=1e-5, atol=1e-6)


def test_positions_that_begin_behind_the_padding_token_shorten_the_window(tmp_path):
    folder = lm_zoo.six_mers(tmp_path, positions=22, max_tokens=1000)
    assert load_lm(folder, 1, device="cpu").max_length == (22 - 2 - 1) * 6  # positions from 2; <cls> takes one


def test_a_window_longer_than_the_model_reads_is_refused(folders):
    lm = load_lm(folders["llama"], 1, device="cpu")
    lm.activations(b"A" * 80)
    with pytest.raises(SaeTracksError, match=r"81 bases; .* reads 1 to 80 at once"):
        lm.activations(b"A" * 81)


@pytest.mark.parametrize("layer", [0, 4, -1])
def test_a_layer_that_is_not_there_lists_those_that_are(folders, layer):
    with pytest.raises(SaeTracksError, match=f"no layer {layer} in .*: it has layers 1 to 3"):
        load_lm(folders["six_mers"], layer, device="cpu")


@pytest.mark.parametrize(
    ("hook", "there"),
    [
        ("encoder.layer.3", "encoder.layer has 0 to 2"),
        ("encoder.layers.0", "encoder has layer"),
        ("blocks.1", "the model has embeddings, encoder"),
        ("", "the model has embeddings, encoder"),
    ],
)
def test_a_module_that_is_not_there_lists_those_that_are(folders, hook, there):
    with pytest.raises(SaeTracksError, match=f"no module {hook!r} in .*: {there}"):
        load_lm(folders["byte_pairs"], hook=hook, device="cpu")


def test_a_module_without_a_row_a_token_is_refused(folders):
    lm = load_lm(folders["mamba"], 1, device="cpu")
    lm.model.embeddings.register_forward_hook(lambda _module, _inputs, output: output.transpose(1, 2))
    with pytest.raises(SaeTracksError, match=r"embeddings gives \(1, 16, 20\); \(1, 20, d\) is what can be read"):
        Tap(None, "embeddings").read(lm.model, {"input_ids": torch.zeros(1, 20, dtype=torch.long)})


def test_a_module_that_is_not_run_is_refused(folders):
    with pytest.raises(SaeTracksError, match="contact_head gives nothing"):
        load_lm(folders["six_mers"], hook="contact_head", device="cpu")


def test_layer_and_hook_together_are_refused(folders):
    with pytest.raises(SaeTracksError, match="--layer and --hook both say where to read"):
        load_lm(folders["llama"], 2, hook="layers.1")


def test_a_relative_folder_is_kept_by_its_absolute_path(folders, monkeypatch):
    monkeypatch.chdir(folders["mamba"].parent)
    assert load_lm("mamba", 1, device="cpu").model_id == str(folders["mamba"])


def random_sae(lm, features=12):
    torch.manual_seed(4)
    weights = torch.randn(lm.d_model, features)
    zeros = torch.zeros(features), torch.zeros(lm.d_model)
    return SAE(
        weights, zeros[0], weights.T.clone(), zeros[1], metadata={"lm": describe(lm)}, stats=unit_stats(features)
    )


@pytest.mark.parametrize("where", [{"layer": 2}, {"hook": "encoder.layer.1.intermediate"}])
def test_an_sae_finds_its_model_again_and_no_other_place_in_it(folders, where):
    lm = load_lm(folders["six_mers"], **where, device="cpu")
    sae = random_sae(lm)
    again = sae_language_model(sae, None, "cpu")
    check_match(sae, again)
    assert torch.equal(again.activations(DNA.encode()), lm.activations(DNA.encode()))
    for other in ({"layer": 1}, {"hook": "encoder.layer.0.intermediate"}):
        with pytest.raises(
            SaeTracksError, match=r"reads 24 dimensions|trained on another (layer|hook)|reads 16 dimensions"
        ):
            check_match(sae, load_lm(folders["six_mers"], **other, device="cpu"))


def run(*words):
    out = CliRunner().invoke(app, [str(word) for word in words])
    assert out.exit_code == 0, (out.output, out.exception)


SHORT = ("--window-size", 120, "--context", 0, "--device", "cpu")  # windows from 0, 120 and 240 on


@pytest.fixture
def short_genome(tmp_path, folders):
    """A FASTA of 250 bases with NNN at 150; where tokens begin in its windows; which of its bases are readable."""
    path = write_fasta(tmp_path / "g.fa", chr1=random_dna(150, 8) + "NNN" + random_dna(97, 9))
    lm, fasta = load_lm(folders["six_mers"], 2, device="cpu"), Genome(path)
    windows = [GenomicRegion("chr1", start, min(start + 120, 250)) for start in range(0, 250, 120)]
    starts = np.concatenate([lm.token_starts(fasta.sequence(window)) for window in windows])
    readable = np.frombuffer(fasta.sequence(GenomicRegion("chr1", 0, 250)), np.uint8) != ord("N")
    return path, starts, readable


@pytest.mark.parametrize("where", [("--layer", 2), ("--hook", "esm.encoder.layer.1")])
def test_extract_stores_one_row_a_token(folders, short_genome, tmp_path, where):
    path, starts, readable = short_genome
    run("extract", folders["six_mers"], path, *where, "-o", tmp_path / "act", *SHORT)
    assert np.load(tmp_path / "act" / "shard-00000.loci.npy").shape == ((starts & readable).sum(), 2)


def test_tracks_have_one_value_a_token(folders, short_genome, tmp_path):
    path, starts, readable = short_genome
    save_sae(random_sae(load_lm(folders["six_mers"], 2, device="cpu")), tmp_path / "sae")
    run("export-bigwig", tmp_path / "sae", path, "-f", "0-11", "-o", tmp_path / "tracks", *SHORT)
    tracks, distinct = sorted((tmp_path / "tracks").glob("*.bw")), 0
    assert len(tracks) == 12
    for path in tracks:
        with pyBigWig.open(str(path)) as track:
            values = track.values("chr1", 0, 250, numpy=True)
        inside = np.flatnonzero(~starts)
        assert np.array_equal(values[inside], values[inside - 1])
        assert np.array_equal(np.isfinite(values), readable)
        distinct = max(distinct, len(np.unique(values[readable])))
    assert distinct > 15  # it is not all zero
