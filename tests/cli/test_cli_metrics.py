"""`sae-tracks metrics` as users call it."""

import cProfile
import json
import pstats
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
from toy import OneHotLM, identity_sae, random_dna, write_fasta

from sae_tracks.activations.extract import extract, plan_extraction
from sae_tracks.cli import main
from sae_tracks.cli.metrics import shown_rows
from sae_tracks.files import sha256
from sae_tracks.genome import Genome
from sae_tracks.metrics import load_counts, read_table
from sae_tracks.regions import GenomicRegion
from sae_tracks.sae import save_sae

FILES = ["counts.npz", "methods.txt", "metrics.parquet", "metrics.tsv", "provenance.json"]


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A folder with an SAE, a genome of 200 kb and every CG of it; the language model is a toy."""
    sequence = random_dna(200_000, seed=2)
    write_fasta(tmp_path / "toy.fa", chr1=sequence)
    save_sae(identity_sae(lm={"model": "one-hot", "layer": 3}), tmp_path / "sae")
    letters = np.frombuffer(sequence.encode(), np.uint8)
    at = np.flatnonzero((letters[:-1] == ord("C")) & (letters[1:] == ord("G")))
    (tmp_path / "cg.bed").write_text("".join(f"chr1\t{i}\t{i + 2}\tCG\t{i % 7}\t+\n" for i in at))
    monkeypatch.setattr("sae_tracks.lm.load.load_lm", lambda *_, **__: OneHotLM(max_length=15_000))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def verb(monkeypatch, capsys):
    """Run a verb; exit status (a text is the message of status 1) and what was printed on stdout."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["sae-tracks", *map(str, words)])
        with pytest.raises(SystemExit) as done:
            main()
        return done.value.code, capsys.readouterr().out

    return call


@pytest.fixture
def metrics(verb):
    return partial(verb, "metrics")


@pytest.fixture
def merge(verb):
    return partial(verb, "merge-metrics")


def test_tables_provenance_and_a_table_on_the_screen(work, metrics):
    status, out = metrics(
        "sae",
        "toy.fa",
        "cg.bed",
        "-o",
        "out",
        "--read-strand",
        "both",
        "-r",
        "chr1:80,001-120,000",
        "-t",
        0.5,
        "-t",
        0.15,
    )
    assert not status
    assert sorted(p.name for p in (work / "out").iterdir()) == sorted([*FILES, "offsets.parquet"])
    assert "CG" in out
    assert "1.000" in out
    best = read_table(work / "out" / "metrics.tsv")
    assert best["concept"].tolist() == ["A", "C", "G", "T", "CG"]
    assert set(read_table(work / "out" / "metrics.parquet")["threshold"]) == {0.15, 0.5}
    facts = json.loads((work / "out" / "provenance.json").read_text())
    assert facts["thresholds"] == [0.15, 0.5]
    assert facts["read_strands"] == ["+", "-"]
    assert list(facts["annotations"]) == ["cg.bed"]


def test_intervals_exported_before_give_the_same_scores(work, metrics):
    lines = []
    sequence = random_dna(200_000, seed=2)
    for feature, base in enumerate("ACGT"):
        on = np.diff(np.frombuffer(f" {sequence} ".encode(), np.uint8) == ord(base))
        edges = np.flatnonzero(on).reshape(-1, 2).tolist()
        lines += [f"chr1\t{start}\t{end}\tf{feature}\t1000\t+\n" for start, end in edges]
    (work / "f.bed").write_text("".join(lines))
    (work / "black.bed").write_text("chr1\t90000\t101000\n")
    where = ("-r", "chr1:80,500-120,000", "-bl", "black.bed", "-t", 0.5, "--min-score", 3)
    assert not metrics("toy.fa", "--bed", "f.bed", "--annotation", "cg.bed", "-o", "bed", *where)[0]
    scores = ("-f", "0-3", "--context", 0, "--controls", "none")
    assert not metrics("sae", "toy.fa", "cg.bed", "-o", "stream", *scores, *where)[0]
    for name in ("metrics.tsv", "metrics.parquet"):
        assert read_table(work / "bed" / name).equals(read_table(work / "stream" / name))
    (work / "bed" / "methods.txt").write_text("of a run before, with a model\n")
    assert not metrics("toy.fa", "--bed", "f.bed", "--annotation", "cg.bed", "-o", "bed", *where)[0]
    assert not (work / "bed" / "methods.txt").exists()
    ours, theirs = (load_counts(work / name / "counts.npz") for name in ("bed", "stream"))
    for name in ("bases", "labelled", "instances", "active", "tp", "hits"):
        assert (getattr(ours, name) == getattr(theirs, name)).all()


