"""benchmark: one row per SAE on fixed bases, rows as files from anywhere, and the page."""

import csv
import json
import math
import re
import statistics
from dataclasses import replace

import numpy as np
import pytest
import torch
from command_line import run
from toy import random_dna, unit_stats, write_fasta

from sae_tracks import load_sae
from sae_tracks.errors import SaeTracksError, UsageError
from sae_tracks.files import sha256
from sae_tracks.genome import Genome
from sae_tracks.lm import HyenaDNAConfig, HyenaDNAForCausalLM, describe, load_lm
from sae_tracks.sae import SAE, save_sae
from sae_tracks.sharing.benchmark import benchmark
from sae_tracks.sharing.definition import BENCHMARKS, Benchmark
from sae_tracks.sharing.measure import measure
from sae_tracks.sharing.page import board
from sae_tracks.sharing.rows import COLUMNS, join_rows, read_row, replication, write_row

CONTIGS = {"t1": 6_000, "t2": 130_000}  # halves are blocks of 100 kb


def files_into(folder):
    """Two contigs, and a site at every GATT and GCGC of the forward strand: more than 50 on each half."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = {name: random_dna(n, seed=n) for name, n in CONTIGS.items()}
    write_fasta(folder / "tiny.fa", **letters)
    words = {"gatt": "GATT", "gcgc": "GCGC"}
    sites = [
        f"t2\t{m.start()}\t{m.end()}\t{name}\t0\t+\n"
        for name, word in words.items()
        for m in re.finditer(word, letters["t2"])
    ]
    (folder / "sites.bed").write_text("".join(sites))
    (folder / "repeats.bed").write_text("t2\t100\t900\trep\n")
    (folder / "motifs.jaspar").write_text(">M1 X\nA [ 9 0 ]\nC [ 0 9 ]\nG [ 0 0 ]\nT [ 0 0 ]\n")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A benchmark of some kilobases."""
    files_into(folder := tmp_path_factory.mktemp("files"))
    genome, sums = Genome(folder / "tiny.fa"), lambda *names: {name: sha256(folder / name) for name in names}
    return Benchmark(
        name="tiny",
        version=1,
        about="For <tests>.",
        genome="tiny.fa",
        contigs={name: genome.m5(name) for name in CONTIGS},
        scored=("t2",),
        predicted=("t2:1-2,000",),
        annotations=sums("sites.bed"),
        motifs=sums("motifs.jaspar"),
        repeats=sums("repeats.bed"),
        decoys=5,
        untrained=(("permuted", 0),),
        untrained_on=("t1:1-4,000",),
        write=files_into,
    )


def tiny_sae(lm, seed):
    weights = torch.randn(16, 32, generator=torch.Generator().manual_seed(seed))
    training = {"arch": "topk", "k": 4, "steps": 4, "rows": 1024, "batch_size": 256, "seed": 0, "dtype": "float32"}
    sae = SAE(weights, torch.zeros(32), weights.T.contiguous(), torch.zeros(16), {}, unit_stats(32), k=4)
    sae.metadata = {"lm": describe(lm), "training": training, "genome": {"x": {"length": 1, "M5": "0"}}}
    return sae


@pytest.fixture(scope="module")
def saes(tmp_path_factory):
    """Two SAEs of one small HyenaDNA."""
    folder = tmp_path_factory.mktemp("saes")
    torch.manual_seed(5)  # an untrained copy has seed 0
    HyenaDNAForCausalLM(HyenaDNAConfig(d_model=16, n_layer=3, max_seq_len=514)).save_pretrained(folder / "lm")
    lm = load_lm(str(folder / "lm"), 3)
    for seed in (1, 2):
        save_sae(tiny_sae(lm, seed), folder / f"s{seed}")
    return folder


@pytest.fixture(scope="module")
def measured(saes, tiny, tmp_path_factory):
    out = tmp_path_factory.mktemp("board")
    return benchmark([saes / "s1", saes / "s2"], out, on=tiny, device="cpu"), out


