"""Extraction: every row is the model's activation at its base, whoever writes which part, however often."""

import json
import os
import signal
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from command_line import run
from stored_rows import damage_empty, damage_truncate, whole
from toy import OneHotLM, random_dna, write_fasta

from sae_tracks.activations.extract import PLAN, estimate, extract, plan_extraction
from sae_tracks.activations.shards import MANIFEST, open_shards
from sae_tracks.dna import reverse_complement
from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome
from sae_tracks.lm import HyenaDNAConfig, HyenaDNAForCausalLM, load_lm
from sae_tracks.regions import GenomicRegion, Shard

PAYLOAD = ("*.npy", MANIFEST, "windows.bed", PLAN, "shard-*.json")
CHR1 = random_dna(150, 1) + "NNNRY" + random_dna(95, 2) + "N" * 120 + random_dna(80, 3)
SIZES = {"window": 48, "context": 16, "rows_per_shard": 100}


@pytest.fixture
def genome(tmp_path):
    return Genome(write_fasta(tmp_path / "g.fa", chr1=CHR1, chr2=random_dna(70, 4)))


def payload(folder):
    """File names and bytes of all that must not depend on how it was made."""
    return {path.name: path.read_bytes() for pattern in PAYLOAD for path in folder.glob(pattern)}


def made(genome, out, lm=None, **options):
    extract(plan_extraction(lm or OneHotLM(48), genome, **{**SIZES, **options}), out)
    return open_shards(out)


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """A HyenaDNA with random weights, 64 bases long."""
    folder = tmp_path_factory.mktemp("lm")
    torch.manual_seed(0)
    HyenaDNAForCausalLM(HyenaDNAConfig(d_model=16, n_layer=3, max_seq_len=66)).save_pretrained(folder)
    return folder


def test_each_readable_base_gives_one_row_a_read_strand_and_plain_tools_find_it(genome, tmp_path):
    black_list = [GenomicRegion("chr1", 20, 30)]
    shards = made(genome, tmp_path / "act", read_strands=("+", "-"), black_list=black_list)
    lines = [line.split("\t") for line in (tmp_path / "act" / "windows.bed").read_text().splitlines()]
    assert [int(line[3]) for line in lines] == list(range(len(lines)))

    sequences, seen = {"chr1": CHR1, "chr2": random_dna(70, 4)}, []
    for row, (window, offset) in zip(*whole(shards), strict=True):
        contig, start, end, _, _, strand = lines[window]
        position = int(start) + offset
        assert position < int(end)
        letter = sequences[contig][position].encode()
        expected = letter if strand == "+" else reverse_complement(letter)
        assert row[:4].tolist() == [float(expected == base) for base in (b"A", b"C", b"G", b"T")]
        seen.append((contig, position, strand))

    readable = [(c, i) for c, s in sequences.items() for i, base in enumerate(s) if base in "ACGT"]
    wanted = [(c, i) for c, i in readable if not (c == "chr1" and 20 <= i < 30)]
    assert sorted(seen) == sorted((c, i, strand) for c, i in wanted for strand in "+-")
    assert len(shards) > 3
    assert shards.manifest["rows"] == len(seen)
    assert shards.manifest["left_out"] == 2 * (5 + 10)


def test_values_are_the_models_rounded_to_float16(genome, tmp_path, model):
    lm = load_lm(model, 3, device="cpu")
    shards = made(genome, tmp_path / "act", lm, window=64)
    region = GenomicRegion("chr2", 0, 64)
    expected = lm.activations(genome.sequence(region)).numpy().astype(np.float16)
    rows, loci = whole(shards)
    lines = (tmp_path / "act" / "windows.bed").read_text().splitlines()
    window = next(i for i, line in enumerate(lines) if line.startswith("chr2\t0\t64\t"))
    assert np.array_equal(rows[loci[:, 0] == window], expected)


def test_the_manifest_says_what_was_read(genome, tmp_path):
    manifest = made(genome, tmp_path / "act", sample=3, seed=5).manifest
    assert manifest["lm"]["d_model"] == 6 and manifest["lm"]["layer"] == 3
    assert (manifest["window"], manifest["context"], manifest["windows"], manifest["seed"]) == (48, 16, 3, 5)
    assert manifest["genome"]["chr1"] == {"length": len(CHR1), "M5": genome.m5("chr1")}
    assert not manifest["shuffled"]


