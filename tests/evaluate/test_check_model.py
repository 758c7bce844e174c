"""Losses measured elsewhere against ours: the same model passes, another one fails by name."""

import json
import math
import sys
from dataclasses import replace

import pytest
import torch
from conftest import shared
from toy import random_dna, write_fasta

from sae_tracks.cli import main
from sae_tracks.errors import SaeTracksError
from sae_tracks.evaluate.golden import check_model, next_base_loss, read_golden, verdict
from sae_tracks.genome import Genome
from sae_tracks.lm import HyenaDNAConfig, HyenaDNAForCausalLM
from sae_tracks.regions import GenomicRegion

RECORDS = {"chr1": random_dna(300), "chr2": random_dna(90, seed=1).lower() + "N" * 60}
REGIONS = [GenomicRegion("chr1", 100, 160), GenomicRegion("chr2", 0, 66), GenomicRegion("chr1", 298, 300)]
IDS = {"A": 7, "C": 8, "G": 9, "T": 10}


def new_model():
    torch.manual_seed(0)
    return HyenaDNAForCausalLM(HyenaDNAConfig(d_model=16, n_layer=2, max_seq_len=66)).eval()


def oracle(model, letters):
    """Mean over bases 1.. of minus the log-probability among A, C, G, T, one base at a time, in fp64."""
    double, ids, losses = model.double(), [IDS[letter] for letter in letters.upper()], []
    with torch.inference_mode():
        for i in range(1, len(ids)):
            logits = double(torch.tensor([ids[:i]])).logits[0, -1].tolist()
            total = math.fsum(math.exp(logits[k]) for k in IDS.values())
            losses.append(math.log(total) - logits[ids[i]])
    model.float()
    return math.fsum(losses) / len(losses)


