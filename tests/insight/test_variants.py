"""Effects of variants against whole readings of both alleles, their null, and the files."""

from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pysam
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import random_dna, random_sae, unit_stats, write_fasta
from variant_files import both_readings, brute, compared, write_vcf

from sae_tracks.dna import codes
from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome
from sae_tracks.insight.alleles import Plan
from sae_tracks.insight.null import Phases, draw_null, tail, variant_p
from sae_tracks.insight.variants import (
    VariantSettings,
    estimate,
    score_variants,
    variant_effects,
)
from sae_tracks.insight.vcf import Variant
from sae_tracks.json_file import read_json
from sae_tracks.lm import load_lm
from sae_tracks.regions import GenomicRegion, Shard
from sae_tracks.sae import SAE
from sae_tracks.source import Source

LEFT, RIGHT = "ACGT" * 5 + random_dna(120, 1) + "CACACACA", "GGGGGGTTTTT" + random_dna(150, 2)
DNA = LEFT + "N" * 150 + RIGHT  # two stretches


def by_feature(effects, d):
    """Dense arrays of the only variant."""
    (one,) = effects
    found = np.zeros((4, d), np.float32)
    found[:, one.feature] = one.change, one.focal, one.ref_max, one.alt_max
    return found, one


class BothSides:
    """A model that sees four bases on both sides."""

    model_id, revision, checksum, architecture = "both", None, "both", "toy"
    layer, hook_name, d_model, causal, max_length = 3, "toy", 16, False, 400

    def activations(self, sequence: bytes) -> torch.Tensor:
        digits = np.pad(codes(sequence).astype(np.int64) + 1, 4)
        windows = np.lib.stride_tricks.sliding_window_view(digits, 9)
        draw = np.random.default_rng(0).normal(size=(9, 6, 16)).astype(np.float32)
        return torch.from_numpy(sum(draw[i, windows[:, i]] for i in range(9)))

    def token_starts(self, sequence: bytes) -> np.ndarray:
        return np.ones(len(sequence), bool)


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    return Genome(write_fasta(tmp_path_factory.mktemp("g") / "g.fa", c1=DNA))


@pytest.fixture(scope="module")
def yeast():
    lm = load_lm("yeast")
    return lm, random_sae(lm.d_model, 200)


def variant(start, ref_length, alt, dna=DNA):
    return Variant("c1", start, dna[start : start + ref_length].encode(), alt.encode())


def other(start):
    return "ACGT"["ACGT".index(DNA[start]) - 1]


def flipped(start, n):
    return "".join(map(other, range(start, start + n)))


L, R = len(LEFT), len(LEFT) + 150
CASES = {
    "SNV": variant(60, 1, other(60)),
    "first base": variant(0, 1, other(0)),
    "last base": variant(len(DNA) - 1, 1, other(len(DNA) - 1)),
    "last base before N": variant(L - 1, 1, other(L - 1)),
    "first base behind N": variant(R, 1, other(R)),
    "insertion": variant(70, 1, DNA[70] + "ACCGT"),
    "insertion at the first base": variant(0, 1, "TTT" + DNA[0]),
    "insertion behind the last base": variant(len(DNA) - 1, 1, DNA[-1] + "GATTACA"),
    "deletion": variant(70, 9, DNA[70]),
    "deletion of the last bases": variant(len(DNA) - 5, 5, DNA[-5]),
    "deletion in a repeat": variant(L - 6, 3, DNA[L - 6]),
    "one more G": variant(R, 1, "GG"),
    "MNV": variant(80, 3, flipped(80, 3)),
    "MNV with the same middle": variant(80, 3, other(80) + DNA[81] + other(82)),
    "longer": variant(90, 2, flipped(90, 2) + "TCA"),
    "shorter": variant(90, 6, other(95) + other(94)),
    "longer than a window's room": variant(60, 1, DNA[60] + random_dna(80, 4)),
}


