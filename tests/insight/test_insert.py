"""Insertion tells a feature that reads a motif from features that read what stands beside it."""

import shutil

import numpy as np
import pandas as pd
import planted
import pytest
import torch
from command_line import run
from toy import random_dna, random_sae, unit_stats, write_fasta

from sae_tracks.controls.score import score
from sae_tracks.controls.verdict import TEXTS
from sae_tracks.dna import reverse_complement
from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome
from sae_tracks.insight.insert import REACH, InsertRun, insert_motifs
from sae_tracks.insight.judged import judge_again, matches_of
from sae_tracks.insight.merge import merge_shards
from sae_tracks.insight.shards import run_shard
from sae_tracks.lm import describe, load_lm
from sae_tracks.metrics import read_table
from sae_tracks.motifs import Motif, Scanner
from sae_tracks.regions import Shard
from sae_tracks.sae import SAE, save_sae
from sae_tracks.source import Source

MOTIF = Motif("MA9001.1", "TF", planted.counts(planted.WORDS["MA9001.1"]))
OTHER = Motif("MA9002.1", "TF2", planted.counts(planted.WORDS["MA9002.1"]))
FRIEND = b"GATTCCGTAC"  # it stands before the motif
LEFT = planted.REPEAT[:30]  # of the repeat, before the motif in it
READS, READS_MINUS, FRIENDLY, IN_REPEAT, SILENT, REPEAT_ONLY = range(6)


class ReaderLM:
    """Channels that fire at the last base of what they know, in the direction of reading."""

    model_id, revision, checksum, architecture = "reader", None, "reader", "toy"
    layer, hook_name, d_model, causal, max_length = 3, "toy", 6, True, 4096

    def __init__(self, causal: bool = True) -> None:
        self.causal, self.scanner = causal, Scanner([MOTIF], threads=1)

    def activations(self, sequence: bytes) -> torch.Tensor:
        out = np.zeros((len(sequence), self.d_model), np.float32)
        hits, w = self.scanner.scan(sequence), MOTIF.width
        last = hits.start + w - 1 if self.causal else hits.start - 3
        for strand, channel in ((1, READS), (-1, READS_MINUS)):
            at = last[hits.strand == strand]
            out[at[at >= 0], channel] = 1
        for channel, word in ((FRIENDLY, FRIEND), (REPEAT_ONLY, LEFT)):
            at = sequence.find(word)
            while at >= 0:
                out[at + len(word) - 1, channel] = 1
                at = sequence.find(word, at + 1)
        for start, strand in zip(hits.start.tolist(), hits.strand.tolist()):
            if strand == 1 and LEFT in sequence[max(start - 40, 0) : start]:
                out[start + w - 1, IN_REPEAT] = 1
        return torch.from_numpy(out)

    def token_starts(self, sequence: bytes) -> np.ndarray:
        return np.ones(len(sequence), bool)


def sae():
    d = ReaderLM.d_model
    return SAE(torch.eye(d), torch.full((d,), -1e-3), torch.eye(d), torch.zeros(d), {}, unit_stats(d))


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    """Repeats, and sites of the motif behind its friend; on both strands."""
    rng, letters = np.random.default_rng(5), bytearray(random_dna(200_000, 8).encode())
    word, repeats = planted.WORDS["MA9001.1"], []
    for start in range(100, 199_000, 400):
        thing = planted.REPEAT if rng.random() < 0.5 else FRIEND + word
        strand = "+-"[rng.integers(2)]
        letters[start : start + len(thing)] = thing if strand == "+" else reverse_complement(thing)
        if thing is planted.REPEAT:
            repeats.append(("c1", start, start + len(thing), "SINE/Alu"))
    folder = tmp_path_factory.mktemp("g")
    return Genome(write_fasta(folder / "g.fa", c1=letters.decode())), planted.write_bed(folder / "r.bed", repeats)


def source(genome, lm=None, **how):
    return Source(lm or ReaderLM(), sae(), genome, window=400, context=100, allow_mismatch=True, **how)


@pytest.fixture(scope="module")
def inserted(genome):
    return insert_motifs(
        source(genome[0], read_strands=("+", "-")), [MOTIF, OTHER], range(6), contexts=60, repeats=str(genome[1])
    )


def rows(table, feature, motif=MOTIF, **where):
    found = table[(table["feature"] == f"f{feature}") & (table["concept"] == motif.matrix_id)]
    for column, value in where.items():
        found = found[found[column] == value]
    return found


def test_a_feature_that_reads_the_motif_tells_it_from_its_decoys(inserted):
    for feature, same in ((READS, True), (READS_MINUS, False)):
        for strand in "+-":
            site = strand if same else "-+"[strand == "-"]
            row = rows(inserted.table, feature, read_strand=strand, site_strand=site).iloc[0]
            assert row["insertion_auroc"] > 0.99
            assert row["insertion_low"] > 0.98
            assert row["contexts"] > 100
            assert row["offset"] == MOTIF.width - 1
            assert row["insertion_change"] == pytest.approx(0.999)
            assert row["insertion_decoy"] < 0.02, "hardly ever, a decoy and what follows are a site"
            other = rows(inserted.table, feature, read_strand=strand, site_strand="+-"[site == "+"]).iloc[0]
            assert 0.45 < other["insertion_auroc"] < 0.55


