"""Planted truth: what is true is supported, and what is not is called by its name."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import planted
import pytest
import torch
from toy import unit_stats

from sae_tracks.controls.chance import q_values
from sae_tracks.controls.opened import ControlSettings
from sae_tracks.controls.score import ScoreTask, merge_scores, score
from sae_tracks.controls.verdict import TEXTS
from sae_tracks.errors import SaeTracksError, UsageError
from sae_tracks.metrics import evaluate_on, read_table
from sae_tracks.sae import SAE
from sae_tracks.source import Source


def source(lm, sae, genome, **options):
    return Source(lm, sae, genome, window=4096, context=512, allow_mismatch=True, **options)


@pytest.fixture(scope="module", autouse=True)
def rare_decoys():
    """Planted words are five times as frequent as chance allows. No altered matrix is, so decoys may be rarer here."""
    rules = sys.modules["sae_tracks.motifs.decoys"]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("FEWER", 0.05), ("ON_STRAND", 0), ("LIKE_WORD", 100)):
            patch.setattr(rules, name, value)
        yield


def planted_files(folder, **sizes):
    """A genome, its truth and repeats, and matrices in a file."""
    genome, truth, repeats = planted.planted_genome(folder, **sizes)
    lines = []
    for motif in planted.motifs():
        lines.append(f">{motif.matrix_id} {motif.tf}")
        lines += [f"{b} [ {' '.join(f'{x:g}' for x in row)} ]" for b, row in zip("ACGT", motif.counts.T)]
    (folder / "motifs.jaspar").write_text("\n".join(lines) + "\n")
    return genome, truth, repeats, folder / "motifs.jaspar"


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """So many sites that a verdict can be given on each word."""
    return planted_files(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Fewer, for what needs no verdict; both halves have some."""
    return planted_files(tmp_path_factory.mktemp("small"), n=200_000, sites=40, repeats=80)


def everything(known, lm, *, blank=True, decoys=20):
    """All controls; the untrained models know letters and 4-mers alone, or all that the trained one knows."""
    genome, _, repeats, motifs = known
    other = planted.PlantedLM(seed=1, blank=blank)
    rivals = [(kind, source(other, planted.planted_sae(other), genome)) for kind in ("random", "permuted")]
    return ControlSettings(motifs=str(motifs), repeats=str(repeats), untrained=rivals, decoys=decoys)


@pytest.fixture(scope="module")
def controlled(known, tmp_path_factory):
    """The table of a model that knows everything, with all controls, and the folder of the run."""
    genome, truth, *_ = known
    lm, out = planted.PlantedLM(), tmp_path_factory.mktemp("scores")
    scored = score(source(lm, planted.planted_sae(lm), genome), [truth], out, controls=everything(known, lm))
    return scored.table, pd.read_parquet(out / "offsets.parquet"), out


def motif_rows(table):
    return table[table["concept"].isin([*planted.WORDS])]


def judged(known, lm, out):
    """The motifs of the table of a model, with all controls."""
    where = source(lm, planted.planted_sae(lm), known[0])
    return motif_rows(score(where, [known[1]], out, controls=everything(known, lm)).table)


def test_the_known_answer_is_found_base_by_base(controlled):
    table = motif_rows(controlled[0])
    assert len(table) == 2 * len(planted.WORDS)
    assert table["f1"].min() >= 0.99
    expected = [f"f{planted.NAMES.index((row.concept, row.site_strand))}" for row in table.itertuples()]
    assert table["feature"].tolist() == expected
    assert table["site_average_precision"].min() >= 0.99 and table["recall_at_half"].min() >= 0.99


def test_a_random_sae_finds_nothing(known, controlled, tmp_path):
    genome, truth, *_ = known
    lm = planted.PlantedLM()
    draw = torch.Generator().manual_seed(3)
    encoder = torch.randn(lm.d_model, lm.d_model, generator=draw)
    encoder /= encoder.norm(dim=0)
    d = lm.d_model
    random = SAE(encoder, torch.full((d,), -1.0), encoder.T.clone(), torch.zeros(d), metadata={}, stats=unit_stats(d))
    found = motif_rows(score(source(lm, random, genome), [truth], tmp_path).table)
    found = found.set_index(["concept", "site_strand"])
    true = motif_rows(controlled[0]).set_index(["concept", "site_strand"])
    found = found.reindex(true.index).fillna({"f1": 0.0, "site_ap_high": 0.0})  # some concepts have no feature at all
    assert found["f1"].max() <= 0.3
    assert (true["f1"] - found["f1"]).min() >= 0.5
    assert (true["site_ap_low"] > found["site_ap_high"]).all()
    assert "supported" not in set(found["verdict"])


