"""Counts against a walk along the bases: streams, BED files, halves, borders."""

from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toy import write_fasta

from sae_tracks.annotations import Annotation
from sae_tracks.errors import SaeTracksError
from sae_tracks.features import FeatureBlock
from sae_tracks.genome import Genome
from sae_tracks.metrics import Counter, Evaluation, Halves, Labels, count_bed, counter, load_counts, split_halves
from sae_tracks.regions import GenomicRegion

THRESHOLDS = (0.0, 0.15, 0.5, 0.6, 0.8)
D_SAE = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("metrics")


@dataclass
class Case:
    """A genome, sites and every activation, as plain Python."""

    sequences: dict[str, str]
    sites: list[tuple[str, int, int, str, str]]
    regions: list[GenomicRegion]
    black: list[GenomicRegion]
    halves: Halves
    values: dict[tuple[str, str], np.ndarray]  # (read strand, contig): (n, D_SAE) float32
    cuts: dict[tuple[str, str], list[int]]  # where the stream is cut into blocks

    def evaluation(self, folder: Path) -> Evaluation:
        (folder / "toy.fa.fai").unlink(missing_ok=True)
        genome = Genome(write_fasta(folder / "toy.fa", **self.sequences))
        labels = Labels(annotation(self.sites))
        return Evaluation(genome, self.regions, self.black, labels, self.halves)

    def readable(self, contig: str, base: int) -> bool:
        black = any(r.contig == contig and r.start <= base < r.end for r in self.black)
        return self.sequences[contig][base] in "ACGT" and not black

    def half_of(self, contig: str, base: int) -> int | None:
        size, margin, named = self.halves.size, self.halves.margin, self.halves.named
        if named:
            inside = [any(r.contig == contig and r.start <= base < r.end for r in half) for half in named]
            return inside.index(True) if any(inside) else None
        if size and any(border - margin <= base < border + margin for border in range(size, base + margin + 1, size)):
            return None
        return base // size % 2 if size else 0

    def labels_of(self, contig: str, base: int) -> set[tuple[str, str]]:
        mine = {(name, strand) for c, start, end, name, strand in self.sites if c == contig and start <= base < end}
        return mine | {(self.sequences[contig][base], "+")}

    def instances(self):
        """Every instance whose first base is counted: half, label, and its counted bases in that half."""
        counted = {(contig, base): half for contig, base, half in self.bases()}
        for contig, start, end, name, strand in self.sites:
            half = counted.get((contig, start))
            if half is not None:
                yield half, (name, strand), [(contig, b) for b in range(start, end) if counted.get((contig, b)) == half]
        for (contig, base), half in counted.items():
            yield half, (self.sequences[contig][base], "+"), [(contig, base)]

    def bases(self):
        """Every readable base of the regions that is in a half, and the half."""
        for region in self.regions:
            for base in range(region.start, region.end):
                half = self.half_of(region.contig, base)
                if self.readable(region.contig, base) and half is not None:
                    yield region.contig, base, half

    def blocks(self, strand: str):
        for region in self.regions:
            edges = sorted({region.start, region.end, *self.cuts[strand, region.contig]})
            for start, end in zip(edges, edges[1:]):
                if region.start <= start and end <= region.end:
                    yield self.block(GenomicRegion(region.contig, start, end), strand)

    def block(self, region: GenomicRegion, strand: str) -> FeatureBlock:
        readable = np.array([self.readable(region.contig, base) for base in range(region.start, region.end)])
        values = self.values[strand, region.contig][region.start : region.end] * readable[:, None]
        row, feature = np.nonzero(values)
        indptr = np.searchsorted(row, np.arange(len(region) + 1)).astype(np.int64)
        sparse = indptr, feature.astype(np.int32), values[row, feature]
        return FeatureBlock(region, strand, readable, *sparse, d_sae=values.shape[1])


def annotation(sites) -> Annotation:
    frame = pd.DataFrame(sites, columns=["Chromosome", "Start", "End", "Name", "Strand"]).assign(Score=np.nan, TF="")
    return Annotation(frame.astype({"Chromosome": "category", "Start": np.int64, "End": np.int64}), "sites.bed")