@pytest.mark.parametrize("feature", [FRIENDLY, IN_REPEAT, SILENT, REPEAT_ONLY])
def test_features_of_what_stands_beside_the_sites_do_not(inserted, feature):
    found = rows(inserted.table, feature)
    assert len(found) == 4
    assert found["insertion_auroc"].between(0.45, 0.55).all()
    assert (found["insertion_low"] <= 0.5).all()


def test_a_feature_that_needs_the_repeat_responds_inside_of_repeats_alone(inserted):
    row = rows(inserted.table, IN_REPEAT, read_strand="+", site_strand="+").iloc[0]
    assert row["repeat_auroc"] > 0.6, "half of the repeats lie on the other strand"
    assert row["genome_auroc"] == row["shuffled_auroc"] == 0.5


def test_a_motif_is_no_other_motif(inserted):
    assert rows(inserted.table, READS, OTHER)["insertion_auroc"].between(0.45, 0.55).all()


def test_the_profile_shows_where_the_feature_fires(inserted):
    found = inserted.profile
    mine = rows(found, READS, read_strand="-", site_strand="-").set_index("offset")
    assert mine.index.tolist() == list(range(MOTIF.width + REACH))
    assert mine.loc[MOTIF.width - 1, ["low", "change", "high"]].to_numpy() == pytest.approx([0.999] * 3)
    assert mine["change"].drop(MOTIF.width - 1).abs().max() < 0.1
    assert (mine["low"] <= mine["change"]).all()


def test_a_model_that_is_not_causal_may_fire_before_the_motif(genome):
    found = insert_motifs(source(genome[0], ReaderLM(causal=False)), [MOTIF], [READS], contexts=40)
    row = rows(found.table, READS, site_strand="+").iloc[0]
    assert row["offset"] == -3
    assert row["insertion_auroc"] > 0.99
    assert rows(found.profile, READS, site_strand="+")["offset"].min() == -REACH


def test_contexts_with_a_site_are_left_out(genome):
    whole = insert_motifs(source(genome[0]), [MOTIF], [READS], contexts=60).table
    assert whole["contexts"].between(60, 119).all()


def test_pairs_choose_rows_and_a_motif_without_decoys_has_no_numbers(genome):
    vague = Motif("MA3", "", np.full((12, 4), 10.0))
    pairs = {("MA9001.1", READS), ("MA3", SILENT)}
    table = insert_motifs(source(genome[0]), [MOTIF, vague], [READS, SILENT], pairs=pairs, contexts=30).table
    assert set(zip(table["concept"], table["feature"])) == {("MA9001.1", "f0"), ("MA3", "f4")}
    assert (table["insertion_auroc"].isna() == (table["concept"] == "MA3")).all()
    alone = insert_motifs(source(genome[0]), [MOTIF], [READS], contexts=30).table
    wide = Motif("MA4", "", np.tile(OTHER.counts, (2, 1)))
    pd.testing.assert_frame_equal(table[table["concept"] == "MA9001.1"].reset_index(drop=True), alone)
    beside = insert_motifs(source(genome[0]), [MOTIF, wide], [READS], contexts=30).table
    pd.testing.assert_frame_equal(beside[beside["concept"] == "MA9001.1"].reset_index(drop=True), alone)


def test_the_same_seed_gives_the_same_rows(genome):
    one, other = (insert_motifs(source(genome[0]), [MOTIF], ids, contexts=25, seed=4) for ids in ([0], [0, 0]))
    pd.testing.assert_frame_equal(one.table, other.table)


@pytest.mark.parametrize(
    ("features", "context", "message"),
    [([9], 100, "no feature 9"), ([READS], 390, "more than the 400 that this model reads: lower --context")],
)
def test_bad_input_is_refused(genome, features, context, message):
    lm = ReaderLM()
    lm.max_length = 400
    where = Source(lm, sae(), genome[0], window=400, context=context, allow_mismatch=True)
    with pytest.raises(SaeTracksError, match=message):
        insert_motifs(where, [MOTIF], features, contexts=25)


@pytest.fixture(scope="module")
def scores(genome, tmp_path_factory):
    """Scores of the motif's sites, with the standard controls."""
    hits = Scanner([MOTIF], threads=1).scan(genome[0].sequence(genome[0].whole[0]))
    strands = ["+" if strand > 0 else "-" for strand in hits.strand]
    sites = [("c1", s, s + MOTIF.width, "MA9001.1", 500, strand) for s, strand in zip(hits.start.tolist(), strands)]
    out = tmp_path_factory.mktemp("scores")
    bed = planted.write_bed(out / "sites.bed", sorted(sites, key=lambda row: row[1]))
    score(source(genome[0]), [bed], out / "scores", features=[READS, READS_MINUS, FRIENDLY, SILENT])
    return out / "scores"


