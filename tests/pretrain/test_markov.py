"""Markov models, the bases that are scored, and what held-out sequence shares with the training sequence."""

import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import random_dna, write_fasta

from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome
from sae_tracks.lm import HyenaDNAConfig, HyenaDNAForCausalLM
from sae_tracks.pretrain import held_out as module
from sae_tracks.pretrain import loss as loss_module
from sae_tracks.pretrain import markov
from sae_tracks.pretrain.held_out import HeldOutScores, Overlap, UniqueScores
from sae_tracks.pretrain.loss import NextBaseLM, cross_entropy, cross_entropy_per_base
from sae_tracks.pretrain.markov import MarkovModels
from sae_tracks.pretrain.windows import overlapping_chunks, stretches_inside, stretches_outside
from sae_tracks.regions import GenomicRegion

A = 128.0  # the weight of the lower order
FLIP = dict(zip("ACGT", "TGCA"))
dna = st.text(st.sampled_from("ACGTACGTACGTNR"), min_size=1, max_size=60)


def other_strand(text):
    return "".join(FLIP.get(letter, letter) for letter in reversed(text))


def text_of(genome, region):
    return genome.sequence(region).decode()


def count_strings(texts, order):
    """Every (k + 1)-mer of A, C, G, T, k = 0..order, on both strands."""
    counts = Counter()
    for text in texts:
        for strand in (text, other_strand(text)):
            for k in range(order + 1):
                counts.update(strand[i : i + k + 1] for i in range(len(strand) - k))
    return Counter({kmer: n for kmer, n in counts.items() if set(kmer) <= set("ACGT")})


def probability(counts, context, base):
    """By the recursion as it is written, on strings."""
    lower = 0.25 if not context else probability(counts, context[1:], base)
    if context == "":
        total = sum(counts[x] for x in "ACGT")
        return (counts[base] + A * 0.25) / (total + A)
    total = sum(counts[context + x] for x in "ACGT")
    return (counts[context + base] + A * lower) / (total + A)


def walk(counts, text, order):
    """Loss of each base of a part at one order, NaN where it is not scored."""
    out = []
    for i, base in enumerate(text):
        context = text[max(i - order, 0) : i]
        whole = next((context[j:] for j in range(len(context)) if set(context[j:]) <= set("ACGT")), "")
        out.append(-math.log(probability(counts, whole, base)) if i and base in "ACGT" else math.nan)
    return out


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    a = random_dna(150) + "R" + random_dna(70, 1) + "N" * 3 + "ACG" + "N" * 100 + "AC" * 30 + "n" * 120 + "A"
    path = tmp_path_factory.mktemp("m") / "g.fa"
    return Genome(write_fasta(path, a=a, b=random_dna(90, 2), c="N" * 150, d="G"))


@pytest.mark.parametrize("chunk", [20, 1 << 21])
def test_markov_losses_equal_counting_strings(genome, monkeypatch, chunk):
    monkeypatch.setattr(markov, "CHUNK", chunk)
    monkeypatch.setattr(MarkovModels, "window", chunk)
    order, held_out = 4, [GenomicRegion("a", 100, 400), GenomicRegion("b", 0, 20)]
    training = stretches_outside(genome, held_out)
    models = MarkovModels.trained(genome, training, order)
    counts = count_strings([text_of(genome, part) for part in training], order)
    for k in range(order + 1):
        strings = ["".join("ACGT"[code >> 2 * (k - j) & 3] for j in range(k + 1)) for code in range(4 ** (k + 1))]
        assert models.counts[k].tolist() == [counts[text] for text in strings]

    expected = {}
    for part in stretches_inside(genome, held_out):
        for k in range(order + 1):
            for i, loss in enumerate(walk(counts, text_of(genome, part), k)):
                expected[k, part.contig, part.start + i] = loss
    per_base = cross_entropy_per_base(models, genome, held_out)
    assert [values.shape for values in per_base] == [(5, 300), (5, 20)]
    for region, values in zip(held_out, per_base):
        oracle = [
            [expected.get((k, region.contig, region.start + i), math.nan) for i in range(len(region))] for k in range(5)
        ]
        np.testing.assert_allclose(values, oracle, rtol=1e-6)
    mean, bases = cross_entropy(models, genome, held_out)
    scored = np.concatenate(per_base, axis=1)
    assert bases == np.isfinite(scored[0]).sum()
    np.testing.assert_allclose(mean, np.nanmean(scored.astype(np.float64), axis=1), rtol=1e-6)