@pytest.mark.parametrize("strand", ["+", "-"])
@pytest.mark.parametrize("name", CASES)
def test_effects_equal_two_whole_readings(name, strand, genome, yeast):
    one, (lm, sae) = CASES[name], yeast
    source = Source(lm, sae, genome, read_strands=[strand])
    found, effects = by_feature(variant_effects(source, [one], scale="raw", min_change=0, loss=True), sae.d_sae)
    dna, shift = (LEFT, 0) if one.start < L else (RIGHT, R)
    text = one.start - shift, one.ref.decode(), one.alt.decode()
    *expected, pairs = brute(lm, sae, dna, *text, strand)
    scale = max(np.abs(array).max(initial=1) for array in expected)
    np.testing.assert_allclose(np.abs(found[0]), np.abs(expected[0]), atol=2e-4 * scale)
    for mine, theirs in zip(found[1:], expected[1:]):
        np.testing.assert_allclose(mine, theirs, atol=2e-4 * scale)
    clear = np.abs(expected[0]) > 0.1 * scale
    assert clear.any() or not pairs, "at the end of a stretch, nothing may be left to compare"
    np.testing.assert_allclose(found[0][clear], expected[0][clear], atol=2e-4 * scale)
    places = {r if strand == "+" else len(dna) - 1 - r for r, _ in pairs} or set(range(len(dna)))
    assert set((effects.position - shift).tolist()) <= places
    assert effects.strongest == pytest.approx(np.abs(expected[0]).max(), rel=1e-3)
    assert effects.loss == pytest.approx(brute_loss(lm, dna, *text, strand), abs=2e-3)


def brute_loss(lm, dna, start, ref, alt, strand):
    one, two, first, a, b = both_readings(dna, start, ref, alt, strand)
    losses = []
    for sequence in (one, two):
        ids = torch.tensor([["ACGT".index(chr(letter)) + 7 for letter in sequence]])
        with torch.no_grad():
            predicted = lm.causal_lm(ids).logits[0, :, 7:11].float().log_softmax(1).numpy()
        losses.append([0.0, *(-predicted[i - 1, codes(sequence)[i]] for i in range(1, len(sequence)))])
    return sum(losses[1][s] - losses[0][r] for r, s in compared(one, two, first, a, b) if r and s)


@pytest.mark.parametrize("strand", ["+", "-"])
@pytest.mark.parametrize("name", [name for name in CASES if "behind the last" not in name])
def test_a_model_that_sees_both_sides_is_read_whole(name, strand, genome):
    one, lm = CASES[name], BothSides()
    sae = random_sae(16, 40)
    source = Source(lm, sae, genome, read_strands=[strand], context=80, allow_mismatch=True)
    found, _ = by_feature(variant_effects(source, [one], scale="raw", min_change=0), sae.d_sae)
    dna, shift = (LEFT, 0) if one.start < L else (RIGHT, R)
    *expected, pairs = brute(lm, sae, dna, one.start - shift, one.ref.decode(), one.alt.decode(), strand, back=15)
    last = max(max(pair) for pair in pairs)
    if last < len(dna) - 5:  # at the end, a copy is as long as the reference
        for mine, theirs in zip(found, expected):
            np.testing.assert_allclose(np.abs(mine), np.abs(theirs), atol=1e-5)


@pytest.mark.parametrize("strand", ["+", "-"])
def test_the_same_letters_change_nothing_at_all(strand, genome, yeast):
    same = [Variant("c1", 60, DNA[60:63].encode(), DNA[60:63].encode()), variant(100, 1, DNA[100])]
    for effects in variant_effects(
        Source(*yeast, genome, read_strands=[strand]), same, scale="raw", min_change=0, loss=True
    ):
        assert (effects.strongest == 0).all()
        assert (effects.loss == 0).all()
        assert not len(effects.of)


@pytest.mark.parametrize("strand", ["+", "-"])
def test_a_causal_model_changes_nothing_before_the_variant(strand, genome, yeast):
    for one in CASES.values():
        _, effects = by_feature(
            variant_effects(Source(*yeast, genome, read_strands=[strand]), [one], scale="raw", min_change=0), 200
        )
        last = one.start + len(one.ref) - 1
        behind = effects.position >= one.start if strand == "+" else effects.position <= last
        assert behind.all()
        assert len(effects.of)


