"""The demo on yeast: its files are those of the sources that data/README.md names, and its results open everywhere."""

import gzip
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import shared

from sae_tracks.annotations import read_annotation
from sae_tracks.browsers.check import check_hub
from sae_tracks.controls.verdict import OUTCOMES
from sae_tracks.demo import yeast
from sae_tracks.demo.figure import read_genes
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import bundled
from sae_tracks.genome import Genome
from sae_tracks.motifs import read_motifs
from sae_tracks.regions import GenomicRegion
from sae_tracks.report import view_site

DATA = bundled("yeast-genome")
CONTIGS = {"XIII": "chrXIII", "XVI": "chrXVI"}


def rows(path):
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        return [line.rstrip("\n").split("\t") for line in lines if not line.startswith("#")]


def test_the_chromosomes_are_those_of_the_whole_genome():
    with gzip.open(shared("data/yeast/Saccharomyces_cerevisiae.R64-1-1.dna.toplevel.fa.gz"), "rt") as lines:
        parts = lines.read().split(">")[1:]
    whole = {part.split()[0]: "".join(part.split("\n")[1:]) for part in parts}
    genome = Genome(DATA / "yeast.fa.gz")
    assert list(genome.lengths) == list(CONTIGS.values())
    for theirs, ours in CONTIGS.items():
        assert genome.sequence(GenomicRegion(ours, 0, genome.lengths[ours])).decode() == whole[theirs]


def test_the_genes_are_those_of_ensembl():
    theirs = rows(shared("data/yeast/Saccharomyces_cerevisiae.R64-1-1.96.gtf.gz"))
    assert rows(DATA / "genes.gtf.gz") == [[CONTIGS[row[0]], *row[1:]] for row in theirs if row[0] in CONTIGS]


def test_the_genes_to_look_at_are_those_of_the_gtf():
    genes = [row for row in rows(DATA / "genes.gtf.gz") if row[2] == "gene"]
    assert len(genes) > 1000
    names = [dict(re.findall(r'(\w+) "([^"]*)"', row[8])) for row in genes]
    spans = [
        (row[0], int(row[3]) - 1, int(row[4]), name.get("gene_name", name["gene_id"]), row[6])
        for row, name in zip(genes, names)
    ]
    found = [(row[0], int(row[1]), int(row[2]), row[3], row[5]) for row in rows(DATA / "genes.bed")]
    assert found == sorted(spans, key=lambda row: row[:3])


def test_the_elements_are_those_of_sgd():
    genome = Genome(DATA / "yeast.fa.gz")
    kinds = {row[3] for row in rows(DATA / "elements.bed")}
    sgd = read_annotation(shared("data/yeast/SGD_features_170331.tab.gz"), genome, alias="ucsc").sites
    sgd = sgd[sgd["Name"].isin(kinds)]
    columns = ["Chromosome", "Start", "End", "Name", "Strand"]
    theirs = sorted(tuple(row) for row in sgd[columns].astype(str).itertuples(index=False))
    assert sorted((*row[:4], row[5]) for row in rows(DATA / "elements.bed")) == theirs
    assert set(yeast.REPEATS) < kinds


def test_the_motifs_are_the_matrices_of_fungi():
    with gzip.open(shared("data/jaspar2024_core.transfac.gz"), "rt") as file:
        records = [record for record in file.read().split("//\n") if "tax_group:fungi" in record]
    motifs = {motif.matrix_id: motif for motif in read_motifs(DATA / "motifs.jaspar")}
    assert len(motifs) == len(records)
    for record in records:
        counts = [row.split("\t")[1:5] for row in record.split("\n") if re.match(r"\d+\t", row)]
        motif = motifs[re.search(r"AC (\S+)", record)[1]]
        assert motif.tf == re.search(r"ID (\S+)", record)[1]
        assert np.allclose(motif.counts, np.array(counts, float), rtol=1e-5)
    assert set(yeast.MATRICES) <= set(motifs)


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The demo on 75 kb, with a twentieth of the training; too little to support anything."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yeast, "SCORE_ON", "chrXVI:265,001-340,000")
        patch.setattr(yeast, "SHOWN", yeast.GENES)
        patch.setattr(yeast, "LEARNING", replace(yeast.LEARNING, windows=40, epochs=1))
        patch.setattr(yeast, "UNTRAINED", ("random",))
        patch.setattr(yeast, "DECOYS", 5)
        patch.setattr(yeast, "LEAST_SUPPORTED", 0)
        out = tmp_path_factory.mktemp("demo") / "demo"
        yeast.run_yeast(out, seed=1)
        with pytest.raises(SaeTracksError, match="is not empty"):
            yeast.run_yeast(out)
    return out