def golden_record(model):
    rows = []
    for region in REGIONS:
        loss = oracle(model, RECORDS[region.contig][region.start : region.end])
        rows.append({"contig": region.contig, "start": region.start, "end": region.end, "nats_per_base": loss})
    lengths = {contig: len(sequence) for contig, sequence in RECORDS.items()}
    return {"format_version": 1, "model": "toy", "assembly": "toy1", "contig_lengths": lengths, "regions": rows}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, its losses, the same model with one weight changed, and the genome."""
    folder = tmp_path_factory.mktemp("check")
    model = new_model()
    model.save_pretrained(folder / "lm")
    (folder / "golden.json").write_text(json.dumps(golden_record(model)))
    with torch.no_grad():
        model.hyena.backbone.layers[1].mlp.fc2.bias[3] += 1.0
    model.save_pretrained(folder / "other")
    write_fasta(folder / "toy.fa", **RECORDS)
    return folder


@pytest.fixture
def run(folder, monkeypatch, capsys):
    """The verb, in this process: exit status or message, what it printed."""

    def call(model, genome="toy.fa", golden="golden.json"):
        monkeypatch.chdir(folder)
        words = ["check-model", model, "--genome", str(genome), "--device", "cpu"]
        monkeypatch.setattr(sys, "argv", ["sae-tracks", *words, *(["--golden", str(golden)] if golden else [])])
        with pytest.raises(SystemExit) as stop:
            main()
        return stop.value.code, capsys.readouterr().out

    return call


def write(folder, **changes):
    record = json.loads((folder / "golden.json").read_text()) | changes
    path = folder / "changed.json"
    path.write_text(json.dumps({key: value for key, value in record.items() if value is not None}))
    return path


def test_a_loss_is_that_of_a_walk_along_the_bases():
    model = new_model()
    sequence = random_dna(66, seed=3)
    assert next_base_loss(model, sequence.encode()) == pytest.approx(oracle(model, sequence), abs=1e-6)


def test_the_same_model_passes_and_every_region_is_printed_1_based(run):
    code, out = run("lm")
    assert code == 0
    rows = [line.split("\t") for line in out.strip().splitlines()]
    assert rows[0] == ["region", "expected", "found", "difference", "ok"]
    assert [row[0] for row in rows[1:]] == ["chr1:101-160", "chr2:1-66", "chr1:299-300"]
    assert {row[4] for row in rows[1:]} == {"yes"}
    assert max(abs(float(row[3])) for row in rows[1:]) <= 1e-6


def test_another_model_fails_and_the_worst_region_is_named(run):
    code, out = run("other")
    rows = [line.split("\t") for line in out.strip().splitlines()][1:]
    worst = max(rows, key=lambda row: abs(float(row[3])))
    failed = sum(abs(float(row[3])) > 1e-3 for row in rows)
    assert [row[4] for row in rows] == ["no" if abs(float(row[3])) > 1e-3 else "yes" for row in rows]
    assert failed >= 1
    assert code.startswith(f"error: this is not toy: {failed} of 3 regions differ by more than 0.001 nats per base")
    assert f"most {worst[0]} with " in code
    assert "\n" not in code


def test_the_tolerance_is_a_thousandth_of_a_nat(folder):
    golden = read_golden(folder / "golden.json")
    model, genome = new_model(), Genome(folder / "toy.fa")
    for off, fine in ((9e-4, True), (1.1e-3, False), (-1.1e-3, False), (math.nan, False)):
        losses = golden.losses | {REGIONS[1]: golden.losses[REGIONS[1]] + off}
        moved = replace(golden, losses=losses)
        compared = check_model(model, genome, moved)
        assert [one.ok for one in compared] == [True, fine, True]
        if not fine:
            with pytest.raises(SaeTracksError, match=r"1 of 3 regions differ .* most chr2:1-66"):
                verdict(compared, genome, moved)


def test_a_shorter_contig_is_an_error_with_a_hint(folder, run):
    write_fasta(folder / "short.fa", chr1=RECORDS["chr1"][:120], chr2=RECORDS["chr2"])
    code, out = run("lm", "short.fa")
    assert code.startswith("error: region chr1:101-160 ends past chr1 of short.fa, 120 bases")
    assert "(chr1 has 120 bases in short.fa and 300 in toy1: another assembly?)" in code
    assert not out


def test_another_assembly_of_the_same_contigs_is_hinted_at(folder, run):
    write_fasta(folder / "moved.fa", chr1="A" * 10 + RECORDS["chr1"], chr2=RECORDS["chr2"])
    code, _ = run("lm", "moved.fa")
    assert "(chr1 has 310 bases in moved.fa and 300 in toy1: another assembly?)" in code


def test_a_missing_contig_is_named(folder, run):
    write_fasta(folder / "bare.fa", **{"1": RECORDS["chr1"], "2": RECORDS["chr2"]})
    assert run("lm", "bare.fa")[0].startswith("error: no contig 'chr1' in bare.fa: did you mean '1'?")


@pytest.mark.parametrize(("masked", "count"), [(slice(100, 160), 60), (slice(159, 200), 1)])
def test_masked_bases_are_an_error(folder, run, masked, count):
    sequence = list(RECORDS["chr1"])
    sequence[masked] = "N" * len(sequence[masked])
    write_fasta(folder / "masked.fa", chr1="".join(sequence), chr2=RECORDS["chr2"])
    code, _ = run("lm", "masked.fa")
    assert f"chr1:101-160 of masked.fa: {count} of 60 letters are not A, C, G, T; take toy1 with repeats" in code
    assert "another assembly" not in code


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"regions": []}, "holds no region"),
        ({"regions": None}, "field regions must be a list; it is missing"),
        (
            {"regions": [{"contig": "chr1", "start": 0}]},
            r"field regions\[0\].end must be a whole number from 0; it is missing",
        ),
        ({"regions": 3}, "field regions must be a list; it is 3"),
        ({"format_version": 2}, "has format_version 2; expected 1"),
        ({"contig_lengths": [3]}, "field contig_lengths must be an object; it is a list"),
    ],
)
def test_a_golden_file_of_another_form_is_refused(folder, changes, message):
    with pytest.raises(SaeTracksError, match=message):
        read_golden(write(folder, **changes))


def test_contig_lengths_may_be_left_out(folder, run):
    assert run("lm", golden=write(folder, contig_lengths=None))[0] == 0


@pytest.mark.parametrize(("start", "end"), [(0, 67), (5, 6)])
def test_a_region_the_model_cannot_score_is_an_error(folder, run, start, end):
    rows = [{"contig": "chr1", "start": start, "end": end, "nats_per_base": 1.0}]
    code, _ = run("lm", golden=write(folder, regions=rows))
    assert code == f"error: {end - start} bases to score; this model scores 2 to 66"


def test_the_losses_that_come_with_us_are_the_measured_ones(run):
    measured = json.loads(shared("data/hyenadna_small32k_real_golden.json").read_text())
    ours = read_golden()
    assert ours.model == measured["model"]
    assert {f"{r.contig}:{r.start}-{r.end}": loss for r, loss in ours.losses.items()} == {
        region: loss["acgt"] for region, loss in measured["regions"].items()
    }


def test_without_a_golden_file_the_regions_of_hg38_are_wanted(run):
    code, _ = run("lm", golden=None)
    assert code.startswith("error: region chr1:100000001-100001000 ends past chr1 of toy.fa")
    assert "(chr1 has 300 bases in toy.fa and 248,956,422 in hg38: another assembly?)" in code


def test_the_regions_are_0_based_half_open():
    """The sequences copied beside the measured losses are named by the same numbers and are as long as end - start."""
    records = shared("data/hyenadna_small32k_real_regions.fa").read_text().split(">")[1:]
    lengths = {str(region): len(region) for region in read_golden().losses}
    for record in records:
        head, sequence = record.split("\n", 1)
        contig, _, span = head.split()[0].partition(":")
        start, end = map(int, span.split("-"))
        assert lengths[str(GenomicRegion(contig, start, end))] == len(sequence.replace("\n", ""))
        assert "0-based, half-open" in head
