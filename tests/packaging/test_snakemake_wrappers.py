"""The wrappers for Snakemake: each calls its verb, and its output is that of the verb."""

import os
import shutil
import subprocess
import tomllib
from pathlib import Path

import pyBigWig
import pytest
import yaml
from command_line import COMMANDS
from tiny import write_tiny_model
from toy import random_dna, write_fasta
from variant_files import write_vcf

ROOT = Path(__file__).parents[2]
WRAPPERS = sorted(path.parent for path in (ROOT / "packaging" / "snakemake").glob("*/wrapper.py"))
SNAKEFILE = """
rule all:
    input: "tracks", "f.bed", "scores", "v.vcf"
""" + "".join(
    f"""
rule:
    input: sae="sae", genome="g.fa"{more}
    output: {output}
    params: extra="--model lm {extra}"
    wrapper: "file:{ROOT}/packaging/snakemake/{verb}"
"""
    for verb, more, output, extra in (
        ("export-bigwig", "", 'directory("tracks")', "-f 1"),
        ("export-bed", "", '"f.bed"', "-f 1"),
        ("metrics", ', annotations=["sites.bed", "other.bed"]', 'directory("scores")', "--no-split --min-instances 5"),
        ("variants", ', variants="v_in.vcf"', '"v.vcf"', ""),
    )
)


@pytest.mark.parametrize("folder", WRAPPERS, ids=lambda folder: folder.name)
def test_a_wrapper_is_of_a_verb_of_this_version(folder):
    assert folder.name in COMMANDS
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert yaml.safe_load((folder / "environment.yaml").read_text())["dependencies"] == [f"sae-tracks ={version}"]
    inputs = [name for one in yaml.safe_load((folder / "meta.yaml").read_text())["input"] for name in one]
    used = (folder / "wrapper.py").read_text()
    assert [name for name in inputs if f"{{snakemake.input.{name}}}" in used] == inputs


@pytest.mark.skipif(shutil.which("snakemake") is None, reason="snakemake is not installed")
def test_snakemake_runs_all_of_them(warm, tmp_path):
    write_tiny_model(tmp_path)
    dna = random_dna(600)
    write_fasta(tmp_path / "g.fa", chr1=dna)
    for name in ("sites", "other"):
        (tmp_path / f"{name}.bed").write_text("".join(f"chr1\t{at}\t{at + 12}\n" for at in range(0, 500, 25)))
    changes = [("chr1", at + 1, dna[at], "A" if dna[at] != "A" else "C") for at in range(50, 500, 90)]
    write_vcf(tmp_path / "v_in.vcf", changes, contigs=("chr1",))
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    environment = os.environ | {"PATH": f"{warm.parent}:{os.environ['PATH']}"}
    words = ["snakemake", "--cores", "1"]
    ran = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert ran.returncode == 0, ran.stderr
    with pyBigWig.open(str(tmp_path / "tracks" / "f1.bw")) as track:
        assert track.header()["nBasesCovered"] > 0
    concepts = {line.split("\t")[0] for line in (tmp_path / "scores" / "metrics.tsv").read_text().splitlines()}
    assert {"A", "sites", "other"} <= concepts
    assert "SAE" in (tmp_path / "v.vcf").read_text()
    assert {line.split("\t")[3] for line in (tmp_path / "f.bed").read_text().splitlines()} == {"f1"}
