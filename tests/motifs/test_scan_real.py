"""Motif sites of real human sequence: UCSC's JASPAR track, and a scan made elsewhere by its rule."""

import numpy as np
import pandas as pd
import pytest
from conftest import shared

from sae_tracks.genome import Genome
from sae_tracks.motifs import Scanner, read_motifs, scan_genome
from sae_tracks.motifs.sites import bed_scores
from sae_tracks.regions import GenomicRegion

pytestmark = [pytest.mark.real, pytest.mark.slow]
CHR1, CHR22 = "hg38.chr1_0-1000000", "hg19.chr22_20000000-21000000"
SITE = ["Start", "End", "Name", "Strand"]


@pytest.fixture(scope="module")
def motifs():
    return read_motifs(shared("data/JASPAR2022_vertebrates.pfm.gz"))


def test_ctcf_sites_are_those_of_the_jaspar_track_at_ucsc(motifs):
    names = ["contig", "start", "end", "tf", "relative", "score", "strand"]
    track = pd.read_csv(shared("data/jaspar_ucsc_format_sample.bed"), sep="\t", header=None, names=names)
    genome = Genome(shared(f"data/{CHR1}.fa.gz"))
    region = GenomicRegion(next(iter(genome.lengths)), 0, 36_221)
    scanner = Scanner([m for m in motifs if m.matrix_id == "MA0139.1"], p=1e-3)
    hits = scanner.scan(genome.sequence(region))
    found = hits.take(np.argsort(hits.start))
    assert found.start.tolist() == track["start"].tolist()
    assert (found.start + 19).tolist() == track["end"].tolist()
    assert ["-+"[int(s > 0)] for s in found.strand] == track["strand"].tolist()
    assert np.abs(np.floor(1000 * found.relative) - track["relative"]).max() <= 1
    assert np.abs(bed_scores(found.minus_log10_p) - track["score"]).max() <= 1


@pytest.mark.parametrize("name", [CHR1, CHR22])
def test_sites_of_all_matrices_are_those_of_another_scan_by_the_rule(motifs, name):
    genome = Genome(shared(f"data/{name}.fa.gz"))
    offset = int(name.split("_")[1].split("-")[0])
    ours = pd.concat(scan_genome(genome, Scanner(motifs)), ignore_index=True)
    names = ["Chromosome", "Start", "End", "Name", "Score", "Strand", "TF"]
    theirs = pd.read_csv(shared(f"data/JASPARscan.{name}.JASPAR2022.p1e-4.bed.gz"), sep="\t", header=None, names=names)
    ours = ours.astype({"Name": str, "Strand": str}).assign(Start=ours["Start"] + offset, End=ours["End"] + offset)
    both = ours.merge(theirs, on=SITE, how="outer", indicator=True, validate="one_to_one")
    shared_sites = both[both["_merge"] == "both"]
    assert len(shared_sites) / len(both) >= 0.999
    assert (shared_sites["Score_x"] - shared_sites["Score_y"]).abs().le(1).mean() > 0.9999