def test_each_sae_has_a_row_that_says_what_was_measured(measured, saes, tiny):
    table, out = measured
    assert table.columns.tolist() == [column.name for column in COLUMNS]
    assert sorted(table["sae_sha256"]) == sorted(load_sae(saes / name).checksum for name in ("s1", "s2"))
    assert table["site_ap"].is_monotonic_decreasing
    for row in table.to_dict("records"):
        (path,) = (out / "rows").glob(f"*-{row['sae_sha256'][:12]}.json")
        record = json.loads(path.read_text())
        assert record["inputs"]["sites.bed"] == tiny.annotations["sites.bed"]
        assert {name: one["M5"] for name, one in record["inputs"]["genome"].items()} == tiny.contigs
        assert (row["d_sae"], row["trained_bases"], row["mflop"]) == (32, 0, 2 * 16 * 32 / 1e6)
        assert row["l0"] == pytest.approx(4, abs=0.5) and row["cpu_seconds"] > 0 and math.isfinite(row["ce_recovered"])
        scores = out / "work" / row["sae_sha256"][:12] / "scores"
        with (scores / "metrics.tsv").open() as file:
            rows = [one for one in csv.DictReader(file, delimiter="\t") if one["concept"] not in "ACGT"]
        enough = [one for one in rows if int(one["instances"]) >= 50]
        assert len(enough) == row["concepts"] == 2
        aps = [float(one["site_average_precision"]) for one in enough]
        assert row["site_ap"] == pytest.approx(statistics.fmean(aps), rel=1e-5)
        assert all("untrained" not in one["untested"] for one in enough)
        assert row["supported"] == len({one["concept"] for one in rows if one["verdict"] == "supported"})


def test_a_row_that_is_there_is_not_measured_again(measured, saes, tiny, monkeypatch):
    table, out = measured
    monkeypatch.setattr("sae_tracks.sharing.benchmark.measure", lambda *_, **__: pytest.fail("measured again"))
    again = benchmark([saes / "s2"], out, on=tiny)
    assert again.equals(table)


def test_rows_from_elsewhere_are_joined_as_if_they_had_been_measured_here(measured, tiny, tmp_path):
    table, out = measured
    rows = sorted((out / "rows").glob("*.json"))
    assert benchmark([], tmp_path / "b", on=tiny, rows=[*rows, rows[0]]).equals(table)
    assert sorted(path.name for path in (tmp_path / "b/rows").iterdir()) == [path.name for path in rows]
    for name in ("index.html", "benchmark.tsv", "benchmark.parquet", "definition.json"):
        assert (tmp_path / "b" / name).read_bytes() == (out / name).read_bytes()
    with pytest.raises(UsageError, match="name SAEs to measure, or rows to join"):
        benchmark([], tmp_path / "empty", on=tiny)


def test_another_definition_version_genome_or_annotation_is_refused(measured, saes, tiny, tmp_path):
    _, out = measured
    rows = sorted((out / "rows").glob("*.json"))
    for other in (replace(tiny, version=2), replace(tiny, name="other"), replace(tiny, decoys=6)):
        with pytest.raises(
            SaeTracksError, match=r"field benchmark\.(version|name|sha256) must be .*measure the SAE again on"
        ):
            benchmark([], tmp_path / "b", on=other, rows=rows)
    with pytest.raises(SaeTracksError, match=r"t1 of .* has M5 .*, expected 0"):
        benchmark([saes / "s1"], tmp_path / "b", on=replace(tiny, contigs={"t1": "0"}))
    with pytest.raises(SaeTracksError, match=r"sites\.bed has SHA-256 .* so the results would not be comparable"):
        benchmark([saes / "s1"], tmp_path / "b", on=replace(tiny, annotations={"sites.bed": "0" * 64}))
    with pytest.raises(SaeTracksError, match="no benchmark 'human': there are yeast"):
        benchmark([saes / "s1"], tmp_path / "b", on="human")


