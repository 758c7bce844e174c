"""Seams: differences that are known exactly, a walk along the bases, borders, and the verb."""

import json
import re
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import write_tiny_model
from toy import OneHotLM, identity_sae, random_dna, unit_stats, write_fasta

from sae_tracks import features as stream
from sae_tracks.cli import main
from sae_tracks.dna import reverse_complement
from sae_tracks.errors import SaeTracksError
from sae_tracks.evaluate.seams import Seams, context_bins, measure_seams
from sae_tracks.genome import Genome
from sae_tracks.regions import GenomicRegion
from sae_tracks.report.figures import plot_seams
from sae_tracks.source import Source

COUNTS = ("bases", "active_both", "active_either")


class Counting(OneHotLM):
    """Channels 4 and 5 depend on all that was read, in eighths and fifths: Cs before the base, and its place."""

    causal = True

    def activations(self, sequence: bytes) -> torch.Tensor:
        out = super().activations(sequence)
        is_c = np.frombuffer(sequence, np.uint8) == ord("C")
        out[:, 4] = torch.from_numpy((np.cumsum(is_c) - is_c) % 8 / 8)
        out[:, 5] = torch.arange(len(sequence)) % 5 / 5
        return out


class CountingBothWays(Counting):
    """Channel 5 counts the Gs behind the base."""

    causal = False

    def activations(self, sequence: bytes) -> torch.Tensor:
        out = super().activations(sequence)
        is_g = np.frombuffer(sequence, np.uint8)[::-1] == ord("G")
        out[:, 5] = torch.from_numpy(((np.cumsum(is_g) - is_g) % 8 / 8)[::-1].copy())
        return out


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("seams")


def genome_of(folder, contigs, name="g.fa"):
    for old in Path(folder).glob(f"{name}*"):
        old.unlink()
    return Genome(write_fasta(Path(folder) / name, **contigs))


def halved_sae():
    """Maxima 1, 1, 1, 1, 0.5, 0.25: differences and cutoffs are fractions of these."""
    sae = identity_sae()
    sae.stats = unit_stats(6).assign(max=np.float32([1, 1, 1, 1, 0.5, 0.25]))
    return sae


def measure(genome, regions=None, lm=None, sae=None, strand="+", window=64, black_list=(), **how):
    source = Source(lm or OneHotLM(), sae or identity_sae(), genome, regions, [strand], window, None, list(black_list))
    return measure_seams(source, **how)[0]


def feature(found: Seams, i: int) -> pd.DataFrame:
    table = found.by_feature()
    return table[table["feature"] == f"f{i}"].set_index("context_from")


@pytest.mark.parametrize(
    ("window", "causal", "edges"),
    [
        (64, True, [0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48]),
        (64, False, [0, 1, 2, 3, 4, 6, 8, 12, 16, 24]),
        (100, True, [0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 75]),
        (4, True, [0, 1, 2, 3]),
        (4, False, [0, 1]),
        (5, True, [0, 1, 2, 3]),
    ],
)
def test_bins_grow_up_to_three_quarters_of_the_window(window, causal, edges):
    assert context_bins(window, causal).tolist() == edges


def test_differences_that_are_known_exactly(folder):
    sequence = random_dna(1000)
    found = measure(genome_of(folder, {"a": sequence}))
    assert found.bases.sum() == 3 * (1000 - 48)
    for base in range(4):
        rows = feature(found, base)
        assert (rows["max_difference"] == 0).all() and (rows["mean_difference"] == 0).all()
        assert (rows["jaccard"] == 1).all() and (rows["active_both"] > 0).all()
    # channel 4 is the context over 1,000; the best reading has 48, 32 or 16 bases more
    place = feature(found, 4)
    for column in ("mean_difference", "max_difference"):
        np.testing.assert_allclose(place[column], [0.048] * 8 + [0.032] * 2 + [0.016], rtol=1e-5)
    assert place["jaccard"].isna().all()  # 0.063 is not above 0.15
    # channel 5, "the base before was C", is lost on the first base of a window and right on all others
    before = feature(found, 5)
    firsts = range(48, 1000, 16)
    lost = sum(sequence[i - 1] == "C" for i in firsts)
    assert before.loc[0, "bases"] == len(firsts) and before.loc[0, "active_either"] == lost > 0
    assert before.loc[0, "mean_difference"] == pytest.approx(lost / len(firsts))
    assert (before.loc[0, "max_difference"], before.loc[0, "jaccard"]) == (1, 0)
    assert (before.loc[1:, "max_difference"] == 0).all() and (before.loc[1:, "jaccard"] == 1).all()


