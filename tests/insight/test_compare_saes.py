"""Features of two SAEs matched by their activations: against dense sums, with known partners, by chance."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from command_line import run
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array
from toy import OneHotLM, random_dna, random_sae, unit_stats, write_fasta

from sae_tracks import SAE, Genome, GenomicRegion, Source, compare_saes, load_lm, save_sae
from sae_tracks.errors import SaeTracksError
from sae_tracks.features import FeatureBlock
from sae_tracks.insight import joint
from sae_tracks.insight.compare import CompareRun, aligned
from sae_tracks.insight.joint import JointSums
from sae_tracks.insight.merge import merge_shards
from sae_tracks.insight.shards import run_shard
from sae_tracks.regions import Shard
from sae_tracks.report import write_report
from sae_tracks.report.explained import read_explained

CONTIG = "c1"


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    """2,000 bases, 150 N, 2,000 bases with a single N; and a second contig."""
    right = random_dna(2000, 2)
    dna = random_dna(2000, 1) + "N" * 150 + right[:700] + "N" + right[701:]
    return Genome(write_fasta(tmp_path_factory.mktemp("g") / "g.fa", c1=dna, c2=random_dna(1000, 3)))


def with_seed(seed, features=24, d=6):
    """An SAE with drawn weights and few active features."""
    g = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=g)  # noqa: E731
    return SAE(draw(d, features), draw(features) - 0.5, draw(features, d), torch.zeros(d), {}, unit_stats(features))


def permuted(sae, order):
    """Feature j of the result is feature ``order[j]``."""
    order = torch.as_tensor(order)
    weights = sae.W_enc[:, order].contiguous(), sae.b_enc[order], sae.W_dec[order].contiguous(), sae.b_dec
    return SAE(*weights, sae.metadata, sae.stats)


def source(genome, sae, lm=None, regions=None, **how):
    how = {"window": 64, "context": 20} | how
    return Source(lm or OneHotLM(), sae, genome, regions, **how)


def dense(source):
    """(bases of all contigs x read strands, features) activations and readability, put together base by base."""
    values, readable = [], []
    for strand in source.read_strands:
        lengths = source.genome.lengths
        rows = {name: np.zeros((length, source.sae.d_sae)) for name, length in lengths.items()}
        known = {name: np.zeros(length, bool) for name, length in lengths.items()}
        for block in replace(source, read_strands=[strand]).blocks():
            where = slice(block.region.start, block.region.end)
            rows[block.region.contig][where] = block.to_scipy().toarray()
            known[block.region.contig][where] = block.readable
        values += rows.values()
        readable += known.values()
    return np.concatenate(values), np.concatenate(readable)


def by_hand(a, b):
    """(Fa, Fb) correlations (NaN: none) and Jaccard indices over the bases readable in both, and their number."""
    (x, of_a), (y, of_b) = dense(a), dense(b)
    x, y = x[of_a & of_b], y[of_a & of_b]
    with np.errstate(all="ignore"):
        correlation = np.corrcoef(x.T, y.T)[: x.shape[1], x.shape[1] :]
        both = (x > 0).T.astype(float) @ (y > 0)
        jaccard = both / ((x > 0).sum(0)[:, None] + (y > 0).sum(0) - both)
    return correlation, jaccard, len(x)


def numbers(names):
    return [int(name[1:]) if isinstance(name, str) else -1 for name in names]


def check(found, a, b):
    """The whole table against `by_hand`."""
    correlation, jaccard, bases = by_hand(a, b)
    table, live = found.table, ~np.isnan(correlation).all(1)
    assert found.bases == bases and live.sum() > 5
    assert (table["partner"].notna() == live).all()
    best = np.where(np.isnan(correlation), -9, correlation)
    partner = np.array(numbers(table["partner"]))
    rows = np.flatnonzero(live)
    np.testing.assert_allclose(table["correlation"], np.where(live, best.max(1), np.nan), atol=1e-9)
    np.testing.assert_allclose(best[rows, partner[rows]], best.max(1)[rows], atol=1e-9)
    np.testing.assert_allclose(table["jaccard"][rows], jaccard[rows, partner[rows]])
    others = np.flatnonzero(~np.isnan(correlation).all(0))
    ours, theirs = linear_sum_assignment(-best[np.ix_(rows, others)])
    total = best[np.ix_(rows, others)][ours, theirs].sum()
    assert table["matched_correlation"].sum() == pytest.approx(total, abs=1e-6)
    back = best.argmax(0)
    assert table["reciprocal"].tolist() == [bool(live[i]) and back[j] == i for i, j in enumerate(partner)]
    assert (table["replicates"] == table["reciprocal"] & (table["correlation"] > found.bound)).all()


@pytest.mark.parametrize("strands", [["+"], ["-"], ["+", "-"]])
@pytest.mark.parametrize(
    "where", [None, [(CONTIG, 0, 700)], [(CONTIG, 1950, 2201), (CONTIG, 4149, 4150), ("c2", 0, 600)]]
)
def test_the_table_is_that_of_dense_arrays(genome, strands, where):
    """Long and single N, black lists of either side, the first and last base of regions, two contigs."""
    regions = where and [GenomicRegion(*region) for region in where]
    a = source(genome, with_seed(0), None, regions, read_strands=strands, black_list=[GenomicRegion(CONTIG, 100, 160)])
    b = source(genome, with_seed(1, 31), None, regions, read_strands=strands, min_context=9)
    check(compare_saes(a, b), a, b)


def test_windows_and_models_may_differ(genome):
    a = source(genome, with_seed(0), read_strands=["-", "+"])
    b = source(genome, random_sae(6, 40, bias=-1), OneHotLM(101), read_strands=["-", "+"], window=101, context=50)
    check(compare_saes(a, b), a, b)


def test_two_layers_of_a_model(genome):
    lms = [load_lm("demo", layer) for layer in (1, 2)]
    saes = [with_seed(seed, 32, lm.d_model) for seed, lm in enumerate(lms)]
    regions = [GenomicRegion(CONTIG, 50, 2000)]
    a, b = (source(genome, sae, lm, regions, window=w, context=100) for sae, lm, w in zip(saes, lms, (512, 300)))
    found = compare_saes(a, b)
    check(found, a, b)
    assert found.table["cosine"].notna().all()  # nothing says that they are of two layers
    saes[0].metadata["lm"], saes[1].metadata["lm"] = {"hook_name": "layers.0"}, {"hook_name": "layers.1"}
    assert compare_saes(a, b).table["cosine"].isna().all()


def test_a_model_of_both_reads_once(genome):
    lm = OneHotLM()
    a = source(genome, with_seed(0), lm)
    windows = len(a.windows("+"))
    compare_saes(a, replace(a, sae=with_seed(1)))
    assert len(lm.reads) == windows


def test_an_sae_against_itself(genome):
    a = source(genome, with_seed(0))
    found = compare_saes(a, a)
    live = found.table[found.table["partner"].notna()]
    assert len(live) > 5 and live["correlation"].min() == pytest.approx(1, abs=1e-9)
    alone = live[~live["correlation"].duplicated(keep=False) | (live["partner"] == live["feature"])]
    assert (alone["partner"] == alone["feature"]).all() and len(alone) > 5
    assert live["jaccard"].tolist() == pytest.approx([1] * len(live))
    assert live["cosine"].tolist() == pytest.approx([1] * len(live), abs=1e-5)
    assert alone["replicates"].all()


def test_a_permutation_is_found(genome):
    sae = with_seed(0, 12)
    order = np.random.default_rng(0).permutation(12)
    a = source(genome, sae)
    found = compare_saes(a, source(genome, permuted(sae, order), OneHotLM(100), window=100)).table
    live = found[found["partner"].notna()]
    assert len(live) > 5 and live["replicates"].all()
    assert [order[j] for j in numbers(live["partner"])] == numbers(live["feature"])
    assert (live["matched"] == live["partner"]).all()


class Noise(OneHotLM):
    """Activations that are drawn anew for every window: nothing about the sequence."""

    def __init__(self, seed):
        super().__init__(512)
        self.model_id = self.checksum = f"noise {seed}"
        self.draw = torch.Generator().manual_seed(seed)

    def activations(self, sequence):
        return torch.randn(len(sequence), self.d_model, generator=self.draw)


def test_nothing_replicates_by_chance_and_the_null_says_so(genome):
    a, b = (source(genome, with_seed(seed), Noise(seed), window=512) for seed in (0, 1))
    found = compare_saes(a, b)
    assert not found.table["replicates"].any() and found.bound == 0.5
    assert found.table["correlation"].max() < 2 * found.chance < 0.1
    assert "0 of" in found.lines()[3]


def test_the_null_keeps_densities_and_runs(genome):
    """The shifted sums are those of a roll of the dense stream."""
    draw = np.random.default_rng(0)
    x, y = (np.where(draw.random((500, 7)) < 0.2, draw.random((500, 7)), 0).astype(np.float32) for _ in range(2))
    for shift in (1, 37, 250):
        for cuts in ([], [10, 11, 300], [36, 37, 38], range(1, 500, 9)):
            sums = JointSums((7, 7), shift)
            for ours, theirs in zip(np.split(x, cuts), np.split(y, cuts)):
                sums.add(csr_array(ours), csr_array(theirs))
            assert sums.close_circle()
            rolled = np.corrcoef(x.T.astype(float), np.roll(y, shift, axis=0).T)[:7, 7:]
            np.testing.assert_allclose(sums.shifted_correlations(), rolled, atol=1e-12)


def test_too_few_bases_have_no_null(genome):
    a = source(genome, with_seed(0), None, [GenomicRegion(CONTIG, 5, 6)])
    found = compare_saes(a, a)
    assert np.isnan(found.chance) and found.bound == 0.5 and found.bases == 1
    assert not found.table["partner"].notna().any()  # nothing changes on one base
    assert "not measured" in found.lines()[2]


@given(st.lists(st.integers(1, 59), max_size=6), st.lists(st.integers(1, 59), max_size=6), st.integers(0, 99))
@settings(max_examples=50)
def test_blocks_of_any_borders_align_base_by_base(ours, theirs, seed):
    draw = np.random.default_rng(seed)
    values = [np.where(draw.random((60, 5)) < 0.3, draw.random((60, 5)), 0).astype(np.float32) for _ in range(2)]
    readable = draw.random((2, 60)) < 0.8
    values = [each * known[:, None] for each, known in zip(values, readable)]

    def blocks(rows, known, cuts):
        edges = [0, *sorted(set(cuts)), 60]
        for start, end in zip(edges, edges[1:]):
            part = csr_array(rows[start:end])
            region = GenomicRegion(CONTIG, 100 + start, 100 + end)
            arrays = part.indptr.astype(np.int64), part.indices.astype(np.int32), part.data
            yield FeatureBlock(region, "+", known[start:end], *arrays, 5)

    parts = list(aligned(*map(blocks, values, readable, (ours, theirs))))
    for side in range(2):
        found = np.concatenate([pair[side].toarray() for pair in parts])
        assert (found == values[side][readable.all(axis=0)]).all()


def test_sums_do_not_depend_on_the_batches(genome, monkeypatch):
    a, b = source(genome, with_seed(0)), source(genome, with_seed(1))
    whole = compare_saes(a, b)
    monkeypatch.setattr("sae_tracks.insight.compare.BATCH", 100)
    parts = compare_saes(a, b)
    pd.testing.assert_frame_equal(whole.table, parts.table, rtol=1e-9)
    assert parts.chance == pytest.approx(whole.chance)


# Meaning


def write_scores(folder, sae, rows):
    """A folder as `metrics` leaves it; rows are (concept, site strand, feature, F1, verdict)."""
    folder.mkdir()
    names = ["concept", "site_strand", "feature", "f1", "verdict"]
    table = pd.DataFrame(rows, columns=names).assign(tf="", read_strand="+", chosen=True, threshold=0.15)
    table["select_f1"] = table["f1"]
    table.to_parquet(folder / "metrics.parquet")
    best = table[table["verdict"] != "not-tested"].assign(site_average_precision=lambda t: t["f1"] / 2)
    best.to_csv(folder / "metrics.tsv", sep="\t", index=False)
    (folder / "provenance.json").write_text(json.dumps({"sae_sha256": sae.checksum}))
    return folder


ROWS = [
    ("CDS:1", "+", "f1", 0.6, "supported"),
    ("CDS:2", "+", "f2", 0.5, "supported"),
    ("exon", "+", "f2", 0.4, "supported"),
    ("G", "+", "f1", 0.9, "not-tested"),
    ("CDS:3", "-", "f3", 0.4, "chance"),
    ("T", "+", "f0", 0.3, "not-tested"),
]


@pytest.fixture
def seeds(genome, tmp_path):
    """An SAE, its copy with feature i as 11 - i, scores of both, and the sources."""
    sae, other = with_seed(18, 12), permuted(with_seed(18, 12), range(11, -1, -1))
    theirs = [(c, s, f"f{11 - int(f[1:])}", f1, v) for c, s, f, f1, v in ROWS]
    theirs[1] = (*theirs[1][:4], "chance")
    folders = write_scores(tmp_path / "a", sae, ROWS), write_scores(tmp_path / "b", other, theirs)
    return source(genome, sae), source(genome, other), *folders


def test_meaning_carries_over_if_both_are_supported_for_one_concept(seeds, tmp_path):
    a, b, ours, theirs = seeds
    found = compare_saes(a, b, tmp_path / "out", from_a=ours, from_b=theirs / "metrics.parquet")
    rows = found.table.set_index("feature")
    assert rows["partner"][["f1", "f2", "f3"]].tolist() == ["f10", "f9", "f8"]
    assert rows.loc["f1", ["concept_a", "verdict_a", "concept_b", "ap_a"]].tolist() == [
        "CDS:1",
        "supported",
        "CDS:1",
        0.3,
    ]
    assert rows.loc["f2", ["concept_a", "concept_b", "verdict_b"]].tolist() == ["CDS:2", "exon", "supported"]
    assert rows["carries_over"][["f1", "f2"]].tolist() == [True, True]  # f2 by the exons
    assert rows["carries_over"][["f0", "f3", "f5"]].isna().all()
    assert rows.loc["f3", ["concept_a", "site_strand_a", "verdict_a"]].tolist() == ["CDS:3", "-", "chance"]
    matches = found.carried.set_index("concept")
    assert matches["partner_verdict"].to_dict() == {"CDS:1": "supported", "CDS:2": "chance", "exon": "supported"}
    assert matches["partner_f1"].tolist() == matches["f1"].tolist()
    assert matches["best_b"].tolist() == matches["partner"].tolist()
    assert matches["best_b_correlation"].tolist() == pytest.approx([1, 1, 1])
    assert "3 of 3 (100%)" in found.lines()[-2] and "2 of 3 (67%)" in found.lines()[-1]
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "out" / "compare.parquet"), found.table)
    assert len(pd.read_csv(tmp_path / "out" / "compare.tsv", sep="\t")) == 12
    assert len(pd.read_csv(tmp_path / "out" / "carried.tsv", sep="\t")) == 3
    record = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert (record["a"]["sae_sha256"], record["b"]["sae_sha256"]) == (a.sae.checksum, b.sae.checksum)
    assert record["bound"] == 0.5 and record["bases"] == found.bases


def test_a_partner_that_is_supported_for_nothing_does_not_carry_over(seeds, genome, tmp_path):
    a, b, ours, _ = seeds
    theirs = write_scores(tmp_path / "c", b.sae, [("CDS:1", "-", "f10", 0.6, "supported")])
    found = compare_saes(a, b, from_a=ours, from_b=theirs)
    rows = found.table.set_index("feature")
    assert rows["carries_over"][["f1", "f2"]].tolist() == [False, False]  # another site strand
    assert found.carried["partner_verdict"].isna().all() and found.carried["best_b_correlation"].isna().all()


def test_a_merge_knows_what_features_mean(seeds, tmp_path):
    a, b, ours, theirs = seeds
    asked, folders = CompareRun(a, b, ours, theirs), [tmp_path / str(i) for i in (1, 2, 3)]
    for i, folder in enumerate(folders, 1):
        run_shard(asked, folder, Shard(i, 3))
    whole, merged = asked.whole(), merge_shards(folders, tmp_path / "out").result
    pd.testing.assert_frame_equal(merged.table, whole.table, rtol=1e-9, atol=1e-9)
    pd.testing.assert_frame_equal(merged.carried, whole.carried, rtol=1e-9, atol=1e-9)
    table = (theirs / "metrics.tsv").read_text()
    (theirs / "metrics.tsv").write_text(table + "\n")
    with pytest.raises(SaeTracksError, match="the files of from_b have changed"):
        merge_shards(folders, tmp_path / "other")
    (theirs / "metrics.tsv").write_text(table)
    theirs.rename(tmp_path / "elsewhere")
    with pytest.raises(SaeTracksError, match="is gone, and merge-shards reads its scores again"):
        merge_shards(folders, tmp_path / "other")


def test_scores_of_another_sae_are_refused(seeds):
    a, b, ours, theirs = seeds
    with pytest.raises(SaeTracksError, match="scores of another SAE"):
        compare_saes(a, b, from_a=theirs, from_b=ours)
    with pytest.raises(SaeTracksError, match="both --from-a and --from-b"):
        compare_saes(a, b, from_a=ours)
    with pytest.raises(SaeTracksError, match="no scores of read strand -"):
        compare_saes(*(replace(s, read_strands=["-"]) for s in (a, b)), from_a=ours, from_b=theirs)
    (ours / "provenance.json").write_text("{}")
    with pytest.raises(SaeTracksError, match="does not say which SAE"):
        compare_saes(a, b, from_a=ours, from_b=theirs)


def test_the_page_says_what_replicates(seeds, tmp_path):
    a, b, ours, theirs = seeds
    compare_saes(a, b, tmp_path / "out")
    table = tmp_path / "out" / "compare.parquet"
    write_report(ours, tmp_path / "plain")
    assert ">Repl.<" not in (tmp_path / "plain" / "index.html").read_text()
    write_report(ours, tmp_path / "site", explained=[tmp_path / "out"])
    text = (tmp_path / "site" / "index.html").read_text()
    assert ">Repl.<" in text and text.count("<td>yes</td>") == 4  # the tested rows
    with pytest.raises(SaeTracksError, match=r"compare\.parquet is of another SAE"):
        write_report(theirs, tmp_path / "wrong", explained=[tmp_path / "out"])
    assert read_explained(ours).compared is None
    (ours / "compare.parquet").write_bytes(table.read_bytes())
    assert read_explained(ours).compared["replicates"].sum() == pd.read_parquet(table)["replicates"].sum()
    (ours / "compare.parquet").write_bytes((ours / "metrics.parquet").read_bytes())
    with pytest.raises(SaeTracksError, match="has no column 'replicates'"):
        read_explained(ours)


def test_other_bases_are_refused(genome, tmp_path):
    a = source(genome, with_seed(0))
    other = Genome(write_fasta(tmp_path / "o.fa", c1=random_dna(4150, 9), c2=random_dna(1000, 3)))
    with pytest.raises(SaeTracksError, match="compare SAEs on one genome"):
        compare_saes(a, source(other, with_seed(1)))
    for change in ({"regions": [GenomicRegion("c2", 0, 50)]}, {"read_strands": ["-"]}):
        with pytest.raises(SaeTracksError, match="other regions or read strands"):
            compare_saes(a, replace(a, **change))


def test_no_base_that_both_can_read_is_an_error(genome):
    halves = [GenomicRegion(CONTIG, 0, 300), GenomicRegion(CONTIG, 300, 600)]
    a, b = (source(genome, with_seed(0), None, halves, black_list=[half]) for half in halves)
    with pytest.raises(SaeTracksError, match="no base of the regions is readable for both"):
        compare_saes(a, b)


def test_too_many_pairs_are_refused(genome, monkeypatch):
    monkeypatch.setattr(joint, "MOST_PAIRS", 100)
    a = source(genome, with_seed(0))
    with pytest.raises(SaeTracksError, match="too many to compare"):
        compare_saes(a, a)


def test_the_command_line(genome, tmp_path):
    lm = load_lm("demo", 1)
    known = {"lm": {"model": "demo", "layer": 1, "weights_sha256": lm.checksum, "hook_name": lm.hook_name}}
    for seed in (0, 1):
        save_sae(replace(with_seed(seed, 16, lm.d_model), metadata=known), tmp_path / f"sae-{seed}")
    words = ("compare", tmp_path / "sae-0", tmp_path / "sae-1", genome.path, "-r", "c1:1-900", "-o", tmp_path / "out")
    done = run(*words, "--read-strand", "both", "-p", "1")
    assert done.returncode == 0, done.stderr
    assert "1,800 bases" in done.stdout and "features replicate" in done.stdout
    assert len(pd.read_parquet(tmp_path / "out" / "compare.parquet")) == 16
    wrong = replace(with_seed(2, 16, 3), metadata={})
    save_sae(wrong, tmp_path / "sae-2")
    failed = run(*words[:2], tmp_path / "sae-2", *words[3:])
    assert failed.returncode == 1 and "does not say which language model" in failed.stderr
