"""Mixtral with byte pairs, the form of Mistral-DNA, against plain calls of the model on a window of either strand."""

import lm_zoo
import numpy as np
import pytest
import torch
from conftest import shared
from toy import random_dna, write_fasta
from transformers import AutoModel, AutoTokenizer

from sae_tracks.genome import Genome
from sae_tracks.lm import load_lm
from sae_tracks.lm.untrained import check_can_be_untrained
from sae_tracks.reading import read

OTHER_STRAND = str.maketrans("ACGT", "TGCA")
LAYERS = (1, 3)
REPEATS = "A" * 45 + "CA" * 30 + "GGGTTA" * 12


@pytest.fixture(scope="module", params=["small", "public"])
def folder(request, tmp_path_factory):
    if request.param == "public":
        return shared("models/mistral-dna-hg38-prom")
    return lm_zoo.mixtral(tmp_path_factory.mktemp("zoo") / "mixtral")


def plain(folder, text, layer):
    """hidden_states[layer] of plain DNA, one row per base, by the library alone."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    inputs = tokenizer(text, return_tensors="pt")
    with torch.no_grad():
        states = model(**inputs, output_hidden_states=True).hidden_states[layer][0]
    words = tokenizer.convert_ids_to_tokens(inputs["input_ids"][0].tolist())
    assert (words[0], words[-1], "".join(words[1:-1])) == ("[CLS]", "[SEP]", text)
    return torch.cat([state.expand(len(word), -1) for word, state in zip(words[1:-1], states[1:-1])])


@pytest.mark.parametrize("strand", ["+", "-"])
@pytest.mark.parametrize("layer", LAYERS)
def test_reading_either_strand_equals_hidden_states_repeated_over_bases(folder, tmp_path, layer, strand):
    text = random_dna(120, 11)
    genome = Genome(write_fasta(tmp_path / "g.fa", chr1=text[:70].lower() + text[70:]))
    lm = load_lm(folder, layer, device="cpu")
    (window,) = read(lm, genome, read_strand=strand)
    oriented = text if strand == "+" else text.translate(OTHER_STRAND)[::-1]
    expected = plain(folder, oriented, layer)
    expected = expected if strand == "+" else expected.flip(0)
    torch.testing.assert_close(window.activations, expected, rtol=1e-4, atol=1e-5)
    assert window.readable.all()


@pytest.mark.parametrize("strand", ["+", "-"])
def test_no_end_of_a_window_cuts_a_token_of_the_sequence(folder, tmp_path, strand):
    text = "".join(random_dna(2000, seed) + REPEATS for seed in range(4))
    lm = load_lm(folder, hook="embed_tokens", device="cpu")  # a row says which token it is
    readings = list(read(lm, Genome(write_fasta(tmp_path / "g.fa", chr1=text)), read_strand=strand))
    rows, starts = torch.cat([r.activations for r in readings]), np.concatenate([r.token_starts for r in readings])
    oriented = text if strand == "+" else text.translate(OTHER_STRAND)[::-1]
    if strand == "-":
        rows, starts = rows.flip(0), starts[::-1]
    tokenizer, table = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).embed_tokens.weight
    ids = tokenizer(oriented, add_special_tokens=False)["input_ids"]
    lengths = list(map(len, tokenizer.convert_ids_to_tokens(ids)))
    assert len(readings) > 5 and torch.equal(rows, table[np.repeat(ids, lengths)])
    assert np.flatnonzero(starts).tolist() == [0, *np.cumsum(lengths[:-1]).tolist()]


def test_mixtral_reads_from_left_to_right_and_its_routes_do_not_depend_on_what_is_behind(folder):
    lm = load_lm(folder, 3, device="cpu")
    assert lm.causal
    left, right, other = random_dna(60, 1), random_dna(60, 2), random_dna(60, 3)
    one, two = (lm.activations((left + "N" + tail).encode()) for tail in (right, other))  # no token reaches over N
    torch.testing.assert_close(one[:60], two[:60], rtol=1e-4, atol=1e-5)
    assert (one[61:] - two[61:]).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["random", "permuted"])
def test_an_untrained_mixtral_is_another_model_with_the_same_tokens(folder, kind):
    lm = load_lm(folder, 3, device="cpu")
    offers = check_can_be_untrained(lm)
    made, again, dna = offers.untrained(kind, 1), offers.untrained(kind, 1), random_dna(100, 4).encode()
    assert made.causal and made.hook_name == lm.hook_name and made.checksum == again.checksum != lm.checksum
    assert np.array_equal(made.token_starts(dna), lm.token_starts(dna))
    assert torch.equal(made.activations(dna), again.activations(dna))
    assert (made.activations(dna) - lm.activations(dna)).abs().max() > 1e-2