def test_the_default_order_is_twelve_and_fits_what_it_says(genome):
    models = MarkovModels.trained(genome, genome.whole[:1])
    assert [len(counts) for counts in models.counts] == [4 ** (k + 1) for k in range(13)]
    assert sum(counts.nbytes for counts in models.counts) < 0.5e9
    counts = count_strings([text_of(genome, part) for part in genome.stretches("a")], 12)
    code = int("".join(str("ACGT".index(x)) for x in "ACACACACACACA"), 4)
    assert models.counts[12][code] == counts["ACACACACACACA"] == 24


def test_a_language_model_is_scored_on_the_bases_a_markov_model_is(genome):
    model = NextBaseLM(HyenaDNAForCausalLM(HyenaDNAConfig(d_model=16, n_layer=2, max_seq_len=34)))
    regions = [GenomicRegion("a", 10, 360), GenomicRegion("c", 5, 60), GenomicRegion("b", 0, 90)]
    markov_models = MarkovModels.trained(genome, stretches_outside(genome, []), 2)
    for ours, theirs in zip(
        cross_entropy_per_base(model, genome, regions), cross_entropy_per_base(markov_models, genome, regions)
    ):
        assert ours.ndim == 1
        assert np.array_equal(np.isnan(ours), np.isnan(theirs[0]))
    assert cross_entropy(model, genome, regions)[1] == cross_entropy(markov_models, genome, regions)[1]


@pytest.mark.parametrize("region", [("c", 0, 150), ("d", 0, 1)], ids=["N", "one base"])
def test_regions_without_a_base_to_score_are_refused(genome, region):
    with pytest.raises(SaeTracksError, match="hold no base to score"):
        cross_entropy(MarkovModels.trained(genome, genome.whole, 1), genome, [GenomicRegion(*region)])


@given(st.integers(1, 40), st.integers(2, 12), st.data())
def test_every_run_of_bases_lies_in_exactly_one_piece(length, size, data):
    overlapping = data.draw(st.integers(0, size - 1))
    found = list(overlapping_chunks(GenomicRegion("a", 7, 7 + length), size, overlapping))
    runs = [start for p in found for start in range(p.start, p.end - overlapping)]
    assert runs == list(range(7, 7 + length - overlapping)) or (length <= overlapping and len(found) == 1)
    assert max(map(len, found)) <= size and found[0].start == 7 and found[-1].end == 7 + length


def test_training_parts_and_held_out_parts_share_out_the_genome(genome):
    held_out = [GenomicRegion("a", 0, 30), GenomicRegion("a", 200, 260), GenomicRegion("b", 80, 90)]
    inside, outside = stretches_inside(genome, held_out), stretches_outside(genome, held_out)
    covered = Counter((p.contig, i) for p in inside + outside for i in range(p.start, p.end))
    assert set(covered.values()) == {1}
    assert set(covered) == {
        (s.contig, i) for c in genome.lengths for s in genome.stretches(c) for i in range(s.start, s.end)
    }
    held = {(r.contig, i) for r in held_out for i in range(r.start, r.end)}
    assert not held & {(p.contig, i) for p in outside for i in range(p.start, p.end)}


