"""The verbs of peaks, genes and cells as users run them."""

import gzip
import json
import sys

import numpy as np
import pandas as pd
import pytest
from annotation_files import write
from command_line import run
from tiny import write_tiny_model
from toy import random_dna, write_fasta

from sae_tracks.errors import SaeTracksError
from sae_tracks.region_sets.deviations import cell_deviations

anndata = pytest.importorskip("anndata", reason="needs anndata: pip install 'sae-tracks[single-cell]'")
from single_cells import write_cells  # noqa: E402

WORDS = ("matrix", "sae", "g.fa")
MORE = ("-m", "lm", "-p", "1", "--device", "cpu")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A tiny language model, an SAE of it with scores, a genome, peaks and genes."""
    folder = tmp_path_factory.mktemp("project")
    write_tiny_model(folder)
    write_fasta(folder / "g.fa", chr1=random_dna(400))
    write(folder, "peaks.bed", "chr1\t10\t40\tp1", "chr1\t100\t180\tp2", "chr1\t390\t400\tp3")
    gene = 'chr1\tx\tgene\t{}\t{}\t.\t{}\t.\tgene_id "{}"; gene_name "{}"'
    write(folder, "g.gtf", gene.format(101, 300, "-", "G1", "ABC"), gene.format(31, 60, "+", "G2", "XYZ"))
    (folder / "scores").mkdir()
    columns = "feature concept tf site_strand read_strand verdict f1 site_average_precision"
    rows = ["f8 CDS  + + supported 0.5 0.25", "f9 exon  + + not-tested 0.125 0.5"]
    lines = ["\t".join(line.split(" ")) for line in (columns, *rows)]
    write(folder / "scores", "metrics.tsv", *lines)
    return folder


def test_matrix_and_gene_lists(project):
    done = run(*WORDS, "--genes", "g.gtf", "--over", "promoter", "--upstream", "20", "--downstream", "10",
               *MORE, "--explained", "scores", "-o", "m.h5ad", cwd=project)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "2 regions x 32 columns" in done.stderr
    found = anndata.read_h5ad(project / "m.h5ad")
    assert found.obs_names.tolist() == ["G2", "G1"] and found.obs["gene_name"].tolist() == ["XYZ", "ABC"]
    assert list(zip(found.obs["start"], found.obs["end"])) == [(10, 40), (290, 320)]
    about = found.var.loc["f8"]
    assert (about["concept"], about["verdict"], about["f1"], about["name"]) == ("CDS", "supported", 0.5, "CDS +")
    assert about["line"].startswith("CDS +: finds CDS + (supported, AP 0.25)")
    assert found.var.loc["f5", "name"] == "no name"
    record = json.loads(found.uns["sae_tracks"])
    assert record["over"] == "promoter" and record["upstream"] == 20 and list(record["files"]) == ["g.gtf"]
    assert str(project) not in found.uns["sae_tracks"]
    lists = run("gene-lists", "m.h5ad", "-f", "8", "--top", "1", "-o", "lists", cwd=project)
    assert lists.returncode == 0 and "1 list of 2 genes in lists" in lists.stderr
    assert len((project / "lists" / "f8.rnk").read_text().splitlines()) == 2
    assert (project / "lists" / "features.gmt").read_text().split("\t")[1].startswith("CDS +: finds CDS +")


def test_peaks_on_both_read_strands_in_a_folder_of_10x(project):
    done = run(*WORDS, "peaks.bed", *MORE, "--read-strand", "both", "-r", "chr1:1-200", "-o", "m.mtx", cwd=project)
    assert done.returncode == 0, done.stderr
    assert "1 region of peaks.bed is left out" in done.stderr
    with gzip.open(project / "m.mtx" / "barcodes.tsv.gz", "rt") as file:
        assert file.read().split() == ["p1", "p2"]
    with gzip.open(project / "m.mtx" / "features.tsv.gz", "rt") as file:
        assert file.read().splitlines()[32] == "f0.minus\tf0.minus\tSAE feature"


def test_cells_of_peaks(project):
    starts = range(0, 400, 8)
    write(project, "tiles.bed", *(f"chr1\t{start}\t{start + 8}" for start in starts))
    done = run(*WORDS, "tiles.bed", *MORE, "-o", "peaks.h5ad", cwd=project)
    assert done.returncode == 0, done.stderr
    counts = np.random.default_rng(0).poisson(3, (4, 50))
    obs = pd.DataFrame({"kind": list("ABAB")}, index=list("wxyz"))
    write_cells(project / "atac.h5ad", counts, [f"chr1:{start}-{start + 8}" for start in starts], obs)
    done = run(
        "cells",
        "peaks.h5ad",
        "atac.h5ad",
        "-f",
        "8,9",
        "--clusters",
        "kind",
        "--draws",
        "10",
        "-o",
        "c.h5ad",
        cwd=project,
    )
    assert done.returncode == 0, done.stderr
    assert "4 cells x 2 features in c.h5ad" in done.stderr and "Clusters" in done.stdout
    found = anndata.read_h5ad(project / "c.h5ad")
    assert found.obs_names.tolist() == list("wxyz") and found.var_names.tolist() == ["f8", "f9"]
    assert {"variability", "null_mean", "null_95", "p", "q"} <= set(found.var) and found.layers["deviations"].shape == (
        4,
        2,
    )
    assert json.loads(found.uns["sae_tracks"])["matrix"]["regions_from"] == "tiles.bed"
    markers = pd.read_csv(project / "c.markers.tsv", sep="\t")
    assert len(markers) == len(found.uns["markers"]) == 4
    assert pd.read_csv(project / "c.clusters.tsv", sep="\t")["cells"].tolist() == [2, 2]
    done = run("cells", "peaks.h5ad", "atac.h5ad", "-o", "c.tsv", cwd=project)
    assert done.stderr == "error: cannot write c.tsv: name a file that ends in .h5ad\n"


def test_without_anndata_one_line_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "peaks.h5ad").touch()  # a missing file would be told before
    monkeypatch.setitem(sys.modules, "anndata", None)
    with pytest.raises(SaeTracksError, match=r"anndata is not installed: pip install 'sae-tracks\[single-cell\]'"):
        cell_deviations(tmp_path / "peaks.h5ad", tmp_path / "atac.h5ad")


@pytest.mark.parametrize(
    "words, status, message",
    [
        ((), 2, "name the rows with one of REGIONS and --genes genes.gtf"),
        (("peaks.bed", "--over", "promoter"), 2, "only --genes has genes: leave out --over"),
        (("--genes", "g.gtf", "--upstream", "5"), 2, "only --over promoter has a size: leave out --upstream"),
        (("peaks.bed", "-r", "chr1:200-210"), 1, "no region of peaks.bed lies whole in the regions that are read"),
        (("g.gtf",), 1, "g.gtf is a table of genes, whose rows are their parts"),
        (("no.bed",), 1, "no file no.bed"),
    ],
)
def test_what_cannot_be_done_is_one_line(project, words, status, message):
    done = run(*WORDS, *words, *MORE, "-o", "x.h5ad", cwd=project)
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.splitlines()[-1].startswith("error: ") and message in done.stderr
    assert not (project / "x.h5ad").exists()