def test_whole_sites_shifted_by_one_base_are_noticed(small, tmp_path):
    """A shift costs every site one base at either end: of w bases w - 1 are still right."""
    genome, truth, *_ = small
    rows = [line.split("\t") for line in truth.read_text().splitlines()]
    moved = [[c, int(start) + 1, int(end) + 1, *rest] for c, start, end, *rest in rows]
    lm, bed = planted.PlantedLM(), planted.write_bed(tmp_path / "m.bed", moved)
    shifted = motif_rows(score(source(lm, planted.planted_sae(lm), genome), [bed], tmp_path, controls=None).table)
    for row in shifted.itertuples():
        width = len(planted.WORDS[row.concept])
        assert row.f1 == pytest.approx((width - 1) / width, abs=0.01)


def test_planted_motifs_are_supported(controlled):
    rows = motif_rows(controlled[0])
    assert rows["verdict"].tolist() == ["supported"] * len(rows), rows.T.to_string()
    assert (rows["untested"] == "").all()
    assert (rows["decoy_q"] <= 0.05).all()
    assert (rows["effect_low"] > 0).all()


def test_a_motif_in_a_repeat_is_called_repeat(controlled):
    table = controlled[0]
    rows = table[table["concept"] == planted.IN_REPEAT]
    assert rows["f1"].min() > 0.9
    assert set(rows["verdict"]) <= {"repeat", "chance", "not-tested"} and (rows["repeat_share"] == 1).all()
    assert (rows["repeat_class"] == "SINE/Alu").all()


def test_letters_are_called_local_sequence(controlled):
    table = controlled[0]
    rows = table[table["concept"].isin(list("ACGT"))]
    assert rows["f1"].min() > 0.99
    assert rows["verdict"].tolist() == ["local-sequence"] * 4
    assert rows["kmer"].tolist() == rows["concept"].tolist()
    assert rows["kmer_ap"].tolist() == [1] * 4


def test_what_an_untrained_model_has_too_is_called_untrained(known, tmp_path):
    genome, truth, *_ = known
    lm = planted.PlantedLM()
    settings = everything(known, lm, blank=False)
    rows = motif_rows(score(source(lm, planted.planted_sae(lm), genome), [truth], tmp_path, controls=settings).table)
    assert rows["verdict"].tolist() == ["untrained"] * len(rows)


def test_nothing_is_supported_without_every_control(known, tmp_path):
    genome, truth, *_ = known
    lm = planted.PlantedLM()
    rows = motif_rows(score(source(lm, planted.planted_sae(lm), genome), [truth], tmp_path).table)
    assert rows["verdict"].tolist() == ["not-tested"] * len(rows)
    assert (rows["untested"] == "repeat,chance,untrained").all()


class WordLM(planted.PlantedLM):
    """Knows the first six letters of each word, wherever they are."""

    def known(self, sequence):
        out = super().known(sequence)
        for channel, (name, strand) in enumerate(planted.NAMES):
            word = planted._oriented(planted.WORDS.get(name, planted.REPEAT_WORD)[:6], strand)
            out[:, channel], at = 0, sequence.find(word)
            while at >= 0:
                out[at : at + 6, channel] = 1
                at = sequence.find(word, at + 1)
        return out


def test_a_detector_of_a_word_is_called_word(known, tmp_path):
    rows = judged(known, WordLM(), tmp_path)
    assert (rows["verdict"] == "word").mean() >= 0.9, rows[["kmer", "word_auroc_low", "verdict"]].to_string()


class EdgeLM(planted.PlantedLM):
    """Knows the last base of every site alone."""

    def known(self, sequence):
        out = super().known(sequence)
        sites = out[:, : len(planted.NAMES)]
        sites[:-1] *= sites[1:] == 0
        return out


def test_a_flawless_detector_of_one_base_is_supported(known, tmp_path):
    rows = judged(known, EdgeLM(), tmp_path)
    assert rows["f1"].max() < 0.2  # which judges the width of the firing
    assert rows["site_average_precision"].min() >= 0.99
    assert rows["verdict"].tolist() == ["supported"] * len(rows)


def test_one_motif_alone_can_be_supported(known, tmp_path):
    genome, truth, *_ = known
    lines = [line for line in truth.read_text().splitlines() if line.split("\t")[3] == "MA9002.1"]
    bed, lm = planted.write_bed(tmp_path / "one.bed", [line.split("\t") for line in lines]), planted.PlantedLM()
    table = score(
        source(lm, planted.planted_sae(lm), genome), [bed], tmp_path, controls=everything(known, lm, decoys=None)
    ).table
    rows = motif_rows(table)
    assert rows["verdict"].tolist() == ["supported"] * 2
    assert rows["decoys"].min() >= 19 and rows["decoy_q"].max() == rows["least_q"].max()


