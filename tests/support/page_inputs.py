"""Small stand-ins for the files that the pages name, and servers on loopback for what they download."""

import gzip
import json
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
import pysam
import pytest
from hub_server import serving_hub
from mirror import md5_lines, mirror
from tiny import write_tiny_model
from toy import random_dna, write_fasta
from variant_files import write_vcf

from sae_tracks.evaluate.golden import next_base_loss
from sae_tracks.lm import load_causal_lm
from sae_tracks.names import PINNED
from sae_tracks.sae import load_sae, save_sae
from sae_tracks.sharing.definition import BENCHMARKS
from sae_tracks.sharing.rows import MEASURED, write_row
from sae_tracks.tracks.bbi.bigwig import write_bigwig
from sae_tracks.tracks.bbi.runs import make_runs

ROOT = Path(__file__).parents[2]
((MODEL, REVISION),) = PINNED.items()
COMMIT = "b" * 40  # of owner/name
LENGTHS = {"chr1": 3_000, "chr14": 110_000, "chr20": 6_000, "chr22": 6_000, "chrXVI": 110_000, "chrV": 3_000}
UNKNOWN = slice(30_000, 100_000)  # N in long contigs, so that both halves, blocks of 100 kb, are there at little cost
ACTIVE = {*range(20), 47, 178, 268, 357, 437, 654, 716, 827}  # features; all others are silent, which saves time
WORDS = {"MA1596.1": "GCAGGCCTGT", "MA0139.1": "CCACCAGGGGGC"}
PEAK, PEAKS = 500, 60  # bases of each, end to end on chrXVI
COPIES = {  # name on a page: what it is a copy of
    "demo/sae": "sae",
    "demo/metrics": "metrics",
    "demo/tracks": "tracks",
    "demo/yeast.fa.gz": "yeast.fa.gz",
    "demo/genes.gtf.gz": "genes.gtf.gz",
    "demo/genes.bed": "genes.bed",
    "demo/motifs.jaspar": "JASPAR2024.pfm",
    "genome.fa.gz": "yeast.fa.gz",
    "ce11.fa": "hg38.fa",
    "sae-1": "sae",
    "sae-2": "sae",
    "scores": "metrics",
    "scores-1": "metrics",
    "scores-2": "metrics",
}
# What the program makes itself
MADE = """
sae-tracks scan hg38.fa -r chr14 --motifs JASPAR2024.pfm -o jaspar_chr14.bed
sae-tracks scan hg38.fa -r chr14 --motifs JASPAR2024.pfm -o sites.bed.gz
sae-tracks extract "$LM" hg38.fa -n 12 -r chr1 -r chr20 -o act
sae-tracks shuffle act -o shuffled
sae-tracks train shuffled --d-sae 64 --k 4 --tokens 4096 -o other-seed
sae-tracks metrics sae hg38.fa jaspar_chr14.bed genes.gtf -r chr14 -o metrics
sae-tracks export-bigwig sae hg38.fa -r chr14 -f 357,12 -o tracks
sae-tracks hub tracks --genome hg38.fa
sae-tracks export-sae sae --to dictionary_learning -o trainer_0
sae-tracks motifs sae hg38.fa -r chr14 -f 357,12 --motifs JASPAR2024.pfm -o motifs
"""
# A browser that looks at the page and stops the program that opened it; a queue that runs its jobs at once
PROGRAMS = {
    "browser": """#!{python} -ESs
import os, signal, sys, urllib.request
try:
    page = urllib.request.urlopen(sys.argv[1]).read()
except OSError:
    page = b""
os.kill(os.getppid(), signal.SIGINT if b"<html" in page else signal.SIGTERM)
""",
    "sbatch": """#!/bin/bash
set -e
while [ $# -gt 0 ]; do
    case $1 in
        --array=1-*) last=${{1#--array=1-}} ;;
        --wrap) wrapped=$2; shift ;;
    esac
    shift
done
for i in $(seq "${{last:-1}}"); do SLURM_ARRAY_TASK_ID=$i bash -ec "$wrapped" >&2; done
echo 1
""",
}