@st.composite
def halves(draw, lengths) -> Halves:
    """No split, blocks with and without a margin, or halves that are named."""
    if draw(st.booleans()):
        return draw(st.sampled_from([Halves(), Halves(1), Halves(5), Halves(16), Halves(6, 1), Halves(16, 3)]))
    named = [], []
    for contig, n in lengths.items():
        edges = sorted(draw(st.sets(st.integers(0, n), max_size=6)))
        for start, end in zip(edges, edges[1:]):
            which = draw(st.sampled_from([0, 1, None]))
            if which is not None:
                named[which].append(GenomicRegion(contig, start, end))
    return Halves(named=named)


@st.composite
def cases(draw) -> Case:
    lengths = {name: draw(st.integers(8, 40)) for name in ("chr1", "chr2")}
    sequences = {
        name: draw(st.text("ACGTN", min_size=n, max_size=n).filter(lambda text: set(text) != {"N"}))
        for name, n in lengths.items()
    }

    def interval(contig):
        start = draw(st.integers(0, lengths[contig] - 1))
        return start, draw(st.integers(start + 1, lengths[contig]))

    def anywhere(most):
        contigs = draw(st.lists(st.sampled_from(list(lengths)), max_size=most))
        return [(contig, *interval(contig)) for contig in contigs]

    sites = [(*place, draw(st.sampled_from("xxxy")), draw(st.sampled_from("+++-."))) for place in anywhere(12)]
    sites += [site for site in sites if draw(st.integers(0, 3)) == 0]  # the same interval twice
    regions = [GenomicRegion(contig, *interval(contig)) for contig in draw(st.sampled_from([["chr1"], list(lengths)]))]
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    levels = np.float32([0, 0, 0, 0.15, 0.3, 0.5, 0.6, 0.7, 0.8, 1])  # cutoffs among them: active is strictly greater
    values, cuts = {}, {}
    for strand in "+-":
        for contig, n in lengths.items():
            values[strand, contig] = rng.choice(levels, (n, D_SAE))
            cuts[strand, contig] = draw(st.lists(st.integers(0, n), max_size=4))
    black = [GenomicRegion(*place) for place in anywhere(2)]
    return Case(sequences, sites, regions, black, draw(halves(lengths)), values, cuts)


def active_on_any(values, bases, cutoffs, features):
    """(threshold, feature) pairs of some bases."""
    for feature in features:
        for t, cutoff in enumerate(cutoffs):
            if any(values[contig][base, feature] > cutoff[feature] for contig, base in bases):
                yield t, feature


def walk(case: Case, strand: str, cutoffs, features):
    """Counts of one read strand, base by base and instance by instance: {name: {key: count}}."""
    found: dict[str, dict] = {name: {} for name in ("bases", "labelled", "instances", "active", "tp", "hits")}

    def tally(name, *key):
        found[name][key] = found[name].get(key, 0) + 1

    values = {contig: case.values[strand, contig] for contig in case.sequences}
    for contig, base, half in case.bases():
        labels = case.labels_of(contig, base)
        tally("bases", half)
        for label in labels:
            tally("labelled", half, label)
        for pair in active_on_any(values, [(contig, base)], cutoffs, features):
            tally("active", half, *pair)
            for label in labels:
                tally("tp", half, label, *pair)
    for half, label, bases in case.instances():
        tally("instances", half, label)
        for pair in active_on_any(values, bases, cutoffs, features):
            tally("hits", half, label, *pair)
    return found


def as_found(counts, strand: str):
    """The counts of one read strand in the form of `walk`, zeros left out."""
    counts.close()
    s = counts.read_strands.index(strand)
    label = list(zip(counts.concepts["concept"], counts.concepts["site_strand"]))

    def from_bins(array, axis):
        return np.flip(np.flip(array, axis).cumsum(axis), axis)

    def found(array, *names):
        return {
            tuple(n[i] if n else int(i) for n, i in zip(names, at)): int(array[tuple(at)]) for at in np.argwhere(array)
        }

    feature = [int(name.removeprefix("f")) for name in counts.features]
    return {
        "bases": found(counts.bases[s], None),
        "labelled": found(counts.labelled[s], None, label),
        "instances": found(counts.instances[s], None, label),
        "active": found(from_bins(counts.active[s], 1), None, None, feature),
        "tp": found(from_bins(counts.tp[s], 2), None, label, None, feature),
        "hits": found(from_bins(counts.hits[s], 2), None, label, None, feature),
    }


