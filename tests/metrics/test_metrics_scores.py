"""Scores and tables: which pairs are kept, what the numbers are, and the whole path on toys whose truth is known."""

import sys

import numpy as np
import pandas as pd
import pytest
from toy import OneHotLM, identity_sae, random_dna, write_fasta

from sae_tracks.annotations import Annotation
from sae_tracks.errors import SaeTracksError
from sae_tracks.features import run
from sae_tracks.genome import Genome
from sae_tracks.metrics import (
    Counter,
    Counts,
    Evaluation,
    Halves,
    Labels,
    best_features,
    evaluate_on,
    kept_pairs,
    load_counts,
    read_table,
    score_tables,
    scores,
    write_tables,
)
from sae_tracks.regions import GenomicRegion
from sae_tracks.source import Source

THRESHOLDS = (0.0, 0.5)


def drawn_counts(concepts=30, features=25, seed=0, halves=("select", "report"), read_strands=("+", "-")) -> Counts:
    """Counts that could be: small numbers, many ties."""
    rng = np.random.default_rng(seed)
    names = pd.DataFrame({"concept": [f"c{i:02}" for i in range(concepts)], "site_strand": ".", "tf": ""}, dtype=object)
    counts = Counts.zeros(read_strands, halves, names, THRESHOLDS, [f"f{i * 3}" for i in range(features)])
    counts.tp[...] = rng.integers(0, 4, counts.tp.shape) * (rng.random(counts.tp.shape) < 0.4)
    counts.active[...] = counts.tp.max(axis=2) + rng.integers(0, 3, counts.active.shape)
    counts.labelled[...] = counts.tp.sum(axis=3).max(axis=3) + rng.integers(0, 3, counts.labelled.shape)
    counts.instances[...] = rng.integers(0, 9, counts.instances.shape)
    counts.hits[...] = np.minimum(counts.tp, rng.integers(0, 3, counts.tp.shape))
    counts.hits[counts.instances == 0] = 0
    counts.bases[...] = 2 * counts.labelled.max(axis=2)
    return counts


def naive_scores(counts: Counts) -> dict:
    """{(concept, feature, read strand): (rows, one a threshold, and the best select F1)}, one pair at a time.

    A row has by half TP, FP, FN and F1, and of the report half instances, instances hit and bases.
    """
    found = {}
    for s, strand in enumerate(counts.read_strands):
        for c, concept in enumerate(counts.concepts["concept"]):
            for k, feature in enumerate(counts.features):
                rows = []
                for t in range(len(counts.thresholds)):
                    row = {}
                    for h, half in ((0, "select"), (len(counts.halves) - 1, "report")):
                        tp = sum(int(counts.tp[s, h, c, b, k]) for b in range(t, len(counts.thresholds)))
                        fp = sum(int(counts.active[s, h, b, k]) for b in range(t, len(counts.thresholds))) - tp
                        fn = int(counts.labelled[s, h, c]) - tp
                        row[half] = (tp, fp, fn, 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else float("nan"))
                    hit = sum(int(counts.hits[s, -1, c, b, k]) for b in range(t, len(counts.thresholds)))
                    row["instances"] = int(counts.instances[s, -1, c]), hit, int(counts.bases[s, -1])
                    rows.append(row)
                best = max(0 if np.isnan(row["select"][3]) else row["select"][3] for row in rows)
                found[concept, str(feature), strand] = rows, best
    return found


def expected_pairs(found: dict) -> set:
    """The best ten of every concept and of every feature, ties to the first."""
    kept = set()
    for axis in (0, 1):
        for key in {(pair[axis], pair[2]) for pair in found}:
            mine = [pair for pair in found if (pair[axis], pair[2]) == key and found[pair][1] > 0]
            kept |= set(sorted(mine, key=lambda pair: -found[pair][1])[:10])
    return kept


def check_domains(row, instances, hit, bases):
    """Columns that tell of instances, and enrichment, from the definitions."""
    assert (row.instances, row.instances_hit) == (instances, hit)
    recall = hit / instances if instances else np.nan
    assert row.domain_recall == pytest.approx(recall, nan_ok=True)
    if instances and not hit:
        assert row.domain_f1 == 0
    else:
        total = row.precision + recall
        assert row.domain_f1 == pytest.approx(2 * row.precision * recall / total if total else np.nan, nan_ok=True)
    labelled = row.tp + row.fn
    expected = row.precision / (labelled / bases) if labelled else np.nan
    assert row.enrichment == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("halves", [("select", "report"), ("all",)])