def test_verdicts_take_insertions_into_account(genome, scores):
    before = read_table(scores / "metrics.tsv", TEXTS).set_index(["concept", "site_strand"])
    was = before.loc[("MA9001.1", "+"), "verdict"]
    assert (before.loc[("MA9001.1", "+"), "feature"], was) == ("f0", "dimension"), "the feature is a channel"
    assert ("MA9001.1", 0) in matches_of(scores, source(genome[0]), ["dimension"])
    found = insert_motifs(source(genome[0]), [MOTIF], range(6), contexts=60).table
    after = judge_again(scores, found).set_index(["concept", "site_strand"])
    pd.testing.assert_series_equal(after["verdict"], before["verdict"])
    worse = found.assign(insertion_high=np.where(found["feature"] == "f0", 0.6, found["insertion_high"]))
    again = judge_again(scores, worse).set_index(["concept", "site_strand"])
    assert again.loc[("MA9001.1", "+"), "verdict"] == "context"
    rest = [name for name in before.index if name[0] != "MA9001.1"]
    assert rest
    pd.testing.assert_series_equal(again.loc[rest, "verdict"], before.loc[rest, "verdict"])
    table = read_table(scores / "metrics.parquet")
    best = table[(table["concept"] == "MA9001.1") & (table["site_strand"] == "+") & (table["feature"] == "f0")]
    assert (best["verdict"] == "context").all()
    assert len(table) > len(best) > 0
    kept = judge_again(scores, found[found["feature"] == "f3"]).set_index(["concept", "site_strand"])
    assert kept.loc[("MA9001.1", "+"), "verdict"] == "context", "what was not measured anew is kept"
    assert np.isfinite(kept.loc[("MA9001.1", "+"), "insertion_auroc"])


def test_a_merge_judges_the_scores_as_one_run_does(genome, scores, tmp_path):
    for name in ("one", "shards"):
        shutil.copytree(scores, tmp_path / name)
    asked = InsertRun(source(genome[0]), [MOTIF, OTHER], [READS, SILENT], contexts=30, scores=tmp_path / "shards")
    judge_again(tmp_path / "one", asked.whole().table)
    folders = [tmp_path / str(i) for i in (1, 2)]
    for i, folder in enumerate(folders, 1):
        run_shard(asked, folder, Shard(i, 2))
    before = (tmp_path / "shards" / "metrics.tsv").read_bytes()
    record = (tmp_path / "shards" / "provenance.json").read_text()
    (tmp_path / "shards" / "provenance.json").write_text(record.replace(asked.sources()[0]["sae_sha256"], "0" * 64))
    with pytest.raises(SaeTracksError, match="has scores of another SAE"):
        merge_shards(folders, tmp_path / "out")
    assert (tmp_path / "shards" / "metrics.tsv").read_bytes() == before and not (tmp_path / "out").exists()
    (tmp_path / "shards" / "provenance.json").write_text(record)
    merge_shards(folders, tmp_path / "out")
    for name in ("metrics.tsv", "metrics.parquet"):
        assert (tmp_path / "shards" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    assert (tmp_path / "shards" / "metrics.tsv").read_bytes() != before


def test_scores_of_another_sae_are_refused(genome, scores):
    other = source(genome[0])
    other.sae.b_enc[0] = -0.5
    with pytest.raises(SaeTracksError, match="scores of another SAE"):
        matches_of(scores, other, ["not-tested"])
    with pytest.raises(SaeTracksError, match="no motif with the verdict supported or word"):
        matches_of(scores, source(genome[0]), ["supported", "word"])


def test_the_verb_writes_tables_and_judges_scores(genome, scores, tmp_path):
    (tmp_path / "m.pfm").write_text(
        "".join(
            f">{m.matrix_id} {m.tf}\n" + "\n".join(" ".join(map(str, r)) for r in m.counts.T) + "\n"
            for m in (MOTIF, OTHER)
        )
    )
    lm = load_lm("yeast")
    trained = random_sae(lm.d_model, 64)
    trained.metadata["lm"] = describe(lm)
    save_sae(trained, tmp_path / "sae")
    words = (
        tmp_path / "sae",
        genome[0].path,
        "--motifs",
        tmp_path / "m.pfm",
        "--context",
        64,
        "--contexts",
        20,
        "-r",
        "c1:1-30,000",
    )
    call = ("insert", *words, "-f", "3,5,3", "--matrix", "MA9001.1, MA9002.1", "-o", tmp_path / "out")
    dry = run(*call, "--dry-run")
    assert "40 contexts of 128 bases per read strand, each read once; 8 words of 2 motifs" in dry.stdout
    assert "320 copies; 8 rows; responses of 0.1 MB" in dry.stdout and not (tmp_path / "out").exists()
    done = run(*call)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "out" / "insertion.tsv", sep="\t")
    assert len(table) == 8 and set(table["feature"]) == {"f3", "f5"}
    assert "MA9001.1" in done.stdout and (tmp_path / "out" / "insertion.provenance.json").is_file()
    other = run("insert", *words, "--from", scores)
    assert other.returncode == 1 and "scores of another SAE" in other.stderr
    assert run("insert", *words).returncode == 2
    assert "no matrix 'MA1'" in run("insert", *words, "-f", "1", "--matrix", "MA1", "-o", tmp_path / "x").stderr
