"""A small run of the whole path on real human sequence, through the command line, in true coordinates."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pybigtools
import pytest
from conftest import shared

from sae_tracks.genome import Genome
from sae_tracks.regions import GenomicRegion

pytestmark = [pytest.mark.real, pytest.mark.slow]
REGION = GenomicRegion("chr22", 20_100_000, 20_300_000)
SITES = "data/JASPARscan.hg19.chr22_20000000-21000000.JASPAR2022.p1e-4.bed.gz"


def run(*words):
    out = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, check=False)
    assert out.returncode == 0, out.stderr
    return out.stdout


def sae_tracks(*words):
    return run("-m", "sae_tracks", *words)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Placed genome, SAE, scores and tracks."""
    out = tmp_path_factory.mktemp("real")
    place = Path(__file__).parents[2] / "examples" / "place_regions.py"
    chr20 = shared("data/hg19.chr20_9995000-11095000.fa.gz")
    chr22 = shared("data/hg19.chr22_20000000-21000000.fa.gz")
    placements = [f"chr20={chr20}:chr20_9995000_11095000:9995000", f"chr22={chr22}:chr22_20000000_21000000:20000000"]
    run(place, out / "g.fa.gz", out / "placed.bed", *placements)
    sae_tracks("extract", "demo", out / "g.fa.gz", "-r", "chr20", "-n", 40, "-o", out / "act")
    sae_tracks("shuffle", out / "act", "-o", out / "shuffled")
    sae_tracks("train", out / "shuffled", "-o", out / "sae", "--expansion", 4, "--tokens", 400_000)
    source = (out / "sae", out / "g.fa.gz")
    sae_tracks("metrics", *source, shared(SITES), "-r", REGION, "-o", out / "metrics")
    sae_tracks("export-bigwig", *source, "-r", REGION, "-f", best(out, "C"), "-o", out / "tracks")
    sae_tracks("export-bed", *source, "-r", REGION, "-f", best(out, "C"), "-t", 0, "-o", out / "c.bed")
    return out


def table(out):
    return pd.read_csv(out / "metrics" / "metrics.tsv", sep="\t")


def best(out, concept):
    rows = table(out)
    return rows[rows["concept"] == concept]["feature"].iloc[0][1:]


def test_nucleotides_are_found_and_sites_are_counted_where_they_lie(folder):
    rows = table(folder).set_index(["concept", "site_strand"])
    assert rows.loc[[(b, "+") for b in "ACGT"], "f1"].min() > 0.5
    genome = Genome(folder / "g.fa.gz")
    report = b"".join(  # odd blocks of 100 kb
        genome.sequence(GenomicRegion("chr22", start, start + 100_000))
        for start in range(20_100_000, 20_300_000, 200_000)
    )
    for base in "ACGT":
        assert rows.loc[(base, "+"), "instances"] == report.count(base.encode())
    sites = pd.read_csv(shared(SITES), sep="\t", header=None)
    ctcf = sites[(sites[3] == "MA0139.1") & (sites[5] == "+") & sites[1].between(20_100_000, 20_199_999)]
    assert rows.loc[("MA0139.1", "+"), "instances"] == len(ctcf) > 0


def test_tracks_lie_at_true_coordinates_and_mark_cytosines(folder):
    genome, feature = Genome(folder / "g.fa.gz"), best(folder, "C")
    bigwig = pybigtools.open(str(folder / "tracks" / f"f{feature}.bw"))
    values = bigwig.values("chr22", REGION.start, REGION.end, fillna=None)
    sequence = genome.sequence(REGION)
    assert bigwig.chroms("chr22") == 21_000_000
    on = [letter for letter, value in zip(sequence.decode(), values) if value > 0]
    assert on.count("C") / len(on) > 0.6
    assert pd.isna(bigwig.values("chr22", REGION.start - 10, REGION.start, fillna=None)).all()


def test_the_bed_scores_as_the_features_do(folder):
    bed = folder / "c.bed"
    sae_tracks(
        "metrics", "--bed", bed, folder / "g.fa.gz", shared(SITES), "-r", REGION, "-t", 0, "-o", folder / "bed-metrics"
    )
    stream = pd.read_parquet(folder / "metrics" / "metrics.parquet")
    intervals = pd.read_parquet(folder / "bed-metrics" / "metrics.parquet")
    key = ["concept", "site_strand", "feature"]
    both = intervals.merge(stream[stream["threshold"] == 0], on=key, suffixes=("", "_stream"))
    assert len(both) > 3
    for column in ("instances", "tp", "fp", "fn", "f1", "select_f1"):
        pd.testing.assert_series_equal(both[column], both[f"{column}_stream"], check_names=False)