def test_shards_add_up_to_the_bytes_of_the_single_run(work, metrics, merge, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr("sae_tracks.controls.matched.POOL", 2000)  # regions per concept; more take longer
    rng = np.random.default_rng(3)
    for start in rng.integers(0, 170_000, 40):
        length = int(rng.integers(1, 30_000))  # longer than a window, so that some cross two borders of shards
        with (work / "long.bed").open("a") as file:
            file.write(f"chr1\t{start}\t{start + length}\tlong\t0\t-\n")
    words = ("sae", "toy.fa", "cg.bed", "long.bed", "--read-strand", "both", "-bl", "black.bed")
    (work / "black.bed").write_text("chr1\t90000\t101000\n")
    assert not metrics(*words, "-o", "whole", "--all-pairs")[0]
    for i in (1, 2, 3, 4):
        assert not metrics(*words, "-o", f"counts/{i}", "--shard", f"{i}/4")[0]
        kept = sorted(p.name for p in (work / "counts" / str(i)).iterdir())
        assert kept == ["controls", "counts.npz", "provenance.json"]
    status, out = merge("counts/3", "counts/1", "counts/4", "counts/2", "-o", "merged", "--all-pairs")
    assert not status
    assert "long" in out
    assert (work / "merged" / "metrics.tsv").read_bytes() == (work / "whole" / "metrics.tsv").read_bytes()
    assert (work / "merged" / "metrics.parquet").read_bytes() == (work / "whole" / "metrics.parquet").read_bytes()
    ours, theirs = (dict(np.load(work / name / "counts.npz")) for name in ("whole", "merged"))
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    parts = [load_counts(work / "counts" / str(i) / "counts.npz") for i in (1, 2, 3, 4)]
    assert all(part.open for part in parts)  # else nothing crossed a border
    whole, merged = (json.loads((work / name / "provenance.json").read_text()) for name in ("whole", "merged"))
    assert merged.pop("shards") == 4
    assert len(set(read_table(work / "merged" / "metrics.parquet")["verdict"])) > 1
    assert merged | {"command": ""} == whole | {"command": ""}


def test_a_shard_without_windows_adds_nothing(work, metrics, merge):
    where = ("-r", "chr1:98,001-102,000", "--min-instances", 1)
    for i in (1, 2, 3, 4):
        assert not metrics("sae", "toy.fa", "cg.bed", "-o", f"counts/{i}", "--shard", f"{i}/4", *where)[0]
    assert not metrics("sae", "toy.fa", "cg.bed", "-o", "whole", *where)[0]
    assert not merge(*(f"counts/{i}" for i in (1, 2, 3, 4)), "-o", "merged")[0]
    assert (work / "merged" / "metrics.parquet").read_bytes() == (work / "whole" / "metrics.parquet").read_bytes()


def test_parts_that_do_not_belong_together(work, metrics, merge):
    where = ("-r", "chr1:80,001-120,000")
    (work / "black.bed").write_text("chr1\t90000\t101000\n")
    (work / "names.txt").write_text("chr1\t1\n")
    others = {
        "other": ("-t", 0.5),
        "masked": ("-bl", "black.bed"),
        "some": ("--select-on", "chr1:1-100,000"),
        "named": ("--alias", "names.txt"),
    }
    for name, more in (("1", ()), ("2", ()), ("half", ()), *others.items()):
        shard = {"2": "2/3", "half": "1/2"}.get(name, "1/3")
        assert not metrics("sae", "toy.fa", "cg.bed", "-o", name, "--shard", shard, *where, *more)[0]
    assert not metrics("sae", "toy.fa", "cg.bed", "-o", "whole", *where)[0]
    for folders, message in (
        (["1", "2"], "error: shard 3/3 is missing: run metrics --shard 3/3"),
        (["1", "2", "1"], "error: shard 1/3 is there twice"),
        (["2", "other"], "error: other is of another run than 2: its thresholds differs"),
        (["2", "masked"], "error: masked is of another run than 2: its black_list_sha256 differs"),
        (["2", "some"], "error: some is of another run than 2: its "),
        (["2", "named"], "error: named is of another run than 2: its alias differs"),
        (["2", "half"], "error: the shards are of different divisions"),
        (["1", "whole"], "error: whole is not of metrics --shard i/n"),
        (["1", "none"], "error: no file none/provenance.json"),
    ):
        status, _ = merge(*folders, "-o", "merged")
        assert str(status).startswith(message)
    assert not (work / "merged").exists()


def test_shards_of_other_maxima_or_other_aliases_are_not_added(work, metrics, merge):
    """The SAE's weights and the name of the file of aliases are the same."""
    again = identity_sae(lm={"model": "one-hot", "layer": 3})
    save_sae(replace(again, stats=again.stats.assign(max=np.float32(2))), work / "again")
    (work / "names.txt").write_text("chr1\t1\n")
    words = ("toy.fa", "cg.bed", "--alias", "names.txt", "-r", "chr1:80,001-120,000")
    assert not metrics("sae", *words, "-o", "1", "--shard", "1/2")[0]
    assert not metrics("again", *words, "-o", "maxima", "--shard", "2/2")[0]
    (work / "names.txt").write_text("chr1\tone\n")
    assert not metrics("sae", *words, "-o", "aliases", "--shard", "2/2")[0]
    for other, key in (("maxima", "cutoffs_sha256"), ("aliases", "alias_sha256")):
        assert merge("1", other, "-o", "merged")[0] == f"error: {other} is of another run than 1: its {key} differs"


def test_shards_that_spell_the_paths_of_their_files_differently_are_added(work, metrics, merge, monkeypatch):
    """One shard is run in the folder of the files, the other one elsewhere; the same name elsewhere is another file."""
    (work / "names.txt").write_text("chr1\t1\n")
    (work / "select.bed").write_text("chr1\t80000\t85000\n")
    (work / "elsewhere").mkdir()
    (work / "elsewhere" / "cg.bed").write_text((work / "cg.bed").read_text().replace("\t+\n", "\t-\n"))

    def words(folder, annotation, number):
        files = ("--alias", f"{folder}names.txt", "--select-on", f"{folder}select.bed")
        return (
            *(f"{folder}sae", f"{folder}toy.fa", annotation, *files),
            *("-r", "chr1:80,001-120,000", "--shard", f"{number}/2", "-o", work / f"{number}{annotation[:2]}"),
        )

    assert not metrics(*words("", "./cg.bed", 1))[0]
    monkeypatch.chdir(work / "elsewhere")
    assert not metrics(*words("../", "../cg.bed", 2))[0]
    assert not metrics(*words(f"{work}/", "cg.bed", 2))[0]
    assert not merge(work / "1./", work / "2..", "-o", work / "merged")[0]
    assert read_table(work / "merged" / "metrics.tsv")["concept"].tolist()[-1] == "CG"
    status, _ = merge(work / "1./", work / "2cg", "-o", work / "other")
    assert str(status) == f"error: {work / '2cg'} is of another run than {work / '1.'}: its annotations differs"


def test_halves_that_are_named_on_the_command_line(work, metrics):
    (work / "select.bed").write_text("chr1\t80000\t85000\nchr1\t95000\t96000\n")
    where = ("-r", "chr1:80,001-120,000", "-f", "0-3")
    assert not metrics("sae", "toy.fa", "cg.bed", "-o", "bed", "--select-on", "select.bed", *where)[0]
    rest = ("--report-on", "chr1:85,001-95,000", "--report-on", "chr1:96,001-120,000")
    assert not metrics("sae", "toy.fa", "cg.bed", "-o", "rest", *rest, *where)[0]
    assert not metrics("sae", "toy.fa", "cg.bed", "-o", "both", "--select-on", "select.bed", *rest, *where)[0]
    tables = [read_table(work / name / "metrics.parquet") for name in ("bed", "rest", "both")]
    assert tables[0].equals(tables[1]) and tables[0].equals(tables[2])
    sequence = random_dna(200_000, seed=2)
    reported = sequence[85_000:95_000] + sequence[96_000:120_000]
    rows = tables[0][(tables[0]["feature"] == "f2") & (tables[0]["concept"] == "G")]
    assert set(rows["tp"]) == {reported.count("G")}
    facts = json.loads((work / "bed" / "provenance.json").read_text())
    assert facts["select_on"] == ["select.bed"] and facts["report_on"] is None


def test_without_a_threshold_the_scores_of_a_bed_have_none(work, metrics):
    (work / "f.bed").write_text("chr1\t80000\t120000\tf1\t0\t-\n")
    assert not metrics("--bed", "f.bed", "toy.fa", "cg.bed", "-o", "out", "-r", "chr1:80,001-120,000")[0]
    best = read_table(work / "out" / "metrics.tsv")
    assert best["threshold"].isna().all()
    assert best["recall"].tolist() == [1] * 5
    assert "on the report half" in metrics(*("--bed", "f.bed", "toy.fa", "cg.bed", "-o", "out"))[1]
    whole = metrics(*("--bed", "f.bed", "toy.fa", "cg.bed", "-o", "out", "--no-split"))[1]
    assert "Best feature of 5 of 5 concepts" in whole and "report half" not in whole
    assert not metrics("--bed", "f.bed", "toy.fa", "cg.bed", "-o", "out", "-r", "chr1:80,001-120,000")[0]
    facts = json.loads((work / "out" / "provenance.json").read_text(), parse_constant=pytest.fail)
    assert facts["thresholds"] is None


def test_the_screen_shows_every_annotation_file(work, metrics):
    """20 concepts of one file are a better match than the only concept of the other, which is seen all the same."""
    sequence = (work / "toy.fa").read_text().replace("\n", "")[len(">chr1") :]
    runs = [at for at in range(0, 200_000, 50) if sequence[at] == "G"]
    (work / "many.bed").write_text("".join(f"chr1\t{at}\t{at + 1}\tm{i % 20:02d}\n" for i, at in enumerate(runs)))
    (work / "mine.bed").write_text("".join(f"chr1\t{at}\t{at + 40}\tmine\n" for at in range(300, 200_000, 10_000)))
    files = ("toy.fa", "many.bed", "mine.bed", "--bed", "f.bed", "--no-split", "-o", "out")
    (work / "f.bed").write_text("".join(f"chr1\t{at}\t{at + 1}\tf2\n" for at in runs))
    out = metrics(*files)[1]
    table = read_table(work / "out" / "metrics.tsv")
    assert len(table) == 22 and table["concept"].iloc[-1] == "mine"
    shown = [line.split()[0] for line in out.splitlines() if "not-tested" in line]
    assert shown == [*table["concept"][:14], "mine"]
    assert "15 of 22 concepts (rows of metrics.tsv)" in out


def test_rows_for_the_screen_are_shared_by_the_files():
    names = [*"ACGT", *(f"m{i}" for i in range(20)), "x", "y", "z"]
    table = pd.DataFrame({"concept": names})
    files = [pd.Index([name for name in names if name[0] == "m"]), pd.Index(["x", "y", "z"]), pd.Index(["unused"])]
    assert shown_rows(table, files)["concept"].tolist() == [*names[:12], "x", "y", "z"]
    assert shown_rows(table, files[:1])["concept"].tolist() == shown_rows(table, [])["concept"].tolist() == names[:15]
    assert shown_rows(table, [pd.Index([name]) for name in names[4:]])["concept"].tolist() == names
    assert shown_rows(table.head(2), files)["concept"].tolist() == ["A", "C"]


def test_a_folder_of_other_scores_is_refused_before_anything_is_read(work, metrics):
    (work / "out").mkdir()
    (work / "out" / "signals.tsv").touch()
    for words in (("no-sae", "no.fa", "cg.bed"), ("no.fa", "cg.bed", "--bed", "no.bed")):
        assert "signals.tsv is of another run" in metrics(*words, "-o", "out")[0]
    (work / "x.bedgraph").write_text("chr1\t0\t10\t1\n")
    (work / "out" / "metrics.tsv").touch()
    assert "metrics.tsv is of another run" in metrics("no-sae", "no.fa", "x.bedgraph", "-o", "out")[0]


def test_a_dry_run_writes_nothing(work, metrics):
    status, out = metrics("sae", "toy.fa", "cg.bed", "-o", "out", "--dry-run", "-r", "chr1:80,001-120,000")
    assert not status
    assert "40,000 bases, 5 concepts; 0.00 GB of counts; time about " in out
    assert "low-power" not in out
    out = metrics("sae", "toy.fa", "cg.bed", "-o", "out", "--dry-run", "-r", "chr1:99,501-100,500")[1]
    assert "5 concepts (1 of these low-power: fewer than 50 instances on the report half); 0.00 GB" in out
    status, out = metrics("--bed", "f.bed", "toy.fa", "cg.bed", "-o", "out", "--dry-run", "-r", "chr1:1-200,000")
    assert out == "200,000 bases, 5 concepts\n"
    assert not (work / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sae", "toy.fa"], "error: name the SAE, the genome and at least one annotation, in this order"),
        (["--bed", "f.bed", "toy.fa"], "error: name the genome and at least one annotation, in this order"),
        (["sae", "toy.fa", "none.bed"], "error: no file none.bed"),
        (["sae", "toy.fa", "cg.bed", "-r", "chr1:1-1000"], "error: the regions, 1,000 bases, lie in one half"),
        (["sae", "toy.fa", "cg.bed", "-f", "9"], "error: no feature 9: this SAE has features 0 to 5"),
        (["sae", "toy.fa", "cg.bed", "--min-score", "7"], "error: no site of cg.bed is left: --min-score 7 left out"),
        (["sae", "toy.fa", "cg.bed", "--shard", "3/2"], "error: --shard '3/2': write i/n"),
        (["sae", "toy.fa", "cg.bed", "--select-on", "chr1"], "error: no base of the regions is left for --report-on"),
        (["sae", "toy.fa", "cg.bed", "--select-on", "chr1:1-9", "--report-on", "chr1:9-20"], "error: chr1:9-9 is in"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(work, metrics, words, message):
    status, _ = metrics(*words, "-o", "out")
    assert str(status).startswith(message)
    assert "\n" not in str(status)
    assert not (work / "out").exists()


def test_controls_on_the_command_line(work, metrics):
    """Columns of the controls, the same verdicts in both tables, and what is not measured is said."""
    where = ("sae", "toy.fa", "cg.bed", "-t", 0.5)
    (work / "repeats.bed").write_text("chr1\t1000\t90000\tLINE/L1\n")
    assert not metrics(*where, "-o", "out", "--repeats", "repeats.bed", "--seeds", "sae")[0]
    best = read_table(work / "out" / "metrics.tsv").set_index("concept")
    assert best.loc["C", "verdict"] == "local-sequence"
    assert best.loc["C", "kmer_ap"] == 1
    assert best["seeds_f1_max"].tolist() == pytest.approx(best["f1"].tolist(), abs=1e-5)
    assert (best["seeds_ap_max"] > 0).all()
    assert "untrained" in best.loc["CG", "untested"]
    assert best["repeat_share"].between(0, 1).all()
    scores = read_table(work / "out" / "metrics.parquet")
    pair = scores[(scores["concept"] == "C") & (scores["feature"] == best.loc["C", "feature"])]
    assert set(pair["verdict"]) == {"local-sequence"}


OF_A_MODEL = [["--model", "demo"], ["--read-strand", "-"], ["--window-size", "9"], ["--context", "0"]]
OF_A_MODEL += [["--min-context", "1"], ["--allow-mismatch"]]
OF_A_MODEL += [["--trust-remote-code"], ["--features", "1"], ["--scale", "raw"], ["--shard", "1/2"]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--controls", "none", "--repeats", "alu"], "--controls none, so no controls are run: leave out --repeats"),
        (["--controls", "none", "--trained-on", "act"], "--controls none, so no controls are run: leave out --trained"),
        (["--no-split", "--motifs", "m.pfm", "--seeds", "sae"], "--no-split leaves no second half to report on"),
        (
            ["--no-split", "--controls", "untrained"],
            "--no-split leaves no second half to report on",
        ),
        (
            ["--bed", "f.bed", "--motifs", "m", "--seeds", "s"],
            "--bed reads no model, so no controls are run: leave out",
        ),
        (["--bed", "f.bed", "--decoys", "5"], "--bed reads no model, so no controls are run: leave out --decoys"),
        (["--controls", "none", "--decoys", "9"], "--controls none, so no controls are run: leave out --decoys"),
        (["--trained-on", "act"], "only --controls untrained makes untrained models: leave out --trained-on"),
        (["--decoys", "9"], "--decoys alters the matrices of motifs: name these by --motifs, or leave it out"),
        (["--no-split", "--select-on", "chr1"], "--no-split has one half: leave out --select-on"),
        (["--shard", "1/2", "--all-pairs"], "--shard writes counts only: leave out --all-pairs"),
        (["--bed", "f.bed", "-t", "0", "-t", "1"], "--bed: the intervals were exported at one threshold"),
        *((["--bed", "f.bed", *words], f"--bed reads no model: leave out {words[0]}") for words in OF_A_MODEL),
    ],
)
def test_options_that_would_do_nothing_are_errors_of_usage(work, monkeypatch, capsys, words, message):
    paths = ["toy.fa", "cg.bed"] if "--bed" in words else ["sae", "toy.fa", "cg.bed"]
    monkeypatch.setattr(sys, "argv", ["sae-tracks", "metrics", *paths, *words, "-o", "o"])
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: {message}") and printed.count("\n") == 1
    assert not (work / "o").exists()


def test_a_feature_that_is_never_active_has_tables_without_rows(work, metrics):
    assert not metrics("sae", "toy.fa", "cg.bed", "-o", "out", "-f", "0", "-t", 2, "-r", "chr1:80,001-120,000")[0]
    assert read_table(work / "out" / "metrics.tsv").empty


def test_motifs_without_matrices_are_told_and_not_tested_against_chance(work, metrics, caplog):
    caplog.set_level("INFO")
    (work / "ma.bed").write_text((work / "cg.bed").read_text().replace("CG", "MA0001.1"))
    rows = ("9 0 0 0 0 9 0 0 9 9 0 9", "0 9 0 0 0 0 9 0 0 0 9 0", "0 0 9 0 9 0 0 0 0 0 0 0", "0 0 0 9 0 0 0 9 0 0 0 0")
    (work / "m.pfm").write_text("\n".join([">MA0002.1 x", *rows, ""]))
    where = ("sae", "toy.fa", "ma.bed", "-t", 0.5)
    assert not metrics(*where, "-o", "none")[0]
    assert "1 motif has no matrix (give matrices with --motifs), so chance is not tested: MA0001.1" in caplog.text
    assert not metrics(*where, "-o", "other", "--motifs", "m.pfm")[0]
    assert "1 motif has no matrix in m.pfm, so chance is not tested: MA0001.1" in caplog.text
    for folder in ("none", "other"):
        rows = read_table(work / folder / "metrics.tsv").set_index("concept")
        assert "chance" in rows.loc["MA0001.1", "untested"].split(",")
        assert rows.loc["A", "why_untested"] == "chance: nothing else is like a single letter"
    controls = json.loads((work / "other" / "provenance.json").read_text())["controls"]
    assert controls["motifs"] == {"file": "m.pfm", "sha256": sha256(work / "m.pfm")}


WHERE = ("-r", "chr1:80,001-120,000")


def test_intervals_of_features_are_read_with_the_alias(work, metrics):
    (work / "f.bed").write_text("1\t80000\t120000\tf1\t0\t+\n")
    (work / "alias.txt").write_text("chr1\t1\n")
    words = ("toy.fa", "cg.bed", "--bed", "f.bed", "--alias", "alias.txt", *WHERE)
    assert not metrics(*words, "-o", "out")[0]
    assert read_table(work / "out" / "metrics.tsv")["recall"].tolist() == [1] * 5


def test_a_bedgraph_is_not_taken_as_features(work, metrics):
    (work / "f59.bedGraph").write_text("chr1\t80000\t80200\t0.5\nchr1\t80300\t80400\t0.75\n")
    status, _ = metrics("toy.fa", "cg.bed", "--bed", "f59.bedGraph", *WHERE, "-o", "out")
    assert str(status).startswith("error: f59.bedGraph is bedGraph: its fourth column is a value such as 0.5")
    assert not (work / "out").exists()


def test_the_work_per_contig_is_small(work, metrics):
    """Function calls are counted, which no load changes. Joins of tables per contig take more than 60,000."""

    def calls(contigs):
        with cProfile.Profile() as profile:
            best = score_many_contigs(work, metrics, contigs)
        assert best.loc["a1", ["tp", "fp", "fn", "instances_hit"]].tolist() == [10 * contigs] * 3 + [contigs]
        return pstats.Stats(profile).total_calls

    score_many_contigs(work, metrics, 10)  # imports and caches
    assert calls(600) - calls(300) < 10_000 * 300


def score_many_contigs(work, metrics, contigs):
    """The best rows of features and sites of 20 bases that share 10 bases on each contig of 60."""
    write_fasta(work / f"{contigs}.fa", **{f"s{i}": random_dna(60, seed=i) for i in range(contigs)})
    for name, start in (("f.bed", 10), ("a.bed", 20)):
        row = f"{{}}\t{start}\t{start + 20}\t{name[0]}1\t0\t+\n"
        (work / name).write_text("".join(row.format(f"s{i}") for i in range(contigs)))
    words = (f"{contigs}.fa", "--bed", "f.bed", "--annotation", "a.bed", "--no-split", "--controls", "none")
    assert not metrics(*words, "-o", "out")[0]
    return read_table(work / "out" / "metrics.tsv").set_index("concept")


@pytest.mark.parametrize("strand", ["+", "-", "."])
def test_a_concept_with_the_name_of_a_nucleotide_is_refused(work, metrics, verb, strand):
    """Renamed, the same annotation can be scored, plotted and reported."""
    rows = (work / "cg.bed").read_text().replace("\tCG\t", "\tA\t").replace("\t+\n", f"\t{strand}\n")
    (work / "a.bed").write_text(rows)
    status, _ = metrics("sae", "toy.fa", "a.bed", *WHERE, "-o", "scores/metrics", "--controls", "none")
    assert str(status).startswith("error: a.bed has a concept 'A', which is the name of a nucleotide: rename it")
    (work / "a.bed").write_text(rows.replace("\tA\t", "\ttype A\t"))
    assert not metrics("sae", "toy.fa", "a.bed", *WHERE, "-o", "scores/metrics", "--controls", "none")[0]
    assert not verb("plot", "scores", "scores/metrics/metrics.tsv", "-o", "f1.png")[0]
    assert not verb("report", "scores/metrics", "-o", "page")[0]


def test_the_score_of_a_site_is_a_p_value_only_in_jaspars_unit(work, metrics, caplog):
    """The causal reference needs the p-value of the cut-off, which other scanners' scores do not give."""
    caplog.set_level("INFO")
    bed = [line.split("\t") for line in (work / "cg.bed").read_text().splitlines()]
    (work / "m.pfm").write_text(">MA0001.1 x\n0 0\n9 0\n0 9\n0 0\n")  # CG
    for name, tf in (("other", ()), ("jaspar", ("TF",))):
        text = "\n".join("\t".join([*row[:3], "MA0001.1", "120", "+", *tf]) for row in bed)
        (work / f"{name}.bed").write_text(text + "\n")
        words = ("sae", "toy.fa", f"{name}.bed", "--motifs", "m.pfm", "--min-score", "100", "-t", 0.5)
        assert not metrics(*words, "-o", name)[0]
        found = read_table(work / name / "metrics.tsv").set_index("concept").loc["MA0001.1", "causal_ref_f1"]
        assert np.isfinite(found) == bool(tf)
        assert ("causal_ref_f1 is not computed" in caplog.text) == (name == "other")
        caplog.clear()


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_untrained_models_that_cannot_be_made_are_noticed_before_the_first_window(work, metrics, monkeypatch, dry):
    lm = OneHotLM(max_length=15_000)
    monkeypatch.setattr("sae_tracks.lm.load.load_lm", lambda *_, **__: lm)
    extract(plan_extraction(lm, Genome(work / "toy.fa"), [GenomicRegion("chr1", 0, 20_000)]), work / "act")
    lm.reads.clear()
    words = ("sae", "toy.fa", "cg.bed", "--controls", "untrained", "--trained-on", "act", "-o", "out", *dry)
    assert "this SAE was not trained on act" in str(metrics(*words)[0])
    words = ("sae", "toy.fa", "cg.bed", "--controls", "untrained", "--trained-on", "chr1", "-o", "out", *dry)
    assert "one-hot offers no untrained(): leave out --controls untrained" in str(metrics(*words)[0])
    words = ("sae", "toy.fa", "cg.bed", "--controls", "untrained", "-o", "out", *dry)
    assert "the activations that it was trained on are not there" in str(metrics(*words)[0])
    assert not lm.reads and not (work / "out").exists()


def test_profiles_of_an_earlier_run_do_not_stay_beside_new_scores(work, metrics):
    (work / "out").mkdir()
    (work / "out" / "offsets.parquet").write_bytes(b"")
    assert not metrics("sae", "toy.fa", "cg.bed", *WHERE, "-o", "out", "--controls", "none")[0]
    assert sorted(p.name for p in (work / "out").iterdir()) == sorted(FILES)