def cutoffs_of(thresholds):
    return [np.float32(t) * np.float32([1, 0.5, 2, 1]) for t in thresholds]


SLOW = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@SLOW
@given(
    case=cases(),
    thresholds=st.lists(st.sampled_from(THRESHOLDS), min_size=1, max_size=5, unique=True).map(sorted),
    features=st.none() | st.lists(st.integers(0, D_SAE - 1), min_size=1, unique=True),
    held=st.sampled_from([1, 20, 1000]),
)
def test_the_counter_equals_a_walk_along_the_bases(folder, case, thresholds, features, held):
    cutoffs = cutoffs_of(thresholds)
    sink = Counter(case.evaluation(folder), thresholds, cutoffs, features=features, read_strands="+-")
    with patch.object(counter, "BASES", held):
        for strand in "+-":
            for block in case.blocks(strand):
                sink.add(block)
        counts = sink.counts()
    for strand in "+-":
        expected = walk(case, strand, cutoffs, range(D_SAE) if features is None else features)
        assert as_found(counts, strand) == expected


@SLOW
@given(case=cases(), edges=st.lists(st.integers(0, 10), max_size=3).map(sorted), data=st.data())
def test_counters_of_parts_add_up_and_survive_the_file(folder, case, edges, data):
    evaluation = case.evaluation(folder)
    whole = Counter(evaluation, THRESHOLDS, cutoffs_of(THRESHOLDS))
    parts = [Counter(evaluation, THRESHOLDS, cutoffs_of(THRESHOLDS)) for _ in range(len(edges) + 1)]
    for i, block in enumerate(case.blocks("+")):
        whole.add(block)
        parts[sum(edge <= i for edge in edges)].add(block)
    total, *others = data.draw(st.permutations(parts))
    total.save(folder / "counts.npz")
    merged = load_counts(folder / "counts.npz")
    for other in others:
        merged.merge(other.counts())
    merged.save(folder / "counts.npz")
    stored = load_counts(folder / "counts.npz")
    assert as_found(stored, "+") == as_found(whole.counts(), "+")
    assert stored.concepts.to_numpy().tolist() == whole.counts().concepts.to_numpy().tolist()
    assert stored.thresholds.tolist() == list(THRESHOLDS)
    assert stored.features.tolist() == ["f0", "f1", "f2", "f3"]


BORDER = [("chr1", 2, 8), ("chr1", 2, 8), ("chr1", 3, 4), ("chr1", 5, 7), ("chr1", 0, 10), ("chr1", 9, 10)]


@pytest.mark.parametrize("cut", range(1, 10))
@pytest.mark.parametrize("first", [0, 3])
def test_instances_across_the_border_of_two_counters(folder, cut, first):
    """Nested, equal, over the border, at the first and last base; one feature is active on each base of two."""
    sites = [(*place, "x", "+") for place in BORDER]
    values = np.eye(10, D_SAE, k=-4, dtype=np.float32) + np.eye(10, D_SAE, dtype=np.float32)
    regions = [GenomicRegion("chr1", first, 10)]
    case = Case({"chr1": "ACGTNACGTA"}, sites, regions, [], Halves(), {("+", "chr1"): values}, {("+", "chr1"): [cut]})
    evaluation, expected = case.evaluation(folder), walk(case, "+", cutoffs_of([0.5]), range(D_SAE))
    for order in ([0, 1], [1, 0]):
        sinks = [Counter(evaluation, [0.5], cutoffs_of([0.5])) for _ in range(2)]
        for block in case.blocks("+"):
            sinks[block.region.start >= cut].add(block)
        total, other = (sinks[i].counts() for i in order)
        total.merge(other)
        assert as_found(total, "+") == expected


