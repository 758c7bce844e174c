"""Features on changed copies of a part of the genome: borders, both read strands, and what does not change."""

import numpy as np
import pytest
import torch
from toy import OneHotLM, identity_sae, random_dna, random_sae, write_fasta

from sae_tracks.dna import reverse_complement
from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome
from sae_tracks.insight.edits import FeatureReader, open_frame
from sae_tracks.lm import load_lm
from sae_tracks.lm.edits import begin_edits
from sae_tracks.regions import GenomicRegion
from sae_tracks.sae.encoder import SparseEncoder
from sae_tracks.source import Source

LETTERS = np.frombuffer(b"ACGT", np.uint8)


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    """100 bases, 150 N, 200 bases."""
    dna = random_dna(100, 1) + "N" * 150 + random_dna(200, 2)
    return Genome(write_fasta(tmp_path_factory.mktemp("g") / "g.fa", c1=dna))


def toy_source(genome, **how):
    return Source(OneHotLM(), identity_sae(), genome, window=64, context=20, **how)


@pytest.mark.parametrize("strand", ["+", "-"])
@pytest.mark.parametrize(
    ("start", "end", "fed"),  # on +, on -
    [
        (0, 10, {"+": (0, 10), "-": (0, 30)}),
        (250, 260, {"+": (250, 260), "-": (250, 280)}),
        (440, 450, {"+": (420, 450), "-": (440, 450)}),
        (300, 344, {"+": (280, 344), "-": (300, 364)}),
    ],
)
def test_the_context_lies_before_the_region_and_ends_at_runs_of_n(genome, strand, start, end, fed):
    frame = open_frame(toy_source(genome), GenomicRegion("c1", start, end), strand)
    assert (frame.fed.start, frame.fed.end) == fed[strand]
    forward = genome.sequence(frame.fed)
    assert frame.letters.tobytes() == (forward if strand == "+" else reverse_complement(forward))
    positions = np.arange(frame.fed.start, frame.fed.end)
    offsets = frame.offsets(positions)
    assert (frame.positions(offsets) == positions).all()
    assert sorted(offsets) == list(range(len(frame.fed)))
    read = frame.letters if strand == "+" else np.frombuffer(reverse_complement(frame.letters.tobytes()), np.uint8)
    assert (read == np.frombuffer(forward, np.uint8)).all()


def test_regions_that_cannot_be_read_are_refused(genome):
    with pytest.raises(SaeTracksError, match="reaches into a long run of N"):
        open_frame(toy_source(genome), GenomicRegion("c1", 90, 101), "+")
    with pytest.raises(SaeTracksError, match="45 bases; this model reads at most 44 beside"):
        open_frame(toy_source(genome), GenomicRegion("c1", 300, 345), "+")


@pytest.mark.parametrize("architecture", ["standard", "topk", "jumprelu"])
def test_copies_equal_features_of_a_whole_reading(architecture):
    lm = load_lm("yeast")
    sae, rng = random_sae(lm.d_model, 600, architecture), np.random.default_rng(3)
    features = [599, 0, 511, 512, 30]
    sequence = random_dna(200, 5).encode()
    letters, edits = LETTERS[rng.integers(0, 4, (3, 15))], begin_edits(lm, sequence)
    original = sae.encode(lm.activations(sequence))[:, features]
    for starts, before in ((np.array([0, 60, 185]), 0), (np.array([4, 60, 185]), 4)):
        found = FeatureReader(SparseEncoder.of(sae, features), features).copies(edits, starts, letters, before)
        for start, word, values in zip(starts, letters, found, strict=True):
            copy = sequence[:start] + word.tobytes() + sequence[start + 15 :]
            expected = sae.encode(lm.activations(copy))[start - before : start + 15, features]
            np.testing.assert_allclose(values, expected, atol=2e-4 * float(original.max()))
            assert (expected > 0).any()


def test_a_copy_without_a_change_has_the_same_bits():
    lm = load_lm("yeast")
    reader = FeatureReader(SparseEncoder.of(random_sae(lm.d_model, 64)), range(64))
    sequence = random_dna(300, 6).encode()
    edits, letters = begin_edits(lm, sequence), np.frombuffer(sequence, np.uint8)
    starts = np.array([20, 100, 280])
    same = np.stack([letters[start : start + 20] for start in starts])
    whole = reader.values(edits.activations)
    assert (reader.copies(edits, starts, same, before=10) == [whole[s - 10 : s + 20] for s in starts]).all()
    assert torch.equal(edits.activations, lm.activations(sequence))
