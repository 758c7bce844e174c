"""examples/real.sh to its end on small files of the same names, and what place_regions.py says of bad input."""

import gzip
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyBigWig
import pysam
import pytest
from tiny import write_tiny_model
from toy import random_dna, write_fasta

EXAMPLES = Path(__file__).parents[2] / "examples"
MATRICES = Path(__file__).parents[2] / "data/demo-genome/motifs.jaspar"
KNOWN = 15_000  # bases at the beginning of a block of the halves; the other bases of the block are N
BLOCK = 100_000
# file, record, bases, where its first base is, and the blocks that are known, by their start on the chromosome
RECORDS = (
    ("hg38.chr1_0-1000000", "chr1", 1_000_000, 0, (0, 800_000, 900_000)),
    ("hg16.ENCODE_ENm001-2", "chr5_131332630_132332630", 1_000_000, 131_332_630, (131_400_000, 131_500_000)),
    ("hg16.ENCODE_ENm001-2", "chr7_115365023_117242449", 1_877_426, 115_365_023, (115_400_000,)),
    ("b37.chr17_0-1000000", "17", 1_000_000, 0, (0,)),
    ("hg19.chr20_9995000-11095000", "chr20_9995000_11095000", 1_100_000, 9_995_000, (10_000_000,)),
    (
        "hg19.chr22_20000000-21000000",
        "chr22_20000000_21000000",
        1_000_000,
        20_000_000,
        (20_000_000, 20_100_000, 20_300_000),
    ),
)


def record(bases, start, blocks, seed):
    """N, but random DNA with repeats in lower case at the beginning of some blocks."""
    text = ["N"] * bases
    for number, block in enumerate(blocks):
        dna = random_dna(KNOWN, 10 * seed + number)
        masked = "".join(dna[i : i + 50].lower() + dna[i + 50 : i + 400] for i in range(0, KNOWN, 400))
        text[block - start : block - start + KNOWN] = masked
    return "".join(text)


def rows(start, width, step, line):
    """Lines of a table, for intervals in the first two known blocks from a start."""
    places = (block + i for block in (start, start + BLOCK) for i in range(100, KNOWN - width, step))
    return "".join(line.format(at, at + width, "+-"[number % 2]) for number, at in enumerate(places))


@pytest.fixture
def data(tmp_path):
    """A folder with the files that the script reads."""
    data, fastas = tmp_path / "data", {}
    data.mkdir()
    for seed, (name, contig, *known) in enumerate(RECORDS):
        fastas.setdefault(name, {})[contig] = record(*known, seed)
    for name, records in fastas.items():
        path = data / f"{name}.fa"
        write_fasta(path, **records)
        pysam.tabix_compress(str(path), f"{path}.gz")
        pysam.faidx(f"{path}.gz")
        path.unlink()
    sites = rows(20_000_000, 19, 100, "chr22\t{}\t{}\tMA0139.1\t500\t{}\tCTCF\n")
    peaks = rows(20_000_000, 200, 2000, "chr22\t{}\t{}\tpeak\t100\t.\t5\t5\t5\t100\n")
    names = 'gene_id "g"; transcript_id "t{0}";'
    genes = rows(
        800_000,
        200,
        400,
        f"chr1\tx\ttranscript\t{{0}}\t{{1}}\t.\t{{2}}\t.\t{names}\nchr1\tx\texon\t{{0}}\t{{1}}\t.\t{{2}}\t.\t{names}\n",
    )
    texts = {"JASPARscan.hg19.chr22_20000000-21000000.JASPAR2022.p1e-4.bed.gz": sites}
    texts |= {"CTCF_chr22_hg19.macs3.narrowPeak.gz": peaks, "gencode_human.chr1_0-1.5M.gtf.gz": genes}
    for name, text in {**texts, "JASPAR2022_vertebrates.pfm.gz": MATRICES.read_text()}.items():
        (data / name).write_bytes(gzip.compress(text.encode()))
    return data


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bedtools") is None, reason="bedtools is not installed")
def test_the_example_runs_to_its_end(data, warm, tmp_path):
    write_tiny_model(tmp_path, max_seq_len=1026)
    out = tmp_path / "out"
    path = f"{warm.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "WINDOWS": "30", "TOKENS": "20480"}
    words = ["bash", EXAMPLES / "real.sh", data, out, tmp_path / "lm"]
    ran = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert ran.returncode == 0, ran.stderr
    assert "Traceback" not in ran.stderr
    assert "CTCF peaks overlap" in ran.stdout
    assert "the same for shuffled peaks, 20 times:" in ran.stdout
    assert {"A", "C", "G", "T", "MA0139.1"} <= set(pd.read_csv(out / "metrics/metrics.tsv", sep="\t")["concept"])
    assert "repeat" in set(pd.read_csv(out / "repeats/metrics.tsv", sep="\t")["concept"])
    assert "exon" in set(pd.read_csv(out / "genes/metrics.tsv", sep="\t")["concept"])
    assert (out / "tracks/hub.txt").is_file()
    with pyBigWig.open(str(next((out / "tracks").glob("f*.bw")))) as track:
        assert track.chroms() == {"chr22": 51_304_566}
        assert track.header()["nBasesCovered"] == 3 * KNOWN


@pytest.fixture
def place(tmp_path, monkeypatch):
    """place_regions.py in this process, with sizes; returns what it says as it ends."""
    write_fasta(tmp_path / "a.fa", part="ACGTACGTAC")
    (tmp_path / "sizes").write_text("chr1\t200\n")
    monkeypatch.chdir(tmp_path)

    def call(placement):
        words = ["place_regions.py", "--sizes", "sizes", "out.fa.gz", "out.bed", placement]
        monkeypatch.setattr(sys, "argv", words)
        runpy.run_path(str(EXAMPLES / words[0]), run_name="__main__")

    return call


def test_regions_lie_where_they_should(place):
    place("chr1=a.fa:part:61")
    with pysam.FastaFile("out.fa.gz") as fasta:
        assert fasta.fetch("chr1") == "N" * 61 + "ACGTACGTAC" + "N" * 129
    assert Path("out.bed").read_text() == "chr1\t61\t71\n"


@pytest.mark.parametrize(
    "source", ["=a.fa:part:195", "=none.fa:part", "=a.fa:other", "=a.fa", "", "=a.fa:part:-1", "=a.fa:part:x"]
)
def test_bad_input_is_one_line(place, source):
    with pytest.raises(SystemExit) as ended:
        place(f"chr1{source}")
    assert str(ended.value.code).startswith(("place_regions.py: ", f"chr1{source}: "))
