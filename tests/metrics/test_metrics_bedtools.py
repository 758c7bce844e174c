"""Scores of two BED files against what bedtools says of them."""

import shutil
import subprocess
from itertools import product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toy import random_dna, write_fasta

from sae_tracks.genome import Genome
from sae_tracks.metrics import count_bed, evaluate_on, scores

pytestmark = pytest.mark.skipif(shutil.which("bedtools") is None, reason="needs bedtools")
LENGTHS = {"chr1": 300, "chr2": 120}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bedtools")
    write_fasta(folder / "g.fa", **{name: random_dna(n, seed=n) for name, n in LENGTHS.items()})
    return folder


@st.composite
def beds(draw, names, strands):
    """Rows of a BED6 file; intervals of one name overlap, touch, and lie at the first and last base."""
    rows = []
    for _ in range(draw(st.integers(1, 25))):
        contig = draw(st.sampled_from(list(LENGTHS)))
        start = draw(st.integers(0, LENGTHS[contig] - 1))
        end = min(start + draw(st.integers(1, 40)), LENGTHS[contig])
        rows.append((contig, start, end, draw(st.sampled_from(names)), 0, draw(st.sampled_from(strands))))
    return sorted(rows)


def write(path, rows):
    path.write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))


def bedtools(folder, *words):
    done = subprocess.run(["bedtools", *words], cwd=folder, capture_output=True, text=True, check=True)
    return [line.split("\t") for line in done.stdout.splitlines()]


def bases(rows):
    return sum(int(row[2]) - int(row[1]) for row in rows)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ours=beds(["peak one", "f7", "x"], "+-."), theirs=beds(["exon", "CDS"], "+."))
def test_scores_of_two_files_equal_bedtools_intersect_and_jaccard(folder, ours, theirs):
    write(folder / "a.bed", ours)
    write(folder / "b.bed", theirs)
    evaluation = evaluate_on(Genome(folder / "g.fa"), [folder / "b.bed"], min_instances=1, split=False)
    table = scores(count_bed(folder / "a.bed", evaluation), all_pairs=True)
    found = {(row.feature, row.read_strand, row.concept, row.site_strand): row for row in table.itertuples()}
    groups = [sorted({row[3::2] for row in rows}) for rows in (ours, theirs)]
    expected = 0
    for one, other in product(*groups):
        for name, rows, group in (("one", ours, one), ("other", theirs, other)):
            write(folder / f"{name}.bed", [row for row in rows if row[3::2] == group])
            write(folder / f"{name}.merged.bed", bedtools(folder, "merge", "-i", f"{name}.bed"))
        shared = bases(bedtools(folder, "intersect", "-a", "one.merged.bed", "-b", "other.merged.bed"))
        row = found.get((*one, *other))
        assert (row is not None) == (shared > 0)
        if row is None:
            continue
        expected += 1
        active, labelled = (bases(bedtools(folder, "merge", "-i", f"{name}.bed")) for name in ("one", "other"))
        assert (row.tp, row.fp, row.fn) == (shared, active - shared, labelled - shared)
        hit = bedtools(folder, "intersect", "-u", "-a", "other.bed", "-b", "one.bed")
        assert row.instances_hit == len(hit)
        assert row.instances == sum(each[3::2] == other for each in theirs)
        _, jaccard = bedtools(folder, "jaccard", "-a", "one.bed", "-b", "other.bed")
        assert [row.tp, row.tp + row.fp + row.fn] == [int(n) for n in jaccard[:2]]
        assert row.tp / (row.tp + row.fp + row.fn) == pytest.approx(float(jaccard[2]), abs=1e-5)
    assert sum(row.concept not in set("ACGT") for row in table.itertuples()) == expected


def test_a_file_of_three_columns_is_one_feature_called_by_its_name(folder):
    (folder / "mine.bed").write_text("chr1\t10\t20\nchr1\t15\t30\n")
    (folder / "b.bed").write_text("chr1\t12\t14\nchr1\t29\t31\nchr2\t0\t5\n")
    evaluation = evaluate_on(Genome(folder / "g.fa"), [folder / "b.bed"], min_instances=1, split=False)
    table = scores(count_bed(folder / "mine.bed", evaluation), all_pairs=True)
    (row,) = table[table["concept"] == "b"].itertuples()
    assert (row.feature, row.read_strand, row.site_strand) == ("mine", ".", ".")
    assert (row.tp, row.fp, row.fn, row.instances, row.instances_hit) == (3, 17, 6, 3, 2)
