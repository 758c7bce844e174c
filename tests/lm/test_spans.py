"""Tokens and the bases that they cover, against walks along the letters."""

import lm_zoo
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from sae_tracks.errors import SaeTracksError
from sae_tracks.lm import HyenaDNATokenizer
from sae_tracks.lm.spans import PROBE, DNATokenizer

SEQUENCES = st.text("ACGTNRacgtnU", min_size=1, max_size=80)


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    root = tmp_path_factory.mktemp("zoo")
    folders = {"6-mer": lm_zoo.six_mers(root / "6"), "BPE": lm_zoo.byte_pairs(root / "b")}
    folders |= {"letter": lm_zoo.letters(root / "l"), "lower": lm_zoo.letters(root / "w", lower=True)}
    return {name: DNATokenizer(AutoTokenizer.from_pretrained(folder), name) for name, folder in folders.items()}


def as_read(sequence):
    """What the model is given in place of the genome's letters."""
    return "".join(base if base in "ACGT" else "N" for base in sequence.upper())


def greedy(sequence):
    """Tokens of Nucleotide Transformer, from the left: six bases where they are there, else one letter."""
    words, at = [], 0
    while at < len(sequence):
        six = sequence[at : at + 6]
        words.append(six if len(six) == 6 and "N" not in six else sequence[at])
        at += len(words[-1])
    return words


@given(SEQUENCES)
def test_six_mers_equal_a_greedy_walk(tokenizers, sequence):
    words = greedy(as_read(sequence))
    tokens = tokenizers["6-mer"].encode(sequence.encode())
    assert tokens.lengths.tolist() == [len(word) for word in words]
    assert tokenizers["6-mer"].tokenizer.convert_ids_to_tokens(tokens.ids.tolist()) == words
    starts = {sum(map(len, words[:i])) for i in range(len(words))}
    assert np.flatnonzero(tokens.starts).tolist() == sorted(starts)
    assert tokens.of_base.tolist() == [i for i, word in enumerate(words) for _ in word]


@given(SEQUENCES)
def test_bpe_tokens_spell_the_sequence_and_every_n_is_a_token(tokenizers, sequence):
    read, bpe = as_read(sequence), tokenizers["BPE"]
    tokens = bpe.encode(sequence.encode())
    words = bpe.tokenizer.convert_ids_to_tokens(tokens.ids.tolist())
    assert "".join(words).replace("[UNK]", "N") == read
    assert tokens.lengths.tolist() == [1 if word == "[UNK]" else len(word) for word in words]


@pytest.mark.parametrize("kind", ["letter", "lower"])
@given(sequence=SEQUENCES)
def test_a_letter_is_a_token(tokenizers, kind, sequence):
    tokens = tokenizers[kind].encode(sequence.encode())
    table = tokenizers[kind].tokenizer.get_vocab()
    case = str.lower if kind == "lower" else str
    assert tokens.ids.tolist() == [table[case(base)] for base in as_read(sequence)]
    assert tokens.starts.all() and tokens.lengths.tolist() == [1] * len(sequence)


def test_bpe_without_n_equals_the_tokenizer_on_plain_dna(tokenizers):
    bpe = tokenizers["BPE"]
    whole = bpe.tokenizer(PROBE)["input_ids"]
    assert [*bpe.before, *bpe.encode(PROBE.encode()).ids, *bpe.after] == whole
    assert bpe.tokenizer.convert_ids_to_tokens(bpe.before + bpe.after) == ["[CLS]", "[SEP]"]


def test_bases_per_token_is_exact_for_kmers_and_letters(tokenizers):
    assert tokenizers["6-mer"].bases_per_token == 6
    assert tokenizers["letter"].bases_per_token == 1
    assert 2 < tokenizers["BPE"].bases_per_token < 6


def test_hyenadnas_own_tokenizer_reads_a_letter_a_token_with_sep_behind():
    own = DNATokenizer(HyenaDNATokenizer(), "hyena")
    assert own.encode(b"ACGTN").ids.tolist() == [7, 8, 9, 10, 11]
    assert (own.before, own.after) == ([], [1])


def test_a_tokenizer_without_a_base_is_refused(tmp_path):
    folder = lm_zoo.letters(tmp_path, alphabet="ACGU")
    with pytest.raises(SaeTracksError, match=r"rna: its tokenizer has no T: is it a DNA model?"):
        DNATokenizer(AutoTokenizer.from_pretrained(folder), "rna")


def test_a_tokenizer_of_single_letters_that_cannot_split_is_refused():
    inner = Tokenizer(
        models.WordLevel({"[UNK]": 0, **{base: i for i, base in enumerate("ACGT", 1)}}, unk_token="[UNK]")
    )
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    with pytest.raises(SaeTracksError, match="whole: its tokenizer does not split plain DNA"):
        DNATokenizer(PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="[UNK]"), "whole")


def test_a_tokenizer_with_nothing_to_read_n_as_is_refused():
    inner = Tokenizer(models.BPE({base: i for i, base in enumerate("ACGT")}, []))
    with pytest.raises(SaeTracksError, match="neither N nor an unknown or mask token"):
        DNATokenizer(PreTrainedTokenizerFast(tokenizer_object=inner), "four")
