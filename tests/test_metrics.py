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
from sae_tracks.metrics import Counter, Evaluation, Halves, Labels, counter, halves_of, load_counts, score_bed
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
    half: int | None
    values: dict[tuple[str, str], np.ndarray]  # (read strand, contig): (n, D_SAE) float32
    cuts: dict[tuple[str, str], list[int]]  # where the stream is cut into blocks

    def evaluation(self, folder: Path) -> Evaluation:
        (folder / "toy.fa.fai").unlink(missing_ok=True)
        genome = Genome(write_fasta(folder / "toy.fa", **self.sequences))
        labels = Labels(annotation(self.sites))
        return Evaluation(genome, self.regions, self.black, labels, Halves(self.half))

    def readable(self, contig: str, base: int) -> bool:
        black = any(r.contig == contig and r.start <= base < r.end for r in self.black)
        return self.sequences[contig][base] in "ACGT" and not black

    def half_of(self, base: int) -> int:
        return (base // self.half) % 2 if self.half else 0

    def labels_of(self, contig: str, base: int) -> set[tuple[str, str]]:
        mine = {(name, strand) for c, start, end, name, strand in self.sites if c == contig and start <= base < end}
        return mine | {(self.sequences[contig][base], "+")}

    def instances_at(self, contig: str, base: int) -> list[tuple[str, str]]:
        mine = [(name, strand) for c, start, _, name, strand in self.sites if (c, start) == (contig, base)]
        return [*mine, (self.sequences[contig][base], "+")]

    def bases(self):
        """Every readable base of the regions."""
        for region in self.regions:
            for base in range(region.start, region.end):
                if self.readable(region.contig, base):
                    yield region.contig, base

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
        return FeatureBlock(region, strand, readable, indptr, feature.astype(np.int32), values[row, feature])


def annotation(sites) -> Annotation:
    frame = pd.DataFrame(sites, columns=["Chromosome", "Start", "End", "Name", "Strand"]).assign(Score=np.nan, TF="")
    return Annotation(frame.astype({"Chromosome": "category", "Start": np.int64, "End": np.int64}), "sites.bed")


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

    sites = [(*place, draw(st.sampled_from("xy")), draw(st.sampled_from("+-."))) for place in anywhere(8)]
    regions = [GenomicRegion(contig, *interval(contig)) for contig in draw(st.sampled_from([["chr1"], list(lengths)]))]
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    levels = np.float32([0, 0, 0, 0.15, 0.3, 0.5, 0.6, 0.7, 0.8, 1])  # cutoffs among them: active is strictly greater
    values, cuts = {}, {}
    for strand in "+-":
        for contig, n in lengths.items():
            values[strand, contig] = rng.choice(levels, (n, D_SAE))
            cuts[strand, contig] = draw(st.lists(st.integers(0, n), max_size=4))
    black = [GenomicRegion(*place) for place in anywhere(2)]
    return Case(sequences, sites, regions, black, draw(st.sampled_from([None, 1, 5, 16])), values, cuts)


def walk(case: Case, strand: str, cutoffs, features):
    """Counts of one read strand, base by base: {name: {key: count}}."""
    found: dict[str, dict] = {name: {} for name in ("bases", "labelled", "instances", "active", "tp")}

    def tally(name, *key):
        found[name][key] = found[name].get(key, 0) + 1

    for contig, base in case.bases():
        half, labels = case.half_of(base), case.labels_of(contig, base)
        tally("bases", half)
        for label in labels:
            tally("labelled", half, label)
        for label in case.instances_at(contig, base):
            tally("instances", half, label)
        for feature in features:
            for t, cutoff in enumerate(cutoffs):
                if case.values[strand, contig][base, feature] > cutoff[feature]:
                    tally("active", half, t, feature)
                    for label in labels:
                        tally("tp", half, label, t, feature)
    return found


def as_found(counts, strand: str):
    """The counts of one read strand in the form of `walk`, zeros left out."""
    s = counts.read_strands.index(strand)
    label = list(zip(counts.concepts["concept"], counts.concepts["site_strand"]))
    active = np.flip(np.flip(counts.active[s], 1).cumsum(1), 1)
    tp = np.flip(np.flip(counts.tp[s], 2).cumsum(2), 2)

    def found(array, *names):
        return {
            tuple(n[i] if n else int(i) for n, i in zip(names, at)): int(array[tuple(at)]) for at in np.argwhere(array)
        }

    feature = counts.features.tolist()
    return {
        "bases": found(counts.bases[s], None),
        "labelled": found(counts.labelled[s], None, label),
        "instances": found(counts.instances[s], None, label),
        "active": found(active, None, None, feature),
        "tp": found(tp, None, label, None, feature),
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
@given(case=cases(), at=st.integers(0, 10))
def test_counters_of_parts_add_up_and_survive_the_file(folder, case, at):
    evaluation = case.evaluation(folder)
    whole, left, right = (Counter(evaluation, THRESHOLDS, cutoffs_of(THRESHOLDS)) for _ in range(3))
    for i, block in enumerate(case.blocks("+")):
        whole.add(block)
        (left if i < at else right).add(block)
    left.merge(right)
    left.save(folder / "counts.npz")
    stored = load_counts(folder / "counts.npz")
    assert as_found(stored, "+") == as_found(whole.counts(), "+")
    assert stored.concepts.to_numpy().tolist() == whole.counts().concepts.to_numpy().tolist()
    assert stored.thresholds.tolist() == list(THRESHOLDS)


def write_bed(case: Case, path: Path, cutoffs) -> int:
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
    return len(lines)


@SLOW
@given(case=cases(), threshold=st.sampled_from(THRESHOLDS))
def test_beds_of_active_runs_give_the_numbers_of_the_counter(folder, case, threshold):
    (cutoffs,) = cutoffs_of([threshold])
    evaluation = case.evaluation(folder)
    if not write_bed(case, folder / "features.bed", cutoffs):
        return
    counts = score_bed(folder / "features.bed", evaluation, threshold=threshold)
    assert counts.thresholds.tolist() == [threshold]
    for strand in counts.read_strands:
        assert as_found(counts, strand) == walk(case, strand, [cutoffs], range(D_SAE))


def test_counts_of_other_concepts_cannot_be_added(folder):
    case = Case({"chr1": "ACGT"}, [], [GenomicRegion("chr1", 0, 4)], [], None, {}, {})
    ours = Counter(case.evaluation(folder), [0.0], cutoffs_of([0]))
    theirs = Counter(case.evaluation(folder), [0.5], cutoffs_of([0.5]))
    with pytest.raises(SaeTracksError, match="these counts cannot be added: their thresholds differ"):
        ours.merge(theirs)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("chr1\t0\t2\tcluster\t0\t+\n", "f.bed: name 'cluster' is not a feature; features are called f357"),
        ("chr1\t0\t2\tf1\t0\t.\n", "f.bed: column 6 must be the read strand"),
        ("chr1\t3\t4\tf1\t0\t+\n", "no interval of f.bed lies in the regions"),
        ("chr1\t0\t9\tf1\t0\t+\n", "f.bed, line 1: end 9 is past chr1, which has 4 bases"),
    ],
)
def test_a_bed_that_holds_no_features(folder, text, message):
    case = Case({"chr1": "ACGT"}, [], [GenomicRegion("chr1", 0, 3)], [], None, {}, {})
    (folder / "f.bed").write_text(text)
    with pytest.raises(SaeTracksError, match=message):
        score_bed(folder / "f.bed", case.evaluation(folder))