@SLOW
@given(case=cases(), held=st.sampled_from([1, 20, 1000]))
def test_without_instances_all_else_is_the_same(folder, case, held):
    sink = Counter(case.evaluation(folder), THRESHOLDS, cutoffs_of(THRESHOLDS), names="wxyz", instances=False)
    with patch.object(counter, "BASES", held):
        for block in case.blocks("+"):
            sink.add(block)
        sink.save(folder / "counts.npz")
    counts = load_counts(folder / "counts.npz")
    assert counts.hits is None and counts.features.tolist() == list("wxyz")
    expected = walk(case, "+", cutoffs_of(THRESHOLDS), range(D_SAE))
    label = dict(zip(zip(counts.concepts["concept"], counts.concepts["site_strand"]), range(len(counts.concepts))))
    tp = np.zeros(counts.tp.shape[1:], int)
    for (half, name, t, feature), n in expected["tp"].items():
        tp[half, label[name], t, feature] = n
    assert (np.flip(np.flip(counts.tp[0], 2).cumsum(2), 2) == tp).all()


def write_bed(case: Case, path: Path, cutoffs) -> None:
    """Runs of active bases of every feature and read strand, as export-bed writes them; a run may cross a half."""
    lines = []
    for strand in "+-":
        for region in case.regions:
            for feature in range(D_SAE):
                on = [
                    case.readable(region.contig, base)
                    and case.values[strand, region.contig][base, feature] > cutoffs[feature]
                    for base in range(region.start, region.end)
                ]
                edges = np.flatnonzero(np.diff([False, *on, False])).reshape(-1, 2) + region.start
                lines += [f"{region.contig}\t{start}\t{end}\tf{feature}\t0\t{strand}\n" for start, end in edges]
    path.write_text("".join(lines))


@SLOW
@given(case=cases(), threshold=st.sampled_from(THRESHOLDS))
def test_beds_of_active_runs_give_the_numbers_of_the_counter(folder, case, threshold):
    (cutoffs,) = cutoffs_of([threshold])
    evaluation = case.evaluation(folder)
    write_bed(case, folder / "features.bed", cutoffs)
    expected = {strand: walk(case, strand, [cutoffs], range(D_SAE)) for strand in "+-"}
    if not any(found["active"] for found in expected.values()):
        with pytest.raises(SaeTracksError, match=r"has no row|no interval of|no readable base"):
            count_bed(folder / "features.bed", evaluation)
        return
    counts = count_bed(folder / "features.bed", evaluation, threshold=threshold)
    assert counts.thresholds.tolist() == [threshold]
    for strand in counts.read_strands:
        assert as_found(counts, strand) == expected[strand]


def test_counts_of_other_concepts_cannot_be_added(folder):
    case = Case({"chr1": "ACGT"}, [], [GenomicRegion("chr1", 0, 4)], [], Halves(), {}, {})
    ours = Counter(case.evaluation(folder), [0.0], cutoffs_of([0]))
    theirs = Counter(case.evaluation(folder), [0.5], cutoffs_of([0.5]))
    with pytest.raises(SaeTracksError, match="these counts cannot be added: their thresholds differ"):
        ours.counts().merge(theirs.counts())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("chr1\t0\t2\tf1\t0\tx\n", "f.bed, line 1: strand 'x'"),
        ("chr1\t3\t4\tf1\t0\t+\n", "no interval of f.bed lies in the regions"),
        ("chr1\t0\t9\tf1\t0\t+\n", "f.bed, line 1: end 9 is past chr1, which has 4 bases"),
    ],
)
def test_a_bed_that_holds_no_features(folder, text, message):
    case = Case({"chr1": "ACGT"}, [], [GenomicRegion("chr1", 0, 3)], [], Halves(), {}, {})
    (folder / "f.bed").write_text(text)
    with pytest.raises(SaeTracksError, match=message):
        count_bed(folder / "f.bed", case.evaluation(folder))


