"""examples/mistral_dna.sh from beginning to end, on a small model of the same form and a small genome."""

import os
import subprocess
from pathlib import Path

import lm_zoo
import pandas as pd
import pyBigWig
import pytest
from toy import random_dna, write_fasta

pytestmark = pytest.mark.slow
EXAMPLE = Path(__file__).parents[2] / "examples" / "mistral_dna.sh"
KNOWN, BLOCK = 12_000, 100_000  # bases at the beginning of the blocks to choose and to report on; the rest is N
GENES = [block + at for block in (0, BLOCK) for at in range(100, KNOWN - 400, 500)]


def masked(text: str) -> str:
    """The text with 50 bases of every 400 in lower case."""
    return "".join(text[i : i + 50].lower() + text[i + 50 : i + 400] for i in range(0, len(text), 400))


def gene(at: int) -> str:
    """A transcript of two exons, by Ensembl's name of the contig."""
    rows = [("transcript", 1, 400), ("exon", 1, 100), ("exon", 301, 400)]
    names = f'gene_id "g{at}"; transcript_id "t{at}";'
    return "".join(f"9\tx\t{kind}\t{at + a}\t{at + b}\t.\t+\t.\t{names}\n" for kind, a, b in rows)


def test_the_example_runs_to_a_page_hub_and_session(warm, tmp_path):
    model = lm_zoo.mixtral(tmp_path / "mixtral")
    parts = [masked(random_dna(KNOWN, seed)) for seed in (1, 3)]
    chr9 = parts[0] + "N" * (BLOCK - KNOWN) + parts[1]
    genome = write_fasta(tmp_path / "g.fa", chr1=random_dna(8000, 2), chr9=chr9)
    (tmp_path / "genes.gtf").write_text("".join(gene(at) for at in GENES))
    words = map(str, (EXAMPLE, model, genome, tmp_path / "genes.gtf", tmp_path / "out", "chr1:1-8,000", "chr9"))
    environment = os.environ | {"PATH": f"{warm.parent}:{os.environ['PATH']}", "TOKENS": "20000"}
    ran = subprocess.run(["bash", *words], capture_output=True, text=True, check=False, env=environment)
    assert ran.returncode == 0, ran.stderr

    out = tmp_path / "out"
    table = pd.read_csv(out / "metrics" / "metrics.tsv", sep="\t")
    assert {"A", "C", "G", "T", "exon", "intron", "repeat"} <= set(table["concept"])
    tracks = sorted((out / "tracks").glob("*.bw"))
    with pyBigWig.open(str(tracks[0])) as track:
        assert track.header()["nBasesCovered"] == 2 * KNOWN  # every base that is not N is readable
    for made in ("hub.txt", "session.xml", "session.json"):
        assert (out / "tracks" / made).is_file()
    assert (out / "page" / "index.html").is_file()
