"""Scores against signals: dense arrays and scipy, shards against the whole, planted truth."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from toy import OneHotLM, identity_sae, random_dna, random_sae, unit_stats, write_fasta

from sae_tracks import bootstrap, merge_signals, score_signals
from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome
from sae_tracks.regions import GenomicRegion
from sae_tracks.report import make_page
from sae_tracks.signals import bins as bins_module
from sae_tracks.signals.sums import Sums, means_at_active
from sae_tracks.signals.survey import STRATA
from sae_tracks.signals.tables import intervals
from sae_tracks.source import Source

FEATURES, HIGHEST, BIN = 12, 4.0, 10
SELECT, REPORT = [GenomicRegion("a", 0, 2500), GenomicRegion("b", 0, 600)], [GenomicRegion("a", 2500, 5600)]
BLOCK = 200


def write_bedgraph(path, values):
    """Every base of contigs that has a value, as a row."""
    rows = [
        f"{contig}\t{i}\t{i + 1}\t{value:.9g}\n"
        for contig, found in values.items()
        for i, value in enumerate(found.tolist())
        if value == value
    ]
    path.write_text("".join(rows))
    return path


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A source of two contigs with N, read in both directions, and two signals: one whole, one with gaps."""
    folder = tmp_path_factory.mktemp("signals")
    sequence = random_dna(2300, 1) + "N" * 130 + random_dna(1000, 2, "ACGTN") + random_dna(2170, 3, "ACCCGG")
    genome = Genome(write_fasta(folder / "g.fa", a=sequence, b=random_dna(600, 4)))
    sae = random_sae(6, FEATURES, bias=-0.4)
    sae.stats = unit_stats(FEATURES).assign(max=np.float32(HIGHEST))
    black = [GenomicRegion("a", 700, 733)]
    how = {"read_strands": ["+", "-"], "black_list": black, "min_context": 7}
    source = Source(OneHotLM(), sae, genome, **how)
    rng = np.random.default_rng(0)
    whole = {c: rng.integers(0, 9, n).astype(np.float32) for c, n in genome.lengths.items()}
    gaps = {c: rng.normal(size=n).astype(np.float32) for c, n in genome.lengths.items()}
    for values in gaps.values():
        values[rng.random(len(values)) < 0.3] = np.nan
        values[100:160] = np.nan
        values[[0, -1]] = 2.5
    paths = [write_bedgraph(folder / f"{name}.bdg", one) for name, one in (("whole", whole), ("gaps", gaps))]
    return folder, source, paths, {"whole": whole, "gaps": gaps}


@pytest.fixture(scope="module")
def scored(work):
    folder, source, paths, _ = work
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bootstrap, "BLOCK", BLOCK)
        halves = {"select": SELECT, "report": REPORT}
        score_signals(source, paths, folder / "out", bin_size=BIN, **halves)
        for shard in ("1/3", "2/3", "3/3"):
            out = folder / shard.replace("/", "of")
            score_signals(source, paths, out, bin_size=BIN, shard=shard, **halves)
        merge_signals([folder / name for name in ("2of3", "1of3", "3of3")], folder / "merged")
    return pd.read_parquet(folder / "out" / "signals.parquet")


class Dense:
    """All bases of a read strand, in the order of the genome."""

    def __init__(self, source, strand):
        blocks = [block for block in source.blocks() if block.read_strand == strand]
        self.contig = np.concatenate([[block.region.contig] * len(block.region) for block in blocks])
        self.position = np.concatenate([np.arange(block.region.start, block.region.end) for block in blocks])
        self.x = np.concatenate([block.to_scipy().toarray() for block in blocks])
        readable = np.concatenate([block.readable for block in blocks])
        on_a = self.contig == "a"
        report = on_a & (self.position >= 2500)
        self.half = np.where(readable, np.where(report, 1, 0), -1)

    def signal(self, values):
        return np.array([values[c][p] for c, p in zip(self.contig, self.position)])


@pytest.fixture(scope="module", params=["+", "-"])
def strand(request, work):
    return request.param, Dense(work[1], request.param)