def test_soft_masked_sequence_gives_the_same_bytes(genome, tmp_path):
    made(genome, tmp_path / "upper")
    lower = write_fasta(tmp_path / "lower.fa", chr1=CHR1[:99].lower() + CHR1[99:], chr2=random_dna(70, 4).lower())
    made(Genome(lower), tmp_path / "lower")
    assert payload(tmp_path / "upper") == payload(tmp_path / "lower")


def test_the_sample_follows_the_seed(genome, tmp_path):
    first, again, other = (made(genome, tmp_path / n, sample=4, seed=s) for n, s in [("a", 1), ("b", 1), ("c", 2)])
    assert payload(first.folder) == payload(again.folder)
    assert payload(first.folder)["windows.bed"] != payload(other.folder)["windows.bed"]
    with pytest.raises(SaeTracksError, match="--n-windows 999"):
        made(genome, tmp_path / "d", sample=999)


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2), (2, 2, 3, 1, 1)])
def test_the_parts_of_an_array_job_make_the_same_folder(genome, tmp_path, order):
    made(genome, tmp_path / "whole")
    plan = plan_extraction(OneHotLM(48), genome, **SIZES)
    missing = [extract(plan, tmp_path / "parts", Shard(i, 3)) for i in order]
    complete = 1 + max(order.index(i) for i in (1, 2, 3))
    assert all(missing[: complete - 1]) and not any(missing[complete - 1 :])
    assert payload(tmp_path / "parts") == payload(tmp_path / "whole")


def test_an_extraction_is_not_continued_on_another_device(genome, tmp_path):
    """A GPU rounds in other places, so a folder would hold rows of two kinds."""
    lm, on_gpu = OneHotLM(48), OneHotLM(48)
    on_gpu.model = SimpleNamespace(device=torch.device("cuda:0"))
    assert extract(plan_extraction(lm, genome, **SIZES), tmp_path / "act", Shard(1, 3))
    with pytest.raises(SaeTracksError, match="act holds an extraction with another device"):
        extract(plan_extraction(on_gpu, genome, **SIZES), tmp_path / "act", Shard(2, 3))
    assert made(genome, tmp_path / "gpu", on_gpu).manifest["device"] == "cuda"


def test_two_writers_of_one_shard_are_safe(genome, tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    made(genome, tmp_path / "whole")
    plans = [plan_extraction(OneHotLM(48), Genome(genome.path), **SIZES) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(lambda plan: extract(plan, tmp_path / "both"), plans)) == [0, 0, 0]
    assert payload(tmp_path / "both") == payload(tmp_path / "whole")


@pytest.mark.parametrize("damage", [Path.unlink, damage_truncate, damage_empty])
@pytest.mark.parametrize("name", ["shard-00001.npy", "shard-00001.loci.npy"])
def test_only_what_is_missing_is_read_again(genome, tmp_path, damage, name):
    expected = payload(made(genome, tmp_path / "act").folder)
    damage(tmp_path / "act" / name)
    (tmp_path / "act" / MANIFEST).unlink()

    lm = OneHotLM(48)
    plan = plan_extraction(lm, genome, **SIZES)
    extract(plan, tmp_path / "act")
    assert payload(tmp_path / "act") == expected
    assert len(lm.reads) == len(plan.windows_of(1))


def test_a_shard_whose_record_is_missing_is_read_again(genome, tmp_path):
    expected = payload(made(genome, tmp_path / "act").folder)
    (tmp_path / "act" / "shard-00001.json").unlink()
    assert payload(made(genome, tmp_path / "act").folder) == expected


def flip_sum(path):
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"sha256": record["loci_sha256"]}))


def flip_value(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "damage", "again"),
    [
        ("shard-00001.json", flip_sum, True),
        ("shard-00001.json", damage_empty, True),
        ("shard-00001.npy", flip_value, True),
        ("windows.bed", damage_empty, False),
        ("windows.bed", flip_value, False),
    ],
)
def test_what_changed_before_an_extraction_goes_on_is_made_again(genome, tmp_path, name, damage, again):
    expected = payload(made(genome, tmp_path / "act").folder)
    damage(tmp_path / "act" / name)
    (tmp_path / "act" / MANIFEST).unlink()
    lm = OneHotLM(48)
    extract(plan_extraction(lm, genome, **SIZES), tmp_path / "act")
    assert payload(tmp_path / "act") == expected
    assert bool(lm.reads) == again


