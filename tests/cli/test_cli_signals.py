"""`sae-tracks metrics` of bigWig and bedGraph, as users call it."""

import json

import numpy as np
import pandas as pd
import pyBigWig
import pytest
from command_line import run
from toy import OneHotLM, identity_sae, random_dna, write_fasta

from sae_tracks.cli.metrics import show_signals
from sae_tracks.metrics import read_table
from sae_tracks.sae import save_sae

ALONE = ["provenance.json", "signal_profiles.parquet", "signals.parquet", "signals.tsv"]
WHERE = ("--select-on", "select.bed", "--report-on", "report.bed")


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A folder with an SAE, a genome of 40 kb, its CGs, a bigWig that is 1 on A, and a bedGraph under an alias."""
    sequence = random_dna(40_000, seed=2)
    write_fasta(tmp_path / "toy.fa", chr7=sequence)
    save_sae(identity_sae(lm={"model": "one-hot", "layer": 3}), tmp_path / "sae")
    letters = np.frombuffer(sequence.encode(), np.uint8)
    at = np.flatnonzero((letters[:-1] == ord("C")) & (letters[1:] == ord("G")))
    (tmp_path / "cg.bed").write_text("".join(f"chr7\t{i}\t{i + 2}\tCG\t0\t+\n" for i in at))
    with pyBigWig.open(str(tmp_path / "a.bw"), "w") as file:
        file.addHeader([("chr7", 40_000)])
        file.addEntries("chr7", 0, values=(letters == ord("A")).astype(float).tolist(), span=1, step=1)
    (tmp_path / "b.bdg").write_text("7\t0\t20000\t1\n7\t20000\t39000\t2\n")
    for start, name in ((0, "select"), (2000, "report")):
        text = "".join(f"chr7\t{s}\t{s + 2000}\n" for s in range(start, 40_000, 4000))
        (tmp_path / f"{name}.bed").write_text(text)
    monkeypatch.setattr("sae_tracks.lm.load.load_lm", lambda *_, **__: OneHotLM(max_length=6000))
    return tmp_path


def metrics(work, *words):
    return run("metrics", *words, cwd=work)


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_signals_alone_write_no_table_of_intervals(work):
    done = metrics(work, "sae", "toy.fa", "a.bw", "b.bdg", "--alias", "ucsc", "-bs", 50, "-o", "out", *WHERE)
    assert not done.returncode, done.stderr
    assert files(work / "out") == ALONE
    assert "Best feature of each signal" in done.stdout
    best = pd.read_csv(work / "out" / "signals.tsv", sep="\t")
    assert best.loc[0, ["signal", "feature", "verdict"]].tolist() == ["a", "f0", "low-power"]  # in 4 blocks
    assert best.loc[0, "pearson"] == pytest.approx(1)
    facts = json.loads((work / "out" / "provenance.json").read_text())
    assert facts["signals"]["bin_size"] == 50
    assert [one["name"] for one in facts["signals"]["files"]] == ["a", "b"]


def test_what_could_not_be_computed_is_blank_and_said_once(capsys, caplog):
    row = {"signal": "a", "feature": "f0", "read_strand": "+", "bin_spearman": 0.5, "verdict": "supported"}
    row |= {"bin_spearman_low": 0.25, "bin_spearman_high": 0.75, "sequence_spearman": -0.25, "r2": np.nan}
    row["dimension_spearman"] = np.nan
    few = row | {"signal": "b", "bin_spearman_low": np.nan, "bin_spearman_high": np.nan}
    caplog.set_level("INFO")
    show_signals(pd.DataFrame([row, few]))
    a, b = (line.split() for line in capsys.readouterr().out.splitlines() if "supported" in line)
    assert a == ["a", "f0", "0.50", "0.25", "to", "0.75", "-0.25", "supported"]
    assert b == ["b", "f0", "0.50", "-0.25", "supported"]
    assert [message.split(":")[0] for message in caplog.messages] == ["R2 is blank"]
    caplog.clear()
    show_signals(pd.DataFrame([row]).assign(r2=0.125))
    assert capsys.readouterr().out.split()[-2:] == ["0.12", "supported"] and not caplog.messages


def test_intervals_and_signals_are_scored_in_one_pass(work):
    only = metrics(work, "sae", "toy.fa", "a.bw", "-o", "one", *WHERE)
    assert not only.returncode, only.stderr
    assert not metrics(work, "sae", "toy.fa", "cg.bed", "-o", "two", "--controls", "none", *WHERE).returncode
    both = metrics(work, "sae", "toy.fa", "cg.bed", "a.bw", "-o", "both", "--controls", "none", *WHERE)
    assert not both.returncode, both.stderr
    assert set(files(work / "both")) == {*files(work / "one"), *files(work / "two")}
    assert read_table(work / "both" / "metrics.tsv").equals(read_table(work / "two" / "metrics.tsv"))
    for name in ALONE[1:]:
        assert (work / "both" / name).read_bytes() == (work / "one" / name).read_bytes()
    facts = json.loads((work / "both" / "provenance.json").read_text())
    assert list(facts["annotations"]) == ["cg.bed"]
    assert facts["signals"]["files"][0]["name"] == "a"


def test_a_folder_does_not_hold_tables_of_two_runs(work):
    """The one record of how tables were made is that of the last run; the other tables would pass for its own."""
    asked = {"a.bw": ["a.bw"], "cg.bed": ["cg.bed", "--controls", "none"]}
    for first, second, table in (("a.bw", "cg.bed", "signals.tsv"), ("cg.bed", "a.bw", "metrics.tsv")):
        folder = work / f"out-{table}"
        for _ in range(2):  # the same again replaces its own
            assert not metrics(work, "sae", "toy.fa", *asked[first], "-o", folder, *WHERE).returncode
        before = {name: (folder / name).read_bytes() for name in files(folder)}
        for shard in (1, 2):
            words = [*asked[second], "--shard", f"{shard}/2", "-o", f"shards-{second}/{shard}"]
            assert not metrics(work, "sae", "toy.fa", *words, *WHERE).returncode
        refused = [
            metrics(work, "sae", "toy.fa", *asked[second], "-o", folder, *WHERE),
            run("merge-metrics", f"shards-{second}/1", f"shards-{second}/2", "-o", folder, cwd=work),
        ]
        for done in refused:
            assert done.returncode == 1
            assert f"{table} is of another run" in done.stderr
        assert {name: (folder / name).read_bytes() for name in files(folder)} == before
    (work / "f.bed").write_text("chr7\t0\t9\tf0\t1000\t+\n")
    bed = metrics(work, "toy.fa", "--bed", "f.bed", "--annotation", "cg.bed", "-o", work / "out-signals.tsv", *WHERE)
    assert "signals.tsv is of another run" in bed.stderr


@pytest.mark.parametrize("annotations", [["a.bw"], ["a.bw", "cg.bed"]])
def test_shards_are_merged(work, annotations):
    words = ("sae", "toy.fa", *annotations, *WHERE)
    assert not metrics(work, *words, "-o", "whole").returncode
    for i in (1, 2):
        assert not metrics(work, *words, "-o", f"shards/{i}", "--shard", f"{i}/2").returncode
    done = run("merge-metrics", "shards/2", "shards/1", "-o", "merged", cwd=work)
    assert not done.returncode, done.stderr
    assert files(work / "merged") == files(work / "whole")
    for name in {"signals.tsv", "metrics.tsv"} & set(files(work / "whole")):
        assert (work / "merged" / name).read_bytes() == (work / "whole" / name).read_bytes()
    facts = [json.loads((work / name / "provenance.json").read_text()) for name in ("merged", "whole")]
    assert facts[0].pop("shards") == 2
    assert {**facts[0], "command": ""} == {**facts[1], "command": ""}


def test_a_dry_run_writes_nothing(work):
    done = metrics(work, "sae", "toy.fa", "a.bw", "-o", "out", "--dry-run", *WHERE)
    assert done.stdout.startswith("1 signal, 400 bins; ")
    assert not (work / "out").exists()


@pytest.mark.parametrize(
    "words, says",
    [
        (["a.bw", "-t", 0.5], "only signals are scored, not intervals: leave out --threshold"),
        (["a.bw", "--repeats", "softmask"], "only signals are scored, not intervals: leave out --repeats"),
        (["cg.bed", "--bin-size", 10], "no bigWig or bedGraph is named: leave out --bin-size"),
        (["b.bdg"], "no contig of b.bdg is in toy.fa"),
        (["a.bw", "a.bw"], "two signals are called 'a'"),
    ],
)
def test_what_does_not_fit_is_refused(work, words, says):
    done = metrics(work, "sae", "toy.fa", *words, "-o", "out", *WHERE)
    assert done.returncode
    assert says in done.stderr
    assert done.stderr.count("\n") == 1 or "Usage" in done.stderr


def test_intervals_of_features_have_no_correlation(work):
    (work / "f.bed").write_text("chr7\t0\t9\tf0\t1000\t+\n")
    done = metrics(work, "toy.fa", "--bed", "f.bed", "--annotation", "a.bw", "-o", "out")
    assert done.returncode
    assert "a signal needs their activations" in done.stderr
