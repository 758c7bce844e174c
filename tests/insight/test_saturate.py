"""Every single-base change of a region against copies that are read whole, and models whose answer is known."""

from itertools import product

import numpy as np
import pandas as pd
import planted
import pybigtools
import pyBigWig
import pytest
import torch
from toy import OneHotLM, identity_sae, random_dna, random_sae, write_fasta

from sae_tracks.dna import reverse_complement
from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome
from sae_tracks.insight import saturate as module
from sae_tracks.insight.saturate import ARRAYS, TABLE, estimate, saturate, write_saturation
from sae_tracks.lm import HyenaDNAConfig, HyenaDNAForCausalLM, HyenaDNAReader, load_lm
from sae_tracks.regions import GenomicRegion
from sae_tracks.source import Source

WORD, STRAND = next(iter(planted.WORDS.items()))[1].decode(), 0  # channel 0 of `PlantedLM`: the first word as written
CHANNEL = 2  # of `OneHotLM`: G
AFTER_C = 5  # of `OneHotLM`: the base before is C
SOME = list(range(63, 0, -4))  # features


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    """70 bases with an R and two N, 120 N, 90 bases."""
    first = random_dna(70, 1)
    dna = first[:33] + "R" + first[34:40] + "NN" + first[42:] + "N" * 120 + random_dna(90, 2)
    return Genome(write_fasta(tmp_path_factory.mktemp("g") / "g.fa", c1=dna))


def naive(source, region, features, strand):
    """(k, w) activations, (k, w, 4, w) those of copies, each read whole with its context; NaN for no change."""
    before = source.layout.before
    stretch = next(part for part in source.genome.stretches(region.contig) if part.overlap(region))
    after = 0 if source.lm.causal else source.layout.after
    left, right = (before, after) if strand == "+" else (after, before)
    fed = GenomicRegion(region.contig, max(region.start - left, stretch.start), min(region.end + right, stretch.end))
    forward = source.genome.sequence(fed).decode()

    def read(sequence):
        oriented = sequence.encode() if strand == "+" else reverse_complement(sequence.encode())
        values = source.sae.encode(source.lm.activations(oriented))[:, features].numpy().T
        values = values if strand == "+" else values[:, ::-1]
        return values[:, region.start - fed.start : region.end - fed.start]

    original = read(forward)
    copies = np.full((len(features), len(region), 4, len(region)), np.nan, np.float32)
    for i, (letter, alt) in product(range(len(region)), enumerate("ACGT")):
        at = region.start - fed.start + i
        if forward[at] in "ACGT":
            copies[:, i, letter] = read(forward[:at] + alt + forward[at + 1 :])
    readable = np.isin(list(forward[region.start - fed.start : region.end - fed.start]), list("ACGT"))
    return np.where(readable, original, np.nan), np.where(readable, copies, np.nan)


def check_equal(source, region, features, at=None):
    found = saturate(source, region, features, at=at)
    for s, strand in enumerate(source.read_strands):
        original, copies = naive(source, region, features, strand)
        tolerance = 2e-4 * max(float(np.nanmax(copies)), 1)
        np.testing.assert_allclose(found.activations[s], original, atol=tolerance)
        change = copies - original[:, None, None]
        np.testing.assert_allclose(found.dependency[s], np.abs(change).max(axis=2), atol=tolerance)
        for f in range(len(features)):
            peak = found.peaks[s, f] - region.start
            if at is None and np.nanmax(original[f]) > 0:
                assert original[f, peak] >= np.nanmax(original[f]) - tolerance
            np.testing.assert_allclose(found.changes[s, f], change[f, :, :, peak], atol=tolerance)
            assert found.heights[s, f] == found.activations[s, f, peak]
    mean = -found.changes.astype(np.float64).sum(axis=-1) / 3
    np.testing.assert_allclose(found.contributions, mean, rtol=1e-6, atol=1e-6)
    assert (np.nanmax(found.dependency) > 0) and found.features == list(features)
    return found


@pytest.fixture(scope="module")
def reader():
    torch.manual_seed(4)
    model = HyenaDNAForCausalLM(HyenaDNAConfig(d_model=16, n_layer=2, max_seq_len=66))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return HyenaDNAReader(model.eval(), 2)


@pytest.mark.parametrize("architecture", ["standard", "topk", "jumprelu"])
@pytest.mark.parametrize(
    "span",
    [(0, 20), (30, 70), (190, 215), (243, 280), (25, 26)],
    ids=["first base", "R, NN and a long run of N behind", "long run of N before", "last base", "one base"],
)
def test_hyenadna_equals_copies_that_are_read_whole(reader, genome, architecture, span):
    sae = random_sae(reader.d_model, 64, architecture)
    source = Source(reader, sae, genome, read_strands=["+", "-"], window=64, context=24)
    check_equal(source, GenomicRegion("c1", *span), SOME)