def test_how_a_change_in_a_repeat_is_written_does_not_matter(genome, yeast):
    first, last = L - 8, L - 3
    assert DNA[first:L] == "CACACACA"
    ways = [variant(start, 3, DNA[start]) for start in range(first - 1, last)]
    ways += [Variant("c1", 10, DNA[10:L].encode(), (DNA[10 : L - 2]).encode())]
    for strand in "+-":
        found = [by_feature(variant_effects(Source(*yeast, genome, read_strands=[strand]), [way], scale="raw"), 200)[0]
                 for way in ways]  # fmt: skip
        for one in found[1:]:
            np.testing.assert_allclose(one, found[0], atol=1e-4 * np.abs(found[0]).max())


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """Contigs of several windows, and one that is short."""
    dna = {"c1": random_dna(3000, 8), "c2": random_dna(700, 9) + "N" * 200 + random_dna(900, 10), "c3": "ACGTAC"}
    return Genome(write_fasta(tmp_path_factory.mktemp("l") / "l.fa", **dna)), dna


def drawn(dna, places):
    """Variants from (contig, share of its length, bases of ref, alt); those in N are left out."""
    found = []
    for contig, share, length, alt in places:
        start = int(share * (len(dna[contig]) - 1))
        ref = dna[contig][start : start + length]
        if "N" not in ref and ref:
            found.append(Variant(contig, start, ref.encode(), alt.encode()))
    return found


PLACE = st.tuples(
    st.sampled_from(["c1", "c2", "c3"]), st.floats(0, 1), st.integers(1, 4), st.text("ACGT", min_size=1, max_size=30)
)


@settings(max_examples=6)
@given(st.lists(PLACE, min_size=2, max_size=6), st.randoms(), st.sampled_from("+-"))
def test_a_variant_alone_gives_the_same_as_among_others_in_any_order(long, yeast, places, random, strand):
    genome, dna = long
    variants = drawn(dna, places)
    random.shuffle(variants)
    source = Source(*yeast, genome, read_strands=[strand], window=512, context=128)
    among = list(variant_effects(source, variants, scale="raw", min_change=0, loss=True))
    assert sorted(np.concatenate([one.number for one in among]).tolist() if among else []) == [*range(len(variants))]
    for effects in among:
        for i, number in enumerate(effects.number.tolist()):
            (alone,) = variant_effects(source, [variants[number]], scale="raw", min_change=0, loss=True)
            dense = np.zeros((2, 200), np.float32)
            mine = effects.of == number
            dense[0, effects.feature[mine]], dense[1, alone.feature] = effects.alt_max[mine], alone.alt_max
            top = max(dense.max(), 1)
            np.testing.assert_allclose(effects.strongest[i], alone.strongest[0], rtol=1e-4, atol=1e-4 * top)
            np.testing.assert_allclose(effects.loss[i], alone.loss[0], atol=1e-3)
            changed = (dense > 1e-3 * top).all(axis=0)
            np.testing.assert_allclose(dense[0][changed], dense[1][changed], atol=1e-4 * top)


def test_the_reference_is_that_of_tracks(long, yeast):
    """Windows are those of `read` with the same layout, so the maxima on the reference are those of the stream."""
    (genome, dna), (lm, sae) = long, yeast
    starts = [5, 380, 600, 1400, 2990]
    variants = [Variant("c1", s, dna["c1"][s].encode(), b"A" if dna["c1"][s] != "A" else b"C") for s in starts]
    source = Source(lm, sae, genome, window=512, context=128)
    layout = Plan(source).layout
    stream = Source(lm, sae, genome, [GenomicRegion("c1", 0, 3000)], window=layout.window, context=128)
    values = np.concatenate([block.to_scipy().toarray() for block in stream.blocks()])
    for effects in variant_effects(source, variants, scale="raw", min_change=0):
        for number in effects.number.tolist():
            mine, at = effects.of == number, starts[number]
            window_end = next(kept[1] for _, kept in layout.spans(3000) if at < kept[1])
            if at + 16 <= window_end:
                expected = values[at : at + 16, effects.feature[mine]].max(axis=0)
                np.testing.assert_allclose(effects.ref_max[mine], expected, atol=1e-4 * values.max())