def test_the_manifest_names_the_model_of_the_run_that_ends(genome, tmp_path):
    plan = made(genome, tmp_path / "act").folder / "plan.json"
    record = json.loads(plan.read_text())
    plan.write_text(json.dumps(record | {"lm": record["lm"] | {"model": "someone/else"}}))
    assert made(genome, tmp_path / "act").manifest["lm"]["model"] == "one-hot"


KILLED = """
import os, signal, sys
from pathlib import Path
from sae_tracks.activations.extract import extract, plan_extraction
from sae_tracks.genome import Genome
from sae_tracks.lm import load_lm
lm, out = load_lm(sys.argv[1], 3, device="cpu"), Path(sys.argv[3])
real = lm.activations_of
def killed(sequences):
    if (out / "shard-00001.json").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return real(sequences)
lm.activations_of = killed
extract(plan_extraction(lm, Genome(sys.argv[2]), window=64, context=16, rows_per_shard=100), out)
"""


def test_a_killed_run_goes_on_and_gives_the_same_bytes(genome, warm_python, tmp_path, model):
    def extracted(out):
        plan = plan_extraction(load_lm(str(model), 3, device="cpu"), genome, window=64, context=16, rows_per_shard=100)
        extract(plan, out)
        return payload(out)

    words = [warm_python, "-c", KILLED, str(model), str(genome.path), str(tmp_path / "killed")]
    assert subprocess.run(words, check=False).returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / MANIFEST).exists()
    kept = (tmp_path / "killed" / "shard-00000.npy").stat().st_mtime_ns

    assert extracted(tmp_path / "killed") == extracted(tmp_path / "whole")
    assert (tmp_path / "killed" / "shard-00000.npy").stat().st_mtime_ns == kept


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"window": 40}, "window"),
        ({"read_strands": ("-",)}, "read_strands"),
        ({"sample": 3}, "windows"),
        ({"black_list": [GenomicRegion("chr1", 0, 5)]}, "black_list_sha256"),
        ({"rows_per_shard": 50}, "windows_per_shard"),
    ],
)
def test_a_folder_of_other_settings_is_refused(genome, tmp_path, change, named):
    before = payload(made(genome, tmp_path / "act").folder)
    with pytest.raises(SaeTracksError, match=f"another {named}"):
        made(genome, tmp_path / "act", **change)
    assert payload(tmp_path / "act") == before


def test_another_model_is_refused_but_the_same_under_another_name_is_not(genome, tmp_path):
    made(genome, tmp_path / "act")
    renamed, other = OneHotLM(48), OneHotLM(48)
    renamed.model_id, other.checksum = "elsewhere/one-hot", "other"
    made(genome, tmp_path / "act", renamed)
    with pytest.raises(SaeTracksError, match="another lm"):
        made(genome, tmp_path / "act", other)


@pytest.mark.parametrize(("value", "message"), [(65520.0, "float16"), (-1e6, "float16"), (float("nan"), "not finite")])
def test_what_float16_cannot_hold_is_refused_and_nothing_is_stored(genome, tmp_path, value, message):
    lm = OneHotLM(48)
    real = lm.activations

    def broken(sequence):
        out = real(sequence)
        out[5, 2] = value
        return out

    lm.activations = broken
    with pytest.raises(SaeTracksError, match=message):
        made(genome, tmp_path / "act", lm)
    assert not list((tmp_path / "act").iterdir())


def test_the_largest_float16_is_kept(genome, tmp_path):
    lm = OneHotLM(48)
    real = lm.activations
    lm.activations = lambda sequence: real(sequence) * 65504
    assert whole(made(genome, tmp_path / "act", lm, context=0))[0].max() == 65504