@pytest.mark.parametrize("shape", [(30, 25), (3, 25), (30, 3)])
def test_scores_equal_one_pair_at_a_time(halves, shape):
    counts = drawn_counts(*shape, halves=halves)
    table, found = scores(counts), naive_scores(counts)
    pairs = table.set_index(["concept", "feature", "read_strand"])
    assert set(pairs.index) == expected_pairs(found)
    for pair, rows in pairs.groupby(level=[0, 1, 2]):
        expected, best = found[pair]
        assert rows["threshold"].tolist() == list(THRESHOLDS)
        for row, truth in zip(rows.itertuples(), expected, strict=True):
            tp, fp, fn, f1 = truth["report"]
            assert (row.tp, row.fp, row.fn) == (tp, fp, fn)
            ratios = [f1, tp / (tp + fp) if tp + fp else np.nan, tp / (tp + fn) if tp + fn else np.nan]
            assert [row.f1, row.precision, row.recall] == pytest.approx(ratios, nan_ok=True)
            assert row.select_f1 == pytest.approx(truth["select"][3], nan_ok=True)
            check_domains(row, *truth["instances"])
        chosen = rows["select_f1"][rows["chosen"]]
        assert len(chosen) == 1
        assert chosen.iloc[0] == best
        assert (rows["select_f1"].to_numpy()[: rows["chosen"].to_numpy().argmax()] < best).all()
    assert set(table["verdict"]) == {"not-tested"}


def test_all_pairs_are_those_with_a_true_positive():
    counts = drawn_counts()
    table = scores(counts, all_pairs=True)
    kept = set(table[["concept", "feature", "read_strand"]].itertuples(index=False, name=None))
    expected = {
        (concept, str(feature), strand)
        for s, strand in enumerate(counts.read_strands)
        for c, concept in enumerate(counts.concepts["concept"])
        for k, feature in enumerate(counts.features)
        if counts.tp[s, :, c, :, k].sum()
    }
    assert kept == expected
    assert len(table) == len(THRESHOLDS) * len(expected)


def test_the_best_feature_is_chosen_on_one_half_and_sorted_by_the_other():
    columns = ["concept", "site_strand", "feature", "f1", "select_f1", "chosen"]
    rows = [
        ("x", "+", "f1", 0.9, 0.3, True),
        ("x", "+", "f2", 0.2, 0.4, True),
        ("x", "+", "f2", 0.8, 0.1, False),
        ("y", ".", "f3", 0.5, 0.2, True),
        ("T", "+", "f4", 0.1, 0.1, True),
        ("T", "-", "f4", 0.3, 0.1, True),
        ("z", ".", "f5", np.nan, 0.1, True),
    ]
    best = best_features(pd.DataFrame(rows, columns=columns))
    assert best[["concept", "site_strand", "feature"]].to_numpy().tolist() == [
        ["T", "+", "f4"], ["y", ".", "f3"], ["T", "-", "f4"], ["x", "+", "f2"], ["z", ".", "f5"],
    ]  # fmt: skip


@pytest.mark.parametrize("all_pairs", [False, True])
def test_the_files_hold_the_tables(tmp_path, monkeypatch, all_pairs):
    counts = drawn_counts()
    monkeypatch.setattr(sys.modules["sae_tracks.metrics.scores"], "PAIRS", 7)  # the package has a function `scores`
    assert len(list(score_tables(counts, kept_pairs(counts, all_pairs=all_pairs)))) > 2
    best = write_tables(counts, tmp_path, all_pairs=all_pairs)
    whole = scores(counts, all_pairs=all_pairs)
    pd.testing.assert_frame_equal(read_table(tmp_path / "metrics.parquet"), whole, check_dtype=False)
    pd.testing.assert_frame_equal(best, best_features(whole))
    pd.testing.assert_frame_equal(read_table(tmp_path / "metrics.tsv"), best, check_dtype=False, atol=1e-5)
    stored = load_counts(tmp_path / "counts.npz")
    assert (stored.tp == counts.tp).all() and (stored.hits == counts.hits).all()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["counts.npz", "metrics.parquet", "metrics.tsv"]


def test_where_instances_were_not_followed_their_scores_are_empty(tmp_path):
    counts = drawn_counts()
    followed = scores(counts)
    counts.hits = None
    write_tables(counts, tmp_path)
    table = read_table(tmp_path / "metrics.parquet")
    empty = ["instances_hit", "domain_recall", "domain_f1"]
    assert table[empty].isna().all(axis=None)
    others = [name for name in followed if name not in empty]
    pd.testing.assert_frame_equal(table[others], followed[others], check_dtype=False)