def test_an_allele_that_the_model_cannot_read_is_refused(long, yeast):
    lm, _ = yeast
    long_alt = Variant("c1", 500, long[1]["c1"][500].encode(), random_dna(lm.max_length, 3).encode())
    with pytest.raises(SaeTracksError, match=r"c1:50\d changes .* this model reads .* lower --context"):
        list(variant_effects(Source(*yeast, long[0]), [long_alt], scale="raw"))


class WordsLM:
    """A causal model whose channels fire at the end of words: 4-mers drawn for each channel, and one long word."""

    model_id, revision, checksum, architecture = "words", None, "words", "toy"
    layer, hook_name, d_model, causal, max_length = 3, "toy", 41, True, 200
    WORD = b"TGACTCAG"

    def __init__(self) -> None:
        self.table = (np.random.default_rng(1).random((256, 40)) < 0.08).astype(np.float32)

    def activations(self, sequence: bytes) -> torch.Tensor:
        digits = codes(sequence).astype(np.int64) & 3
        out = np.zeros((len(sequence), self.d_model), np.float32)
        if len(digits) >= 4:
            words = np.lib.stride_tricks.sliding_window_view(digits, 4) @ 4 ** np.arange(4)
            out[3:, :40] = self.table[words]
        at = sequence.find(self.WORD)
        while at >= 0:
            out[at + len(self.WORD) - 1, 40] = 1
            at = sequence.find(self.WORD, at + 1)
        return torch.from_numpy(out)

    def token_starts(self, sequence: bytes) -> np.ndarray:
        return np.ones(len(sequence), bool)