def test_windows_without_a_readable_base_are_an_error(genome, tmp_path):
    everything = [GenomicRegion(name, 0, length) for name, length in genome.lengths.items()]
    with pytest.raises(SaeTracksError, match="no readable base"):
        made(genome, tmp_path / "act", black_list=everything, rows_per_shard=1)
    assert not list((tmp_path / "act").iterdir())
    assert made(genome, tmp_path / "act").rows, "the folder is free for what can be read"
    some = made(genome, tmp_path / "some", black_list=everything[:1], rows_per_shard=1)
    assert some.rows == 70 and 0 in [shard.rows for shard in some.shards]


def test_the_estimate_counts_what_is_written(genome, tmp_path):
    plan = plan_extraction(OneHotLM(48), genome, **SIZES)
    parts = [estimate(plan, Shard(i, 2)) for i in (1, 2)]
    extract(plan, tmp_path / "act")
    assert sum(part.shards for part in parts) == len(open_shards(tmp_path / "act"))
    assert sum(part.windows for part in parts) == len(plan.windows)
    assert sum(part.disk for part in parts) == sum(part.bases for part in parts) * (2 * 6 + 8)
    assert all(part.took.seconds > 0 and part.memory > 0 for part in parts)


def test_the_estimate_counts_a_pass_of_the_model_for_each_read_strand(genome, monkeypatch):
    clock = iter(range(100))  # each reading takes a second
    monkeypatch.setattr("sae_tracks.threads.perf_counter", lambda: next(clock))
    parts = [GenomicRegion("chr2", 0, 10), GenomicRegion("chr2", 20, 30)]  # all of chr2 is one window on either strand
    for strands, passes in [("+", 1), ("-", 1), ("+-", 2)]:
        plan = plan_extraction(OneHotLM(70), genome, parts, read_strands=strands, window=70)
        assert len(plan.windows) == 2 * len(strands)
        assert estimate(plan).took.seconds == passes


def cli(model, genome, out, *more):
    return run("extract", str(model), str(genome.path), "-o", str(out), "--device", "cpu", "-p", "1", *more)


def assert_one_line(out, message):
    assert out.returncode == 1
    last = out.stderr.splitlines()[-1]
    assert last.startswith("error: ") and message in last
    assert "Traceback" not in out.stderr


def test_the_command_line(genome, tmp_path, model):
    words = ("-n", "3", "--seed", "2", "--read-strand", "both", "-r", "chr1:1-140", "--window-size", "40")
    out = cli(model, genome, tmp_path / "act", *words, "--dry-run")
    assert out.returncode == 0 and "6 windows" in out.stderr and "hidden_states[3]" in out.stderr
    assert not (tmp_path / "act").exists()

    assert cli(model, genome, tmp_path / "act", *words).returncode == 0
    options = {"sample": 3, "seed": 2, "read_strands": ("+", "-"), "window": 40, "context": None}
    lm, region = load_lm(model, 3, device="cpu"), genome.region("chr1:1-140")
    plan = plan_extraction(lm, genome, [region], **options)
    extract(plan, tmp_path / "library")
    assert payload(tmp_path / "act") == payload(tmp_path / "library")
    assert json.loads((tmp_path / "act" / "provenance.json").read_text())["command"].endswith("--window-size 40")


def test_a_model_that_is_only_a_pickle_is_refused(genome, tmp_path, model):
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "config.json").write_bytes((model / "config.json").read_bytes())
    (pickled / "pytorch_model.bin").write_bytes(b"\x80\x04cposix\nsystem\n.")
    assert_one_line(cli(pickled, genome, tmp_path / "act"), "safetensors")
    assert not (tmp_path / "act").exists()


def test_an_output_that_cannot_be_written(genome, tmp_path, model):
    (tmp_path / "file").write_text("")
    assert_one_line(cli(model, genome, tmp_path / "file" / "act"), "cannot write")


def test_a_full_disk_leaves_no_partial_shard(genome, warm, tmp_path, model):
    load_lm(model, 3, device="cpu").activations(b"ACGT" * 12)  # compiled code goes to a cache, which is not at issue
    out = tmp_path / "act"
    words = f"extract {model} {genome.path} -o {out} --device cpu -p 1"
    command = ["bash", "-c", f"ulimit -f 4; exec {warm} {words}"]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    assert_one_line(
        subprocess.run(command, capture_output=True, text=True, check=False, env=environment), "cannot write"
    )
    assert not list(out.glob("shard-*")) and not list(out.glob(".*")) and not (out / MANIFEST).exists()