def test_counts_that_are_no_counts(folder):
    (folder / "no.npz").write_bytes(b"nothing")
    for name in ("no.npz", "none.npz"):
        with pytest.raises(SaeTracksError, match=f"cannot read .*{name} as counts"):
            load_counts(folder / name)


def test_a_concept_cannot_take_the_name_of_a_nucleotide():
    with pytest.raises(SaeTracksError, match=r"sites\.bed has a concept 'C', a nucleotide's name"):
        Labels(annotation([("chr1", 0, 2, "C", "+")]))
    assert len(Labels(annotation([("chr1", 0, 2, "C", "-")])).concepts) == 5


def test_halves_are_alternate_blocks_of_the_contig():
    small, large = [GenomicRegion("chr1", 150_000, 350_000)], [GenomicRegion("chr1", 0, 10_000_000)]
    assert halves_of(small) == Halves(100_000)
    assert halves_of(large) == Halves(1_000_000)
    assert Halves(100_000).of(np.array([0, 99_999, 100_000, 199_999, 200_000])).tolist() == [0, 0, 1, 1, 0]
    assert [len(tile) for tile in Halves(100_000).tiles(small[0])] == [50_000, 100_000, 50_000]
    assert [len(tile) for tile in Halves().tiles(GenomicRegion("chr1", 999_999, 2_000_000))] == [1, 1_000_000]
    assert halves_of(small, split=False) == Halves(None)


def test_a_half_without_bases_is_refused():
    with pytest.raises(SaeTracksError, match=r"100,000 bases, lie in one half .* or --no-split"):
        halves_of([GenomicRegion("chr1", 100_000, 200_000)])