def test_tables_of_nothing_have_their_columns(tmp_path):
    counts = drawn_counts()
    counts.tp[...] = 0
    assert write_tables(counts, tmp_path).empty
    assert list(read_table(tmp_path / "metrics.parquet")) == list(read_table(tmp_path / "metrics.tsv"))


def test_a_table_that_is_none(tmp_path):
    (tmp_path / "t.parquet").write_text("x")
    with pytest.raises(SaeTracksError, match=r"cannot read .*t\.parquet as a table of scores"):
        read_table(tmp_path / "t.parquet")
    with pytest.raises(SaeTracksError, match=r"no table .*none\.tsv"):
        read_table(tmp_path / "none.tsv")


REGION = GenomicRegion("chr1", 80_000, 120_000)  # 20 kb of either half


@pytest.fixture(scope="module")
def shifted(tmp_path_factory):
    """Random DNA and two annotations: every C, and every base behind a C."""
    folder = tmp_path_factory.mktemp("shifted")
    sequence = random_dna(150_000, seed=1)
    genome = Genome(write_fasta(folder / "toy.fa", chr1=sequence))
    at = np.flatnonzero(np.frombuffer(sequence.encode(), np.uint8)[:-1] == ord("C"))
    for name, shift in (("exact", 0), ("behind", 1)):
        (folder / f"{name}.bed").write_text("".join(f"chr1\t{i}\t{i + 1}\n" for i in at + shift))
    evaluation = evaluate_on(genome, [folder / "exact.bed", folder / "behind.bed"], [REGION])
    source = Source(OneHotLM(max_length=40_000), identity_sae(), genome, [REGION], "+-", context=10)
    cutoffs = [source.sae.cutoffs(t, "max") for t in THRESHOLDS]
    sink = Counter(evaluation, THRESHOLDS, cutoffs, features=[0, 1, 2, 3, 5], read_strands="+-")
    run(source.blocks([0, 1, 2, 3, 5]), sink)
    return sequence, scores(sink.counts())


def one(table, concept, feature, read_strand="+"):
    row = table[(table["concept"] == concept) & (table["feature"] == feature) & (table["read_strand"] == read_strand)]
    assert len(row) == len(THRESHOLDS)
    return row.iloc[0]


def test_nucleotides_are_found_exactly_in_both_reading_directions(shifted):
    _, table = shifted
    for strand, order in (("+", "ACGT"), ("-", "TGCA")):
        for i, base in enumerate(order):
            row = one(table, base, f"f{i}", strand)
            assert (row.precision, row.recall, row.f1, row.select_f1) == (1, 1, 1, 1)
            assert (row.fp, row.fn) == (0, 0)
    best = best_features(table)
    assert best["concept"][:4].tolist() == list("ACGT")
    assert best["f1"][:4].tolist() == [1] * 4


def test_the_report_half_holds_half_of_the_bases(shifted):
    sequence, table = shifted
    row = one(table, "G", "f2")
    assert row.tp == row.instances == sequence[100_000:120_000].count("G")


def test_labels_shifted_by_one_base_collapse_f1_to_chance(shifted):
    sequence, table = shifted
    row = one(table, "behind", "f1")
    report = [(sequence[i - 1] == "C", sequence[i] == "C") for i in range(100_000, 120_000)]
    both, either = sum(behind and here for behind, here in report), sum(behind + here for behind, here in report)
    assert row.f1 == 2 * both / either
    assert row.f1 == pytest.approx(0.25, abs=0.03)  # two independent events of probability 1/4
    assert one(table, "exact", "f1").f1 == 1
    assert one(table, "behind", "f5").f1 == 1  # the channel that remembers whether the base before was C


def test_a_feature_without_activity_has_no_row(tmp_path):
    genome = Genome(write_fasta(tmp_path / "toy.fa", chr1="AACC"))
    frame = pd.DataFrame({"Chromosome": ["chr1"], "Start": [0], "End": [2], "Name": ["x"], "Strand": ["."]})
    labels = Labels(Annotation(frame.assign(Score=np.nan, TF=""), "x.bed"))
    evaluation = Evaluation(genome, [GenomicRegion("chr1", 0, 4)], [], labels, Halves())
    source = Source(OneHotLM(), identity_sae(), genome)
    sink = Counter(evaluation, [0.0], [source.sae.cutoffs(0.0, "raw")], features=[0, 3])
    run(source.blocks([0, 3]), sink)
    assert set(scores(sink.counts())["feature"]) == {"f0"}
