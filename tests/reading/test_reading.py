"""The reader: windows, N, context and strand, against a walk along the bases."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import OneHotLM, random_dna, write_fasta

from sae_tracks.dna import reverse_complement
from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome
from sae_tracks.lm import HyenaDNAConfig, HyenaDNAForCausalLM, HyenaDNAReader
from sae_tracks.reading import (
    Window,
    WindowLayout,
    plan_windows,
    read,
    read_together,
    read_windows,
    window_layout,
)
from sae_tracks.regions import GenomicRegion, Shard


@st.composite
def genomes(draw):
    """One or two contigs of stretches, short and long runs of N, and other IUPAC letters."""
    parts = st.one_of(
        st.integers(1, 150).map(lambda n: random_dna(n, n)),
        st.sampled_from(["N", "N" * 99, "N" * 100, "N" * 130, "R", "YK"]),
    )
    return {name: "".join(draw(st.lists(parts, min_size=1, max_size=5))) for name in draw(st.sampled_from(["a", "ab"]))}


@st.composite
def plans(draw):
    window = draw(st.integers(1, 64))
    return {"window": window, "context": draw(st.integers(0, window - 1)), "read_strand": draw(st.sampled_from("+-"))}


def genome_of(tmp, contigs, name="g.fa"):
    path = Path(tmp) / name
    for old in path.parent.glob(f"{name}*"):
        old.unlink()
    return Genome(write_fasta(path, **contigs))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("reading")


@settings(max_examples=60, deadline=None)
@given(genomes(), plans(), st.data())
def test_readings_cover_the_regions_once_in_order_with_the_right_bases(folder, contigs, plan, data):
    genome = genome_of(folder, contigs)
    regions = None
    if data.draw(st.booleans()):
        contig = data.draw(st.sampled_from(sorted(contigs)))
        start = data.draw(st.integers(0, len(contigs[contig]) - 1))
        regions = [GenomicRegion(contig, start, data.draw(st.integers(start + 1, len(contigs[contig]))))]
    expected = {
        (r.contig, i)
        for r in regions or genome.whole
        for s in genome.stretches(r.contig)
        for i in range(max(r.start, s.start), min(r.end, s.end))
    }
    if not expected:
        with pytest.raises(SaeTracksError, match="nothing to read"):
            list(read(OneHotLM(), genome, regions, **plan))
        return

    seen, last = [], ("", 0)
    for reading in read(OneHotLM(), genome, regions, **plan):
        region = reading.region
        key = (list(contigs).index(region.contig), region.start)
        assert not last[0] or key > last[1:], "not ascending"
        last = ("seen", *key)
        seen += [(region.contig, i) for i in range(region.start, region.end)]
        letters = contigs[region.contig][region.start : region.end]
        assert reading.readable.tolist() == [letter in "ACGT" for letter in letters]
        oriented = letters if plan["read_strand"] == "+" else reverse_complement(letters.encode())[::-1].decode()
        hot = reading.activations[:, :4].numpy()
        assert (hot == (np.array(list(oriented))[:, None] == list("ACGT"))).all()
        np.testing.assert_array_equal(reading.activations[:, 4].numpy(), np.float32(reading.context / 1000))
    assert len(seen) == len(set(seen))
    assert set(seen) == expected


@settings(max_examples=40, deadline=None)
@given(genomes(), plans())
def test_every_base_has_the_context_asked_for_or_lies_at_the_start_of_a_stretch(folder, contigs, plan):
    genome = genome_of(folder, contigs)
    if not any(genome.stretches(c) for c in contigs):
        return
    for reading in read(OneHotLM(), genome, **plan):
        for i, context in enumerate(reading.context.tolist()):
            base = reading.region.start + i
            stretch = next(s for s in genome.stretches(reading.region.contig) if s.start <= base < s.end)
            from_start = base - stretch.start if plan["read_strand"] == "+" else stretch.end - 1 - base
            assert context == from_start if from_start < plan["window"] else context >= plan["context"]


def small_lm():
    torch.manual_seed(1)
    model = HyenaDNAForCausalLM(HyenaDNAConfig(d_model=16, n_layer=3, max_seq_len=130))
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape)
    return HyenaDNAReader(model, layer=3)


@pytest.mark.parametrize("strand", ["+", "-"])
def test_any_subset_gives_the_values_of_the_whole_bit_for_bit(folder, strand):
    genome = genome_of(folder, {"a": random_dna(700) + "N" * 120 + random_dna(90, 1)})
    lm = small_lm()

    def values(**how):
        readings = read(lm, genome, read_strand=strand, window=128, context=32, **how)
        return {r.region.start + i: row for r in readings for i, row in enumerate(r.activations.numpy().copy())}

    whole = values()
    parts = values(regions=[GenomicRegion("a", 333, 334), GenomicRegion("a", 95, 320)])
    sharded = {k: v for i in (1, 2, 3) for k, v in values(shard=Shard(i, 3)).items()}

    assert parts.keys() == {*range(95, 320), 333}
    assert sharded.keys() == whole.keys()
    for subset in (parts, sharded):
        assert all(np.array_equal(row, whole[base]) for base, row in subset.items())


def test_the_minus_read_is_the_plus_read_of_the_reverse_complement(folder):
    sequence = random_dna(400) + "NNRN" + random_dna(100, 2) + "N" * 100 + random_dna(50, 3)
    forward = genome_of(folder, {"a": sequence})
    mirrored = genome_of(folder, {"a": reverse_complement(sequence.encode()).decode()}, "m.fa")
    lm = small_lm()

    def rows(genome, strand):
        out = {}
        for r in read(lm, genome, read_strand=strand, window=100, context=30):
            for i in range(len(r.region)):
                out[r.region.start + i] = (r.activations[i].numpy(), r.readable[i], r.context[i])
        return out

    minus, plus = rows(forward, "-"), rows(mirrored, "+")
    assert len(minus) == len(sequence) - 100
    for base, (activation, readable, context) in minus.items():
        other = plus[len(sequence) - 1 - base]
        assert np.array_equal(activation, other[0])
        assert (readable, context) == other[1:]


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 40), st.data())
def test_layouts_keep_every_base_once_with_the_context_asked_for_on_either_side(window, data):
    before = data.draw(st.integers(0, window - 1))
    after = data.draw(st.integers(0, window - 1 - before))
    shift, causal = data.draw(st.integers(0, window - before - after - 1)), data.draw(st.booleans())
    laid = WindowLayout(window, before, after, shift, causal)
    length = data.draw(st.integers(1, 200))
    kept, low = [], 0
    for (start, end), (first, last) in laid.spans(length):
        assert 0 <= start <= first < last <= end <= length and end - start <= window
        kept += range(first, last)
        assert first - start >= before or first == 0
        assert end - last >= after or last == length
        low += sum(i - start < before or (not causal and end - 1 - i < after) for i in range(first, last))
    assert kept == list(range(length))
    assert next(laid.spans(length))[0][1] == min(window - laid.shift, length)
    region = lambda span: GenomicRegion("a", *span)  # noqa: E731
    assert laid.low_context(Window(region(fed), region(k), "+") for fed, k in laid.spans(length)) == low


class CausalCodons(OneHotLM):
    """Tokens of three bases, the rest of a sequence single."""

    def token_starts(self, sequence):
        whole = len(sequence) // 3 * 3
        return np.array([i % 3 == 0 or i >= whole for i in range(len(sequence))])

    def activations(self, sequence):
        starts = np.maximum.accumulate(np.where(self.token_starts(sequence), np.arange(len(sequence)), 0))
        return super().activations(sequence)[starts]


class Codons(CausalCodons):
    causal = False


@pytest.mark.parametrize("strand", ["+", "-"])
def test_a_model_that_is_not_causal_has_context_on_both_sides_and_tokens_begin_where_it_read_them(folder, strand):
    genome = genome_of(folder, {"a": random_dna(100)})
    readings = list(read(Codons(), genome, read_strand=strand, window=30, context=9))
    kept = [(r.region.start, r.region.end) for r in readings]
    plus = [(0, 26), (26, 47), (47, 68), (68, 89), (89, 100)]
    assert kept == (plus if strand == "+" else [(100 - end, 100 - start) for start, end in plus[::-1]])
    fed = [0, 21, 42, 63, 84]
    expected = {at + i for at, (a, b) in zip(fed, plus) for i in range(0, 30, 3) if a <= at + i < b}
    starts = {i for r in readings for i in range(r.region.start, r.region.end) if r.token_starts[i - r.region.start]}
    assert starts == (expected if strand == "+" else {99 - i for i in expected})


def test_bases_with_less_context_than_asked_for_can_be_masked(folder):
    genome = genome_of(folder, {"a": random_dna(150) + "N" * 100 + random_dna(20, 1)})

    def masked(lm, strand="+"):
        readings = read(lm, genome, read_strand=strand, window=50, context=20, min_context=8)
        return [r.region.start + i for r in readings for i in np.flatnonzero(~r.readable).tolist()]

    assert masked(OneHotLM()) == [*range(8), *range(250, 258)]
    assert masked(OneHotLM(), "-") == [*range(142, 150), *range(262, 270)]
    assert masked(Codons()) == [*range(8), *range(142, 150), *range(250, 258), *range(262, 270)]
    with pytest.raises(SaeTracksError, match="windows give 10 bases of context"):
        list(read(Codons(), genome, window=50, context=20, min_context=11))
    with pytest.raises(SaeTracksError, match="windows give 10 bases of context"):
        list(read(CausalCodons(), genome, window=50, context=20, min_context=11))
    with pytest.raises(SaeTracksError, match="windows give 0 bases of context"):
        list(read(Codons(), genome, window=50, context=1, min_context=1))


def test_black_listed_bases_are_read_but_not_readable(folder):
    genome = genome_of(folder, {"a": random_dna(100)})
    black = [GenomicRegion("a", 0, 1), GenomicRegion("a", 60, 70), GenomicRegion("a", 65, 72)]
    readable = np.concatenate([r.readable for r in read(OneHotLM(), genome, black_list=black)])
    assert np.flatnonzero(~readable).tolist() == [0, *range(60, 72)]


def test_regions_in_one_window_share_one_pass_of_the_model(folder):
    genome = genome_of(folder, {"a": random_dna(64)})
    lm = OneHotLM()
    regions = [GenomicRegion("a", 0, 1), GenomicRegion("a", 63, 64)]
    assert [r.region for r in read(lm, genome, regions)] == regions
    assert len(lm.reads) == 1


class TogetherLM(OneHotLM):
    """Reads several sequences at once, and remembers how many bases each time."""

    def __init__(self):
        super().__init__()
        self.batches: list[list[int]] = []

    def activations_of(self, sequences):
        self.batches.append([len(sequence) for sequence in sequences])
        return [self.activations(sequence) for sequence in sequences]


@pytest.mark.parametrize("strand", "+-")
@pytest.mark.parametrize(("most", "short"), [(1, 64), (100, 64), (150, 64), (150, 20), (150, 1), (10_000, 64)])
def test_windows_read_together_are_those_read_one_by_one(folder, monkeypatch, strand, most, short):
    monkeypatch.setattr("sae_tracks.reading.BATCH", most)
    monkeypatch.setattr("sae_tracks.reading.SHORT", short)
    genome = genome_of(folder, {"a": random_dna(170), "b": random_dna(40)})
    how = {"read_strand": strand, "window": 40, "context": 10}
    regions = [
        GenomicRegion("a", 0, 3),
        GenomicRegion("a", 5, 7),
        GenomicRegion("a", 30, 165),
        GenomicRegion("b", 0, 40),
    ]
    one, together = OneHotLM(), TogetherLM()
    for ours, theirs in zip(read(together, genome, regions, **how), read(one, genome, regions, **how), strict=True):
        assert (ours.region, ours.read_strand) == (theirs.region, theirs.read_strand)
        assert torch.equal(ours.activations, theirs.activations)
        assert np.array_equal(ours.readable, theirs.readable) and np.array_equal(ours.context, theirs.context)
    assert together.reads == one.reads
    assert all(len(batch) == 1 or (sum(batch) <= most and max(batch) <= short) for batch in together.batches)
    for a, b in zip(together.batches, together.batches[1:]):  # no two could have been read together
        assert sum(a) + b[0] > most or max(a) > short or b[0] > short
    assert read_together(together, 40) == (max(1, most // 40) if short >= 40 else 1) and read_together(one, 40) == 1


def test_an_error_names_the_window_of_several_that_is_not_finite(folder):
    class Broken(TogetherLM):
        def activations_of(self, sequences):
            rows = super().activations_of(sequences)
            rows[1][3] = np.nan
            return rows

    with pytest.raises(SaeTracksError, match=r"activations at a:61-124 are not finite"):
        list(read(Broken(), genome_of(folder, {"a": random_dna(200)}), window=64, context=4))


def test_windows_that_feed_the_same_bases_in_two_directions_are_read_in_both(folder):
    genome = genome_of(folder, {"a": random_dna(60)})
    how = {"layout": WindowLayout(64, 0)}
    both = [w for strand in "+-" for w in plan_windows(genome, read_strand=strand, **how)]
    plus, minus = read_windows(OneHotLM(), genome, both)
    (alone,) = read(OneHotLM(), genome, read_strand="-")
    assert torch.equal(minus.activations, alone.activations) and not torch.equal(minus.activations, plus.activations)
    np.testing.assert_array_equal(minus.context, alone.context)


def test_a_sample_is_a_seeded_subset_of_the_windows(folder):
    genome = genome_of(folder, {"a": random_dna(1000)})
    how = {"layout": WindowLayout(50, 10)}
    whole = plan_windows(genome, **how)
    first = plan_windows(genome, **how, sample=5, seed=1)
    assert first == plan_windows(genome, **how, sample=5, seed=1) != plan_windows(genome, **how, sample=5, seed=2)
    assert len(first) == 5 and set(first) <= set(whole) and first == sorted(first, key=lambda w: w.kept.start)
    with pytest.raises(SaeTracksError, match="hold only"):
        plan_windows(genome, **how, sample=len(whole) + 1)


def test_activations_that_are_not_finite_are_refused(folder):
    class Broken(OneHotLM):
        def activations(self, sequence):
            return super().activations(sequence) * np.nan

    genome = genome_of(folder, {"a": "ACGT"})
    with pytest.raises(SaeTracksError, match="not finite"):
        list(read(Broken(), genome))


@pytest.mark.parametrize(("window", "context"), [(0, None), (65, None), (10, 10), (10, -1)])
def test_impossible_windows_are_refused(window, context):
    with pytest.raises(SaeTracksError):
        window_layout(OneHotLM(), window, context)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (OneHotLM(64), WindowLayout(64, 32)),
        (OneHotLM(1), WindowLayout(1, 0)),
        (OneHotLM(32768), WindowLayout(32768, 8192)),
        (Codons(31), WindowLayout(31, 8, 7, causal=False)),
        (Codons(100_000), WindowLayout(100_000, 4096, 4096, causal=False)),
        (CausalCodons(31), WindowLayout(31, 8, 7)),
        (CausalCodons(100_000), WindowLayout(100_000, 8192 - 64, 64)),
        (CausalCodons(1), WindowLayout(1, 0)),
    ],
)
def test_the_default_context_is_half_a_window_but_at_most_8192_bases(model, expected):
    assert window_layout(model) == expected