def shared_by_sets(held, training):
    """(32-mers, shared, longest run in bases) of texts, by sets of strings."""
    seen = {t[i : i + 32] for text in training for t in (text, other_strand(text)) for i in range(len(text) - 31)}
    kmers = shared = longest = 0
    for text in held:
        run = 0
        for i in range(len(text) - 31):
            if set(text[i : i + 32]) <= set("ACGT"):
                kmers += 1
                run = run + 1 if text[i : i + 32] in seen else 0
                shared += text[i : i + 32] in seen
            else:
                run = 0
            longest = max(longest, run + 31 if run else 0)
    return kmers, shared, longest


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([40, 1 << 21]), st.booleans())
def test_shared_32mers_equal_sets_of_strings(tmp_path_factory, seed, chunk, reverse):
    rng = np.random.default_rng(seed)
    held = list(random_dna(300, seed))
    held[int(rng.integers(300))] = "R"
    copies = [(int(s), int(n)) for s, n in zip(rng.integers(0, 200, 3), rng.integers(25, 90, 3))]
    pasted = ["".join(held[s : s + n]) for s, n in copies]
    training = "A".join(other_strand(p) if reverse else p for p in pasted) + random_dna(200, seed + 1)
    path = write_fasta(tmp_path_factory.mktemp("o") / "g.fa", h="".join(held), t=training)
    genome = Genome(path)
    regions = [GenomicRegion("h", 0, 150), GenomicRegion("h", 160, 300)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK", chunk)
        found, copied = module.overlap(genome, regions, [GenomicRegion("t", 0, len(training))])
    texts = [text_of(genome, region) for region in regions]
    assert (found.kmers, found.shared, found.longest) == shared_by_sets(texts, [training])
    if found.where:
        assert len(genome.region(found.where)) == found.longest
    seen = {t[i : i + 32] for t in (training, other_strand(training)) for i in range(len(training) - 31)}
    seen = {word for word in seen if set(word) <= set("ACGT")}
    starts = [r.start + i for r in regions for i in range(len(r) - 31) if text_of(genome, r)[i : i + 32] in seen]
    assert sorted({start + i for start in starts for i in range(32)}) == [
        i for r in copied for i in range(r.start, r.end)
    ]
    assert all(one.end < other.start or one.end == 150 for one, other in pairwise(copied))


@pytest.mark.parametrize("n", [0, 31, 32, 33])
def test_the_borders_of_an_overlap(tmp_path, n):
    shared = random_dna(n, 5)
    genome = Genome(write_fasta(tmp_path / "g.fa", h="C" * 50 + shared + "G" * 50, t="A" + shared + "A" + "T" * 40))
    found, copied = module.overlap(genome, genome.whole[:1], genome.whole[1:])
    assert copied == ([GenomicRegion("h", 50, 50 + n)] if n >= 32 else [])
    longest, where = (n, f"h:51-{50 + n}") if n >= 32 else (0, None)
    assert (found.longest, found.where, found.shared) == (longest, where, max(n - 31, 0))


def test_a_held_out_part_too_short_for_a_32mer_shares_nothing(tmp_path):
    genome = Genome(write_fasta(tmp_path / "g.fa", h="ACGT" * 5, t="ACGT" * 50))
    assert module.overlap(genome, genome.whole[:1], genome.whole[1:]) == (Overlap(0, 0, 0, None), [])


UNIQUE = UniqueScores(900, 1.3, [1.4, 1.38, 1.35], (-0.07, -0.03))


def test_the_table_names_the_best_order():
    scores = HeldOutScores(1234, 1.1, [1.4, 1.2, 1.3], Overlap(2000, 500, 999, "a:1-999"), UNIQUE)
    assert scores.lines() == [
        "held out: 1,234 bases scored, nats per base",
        "Markov order 0        1.4000",
        "Markov order 1        1.2000  best",
        "Markov order 2        1.3000",
        "language model        1.1000  -0.1000 against order 1",
        "of 2,000 held-out 32-mers 25.00% are in the training sequence too; the longest run of them is 999 bases",
        "of these, 900 bases are in no such 32-mer: language model 1.3000, best Markov model (order 2) 1.3500, "
        "difference -0.0500 (-0.0700 to -0.0300)",
    ]
    assert scores.warning() is None


@pytest.mark.parametrize(
    ("shared", "longest", "warned"), [(10, 999, False), (10, 1000, True), (50, 60, False), (51, 60, True)]
)
def test_a_long_run_or_a_large_share_is_warned_of(shared, longest, warned):
    warning = HeldOutScores(1, 1.0, [1.0], Overlap(100, shared, longest, "a:1-99"), None).warning()
    assert bool(warning) == warned
    if warned:
        assert f"{shared}.0% of the held-out 32-mers" in warning
        assert f"{longest:,} bases in a row at a:1-99" in warning


def test_losses_of_blocks_and_marked_bases_are_those_of_each_base(tmp_path, monkeypatch):
    monkeypatch.setattr(loss_module, "BLOCK", 70)
    genome = Genome(
        write_fasta(tmp_path / "g.fa", a=random_dna(300) + "N" * 100 + random_dna(90, 1), b=random_dna(80, 2))
    )
    model = MarkovModels.trained(genome, genome.whole, 3)
    regions = [GenomicRegion("a", 10, 130), GenomicRegion("a", 135, 480), GenomicRegion("b", 0, 80)]
    marked = {"a": np.array([[0, 20], [69, 71], [120, 320], [440, 470]])}
    total, bases = loss_module.losses_by_block(model, genome, regions, marked)
    expected, counted = {}, Counter()
    for region, losses in zip(regions, cross_entropy_per_base(model, genome, regions), strict=True):
        for i in range(region.start, region.end):
            place = region.contig, i // 70
            inside = region.contig == "a" and any(start <= i < end for start, end in marked["a"])
            expected.setdefault(place, np.zeros((2, 4)))
            if np.isfinite(losses[0, i - region.start]):
                expected[place][int(inside)] += losses[:, i - region.start]
                counted[place, int(inside)] += 1
    assert bases.shape == (2, len(expected)) == (2, 9)
    np.testing.assert_allclose(total, np.stack([*expected.values()], axis=1), rtol=1e-5)
    assert bases.tolist() == [[counted[place, side] for place in expected] for side in (0, 1)]


def test_the_interval_of_a_difference_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(300):
        bases = rng.integers(50, 100, 40)
        markov = np.stack([1.4 * bases, 1.3 * bases], axis=1)
        nats = markov[:, 1] + bases * (-0.02 + rng.normal(0, 0.03, 40))
        scores = module._unique(nats, markov, bases)
        hits += scores.interval[0] <= -0.02 <= scores.interval[1]
        assert scores.interval[0] <= scores.difference <= scores.interval[1]
    assert 0.90 < hits / 300 < 0.98


def test_copies_are_left_out_of_the_unique_scores(tmp_path):
    copied, alone = random_dna(400, 3), random_dna(600, 4)
    genome = Genome(write_fasta(tmp_path / "g.fa", held=alone + copied, training=random_dna(500, 5) + copied))
    model = HyenaDNAForCausalLM(HyenaDNAConfig(d_model=16, n_layer=2, max_seq_len=34))
    scores = module.score_held_out(model, genome, genome.whole[:1], genome.whole[1:])
    assert (scores.bases, scores.unique.bases) == (999, 599)
    losses = cross_entropy_per_base(MarkovModels.trained(genome, genome.whole[1:]), genome, genome.whole[:1])[0]
    np.testing.assert_allclose(scores.unique.markov_nats_per_base, losses[:, 1:600].mean(axis=1), rtol=1e-5)
    assert min(scores.markov_nats_per_base) < min(scores.unique.markov_nats_per_base) - 0.05
    assert scores.unique.interval is None, "one block says nothing about the others"