ROW = {
    **{column.name: {str: "x", int: 3, float: 0.5}[column.kind] for column in COLUMNS if column.name != "replication"},
    **{"supported": 2, "supported_concepts": ["a", "b"], "lm_sha256": "m", "inputs": {}},
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"site_ap": "1"}, 'field site_ap must be a finite number or null; it is "1"'),
        ({"site_ap": math.nan}, "field site_ap must be a finite number or null; it is NaN"),
        ({"site_ap": 10**400}, "field site_ap must be a finite number or null; it is 1000"),
        ({"d_sae": 1.5}, "field d_sae must be a whole number or null; it is 1.5"),
        ({"d_sae": 2**63}, "field d_sae must be a whole number or null; it is 9223372036854775808"),
        ({"l0": True}, "field l0 must be a finite number or null; it is true"),
        ({"model": 7}, "field model must be text; it is 7"),
        ({"name": ""}, "name is no text"),
        ({"name": "x" * 301}, "name is no text"),
        ({"lm_sha256": None}, "field lm_sha256 must be text; it is null"),
        ({"supported_concepts": ["a", 2]}, "field supported_concepts[1] must be text; it is 2"),
        ({"supported_concepts": "ab"}, "field supported_concepts must be a list or null"),
        ({"supported_concepts": ["a"]}, "supported is 2, but"),
        ({"inputs": None}, "field inputs must be an object; it is null"),
        (
            {"format_version": 2, "d_sae": "many"},
            "field format_version must be 1; it is 2; measure the SAE again on tiny",
        ),
        ({"benchmark": "tiny"}, "field benchmark must be an object"),
    ],
)
def test_a_row_with_a_mistake_is_refused(tiny, tmp_path, change, message):
    write_row(ROW, tmp_path / "row.json", tiny)
    assert read_row(tmp_path / "row.json", tiny) == ROW
    changed = json.loads((tmp_path / "row.json").read_text()) | change
    (tmp_path / "row.json").write_text(json.dumps(changed))
    with pytest.raises(SaeTracksError, match=re.escape(message)):
        read_row(tmp_path / "row.json", tiny)


def test_replication_is_the_share_that_any_other_sae_of_the_place_supports():
    concepts, draw = "abcdef", np.random.default_rng(0)
    for trial in range(50):
        rows = [
            ROW
            | {
                "sae_sha256": str(i),
                "lm_sha256": str(draw.integers(2)),
                "layer": str(draw.integers(2)),
                "supported_concepts": None if draw.random() < 0.1 else [c for c in concepts if draw.random() < 0.4],
            }
            for i in range(5)
        ]
        for row in rows:
            place = row["lm_sha256"], row["layer"]
            others = [
                other["supported_concepts"]
                for other in rows
                if (other["lm_sha256"], other["layer"]) == place
                and other is not row
                and other["supported_concepts"] is not None
            ]
            mine = row["supported_concepts"]
            shared = [concept for concept in mine or [] if any(concept in other for other in others)]
            expected = len(shared) / len(mine) if mine and others else math.nan
            assert replication(row, rows) == pytest.approx(expected, nan_ok=True), trial


def test_the_page_escapes_what_rows_say_and_fetches_nothing(tiny):
    bad = "</td><script>alert(1)</script>\"'"
    rows = [ROW | {"name": bad, "sae_sha256": "1"}, ROW | {"site_ap": None, "supported": None, "sae_sha256": "2"}]
    table = join_rows(rows)
    page = board(table, tiny)
    assert bad not in page and page.count("<script>") == 1 and "For &lt;tests&gt;." in page
    assert not re.findall(r"(?:src|href)=\"(?!benchmark\.(?:tsv|parquet)\")", page) and "url(" not in page
    assert "default-src 'none'" in page
    assert table["name"].tolist() == [bad, "x"]  # an unknown number goes last
    blanks = re.findall(r'<td class="number" data-value=""></td>', page)
    assert len(blanks) == 2  # site AP and supported of the second row
    assert all(column.heading in page for column in COLUMNS)


def test_an_sae_that_reads_no_model_with_untrained_copies_has_no_yield(saes, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("sae_tracks.sharing.measure.OffersUntrained", type("No", (), {}))
    genome = tiny.open(tmp_path / "inputs")
    row = measure("s1", load_sae(saes / "s1"), tiny, genome, tmp_path / "work", device="cpu")
    assert row["supported"] is row["per_thousand"] is row["supported_concepts"] is None and row["site_ap"] > 0


def test_the_definition_of_yeast_is_that_of_the_files_in_the_package(tmp_path):
    genome = BENCHMARKS["yeast"].open(tmp_path)
    assert list(genome.lengths) == ["chrXIII", "chrXVI"]


def test_the_command_joins_rows_and_prints_the_table(tmp_path):
    yeast = BENCHMARKS["yeast"]
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    for number, path in enumerate(paths):
        write_row(ROW | {"name": f"sae-{number}", "sae_sha256": str(number)}, path, yeast)
    done = run("benchmark", "--rows", paths[0], paths[1], "-o", tmp_path / "board")
    assert done.returncode == 0, done.stderr
    assert "sae-0" in done.stdout and "sae-1" in done.stdout and "2 rows" in done.stderr
    refused = run("benchmark", paths[0], "-o", tmp_path / "board", "--device", "cpu")
    assert refused.returncode == 2 and "no SAE is measured: leave out --device" in refused.stderr