@contextmanager
def page_inputs(folder: Path, warm: Path):
    """Make the stand-ins in ``folder/files``; yields it; what is run meanwhile finds the servers and programs.

    `warm` is a ``sae-tracks`` of `warm.warm_command`.
    """
    files, programs = folder / "files", folder / "bin"
    write_model(folder)
    files.mkdir()
    shutil.copytree(folder / "sae", files / "sae")
    served = write_files(files, folder / "lm")
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        stack.enter_context(mirror(served, folder / "cache", patch))
        address = stack.enter_context(serving_hub(folder / "hub", {"main": COMMIT, "v1.0": COMMIT}))
        settings = {"HF_ENDPOINT": address, "HF_HOME": folder / "hf", "HF_TOKEN": "secret"}
        settings |= {"HF_HUB_DISABLE_XET": 1, "HF_HUB_DISABLE_TELEMETRY": 1, "LM": folder / "lm"}
        settings |= {"BROWSER": f"{programs}/browser %s", "PYTHON_EXEC": warm.with_name("python")}  # for torchrun
        settings["PATH"] = f"{programs}:{warm.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        for name, value in settings.items():
            patch.setenv(name, str(value))
        programs.mkdir()
        for name, text in PROGRAMS.items():
            (programs / name).write_text(text.format(python=sys.executable))
            (programs / name).chmod(0o755)
        shell(MADE, files)
        support_a_match(files / "metrics")
        for copy, name in COPIES.items():
            (files / copy).parent.mkdir(exist_ok=True)
            (shutil.copytree if (files / name).is_dir() else shutil.copyfile)(files / name, files / copy)
        yield files


def shell(code: str, folder: Path) -> None:
    """Run a script until its first command that fails, which stands with what it says in the error."""
    words = ["bash", "-exo", "pipefail", "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=folder, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr


def write_model(folder: Path) -> None:
    """Write a language model and its SAE, and repositories of the hub that hold them."""
    write_tiny_model(folder, d_sae=1024, bias=-0.3, max_seq_len=1026)
    sae = load_sae(folder / "sae")
    sae.b_enc[[i for i in range(sae.d_sae) if i not in ACTIVE]] = -1e6
    shutil.rmtree(folder / "sae")
    save_sae(sae, folder / "sae")
    shutil.copytree(folder / "lm", folder / "hub" / MODEL / REVISION)
    shutil.copytree(folder / "sae", folder / "hub/owner/name" / COMMIT)


def write_files(folder: Path, lm: Path) -> dict[str, bytes]:
    """Write what no command makes; return what the sites of downloads have."""
    dna = {name: planted(length, seed) for seed, (name, length) in enumerate(LENGTHS.items())}
    write_fasta(folder / "hg38.fa", **dna)
    write_fasta(folder / "yeast.fa.bgz", **dna).rename(folder / "yeast.fa.gz")
    (folder / "JASPAR2024.pfm").write_text("".join(matrix(name, word) for name, word in WORDS.items()))
    genes = write_genes(folder)
    write_regions(folder)
    draw = np.random.default_rng(0)
    edges = np.arange(0, LENGTHS["chr14"] + 1, 50)
    runs = make_runs(edges[:-1], edges[1:], draw.random(len(edges) - 1).astype(np.float32))
    write_bigwig(folder / "atac.bw", LENGTHS, [("chr14", runs)], 64)
    starts = range(1000, 3000, 100)
    calls = [("chr14", at + 1, dna["chr14"][at].upper(), "CA"[dna["chr14"][at] in "Cc"]) for at in starts]
    vcf = write_vcf(folder / "in.vcf", calls, contigs=("chr14",))
    pysam.tabix_index(str(vcf), preset="vcf", force=True)
    names = [f"chrXVI:{i}-{i + PEAK}" for i in range(0, PEAK * PEAKS, PEAK)]
    with suppress(ModuleNotFoundError):  # h5py is optional, and then no line that needs the file is run
        from single_cells import write_10x

        write_10x(folder / "filtered_peak_bc_matrix.h5", draw.poisson(1.0, (30, PEAKS)).astype(np.float32), names)
    for name in ("yours", "theirs"):
        numbers = {column.name: {str: name, int: 3, float: 0.5}[column.kind] for column in MEASURED}
        facts = {"supported": 1, "supported_concepts": ["a"], "lm_sha256": "m", "inputs": {}}
        write_row({**numbers, **facts}, folder / f"{name}.json", BENCHMARKS["yeast"])
    region = {"contig": "chr1", "start": 0, "end": 1000}
    region["nats_per_base"] = next_base_loss(load_causal_lm(str(lm)), dna["chr1"][:1000].upper().encode())
    golden = {"format_version": 1, "model": MODEL, "assembly": "hg38", "contig_lengths": LENGTHS, "regions": [region]}
    (folder / "golden.json").write_text(json.dumps(golden))
    (folder / "workflow").symlink_to(ROOT / "workflow")
    (folder / "examples").symlink_to(ROOT / "examples")
    return downloads(dna["chr14"], genes, (folder / "JASPAR2024.pfm").read_bytes())


def planted(length: int, seed: int) -> str:
    """Random DNA with a site of either motif in every 200 bases, repeats in lower case, and N."""
    text, words = random_dna(length, seed), list(WORDS.values())
    for number, at in enumerate(range(100, length - 100, 100)):
        word = words[number % 2]
        text = text[:at] + word + text[at + len(word) :]
    text = "".join(text[i : i + 100].lower() + text[i + 100 : i + 1000] for i in range(0, length, 1000))
    return text[: UNKNOWN.start] + "N" * len(text[UNKNOWN]) + text[UNKNOWN.stop :]


def matrix(name: str, word: str) -> str:
    rows = (f"{base} [ {' '.join('97' if base == letter else '1' for letter in word)} ]\n" for base in "ACGT")
    return f">{name}\tTF{name[2:6]}\n" + "".join(rows)


def write_genes(folder: Path) -> bytes:
    """Write genes of two exons on either strand, as GTF and BED; return the GTF as gzip."""
    lines, bed = [], []
    for contig, length in LENGTHS.items():
        for number, at in enumerate(range(300, length - 900, 700)):
            name, strand = f"{contig}.{number}", "+-"[number % 2]
            ids = f'gene_id "{name}"; transcript_id "{name}"; gene_name "{name}"; gene_type "protein_coding";'
            coding = [("exon", 0, 150), ("CDS", 60, 150), ("exon", 250, 400), ("CDS", 250, 340)]
            for kind, start, end in [("gene", 0, 400), ("transcript", 0, 400), *coding]:
                frame = 0 if kind == "CDS" else "."
                lines.append(f"{contig}\tx\t{kind}\t{at + start + 1}\t{at + end}\t.\t{strand}\t{frame}\t{ids}\n")
            bed.append((contig, at, at + 400, name, 0, strand))
    (folder / "genes.gtf").write_text("".join(lines))
    write_bed(folder / "genes.bed", bed)
    packed = gzip.compress("".join(lines).encode(), mtime=0)
    (folder / "genes.gtf.gz").write_bytes(packed)
    return packed


def write_regions(folder: Path) -> None:
    """Write the sets of regions of the pages."""
    places = range(400, 20_000, 450)
    sets = {"peaks": 0, "random": 37, "gained": 60, "lost": 260, "promoters": 15, "enhancers": 280}
    for name, shift in sets.items():
        rows = [("chr14", at + shift, at + shift + 101, f"p{at}", 100, "+-"[at % 4 > 1]) for at in places]
        write_bed(folder / f"{name}.bed", rows)
    for name, shift in {"Reb1": 120, "Sua7": 333}.items():
        write_bed(folder / f"{name}_CX.bed", [("chrXVI", at + shift, at + shift + 1, name, 1, ".") for at in places])
    write_bed(folder / "blacklist.bed", [("chr14", 9_000, 9_300)])
    write_bed(folder / "chrV.bed", [("chrV", 0, LENGTHS["chrV"])])
    peaks = [("chrXVI", i, i + PEAK, f"p{i}", 100, ".", 5, 5, 5, 100) for i in range(0, PEAK * PEAKS, PEAK)]
    write_bed(folder / "peaks.narrowPeak", peaks)


def write_bed(path: Path, rows) -> None:
    path.write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))