def rows(scored, signal, strand):
    found = scored[(scored["signal"] == signal) & (scored["read_strand"] == strand)]
    assert found["feature"].tolist() == [f"f{i}" for i in range(FEATURES)]
    return found


def own_ranks(x):
    """Ranks of activations: within a level they follow the value, and vary as ranks without ties do."""
    fine = np.floor(np.sqrt(x * (1 / np.float32(HIGHEST)) / 2) * 128 * 256) / 256
    fine = pd.Series(np.where(x > 0, np.minimum(fine, 128 - 1 / 256), -1.0), dtype=float)
    level = np.floor(fine)
    ranks = level.rank().to_numpy()
    part = fine.groupby(level)
    n = part.transform("size").to_numpy()
    spread = part.transform("std", ddof=0).to_numpy()
    slope = np.sqrt((n**2 - 1) / 12) / np.where(spread > 0, spread, 1)
    return ranks + slope * (fine - part.transform("mean"))


@pytest.mark.parametrize("signal", ["whole", "gaps"])
@pytest.mark.parametrize("half, prefix", [(0, "select_"), (1, "")])
def test_correlations_per_base_equal_scipy(work, scored, strand, signal, half, prefix):
    name, dense = strand
    y, found = dense.signal(work[3][signal]), rows(scored, signal, name)
    mine = (dense.half == half) & ~np.isnan(y)
    if half:
        assert (found["bases"] == mine.sum()).all()
    for f, row in enumerate(found.to_dict("records")):
        x = dense.x[mine, f]
        if np.ptp(x) == 0:
            assert np.isnan(row[f"{prefix}pearson"]) and np.isnan(row[f"{prefix}spearman"])
            continue
        assert row[f"{prefix}pearson"] == pytest.approx(stats.pearsonr(x.astype(float), y[mine])[0], abs=1e-9)
        own = own_ranks(x)
        expected = stats.pearsonr(own, stats.rankdata(y[mine]))[0] if np.ptp(own) else np.nan
        assert row[f"{prefix}spearman"] == pytest.approx(expected, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("signal", ["whole", "gaps"])
def test_correlations_per_bin_equal_scipy(work, scored, strand, signal):
    name, dense = strand
    y, found = dense.signal(work[3][signal]), rows(scored, signal, name)
    kept = dense.half >= 0
    table = pd.DataFrame(dense.x[kept].astype(float)).assign(y=y[kept], half=dense.half[kept], n=1)
    bins = table.groupby([dense.contig[kept], dense.position[kept] // BIN]).agg(
        {**dict.fromkeys(range(FEATURES), "mean"), "y": "mean", "half": "first", "n": "sum"}
    )
    bins = bins[(bins["n"] >= BIN / 2) & bins["y"].notna()]
    for half, prefix in ((0, "select_"), (1, "")):
        mine = bins[bins["half"] == half]
        for f, row in enumerate(found.to_dict("records")):
            x = mine[f].to_numpy(np.float32)
            if np.ptp(x) == 0:
                continue
            assert row[f"{prefix}bin_pearson"] == pytest.approx(stats.pearsonr(mine[f], mine["y"])[0], abs=1e-6)
            assert row[f"{prefix}bin_spearman"] == pytest.approx(stats.spearmanr(x, mine["y"])[0], abs=1e-9)


def stratum_of(sequence, position):
    around = sequence[max(position - 50, 0) : position + 51]
    letters = [letter for letter in around if letter in "ACGT"]
    gc = min(10 * sum(letter in "CG" for letter in letters) // len(letters), 9)
    cpg = sum(around[i : i + 2] == "CG" for i in range(len(around) - 1))
    return gc, min((cpg + 1) // 2, 2)


@pytest.mark.parametrize("signal", ["whole", "gaps"])
def test_means_at_active_bases_against_bases_of_like_composition(work, scored, strand, signal):
    _, source, _, values = work
    name, dense = strand
    y, found = dense.signal(values[signal]), rows(scored, signal, name)
    sequence = source.genome.sequence(GenomicRegion("a", 0, 5600)).decode()
    mine = np.flatnonzero((dense.half == 1) & ~np.isnan(y))
    y, x, position = y[mine].astype(float), dense.x[mine], dense.position[mine]
    stratum = pd.Series([str(stratum_of(sequence, p)) for p in position])
    everywhere = pd.Series(y).groupby(stratum).transform("mean").to_numpy()
    block, alone = position // BLOCK, 0
    for f, row in enumerate(found.to_dict("records")):
        on = x[:, f] > np.float32(0.15) * np.float32(HIGHEST)
        assert row["active_bases"] == on.sum()
        if not on.any():
            assert np.isnan(row["active_mean"])
            continue
        assert row["active_mean"] == pytest.approx(y[on].mean(), abs=1e-9)
        elsewhere = stratum[on].map(pd.Series(y[~on]).groupby(stratum[~on].to_numpy()).mean()).to_numpy()
        known = ~np.isnan(elsewhere)
        alone += (~known).any()
        if not known.any():
            assert np.isnan([row[name] for name in ("matched_mean", "difference", "difference_low", "p")]).all()
            continue
        assert row["matched_mean"] == pytest.approx(elsewhere[known].mean(), abs=1e-9)
        assert row["difference"] == pytest.approx((y[on] - elsewhere)[known].mean(), abs=1e-9)
        if len(set(block[on])) < 5:
            assert np.isnan(row["p"])
            continue
        numbers = sorted(set(range(2500 // BLOCK, 28)))  # of the report half
        excess = np.array([(y - everywhere)[on & (block == b)].sum() for b in numbers])
        bases = np.array([(on & (block == b)).sum() for b in numbers])
        draws = np.random.default_rng(0).multinomial(len(numbers), np.full(len(numbers), 1 / len(numbers)), 1000)
        mean, share = excess.sum() / bases.sum(), pd.Series(~on).groupby(stratum.to_numpy()).transform("mean")[on]
        wider = (share > 0).sum() / share.sum()
        ends = np.percentile((draws @ excess) / (draws @ bases), [2.5, 97.5])
        low, high = row["difference"] + wider * (ends - mean)
        assert (row["difference_low"], row["difference_high"]) == pytest.approx((low, high), abs=1e-9)
        error = np.sqrt(len(numbers) / (len(numbers) - 1) * ((excess - mean * bases) ** 2).sum()) * wider
        t = abs(row["difference"]) / (error / bases.sum())
        assert row["p"] == pytest.approx(2 * stats.t.sf(t, (bases > 0).sum() - 1), rel=1e-9)
    assert alone  # bases whose stratum has no other base are met


def test_the_interval_against_inactive_bases_holds_the_difference():
    """Blocks that differ; a feature on 0, 5 or 90 % of the bases of a rare stratum, and never in a frequent one."""
    rng, held, found_by_chance = np.random.default_rng(3), [], []
    for _ in range(400):
        level, share = rng.normal(size=(60, 1)), rng.choice([0, 0.05, 0.9], (60, 1))
        rare = np.broadcast_to(np.arange(200) < 20, (60, 200))
        on = rare & (rng.random(rare.shape) < share)
        y = level + rng.normal(size=on.shape) + 3 * ~rare
        sums = Sums.zeros(1, 1, 1, 60)
        sums.on[0, :, 0], sums.above[0, :, 0] = on.sum(axis=1), np.where(on, y - y[rare].mean(), 0).sum(axis=1)
        sums.strata[0, 0, :, 7] = on.sum(), y[on].sum()
        strata = np.zeros((1, 2, STRATA))
        for number, some in ((7, rare), (2, ~rare)):
            strata[0, :, number] = some.sum(), y[some].sum()
        _, _, difference, wider = means_at_active(sums, strata)
        assert difference[0, 0] == pytest.approx(y[on].mean() - y[rare & ~on].mean())
        found = intervals(sums.above, sums.on, difference, wider)
        held.append(found["difference_low"][0, 0] <= 0 <= found["difference_high"][0, 0])
        found_by_chance.append(found["p"][0, 0] < 0.05)
    assert 0.88 <= np.mean(held) <= 0.99
    assert np.mean(found_by_chance) <= 0.12


def test_q_is_that_of_benjamini_and_hochberg(scored):
    known = scored["p"].notna()
    assert scored.loc[known, "q"].to_numpy() == pytest.approx(stats.false_discovery_control(scored.loc[known, "p"]))
    assert scored.loc[~known, "q"].isna().all()


def test_shards_give_the_whole(work, scored):
    folder = work[0]
    for name in ("signals.parquet", "signal_profiles.parquet"):
        one, other = (pd.read_parquet(folder / out / name) for out in ("out", "merged"))
        assert len(one)
        pd.testing.assert_frame_equal(one, other, check_exact=False, rtol=1e-12, atol=1e-13)
    assert (folder / "out" / "signals.tsv").read_bytes() == (folder / "merged" / "signals.tsv").read_bytes()


def test_profiles_are_means_around_the_strongest_places(work, scored, strand):
    name, dense = strand
    folder, _, _, values = work
    profiles = pd.read_parquet(folder / "out" / "signal_profiles.parquet")
    for (signal, feature), mine in profiles[profiles["read_strand"] == name].groupby(["signal", "feature"]):
        x = np.where((dense.half == 1) & (dense.contig == "a"), dense.x[:, int(feature[1:])], 0)
        tops = []
        for tile in set(dense.position[x > np.float32(0.15) * np.float32(HIGHEST)] // 1000):
            inside = (dense.position // 1000 == tile) & (dense.contig == "a")
            tops.append(dense.position[inside & (x == x[inside].max())].min())
        assert mine["offset"].tolist() == list(range(-500, 501))
        y, sign = values[signal]["a"], 1 if name == "+" else -1
        for row in mine.iloc[::97].to_dict("records"):
            there = [p + sign * row["offset"] for p in tops]
            known = [y[p] for p in there if 0 <= p < len(y) and not np.isnan(y[p])]
            assert row["places"] == len(known)
            assert row["mean"] == pytest.approx(np.mean(known) if known else np.nan, nan_ok=True, rel=1e-6)


def test_bins_are_spread_evenly_if_there_are_too_many(monkeypatch):
    from sae_tracks.metrics import Halves

    monkeypatch.setattr(bins_module, "MOST_BINS", 7)
    bins = bins_module.Bins.of([GenomicRegion("a", 5, 1000), GenomicRegion("b", 0, 100)], Halves(), 10)
    assert len(bins) == 7
    assert bins.number.tolist()[0] == 0 and bins.contig.tolist()[-1] == 1
    row = bins.rows(GenomicRegion("a", 5, 1000), np.zeros(995, np.int8))
    for i, found in enumerate(row.tolist()):
        mine = [k for k in range(7) if bins.contig[k] == 0 and bins.number[k] == (i + 5) // 10]
        assert found == (mine[0] if mine else -1)


def test_readable_bases_are_known_without_the_model(work):
    _, source, _, _ = work
    for strand in source.read_strands:
        said = {w.kept.start: source.readable(w) for w in source.windows(strand) if w.kept.contig == "a"}
        blocks = [b for b in source.blocks() if b.read_strand == strand and b.region.contig == "a"]
        ours, theirs = np.concatenate([*said.values()]), np.concatenate([b.readable for b in blocks])
        assert (ours == theirs).all()
        assert not ours.all()


@pytest.fixture
def letters(tmp_path, monkeypatch):
    """100 kb in which feature 0 is active on A, and so on; two signals that follow letters, one that does not."""
    monkeypatch.setattr(bootstrap, "BLOCK", 1000)
    sequence = random_dna(40_000, 8) + random_dna(40_000, 9, "AACGT")
    genome = Genome(write_fasta(tmp_path / "g.fa", a=sequence))
    source = Source(OneHotLM(8000), identity_sae(), genome, context=0)
    rng = np.random.default_rng(3)
    is_a = np.frombuffer(sequence.encode(), np.uint8) == ord("A")
    a = write_bedgraph(tmp_path / "a.bdg", {"a": is_a + rng.normal(size=80_000).astype(np.float32)})
    noise = write_bedgraph(tmp_path / "noise.bdg", {"a": rng.normal(size=80_000).astype(np.float32)})
    few = write_bedgraph(tmp_path / "few.bdg", {"a": np.where(np.arange(80_000) % 40_000 < 500, is_a, np.nan)})
    halves = {
        "select": [GenomicRegion("a", s, s + 2000) for s in range(0, 80_000, 4000)],
        "report": [GenomicRegion("a", s + 2000, s + 4000) for s in range(0, 80_000, 4000)],
    }
    return source, [a, noise, few], halves, tmp_path


def test_verdicts_of_planted_signals(letters):
    source, paths, halves, folder = letters
    best = score_signals(source, paths, folder / "out", bin_size=50, **halves).set_index("signal")
    assert best.loc["a", "feature"] == "f0"
    assert best.loc["a", "verdict"] == "local-sequence"  # the share of A says as much
    assert best.loc["a", "sequence"] == "A"
    assert best.loc["a", "sequence_spearman"] == pytest.approx(best.loc["a", "bin_spearman"], abs=1e-6)
    assert best.loc["a", "dimension"] == "0"
    assert best.loc["a", "shift_q"] < 0.05
    assert best.loc["a", "r2"] == pytest.approx(best.loc["a", "dimension_r2"], abs=0.01)
    assert best.loc["a", "r2"] > 0.1
    assert best.loc["noise", "verdict"] == "chance"
    assert abs(best.loc["noise", "r2"]) < 0.1
    assert best.loc["few", "verdict"] == "low-power"
    assert "blocks" in best.loc["few", "says"]
    assert best["untested"].tolist()[:2] == ["", ""]
    assert pd.read_csv(folder / "out" / "signals.tsv", sep="\t")["signal"].tolist() == ["a", "noise", "few"]
    assert make_page(folder / "out").files["index.html"].count(b'<svg class="chart"') == 2  # few has none


def test_one_half_has_no_verdict(letters):
    source, paths, _, folder = letters
    best = score_signals(source, paths[:1], folder / "out", split=False, features=[0, 3])
    assert best["verdict"].tolist() == ["not-tested"]
    assert b"which flatters them" in make_page(folder / "out").files["index.html"]
    assert pd.read_parquet(folder / "out" / "signals.parquet")["feature"].tolist() == ["f0", "f3"]


def test_what_cannot_be_scored_is_refused(letters, tmp_path):
    source, paths, _, folder = letters
    empty = tmp_path / "empty.bdg"
    empty.write_text("a\t79999\t80000\t1\n")
    part = Source(source.lm, source.sae, source.genome, [GenomicRegion("a", 0, 30_000)], context=0)
    some = {"select": [GenomicRegion("a", 0, 10_000)]}
    with pytest.raises(SaeTracksError, match=r"empty.bdg has no value in the regions"):
        score_signals(part, [empty], folder / "out", **some)
    with pytest.raises(SaeTracksError, match="two signals are called 'a'"):
        score_signals(part, [paths[0], paths[0]], folder / "out", **some)
    score_signals(part, paths[:1], folder / "one", shard="1/2", **some)
    with pytest.raises(SaeTracksError, match="shard 2/2 is missing"):
        merge_signals([folder / "one"], folder / "out")
    score_signals(part, paths[:1], folder / "two", shard="2/2", bin_size=7, **some)
    with pytest.raises(SaeTracksError, match=r"of another run .* signals differs"):
        merge_signals([folder / "one", folder / "two"], folder / "out")
    score_signals(part, paths[:1], folder / "two", shard="2/2", **some)
    paths[0].write_text("a\t0\t1\t1\n")
    with pytest.raises(SaeTracksError, match="has changed since its shards were read"):
        merge_signals([folder / "one", folder / "two"], folder / "out")