def test_labels_shifted_by_one_base_collapse_it(small, tmp_path):
    """A feature of one base of every site: right where the label is, and worth nothing one base before or behind."""
    genome, truth, *_ = small
    rows = [line.split("\t") for line in truth.read_text().splitlines()]
    moved = [
        (contig, int(end) - 1 + shift, int(end) + shift, f"{name}{sign}", 0, strand)
        for contig, _, end, name, _, strand in rows
        for sign, shift in (("", 0), ("<", -1), (">", 1))
    ]
    lm, bed = EdgeLM(), planted.write_bed(tmp_path / "edges.bed", moved)
    found = score(source(lm, planted.planted_sae(lm), genome), [bed], tmp_path, controls=None).table
    exact, shifted = motif_rows(found), found[found["concept"].str[-1].isin(["<", ">"])]
    assert exact["f1"].min() >= 0.99
    assert len(shifted) >= 2 * len(exact)
    assert shifted["f1"].max() <= 0.1


def test_the_offset_profile_is_one_inside_the_site_and_the_background_outside(controlled):
    offsets = controlled[1]
    word = planted.WORDS["MA9002.1"]
    mine = offsets[(offsets["concept"] == "MA9002.1") & (offsets["anchor"] == "start")]
    inside = mine[(mine["offset"] >= 0) & (mine["offset"] < len(word))]
    assert (inside["active_share"] == 1).all()
    assert mine[mine["offset"] < 0]["active_share"].max() < 0.05