def downloads(chr14: str, genes: bytes, matrices: bytes) -> dict[str, bytes]:
    """What UCSC, GENCODE and JASPAR have, by path."""
    folders = {
        "/goldenPath/hg38/chromosomes": ("chr14.fa.gz", gzip.compress(f">chr14\n{chr14}\n".encode(), mtime=0)),
        "/Gencode_human/release_47": ("gencode.v47.annotation.gtf.gz", genes),
    }
    sites = gzip.compress(b"chr14\t100\t110\tZNF460\t900\t450\t+\n", mtime=0)
    files = {
        "/download/data/2024/CORE/JASPAR2024_CORE_vertebrates_non-redundant_pfms_jaspar.txt": matrices,
        "/downloads/UCSC_tracks/2022/hg38/MA1596.1.tsv.gz": sites,
    }
    for place, (name, data) in folders.items():
        sums = md5_lines({name: data})
        files |= {f"{place}/{name}": data, f"{place}/md5sum.txt": sums, f"{place}/MD5SUMS": sums}
    return files


def support_a_match(scores: Path) -> None:
    """Let a match of a motif be supported, as some are on the pages; what is drawn supports none."""
    table = scores / "metrics.tsv"
    head, *rows = (line.split("\t") for line in table.read_text().splitlines())
    verdict = head.index("verdict")
    next(row for row in rows if row[head.index("concept")] in WORDS)[verdict] = "supported"
    table.write_text("".join("\t".join(row) + "\n" for row in [head, *rows]))