def test_the_bundled_model_is_causal_in_the_direction_of_reading(tmp_path):
    lm, genome = load_lm("yeast"), Genome(write_fasta(tmp_path / "g.fa", c=random_dna(300)))
    source = Source(lm, random_sae(lm.d_model, 40), genome, read_strands=["+", "-"], context=40)
    found = check_equal(source, GenomicRegion("c", 130, 160), [5, 2], at=140)
    assert (found.peaks == 140).all()
    assert (np.tril(found.dependency[0], -1) == 0).all()  # read left to right: nothing left of the changed base moves
    assert (np.triu(found.dependency[1], 1) == 0).all()
    assert (found.contributions[0, :, 11:] == 0).all() and (found.contributions[1, :, :10] == 0).all()


@pytest.mark.parametrize("strands", [["+"], ["-"], ["+", "-"]])
def test_a_model_that_reads_copies_whole_gives_the_same(genome, strands, monkeypatch):
    monkeypatch.setattr(module, "MOST_ROWS", 500)  # several blocks
    lm = planted.PlantedLM(64)
    source = Source(lm, planted.planted_sae(lm), genome, read_strands=strands, window=64, context=20)
    check_equal(source, GenomicRegion("c1", 20, 60), list(range(16, 30)))


def test_only_the_bases_of_a_planted_word_contribute_and_their_letters_are_the_word(tmp_path):
    dna = "AT" * 20 + WORD + "AT" * 20
    lm = planted.PlantedLM(128)
    source = Source(
        lm, planted.planted_sae(lm), Genome(write_fasta(tmp_path / "g.fa", c=dna)), read_strands=["+", "-"], context=0
    )
    found = saturate(source, GenomicRegion("c", 20, 70), [1, 0])  # channel 1: the word read on the other strand
    (plus_of_reverse, plus), (minus_of_reverse, minus) = found.contributions
    for contributions in (plus, minus_of_reverse):
        letters = [dna[20 + i] for i in np.flatnonzero(contributions > 0.5)]
        assert "".join(letters) == WORD
        assert (np.abs(np.delete(contributions, np.s_[20 : 20 + len(WORD)])) < 1e-5).all()
    for silent in (plus_of_reverse, minus):
        assert (np.abs(silent) < 1e-5).all()


def known(tmp_path, dna, features, **how):
    tmp_path.mkdir(exist_ok=True)
    source = Source(OneHotLM(), identity_sae(), Genome(write_fasta(tmp_path / "g.fa", c=dna)), context=8, **how)
    return saturate(source, source.genome.region("c"), features)


@pytest.mark.parametrize("strand", ["+", "-"])
def test_a_base_moves_the_next_in_the_direction_of_reading(tmp_path, strand):
    found = known(tmp_path, "ACGTTGCA", [AFTER_C, CHANNEL], read_strands=[strand])
    step = 1 if strand == "+" else -1
    assert (found.dependency[0, 0] == np.eye(8, k=step)).all()
    assert (found.dependency[0, 1] == np.eye(8)).all()
    where, letter = (2, "C") if strand == "+" else (1, "G")  # the first peak on the forward strand; G is C on -
    assert found.peaks[0, 0] == (2 if strand == "+" else 1)
    before = where - step
    assert found.contributions[0, 0].tolist() == [float(i == before) for i in range(8)]
    assert "ACGTTGCA"[before] == letter
    assert found.changes[0, 0, before].tolist() == [0.0 if base == letter else -1.0 for base in "ACGT"]


def test_unknown_letters_are_not_changed_and_not_a_peak(tmp_path):
    found = known(tmp_path, "ANGRT", [CHANNEL])
    unknown = np.array([False, True, False, True, False])
    assert (np.isnan(found.activations[0, 0]) == unknown).all()
    assert (np.isnan(found.changes[0, 0]).all(axis=1) == unknown).all()
    assert (np.isnan(found.dependency[0, 0]) == unknown | unknown[:, None]).all()
    assert found.peaks.tolist() == [[2]]
    assert len(found.table()) == 9
    with pytest.raises(SaeTracksError, match="holds no A, C, G or T"):
        known(tmp_path / "unknown", "NNRN", [CHANNEL])


def test_a_silent_feature_is_measured_at_the_last_base_read_and_can_only_rise(tmp_path):
    for strand, last in (("+", 4), ("-", 0)):
        found = known(tmp_path / str(last), "ATTAA", [AFTER_C], read_strands=[strand])
        assert found.peaks.tolist() == [[last]] and found.heights.tolist() == [[0.0]]
        assert (found.contributions <= 0).all() and found.contributions.min() == np.float32(-1 / 3)
        (remark,) = found.remarks()
        assert "silent in c:1-5, so changes can only raise it; a change of base" in remark
        assert "raises it to 1 at c:" in remark