@pytest.mark.parametrize(("parts", "strands"), [(3, "+"), (7, "+-")])
def test_shards_give_the_verdicts_of_the_whole(known, tmp_path, parts, strands):
    """Byte for byte, whatever is cut: sites, windows, words, and tiles of the halves."""
    genome, truth, repeats, motifs = known
    lm = planted.PlantedLM()
    settings = ControlSettings(motifs=str(motifs), repeats=str(repeats), decoys=20)
    regions = [genome.region("p1:1,001-150,500"), genome.region("p1:180,000-330,000")]

    def read(out, **shard):
        where = source(lm, planted.planted_sae(lm), genome, regions=regions, read_strands=tuple(strands))
        return score(where, evaluate_on(genome, [truth], regions), out, controls=settings, **shard)

    whole = read(tmp_path / "whole")
    for part in range(1, parts + 1):
        read(tmp_path / f"{part}", shard=f"{part}/{parts}")
    merge_scores([tmp_path / f"{part}" for part in reversed(range(1, parts + 1))], tmp_path / "merged")
    for name in ("metrics.tsv", "metrics.parquet", "offsets.parquet", "counts.npz", "methods.txt"):
        assert (tmp_path / "merged" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert not (tmp_path / "whole" / "controls").exists()
    assert whole.table["site_average_precision"].notna().any() and whole.table["decoy_q"].notna().any()


def test_shards_whose_files_are_gone_or_changed_are_not_merged(small, tmp_path):
    genome, truth, *_ = small
    bed = tmp_path / "mine.bed"
    bed.write_bytes(truth.read_bytes())
    lm = planted.PlantedLM()
    for part in (1, 2):
        score(source(lm, planted.planted_sae(lm), genome), [bed], tmp_path / f"{part}", shard=f"{part}/2")
    bed.write_text(truth.read_text().replace("MA9001.1", "MA9002.1"))
    with pytest.raises(SaeTracksError, match="has changed since its features were counted"):
        merge_scores([tmp_path / "1", tmp_path / "2"], tmp_path / "out")
    bed.unlink()
    with pytest.raises(SaeTracksError, match=r"reads the files of annotations again, and .* is gone"):
        merge_scores([tmp_path / "1", tmp_path / "2"], tmp_path / "out")
    bed.write_bytes(truth.read_bytes())
    words = tmp_path / "1" / "controls" / "words.npz"
    words.rename(tmp_path / "words.npz")
    with pytest.raises(SaeTracksError, match=r"words\.npz is missing: delete the folder and run that"):
        merge_scores([tmp_path / "1", tmp_path / "2"], tmp_path / "out")
    (tmp_path / "words.npz").rename(words)
    level = tmp_path / "2" / "controls" / "features" / "level.bin"
    level.write_bytes(level.read_bytes()[:-1])
    with pytest.raises(SaeTracksError, match=r"level\.bin has changed"):
        merge_scores([tmp_path / "1", tmp_path / "2"], tmp_path / "out")


def test_two_processes_that_count_one_shard_leave_what_one_leaves(small, tmp_path, monkeypatch):
    genome, truth, *_ = small
    lm, read = planted.PlantedLM(), ScoreTask._read

    def count(out):
        score(source(lm, planted.planted_sae(lm), genome), [truth], tmp_path / out, shard="1/2")
        files = {path.relative_to(tmp_path / out): path for path in (tmp_path / out).rglob("*") if path.is_file()}
        made = json.loads(files.pop(Path("provenance.json")).read_text())
        return {name: path.read_bytes() for name, path in files.items()}, made["parts"]

    def read_while_another_begins_and_ends(self, *words):
        gatherer = read(self, *words)
        monkeypatch.setattr(ScoreTask, "_read", read)
        count("both")
        return gatherer

    alone = count("alone")
    assert Path("controls/features/level.bin") in alone[0]
    monkeypatch.setattr(ScoreTask, "_read", read_while_another_begins_and_ends)
    assert count("both") == alone
    assert {path.name for path in (tmp_path / "both").iterdir()} == {"controls", "counts.npz", "provenance.json"}


def test_shards_read_an_annotation_by_the_name_it_was_given(small, tmp_path):
    """A link is not followed, because a BED3 file gives its name to the concept; so are names that are no files."""
    genome, truth, *_ = small
    rows = [line.split("\t")[:3] for line in truth.read_text().splitlines() if "MA9002.1" in line]
    planted.write_bed(tmp_path / "target.bed", rows)
    (tmp_path / "peaks.bed").symlink_to(tmp_path / "target.bed")
    lm = planted.PlantedLM()

    def read(out, **shard):
        where = source(lm, planted.planted_sae(lm), genome)
        annotations = evaluate_on(genome, [tmp_path / "peaks.bed"], alias="ucsc")
        return score(where, annotations, out, controls=ControlSettings(repeats="alu"), **shard)

    whole = read(tmp_path / "whole").table
    for part in (1, 2):
        read(tmp_path / f"{part}", shard=f"{part}/2")
    merged = merge_scores([tmp_path / "1", tmp_path / "2"], tmp_path / "merged").table
    assert whole["concept"].tolist()[-1] == "peaks"
    pd.testing.assert_frame_equal(merged, whole)


def test_a_pipe_cannot_be_read_in_shards(small, tmp_path):
    genome, truth, *_ = small
    os.mkfifo(tmp_path / "pipe")
    lm = planted.PlantedLM()
    settings = ControlSettings(motifs=str(small[3]))
    annotations = evaluate_on(genome, [truth])
    annotations.facts["annotations"] = {str(tmp_path / "pipe"): None}
    with pytest.raises(SaeTracksError, match=r"--shard needs files, which merge-metrics reads again: .*pipe"):
        score(source(lm, planted.planted_sae(lm), genome), annotations, tmp_path / "o", shard="1/2", controls=settings)
    assert not (tmp_path / "o").exists()


def test_what_cannot_be_compared_is_refused_before_the_first_window(small, tmp_path):
    genome, truth, *_ = small
    lm = planted.PlantedLM()
    settings = everything(small, lm)
    where = source(lm, planted.planted_sae(lm), genome)
    with pytest.raises(UsageError, match="--scale raw: the activations of untrained models have another scale"):
        score(where, [truth], tmp_path / "o", scale="raw", controls=settings)
    with pytest.raises(UsageError, match="at most 254 thresholds, not 300"):
        score(where, [truth], tmp_path / "o", thresholds=np.arange(300) / 300)
    with pytest.raises(UsageError, match="either given or made"):
        ControlSettings(untrained=settings.untrained, trained_on="act")
    assert not (tmp_path / "o").exists()


def test_a_number_of_decoys_without_motifs_is_an_error_of_usage():
    with pytest.raises(UsageError, match="--decoys alters the matrices of motifs: name these by --motifs"):
        ControlSettings(decoys=7)
    assert ControlSettings(decoys=7, motifs="m.pfm").decoys == 7


def test_columns_of_text_are_those_of_the_registry(controlled, tmp_path):
    """Names that look like numbers, or like a missing value, come back from the file as they are."""
    table = controlled[0]
    texts = {name for name in table if not pd.api.types.is_numeric_dtype(table[name])}
    assert texts == {"concept", "tf", "site_strand", "feature", "read_strand", "verdict", *TEXTS} - {"memorised"}
    table.head(2).assign(**{name: ["07", "NA"] for name in TEXTS}).to_csv(tmp_path / "t.tsv", sep="\t", index=False)
    read = read_table(tmp_path / "t.tsv", TEXTS)
    assert all(read[name].tolist() == ["07", "NA"] for name in TEXTS)
    assert read["lag"].dtype == float


def test_decoys_are_seldom_called_supported():
    """Scores of twelve false motifs and their decoys, drawn alike: q is seldom at most .05."""
    called = tested = 0
    for seed in range(200):
        scores = np.random.default_rng(seed).normal(size=(12, 6))
        called += int((q_values(scores[:, 0], scores[:, 1:]) <= 0.05).sum())
        tested += 12
    assert called <= np.quantile(np.random.default_rng(0).binomial(tested, 0.05, 10_000), 0.99)