def test_genes_motifs_and_repeats_are_scored_beside_untrained_models(made):
    table = pd.read_csv(made / "metrics" / "metrics.tsv", sep="\t", keep_default_na=False)
    assert {"CDS", "CDS:1", "CDS:2", "CDS:3", "start_codon", "stop_codon", "intergenic"} <= set(table["concept"])
    assert set(table["tf"]) > {"", "SPT15"}
    tests = set(",".join(table["untested"]).split(","))
    assert not {"untrained", "dimension", "local-sequence"} & tests
    assert (table["untrained_ap"] != "").any() and (table["repeat_share"] != "").any()


def test_the_results_open_as_a_page_a_hub_and_a_session(made):
    site = view_site(made, None, None, (), None)
    assert site is not None
    assert (made / "tracks" / "session.xml").is_file()
    assert not [problem for problem in check_hub(made / "tracks" / "hub.txt") if problem.error]
    for name in ("genes.png", "scores.png"):
        assert (made / "figures" / name).read_bytes().startswith(b"\x89PNG")


TABLE = pd.DataFrame(
    {
        "concept": ["CDS", "CDS", "CDS:3", "A", "MA0386.2", "MA0386.2"],
        "tf": ["", "", "", "", "SPT15", "SPT15"],
        "site_strand": ["+", "-", "+", ".", "+", "-"],
        "feature": ["f1", "f2", "f3", "f4", "f5", "f5"],
        "f1": [0.5, 0.4, 0.9, 0.5, 0.2, 0.1],
        "site_average_precision": [0.8, 0.7, 0.9, 0.5, 0.2, 0.1],
        "site_ap_low": [0.7, 0.6, 0.8, 0.4, 0.1, 0.0],
        "site_ap_high": [0.9, 0.8, 1.0, 0.6, 0.3, 0.2],
        "best_rival": ["dimension +1", "dimension +2", "k-mer A", "k-mer A", "k-mer TATA", "k-mer TATA"],
        "effect": [0.1, -0.1, 0.5, -0.5, 0.0, 0.0],
        "verdict": ["supported", "dimension", "supported", "local-sequence", "word", "word"],
    }
)


def test_the_last_lines_tell_each_match_once_with_its_verdict(made):
    class OfSae:
        d_sae, metadata = 8, {"maxima": {"l0": 2.0, "fvu": 0.1}}

    class OfSource:
        sae = OfSae()

    lines = list(yeast.summary(TABLE, OfSource(), made, 60.0))
    heads = [head for line in lines if (head := line.split(" ")[0].rstrip(",")) in OUTCOMES]
    assert heads == ["supported", "dimension", "local-sequence", "word"]
    at = [lines.index(next(line for line in lines if line.startswith(head))) for head in heads]
    assert "2 of 6 matches" in lines[at[0]]
    assert [line.split()[:3] for line in lines[at[0] + 1 : at[1] - 1]] == [["f3", "CDS:3", "+"], ["f1", "CDS", "+"]]
    assert "average precision 0.90 (0.80 to 1.00); k-mer A 0.40" in lines[at[0] + 1]
    assert lines[at[1] + 1].strip() == "CDS (-)" and lines[at[2] + 1].strip() == "A"
    assert lines[at[3] + 1].strip() == "SPT15's matrix (+, -)"


def test_matches_of_one_feature_stand_together(made):
    table = TABLE.assign(verdict="supported")
    rows = list(yeast._lines(table[table["feature"] == "f5"].to_dict("records")))
    assert [row.split()[:2] for row in rows] == [["f5", "MA0386.2"], ["MA0386.2", "-"]]


@pytest.mark.parametrize(("least", "fails"), [(2, False), (3, True)])
def test_it_fails_if_fewer_features_are_supported_than_it_claims(monkeypatch, least, fails):
    monkeypatch.setattr(yeast, "LEAST_SUPPORTED", least)
    if fails:
        with pytest.raises(SaeTracksError, match=r"2 features have a supported match \(f1, f3\), expected at least 3"):
            yeast.check(TABLE)
    else:
        yeast.check(TABLE)


def test_genes_that_only_overlap_a_region_are_read_too():
    region = GenomicRegion("chrXVI", 312_899, 317_640)
    names = [gene.name for gene in read_genes(DATA / "genes.bed", region)]
    assert names == ["NAN1", "KAP120", "SPC29"]