def test_remarks_name_the_strongest_change(tmp_path):
    remarks = known(tmp_path, "ATCGA", [AFTER_C, CHANNEL]).remarks()
    assert remarks[0] == "f/5, read strand +: 1 at c:4; c:3 C>A changes it most, by -1"
    assert remarks[1].endswith("c:4 G>A changes it most, by -1")


def test_what_cannot_be_done_is_refused(genome, monkeypatch):
    source = Source(OneHotLM(), identity_sae(), genome, window=64, context=20)
    with pytest.raises(SaeTracksError, match="2,001 bases; saturate changes at most 2,000: name a shorter"):
        saturate(source, GenomicRegion("c1", 0, 2001), [0])
    with pytest.raises(SaeTracksError, match="no feature 6"):
        saturate(source, GenomicRegion("c1", 0, 10), [6])
    for at, message in ((10, "lies outside of c1:1-10"), (33, "is R: name an A, C, G or T")):
        with pytest.raises(SaeTracksError, match=message):
            saturate(source, GenomicRegion("c1", 0 if at == 10 else 30, 10 if at == 10 else 40), [0], at=at)
    monkeypatch.setattr(module, "MOST_MAPS", 799)
    with pytest.raises(SaeTracksError, match=r"maps of 2 features over 10 bases take .* fewer features"):
        saturate(source, GenomicRegion("c1", 0, 10), [0, 1])
    assert saturate(source, GenomicRegion("c1", 0, 10), [0, 0]).features == [0]


def test_the_estimate_counts_the_copies(genome, reader):
    toy = Source(OneHotLM(), identity_sae(), genome, window=64, context=20)
    assert estimate(toy, GenomicRegion("c1", 30, 50), [0]).startswith("51 changed copies of c1:31-50 per read strand")
    assert "each read whole, 40 bases; 1 feature, read +; dependency maps of 0.0 MB" in estimate(
        toy, GenomicRegion("c1", 30, 50), [0]
    )
    with pytest.raises(SaeTracksError, match="45 bases; this model reads at most 44 beside the context"):
        estimate(toy, GenomicRegion("c1", 220, 265), [0])
    ours = Source(reader, random_sae(reader.d_model, 8), genome, read_strands=["+", "-"], window=64, context=20)
    text = estimate(ours, GenomicRegion("c1", 0, 40), [0, 1])
    assert "from the changed base on; 2 features, read + and -; dependency maps of 0.0 MB" in text


@pytest.mark.parametrize(
    ("strands", "names"),
    [
        (["+"], ["f5", "f2"]),
        (["-"], ["f5.minus", "f2.minus"]),
        (["+", "-"], ["f5.plus", "f2.plus", "f5.minus", "f2.minus"]),
    ],
)
def test_what_is_written_is_what_was_found(genome, tmp_path, strands, names):
    source = Source(OneHotLM(), identity_sae(), genome, read_strands=strands, window=64, context=20)
    region = GenomicRegion("c1", 28, 50)
    found = saturate(source, region, [5, 2])
    paths = write_saturation(found, source, tmp_path / "out")
    assert [path.name for path in paths] == [f"{name}.contributions.bw" for name in names]
    rows = found.contributions.reshape(-1, len(region))
    for path, expected in zip(paths, rows, strict=True):
        with pyBigWig.open(str(path)) as file:
            assert file.chroms() == {"c1": 280}
            assert file.header()["nBasesCovered"] == (~np.isnan(expected)).sum() == 19
            np.testing.assert_array_equal(np.float32(file.values("c1", 28, 50)), expected)
        with pybigtools.open(str(path)) as file:
            np.testing.assert_array_equal(np.float32(file.values("c1", 28, 50, fillna=None)), expected)
    with np.load(tmp_path / "out" / ARRAYS) as arrays:
        assert arrays["dependency"].shape == (len(strands), 2, 22, 22)
        np.testing.assert_array_equal(arrays["change"], found.changes)
        assert str(arrays["sequence"]) == genome.sequence(region).decode()
        assert (int(arrays["start"]), int(arrays["end"]), str(arrays["contig"])) == (28, 50, "c1")
    table = pd.read_csv(tmp_path / "out" / TABLE, sep="\t")
    assert len(table) == 2 * len(strands) * 19 * 3
    sequence = genome.sequence(region).decode()
    for row in table.sample(40, random_state=0).itertuples():
        s, f = strands.index(row.read_strand), [5, 2].index(int(row.feature[1:]))
        assert sequence[row.start - 28] == row.ref != row.alt and row.end == row.start + 1
        assert row.change == pytest.approx(found.changes[s, f, row.start - 28, "ACGT".index(row.alt)])
        assert (row.peak, row.activation) == (found.peaks[s, f], pytest.approx(found.heights[s, f]))
    assert (tmp_path / "out" / "provenance.json").is_file()