def words_source(genome, **how):
    d = WordsLM.d_model
    sae = SAE(torch.eye(d), torch.full((d,), -1e-3), torch.eye(d), torch.zeros(d), {}, unit_stats(d))
    return Source(WordsLM(), sae, genome, window=200, context=40, allow_mismatch=True, **how)


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Random bases with the word at 100 places."""
    letters, sites = bytearray(random_dna(60_000, 4).encode()), range(200, 59_000, 590)
    for site in sites:
        letters[site : site + 8] = WordsLM.WORD
    folder = tmp_path_factory.mktemp("p")
    genome = Genome(write_fasta(folder / "p.fa", c1=letters.decode()))
    return genome, letters.decode(), list(sites)


def random_snvs(dna, n, seed):
    rng = np.random.default_rng(seed)
    starts = np.sort(rng.choice(len(dna) - 2, n, replace=False) + 1)
    return [
        ("c1", s + 1, dna[s], "ACGT"[("ACGT".index(dna[s]) + int(rng.integers(1, 4))) % 4]) for s in starts.tolist()
    ]


def test_random_variants_are_like_their_null(planted, tmp_path):
    genome, dna, _ = planted
    features, variants = [], []
    for seed in range(3):
        path = write_vcf(tmp_path / f"{seed}.vcf", random_snvs(dna, 150, seed))
        settings_ = VariantSettings(null=4, seed=seed, min_change=0.5)
        report = score_variants(words_source(genome), path, tmp_path / f"{seed}.out.vcf", settings_)
        assert report.features is not None
        features.append(report.features)
        with pysam.VariantFile(str(tmp_path / f"{seed}.out.vcf")) as file:
            variants += [record.info["SAE_P"] for record in file]
    p = pd.concat(features)["p"].to_numpy()
    assert len(p) >= 120
    assert (p < 0.05).mean() < 0.08
    assert 0.4 < p.mean() < 0.75, "sums of few hits are above 0.5 on average"
    assert (np.array(variants) < 0.05).mean() < 0.08
    assert (pd.concat(features)["q"] < 0.05).mean() < 0.02


def test_a_planted_effect_is_found_and_nothing_else(planted, tmp_path):
    genome, dna, sites = planted
    rows = [("c1", s + 3, dna[s + 2], "ACGT"["ACGT".index(dna[s + 2]) - 1]) for s in sites[::2]]
    path = write_vcf(tmp_path / "in.vcf", rows)
    report = score_variants(
        words_source(genome, read_strands=("+", "-")), path, tmp_path / "o.vcf", VariantSettings(null=4)
    )
    assert report.features is not None
    table = pd.read_csv(tmp_path / "o.features.tsv", sep="\t")
    hit = table[(table["feature"] == "f40") & (table["read_strand"] == "+")].iloc[0]
    assert (hit["hits"], hit["variants"], hit["blocks"]) == (50, 50, 6)
    assert hit["q"] < 1e-9
    assert hit["mean_change"] == pytest.approx(-1, abs=0.01)
    assert (table[(table["read_strand"] == "-") & (table["feature"] == "f40")]["q"] > 0.05).all()


def test_draws_match_base_neighbours_and_codon_position(planted, tmp_path):
    genome, dna, _ = planted
    gtf = tmp_path / "g.gtf"
    row = 'c1\tt\t{}\t{}\t{}\t.\t{}\t0\tgene_id "g{}"; transcript_id "t{}";\n'
    genes = enumerate([(1000, "+"), (9000, "-")])
    rows = [row.format(kind, s + 1, s + 3000, strand, i, i) for i, (s, strand) in genes for kind in ("exon", "CDS")]
    gtf.write_text("".join(rows))
    variants = [Variant(c, p - 1, r.encode(), a.encode()) for c, p, r, a in random_snvs(dna, 300, 5)]
    variants += [Variant("c1", 30, dna[30].encode(), dna[30].encode() + b"T")]
    regions = [GenomicRegion("c1", 500, 15_000), GenomicRegion("c1", 20_000, 30_000)]
    null = draw_null(genome, variants, regions, 3, phases=Phases(genome, gtf, regions), seed=2)
    touched = {v.start for v in variants}
    assert null.group[300] == -1
    counts = np.bincount(null.of, minlength=301)
    assert (counts[:300] <= 3).all()
    assert counts[:300].mean() > 2.8
    assert len({(n, v.start) for n, v in zip(null.of.tolist(), null.variants)}) == len(null.of)

    def phase(start):
        return (start - 1000) % 3 if 1000 <= start < 4000 else (11_999 - start) % 3 + 3 if 9000 <= start < 12_000 else 9

    for number, one in zip(null.of.tolist(), null.variants):
        like = variants[number]
        assert dna[one.start - 1 : one.start + 2] == dna[like.start - 1 : like.start + 2]
        assert (one.ref, one.alt) == (like.ref, like.alt)
        assert phase(one.start) == phase(like.start)
        assert one.start not in touched
        assert any(region.start <= one.start < region.end for region in regions)


def test_all_places_of_a_class_are_equally_likely(tmp_path):
    genome = Genome(write_fasta(tmp_path / "g.fa", c1="GACGG" + "TTACTTT" * 3 + "GG"))
    given_one, regions = [Variant("c1", 2, b"C", b"T")], [GenomicRegion("c1", 0, 28)]
    assert draw_null(genome, given_one, regions, 2, phases=Phases(genome, None, []), seed=0).variants == []
    like = [Variant("c1", 8, b"C", b"A")]
    starts = [
        one.start
        for seed in range(400)
        for one in draw_null(genome, like, regions, 1, phases=Phases(genome, None, []), seed=seed).variants
    ]
    found, counts = np.unique(starts, return_counts=True)
    assert found.tolist() == [15, 22]
    assert (counts > 150).all()


@given(st.lists(st.integers(1, 4).flatmap(lambda m: st.tuples(st.integers(1, m), st.just(m))), min_size=1, max_size=6))
def test_the_tail_is_that_of_all_ways_to_draw_a_member_of_each_set(sets):
    hits, size = np.array(sets).T
    ways = [sum(a < k for a, k in zip(way, hits)) for way in product(*map(range, size))]
    for observed in range(len(sets) + 1):
        assert tail(observed, hits, size) == pytest.approx(np.mean([way >= observed for way in ways]))


def test_p_of_a_variant_is_its_rank_among_the_draws_of_its_class():
    from sae_tracks.insight.null import Null

    null = Null([Variant("c1", 1, b"A", b"C")] * 4, np.array([0, 0, 1, 2]), np.array([5, 5, 7, -1]))
    strongest = np.float32([0.5, 2, 1, 9, 0.1, 0.5, 3, 0.2])
    assert variant_p(strongest, null)[:3].tolist() == [0.75, 0.5, 0.5]
    assert np.isnan(variant_p(strongest, null)[3])


def test_files_agree_with_one_another_and_shards_with_the_whole(planted, tmp_path):
    genome, dna, sites = planted
    s = sites[3] + 4
    indels = [("c1", s, dna[s - 1], dna[s - 1] + "GG"), ("c1", s + 590, dna[s + 589 : s + 595], dna[s + 589])]
    rows = sorted([*random_snvs(dna, 60, 3), *indels], key=lambda row: row[1])
    path, source = write_vcf(tmp_path / "in.vcf", rows), words_source(genome, read_strands=("+", "-"))
    settings_ = VariantSettings(top=2, min_change=0.5)
    report = score_variants(source, path, tmp_path / "out.vcf.gz", settings_)
    table = pd.read_parquet(tmp_path / "out.parquet")
    assert (report.variants, report.changes) == (62, len(table))
    assert (np.maximum(table["change"].abs(), (table["alt_max"] - table["ref_max"]).abs()) >= 0.5).all()
    assert ((table["switch"] == "on") == ((table["alt_max"] > 0) & (table["ref_max"] == 0))).all()
    with pysam.VariantFile(str(tmp_path / "out.vcf.gz")) as file:
        assert file.header.info["SAE_TOP"].description.startswith("SAE features of largest change")
        records = list(file)
    for number, record in enumerate(records):
        mine = table[table["record"] == number]
        assert (record.contig, record.pos, record.ref, record.alts[0]) == rows[number]
        assert set(mine["start"]) <= {record.pos - 1}
        for i, strand in enumerate("+-"):
            one = mine[mine["read_strand"] == strand]
            top = [word.split("|") for word in record.info.get("SAE_TOP", ()) if word.split("|")[1] == strand]
            assert len(top) == min(2, len(one))
            best = one.iloc[np.argsort(-one["change"].abs(), kind="stable")][:2]
            assert [word[0] for word in top] == best["feature"].tolist()
            assert [float(word[2]) for word in top] == pytest.approx(best["change"].tolist(), rel=1e-3)
            assert [int(word[5]) for word in top] == best["distance"].tolist()
            assert record.info["SAE_MAX"][i] >= best["change"].abs().max() if len(best) else True
    assert "SAE_LOSS" not in records[0].info
    facts = read_json(tmp_path / "out.provenance.json")
    assert facts["sae_sha256"] == source.sae.checksum
    assert facts["min_change"] == 0.5
    assert list(facts["genome"]["contigs"]) == ["c1"]
    parts = []
    for i in range(1, 4):
        score_variants(source, path, tmp_path / f"{i}.vcf", settings_, shard=Shard(i, 3))
        with pysam.VariantFile(str(tmp_path / f"{i}.vcf")) as file:
            parts += [str(record) for record in file]
    assert parts == [str(record) for record in records]
    shards = pd.concat([pd.read_parquet(tmp_path / f"{i}.parquet") for i in range(1, 4)])
    order = ["record", "read_strand", "feature"]
    pd.testing.assert_frame_equal(
        shards.sort_values(order, ignore_index=True), table.sort_values(order, ignore_index=True)
    )
    with pytest.raises(SaeTracksError, match="without --shard"):
        score_variants(source, path, tmp_path / "x.vcf", replace(settings_, null=1), shard=Shard(1, 2))
    assert not (tmp_path / "x.vcf").exists()
    expected = estimate(source, path, settings_)
    assert expected.variants == 62
    assert 0.3 < expected.changes / len(table) < 3