def test_counts_that_are_no_counts(folder):
    (folder / "no.npz").write_bytes(b"nothing")
    for name, message in (("no.npz", "cannot read .*no.npz as arrays"), ("none.npz", "no file .*none.npz")):
        with pytest.raises(SaeTracksError, match=message):
            load_counts(folder / name)


@pytest.mark.parametrize("strand", ["+", "-", "."])
def test_a_concept_cannot_take_the_name_of_a_nucleotide(strand):
    with pytest.raises(SaeTracksError, match=r"sites\.bed has a concept 'C', which is the name of a nucleotide"):
        Labels(annotation([("chr1", 0, 2, "C", strand)]))


def region(start, end, contig="chr1"):
    return GenomicRegion(contig, start, end)


def test_halves_are_alternate_blocks_of_the_contig():
    small, large = [GenomicRegion("chr1", 150_000, 350_000)], [GenomicRegion("chr1", 0, 10_000_000)]
    assert split_halves(small) == Halves(100_000)
    assert split_halves(large) == Halves(1_000_000, 32_000)
    places = np.array([0, 99_999, 100_000, 199_999, 200_000])
    assert Halves(100_000).of("chr1", places).tolist() == [0, 0, 1, 1, 0]
    tiles = [(len(tile), half) for tile, half in Halves(100_000).tiles(small[0])]
    assert tiles == [(50_000, 1), (100_000, 0), (50_000, 1)]
    whole = Halves().tiles(GenomicRegion("chr1", 999_999, 2_000_000))
    assert [(tile.start, tile.end, half) for tile, half in whole] == [
        (999_999, 1_999_999, 0),
        (1_999_999, 2_000_000, 0),
    ]
    assert split_halves(small, split=False) == Halves(None)


def test_32_kb_on_either_side_of_a_border_of_large_blocks_are_in_no_half():
    halves = Halves(1_000_000, 32_000)
    places = [0, 967_999, 968_000, 1_031_999, 1_032_000, 1_967_999, 1_968_000, 2_032_000]
    assert halves.of("chr1", np.array(places)).tolist() == [0, 0, -1, -1, 1, 1, -1, 0]
    tiles = list(halves.tiles(GenomicRegion("chr1", 900_000, 2_100_000)))
    assert [(tile.start, tile.end, half) for tile, half in tiles] == [
        (900_000, 968_000, 0), (1_032_000, 1_900_000, 1), (1_900_000, 1_968_000, 1), (2_032_000, 2_100_000, 0),
    ]  # fmt: skip


def test_halves_that_are_named():
    regions = [region(0, 100), region(0, 50, "chr2")]
    assert split_halves(regions, select=[region(0, 50, "chr2")]).named == ([region(0, 50, "chr2")], [region(0, 100)])
    halves = split_halves(regions, report=[region(20, 30), region(40, 60)])
    assert halves.named[0] == [region(0, 20), region(30, 40), region(60, 100), region(0, 50, "chr2")]
    assert halves.of("chr1", np.array([19, 20, 29, 30, 59, 60, 99, 100])).tolist() == [0, 1, 1, 0, 1, 0, 0, -1]
    assert split_halves(regions, select=[region(0, 10)], report=[region(10, 20)]).of("chr1", np.array([20])) == -1


@pytest.mark.parametrize(
    ("named", "message"),
    [
        (
            {"select": [region(0, 60)], "report": [region(10, 20), region(59, 70)]},
            "chr1:11-20 is in --select-on and in",
        ),
        ({"select": [region(0, 100)]}, "no base of the regions is left for --report-on"),
        ({"report": [region(0, 9, "chr3")]}, "no base of the regions is left for --report-on"),
        ({"select": [region(0, 9)], "split": False}, "--no-split has one half"),
    ],
)
def test_halves_that_cannot_be(named, message):
    with pytest.raises(SaeTracksError, match=message):
        split_halves([region(0, 100)], **named)


def test_a_half_without_bases_is_refused():
    with pytest.raises(SaeTracksError, match=r"100,000 bases, lie in one half .* or --no-split"):
        split_halves([GenomicRegion("chr1", 100_000, 200_000)])