def four_readings(oriented, lm, sae, window):
    """Place -> (context, features) of each of the four readings, by cutting every stretch by hand."""
    gaps = [(0, 0), *(run.span() for run in re.finditer("N{100,}", oriented)), (len(oriented), len(oriented))]
    found = defaultdict(list)
    for (_, start), (end, _) in zip(gaps, gaps[1:]):
        for shift in (i * window // 4 for i in range(4)):
            cuts = [start, *range(start + window - shift, end, window), end]
            for a, b in zip(cuts, cuts[1:]):
                rows = sae.encode(lm.activations(oriented[a:b].encode())).tolist() if a < b else []
                for i, row in enumerate(rows):
                    found[a + i].append((i if lm.causal else min(i, b - a - 1 - i), row))
    return found


def covers(regions, contig, at):
    return any(r.contig == contig and r.start <= at < r.end for r in regions)


def walk(readings, wanted, edges, maxima, cutoffs):
    """(context from, to, feature) -> bases, sum, maximum, both, either: the readings of each base, one by one."""
    out = defaultdict(lambda: [0, 0.0, 0.0, 0, 0])
    for i in wanted:
        longest = max(context for context, _ in readings[i])
        reference = next(row for context, row in readings[i] if context == longest)
        shorter = [(context, row) for context, row in readings[i] if context < edges[-1] <= longest]
        for context, row in shorter:
            k = max(k for k in range(len(edges)) if edges[k] <= context)
            for j, (value, expected) in enumerate(zip(row, reference)):
                cell, difference = out[edges[k], edges[k + 1], j], abs(value - expected) / maxima[j]
                cell[0] += 1
                cell[1] += difference
                cell[2] = max(cell[2], difference)
                cell[3] += value > cutoffs[j] and expected > cutoffs[j]
                cell[4] += value > cutoffs[j] or expected > cutoffs[j]
    return out


@st.composite
def genomes(draw):
    parts = st.one_of(
        st.integers(1, 90).map(lambda n: random_dna(n, n)), st.sampled_from(["N", "N" * 99, "N" * 100, "RY", "N" * 130])
    )
    return {name: "".join(draw(st.lists(parts, min_size=1, max_size=5))) for name in draw(st.sampled_from(["a", "ab"]))}


@settings(max_examples=40, deadline=None)
@given(genomes(), st.sampled_from("+-"), st.integers(4, 24), st.booleans(), st.data())
def test_the_counts_equal_a_walk_along_the_bases(folder, contigs, strand, window, causal, data):
    genome, sae = genome_of(folder, contigs), halved_sae()
    lm = Counting() if causal else CountingBothWays()

    def draw_regions(most):
        regions = []
        for _ in range(data.draw(st.integers(0, most))):
            contig = data.draw(st.sampled_from(sorted(contigs)))
            start = data.draw(st.integers(0, len(contigs[contig]) - 1))
            regions.append(GenomicRegion(contig, start, data.draw(st.integers(start + 1, len(contigs[contig])))))
        return regions

    regions, black_list = draw_regions(2), draw_regions(1)
    maxima, expected = sae.maxima(), {}
    for name, sequence in contigs.items():
        oriented = sequence if strand == "+" else reverse_complement(sequence.encode()).decode()
        readings = four_readings(oriented, lm, sae, window)
        wanted = []
        for i in readings:
            at = i if strand == "+" else len(sequence) - 1 - i
            inside = covers(regions or genome.whole, name, at) and not covers(black_list, name, at)
            wanted += [i] if inside and sequence[at] in "ACGT" else []
        for cell, counts in walk(readings, wanted, context_bins(window, causal).tolist(), maxima, maxima / 2).items():
            have = expected.setdefault(cell, [0, 0.0, 0.0, 0, 0])
            both = [x + y for x, y in zip(have, counts)]
            expected[cell] = [*both[:2], max(have[2], counts[2]), *both[3:]]
    how = {"lm": lm, "sae": sae, "strand": strand, "window": window, "black_list": black_list}
    if not expected:
        with pytest.raises(SaeTracksError, match=r"nothing to read|no base of the regions can be compared"):
            measure(genome, regions or None, threshold=0.5, **how)
        return
    table = measure(genome, regions or None, threshold=0.5, **how).by_feature()
    found = table.set_index(["context_from", "context_to", "feature"])
    assert set(found.index) == {(start, end, f"f{j}") for start, end, j in expected}
    for (start, end, j), (bases, total, largest, both, either) in expected.items():
        row = found.loc[(start, end, f"f{j}")]
        assert tuple(row[list(COUNTS)]) == (bases, both, either)
        assert row["mean_difference"] == pytest.approx(total / bases, rel=1e-5)
        assert row["max_difference"] == pytest.approx(largest, rel=1e-5)
        assert row["jaccard"] == pytest.approx(both / either if either else np.nan, nan_ok=True)


def test_the_first_three_quarters_of_a_window_of_every_stretch_are_left_out(folder):
    genome = genome_of(folder, {"a": random_dna(100) + "N" * 100 + random_dna(49, 1), "b": random_dna(48, 2)})
    assert measure(genome).bases.sum() == 3 * (52 + 1)
    assert measure(genome, [GenomicRegion("a", 48, 49)]).bases.sum() == 3
    assert measure(genome, [GenomicRegion("a", 51, 52)], strand="-").bases.sum() == 3
    for region, strand in ((("a", 0, 48), "+"), (("a", 200, 248), "+"), (("b", 0, 48), "+"), (("a", 52, 100), "-")):
        with pytest.raises(SaeTracksError, match="have 48 bases read before it up to a long run of N"):
            measure(genome, [GenomicRegion(*region)], strand=strand)
    with pytest.raises(SaeTracksError, match="have 24 bases on either side of it"):
        measure(genome, [GenomicRegion("b", 0, 24)], lm=CountingBothWays())


def test_the_minus_read_gives_the_numbers_of_the_mirrored_genome(folder):
    sequence = random_dna(300) + "N" * 100 + random_dna(150, 1) + "R" + random_dna(50, 2)
    genome = genome_of(folder, {"a": sequence})
    mirrored = genome_of(folder, {"a": reverse_complement(sequence.encode()).decode()}, "m.fa")
    minus, plus = (measure(g, lm=Counting(), strand=s).by_feature() for g, s in ((genome, "-"), (mirrored, "+")))
    assert (minus.pop("read_strand") == "-").all() and (plus.pop("read_strand") == "+").all()
    pd.testing.assert_frame_equal(minus, plus)


def test_blocks_that_are_split_give_the_same_numbers(folder, monkeypatch):
    genome = genome_of(folder, {"a": random_dna(9000)})
    lm = Counting(max_length=4096)
    whole = measure(genome, lm=lm, window=4096).by_feature()
    monkeypatch.setattr(stream, "MOST_NONZEROS", 1)
    pd.testing.assert_frame_equal(measure(genome, lm=lm, window=4096).by_feature(), whole)


def test_a_subset_of_features_has_the_rows_of_all_and_dead_ones_have_none(folder):
    genome, sae = genome_of(folder, {"a": random_dna(400)}), halved_sae()
    all_features = measure(genome, sae=sae, lm=Counting()).by_feature()
    some = measure(genome, sae=sae, lm=Counting(), features=[5, 1]).by_feature()
    wanted = all_features[all_features["feature"].isin(["f1", "f5"])]
    pd.testing.assert_frame_equal(some, wanted.reset_index(drop=True))
    sae.stats = unit_stats(6).assign(max=np.float32([1, 1, 1, 1, 0.5, 0]))
    assert measure(genome, sae=sae, features=[5, 1]).features.tolist() == [1]
    with pytest.raises(SaeTracksError, match="all features asked for are dead"):
        measure(genome, sae=sae, features=[5])
    assert measure(genome, sae=sae, features=[5], scale="raw").features.tolist() == [5]


def test_raw_differences_are_activations_and_need_no_maxima(folder):
    genome, sae = genome_of(folder, {"a": random_dna(400)}), halved_sae()
    scaled = measure(genome, sae=sae, threshold=0.1)
    sae.stats = None
    raw = measure(genome, sae=sae, threshold=0.05, scale="raw")
    np.testing.assert_allclose(feature(raw, 4)["mean_difference"], feature(scaled, 4)["mean_difference"] / 2, rtol=1e-5)
    for column in COUNTS:  # 0.05 is a tenth of the maximum of feature 4
        assert feature(raw, 4)[column].equals(feature(scaled, 4)[column])
    with pytest.raises(SaeTracksError, match="use --scale raw"):
        measure(genome, sae=sae)


def test_a_window_of_three_bases_is_refused(folder):
    with pytest.raises(SaeTracksError, match="--window-size 3: seams are measured in windows of at least 4"):
        measure(genome_of(folder, {"a": random_dna(400)}), window=3)


def seams_of(both, either, causal=True, window=64):
    """Bins of context for a window, one feature; differences of 0.1 a base."""
    edges = context_bins(window, causal)
    bins = len(edges) - 1
    bases, column = np.full(bins, 10), np.ones((bins, 1))
    counts = (np.array(count, np.int64)[:, None] for count in (both, either))
    context = np.stack([edges[:-1], edges[1:]], axis=1)
    return Seams("+", window, causal, context, bases, np.array([3]), column, column.astype(np.float32), *counts)


@pytest.mark.parametrize(
    ("both", "causal", "smallest", "line"),
    [
        (
            [0, 50, 96, 90, 90, 90, 95, 97, 99, 99, 99],
            True,
            8,
            "reached from --context 8 on (bases read 1.14 times); --context 16 has a median of 0.990 and 0.990 for the "
            "worst feature, f3, at 16-23 bases",
        ),
        (
            [99] * 10 + [94],
            True,
            None,
            "not reached below --context 48; --context 16 has a median of 0.990 and 0.990 for the worst feature, f3, "
            "at 16-23 bases",
        ),
        (
            [0, 0, 0, 0, 0, 0, 95, 99, 99],
            False,
            16,
            "reached from --context 16 on (bases read 1.33 times); --context 16 has a median of 0.950 and 0.950 for "
            "the worst feature, f3, at 8-11 bases",
        ),
    ],
)
def test_the_advice_is_the_least_context_from_which_on_the_bases_agree(both, causal, smallest, line):
    seams = seams_of(both, [100] * len(both), causal)
    assert seams.smallest_context() == smallest
    said = f"read strand +: a Jaccard index of 0.95 for half of the features is {line} (bases read 1.33 times)"
    assert seams.advice(16) == said


class ThreeBaseTokens(OneHotLM):
    def token_starts(self, sequence):
        return np.arange(len(sequence)) % 3 == 0


def test_the_advice_adds_the_bases_that_only_complete_tokens(folder):
    found = measure(genome_of(folder, {"a": random_dna(300)}), lm=ThreeBaseTokens())
    assert found.most_after == 64 and measure(genome_of(folder, {"a": random_dna(300)})).most_after == 0
    seams = replace(seams_of([0, 50, 96, 90, 90, 90, 95, 97, 99, 99, 99], [100] * 11), most_after=4)
    assert seams.smallest_context() == 12  # 8 bases read before, 4 behind
    wide, narrow = (seams.advice(context).split("; ")[1] for context in (16, 6))
    assert wide.startswith("--context 16 has a median of 0.970 ") and " at 12-15 bases" in wide
    assert narrow.startswith("--context 6 has a median of 0.900 ") and " at 3 bases" in narrow


@pytest.mark.parametrize(
    ("both", "either", "smallest"),
    [
        ([0, 50] + [99] * 8 + [0], [100] * 10 + [0], 2),  # nothing active in the last bin
        ([0, 50, 99, 90, 0, 99, 0] + [99] * 4, [100] * 4 + [0, 100, 0] + [100] * 4, 6),  # bins 4 and 6
        ([99] * 10 + [0], [100] * 11, None),
    ],
)
def test_bins_in_which_nothing_is_active_say_nothing_of_the_least_context(both, either, smallest):
    assert seams_of(both, either).smallest_context() == smallest


def test_the_advice_says_where_nothing_is_active():
    said = seams_of([99] * 10 + [0], [100] * 10 + [0]).advice(32)
    assert "; --context 32 has only features that are too rare to say at 32-47 bases (" in said


def test_the_advice_says_what_was_not_measured():
    nothing_active = seams_of([0] * 11, [0] * 11)
    assert nothing_active.smallest_context() is None
    assert seams_of([9] * 11, [9] * 11).advice(48).endswith("; --context 48 was not measured (bases read 4.00 times)")


def test_the_summary_is_over_bases_and_features(folder):
    found = measure(genome_of(folder, {"a": random_dna(700)}), lm=Counting(), sae=halved_sae())
    table, by_feature = found.by_context(), found.by_feature()
    for row in table.itertuples():
        mine = by_feature[by_feature["context_from"] == row.context_from]
        assert row.mean_difference == pytest.approx(mine["mean_difference"].mean())
        assert mine["mean_difference"].median() <= row.p95_difference <= mine["mean_difference"].max()
        assert row.max_difference == mine["max_difference"].max()
        assert row.jaccard == mine["active_both"].sum() / mine["active_either"].sum()
        common = mine[mine["active_either"] >= 20].set_index("feature")["jaccard"]
        assert (row.features, row.rare) == (len(common), len(mine) - len(common))
        assert row.jaccard_median == pytest.approx(common.median(), nan_ok=True)
        assert row.jaccard_min == pytest.approx(common.min(), nan_ok=True)
        assert row.worst == (common.idxmin() if len(common) else "")


def test_one_dense_feature_does_not_decide():
    """f3 is dense and agrees, f4 and f5 do not, f6 is too rare to say."""
    edges = context_bins(64, True)
    both, either = np.tile([[9900, 30, 50, 0]], (11, 1)), np.tile([[10_000, 100, 100, 19]], (11, 1))
    context, bases = np.stack([edges[:-1], edges[1:]], axis=1), np.full(11, 20_000)
    total = np.ones((11, 4))
    seams = Seams("+", 64, True, context, bases, np.arange(3, 7), total, total.astype(np.float32), both, either)
    row = seams.by_context().iloc[-1]
    assert row["jaccard"] > 0.95 and seams.smallest_context() is None
    assert (row["jaccard_median"], row["jaccard_min"], row["worst"]) == (0.5, 0.3, "f4")
    assert (row["features"], row["rare"]) == (3, 1)
    assert "a median of 0.500 and 0.300 for the worst feature, f4, at" in seams.advice(16)
    assert "1 of 4 features are too rare to say" in seams.advice(16)


def test_the_figure_has_a_level_a_bin_and_none_where_nothing_differs():
    table = seams_of([0, 50, 96, 90, 95, 97, 98, 98, 98, 100, 100], [100] * 11).by_context()
    left, right = plot_seams(pd.concat([table, table.assign(read_strand="-")])).axes
    assert [line.get_linestyle() for line in left.lines] == ["-"] * 3 + ["--"] * 3
    x, y = right.lines[2].get_data()
    assert list(x) == [0.5, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48]
    np.testing.assert_allclose(y, [1, 0.5, 0.04, 0.1, 0.05, 0.03, 0.02, 0.02, 0.02, *[np.nan] * 3])
    np.testing.assert_allclose(left.lines[2].get_ydata(), 0.1)
    assert [text.get_text() for text in left.get_xticklabels()] == ["0", "1", "4", "16"]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder with a tiny language model, an SAE and a genome."""
    folder = tmp_path_factory.mktemp("project")
    write_tiny_model(folder)
    write_fasta(folder / "toy.fa", chr14=random_dna(600))
    return folder


@pytest.fixture
def verb(project, monkeypatch, capsys):
    """A function that runs check-seams and gives what it prints, or the message it exits with."""
    monkeypatch.chdir(project)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["sae-tracks", "check-seams", "sae", "toy.fa", "-p", "1", *arguments])
        with pytest.raises(SystemExit) as done:
            main()
        return capsys.readouterr().out if done.value.code == 0 else str(done.value.code)

    return call


def test_the_verb_writes_tables_a_figure_and_says_what_context_is_enough(project, verb):
    said = verb("-o", "seams", "--read-strand", "both", "-f", "0-9", "-t", "0.05").splitlines()
    out = project / "seams"
    table = pd.read_csv(out / "seams.tsv", sep="\t")
    assert list(table.columns) == [
        "read_strand",
        "context_from",
        "context_to",
        "bases",
        "mean_difference",
        "p95_difference",
        "max_difference",
        "jaccard",
        "jaccard_median",
        "jaccard_min",
        "worst",
        "features",
        "rare",
    ]
    assert table["read_strand"].tolist() == ["+"] * 11 + ["-"] * 11
    assert len(pd.read_parquet(out / "seams_by_feature.parquet")) == 2 * 11 * 10
    assert (out / "seams.png").read_bytes()[:4] == b"\x89PNG"
    facts = json.loads((out / "provenance.json").read_text())
    assert (facts["threshold"], facts["scale"], facts["window"], facts["context"]) == (0.05, "max", 64, 32)
    assert len(said) == 1 + 22 + 2 and max(len(line) for line in said[:23]) <= 80
    assert said[1].split()[:3] == ["+", "0", f"{table['bases'][0]}"]
    assert said[11].split()[:2] == ["+", "32-47"]
    assert [line[:13] for line in said[23:]] == ["read strand +", "read strand -"]
    assert "; --context 32 has a median of 0." in said[23]


def test_a_request_that_cannot_be_met_leaves_nothing(project, verb):
    assert verb("-o", "none", "-r", "chr14:1-40").startswith("error: no base of the regions can be compared")
    assert not list(project.glob("none/*"))
    assert verb("-o", "toy.fa") == "error: cannot write toy.fa: it is a file; name a folder"
