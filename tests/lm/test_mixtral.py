"""Mixtral with byte pairs, the form of Mistral-DNA, against plain calls of the model on a window of either strand."""

import lm_zoo
import numpy as np
import pytest
import torch
from conftest import shared
from toy import random_dna, write_fasta
from transformers import AutoModel, AutoTokenizer, MixtralConfig, MixtralForSequenceClassification

from sae_tracks.genome import Genome
from sae_tracks.lm import load_lm
from sae_tracks.lm.untrained import check_can_be_untrained
from sae_tracks.reading import read

OTHER_STRAND = str.maketrans("ACGT", "TGCA")
LAYERS = (1, 3)


def mixtral(root):
    """A small Mixtral with the head of a classifier, which picks one of four experts for each token."""
    tokenizer = AutoTokenizer.from_pretrained(lm_zoo.byte_pairs(root / "bpe"))
    torch.manual_seed(5)
    config = MixtralConfig(
        vocab_size=len(tokenizer), num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=1, pad_token_id=1,
        max_position_embeddings=64, **lm_zoo.SIZES,
    )  # fmt: skip
    return lm_zoo.save(MixtralForSequenceClassification(config), tokenizer, root / "mixtral")


@pytest.fixture(scope="module", params=["small", "public"])
def folder(request, tmp_path_factory):
    if request.param == "public":
        return shared("models/mistral-dna-hg38-prom")
    return mixtral(tmp_path_factory.mktemp("zoo"))


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
