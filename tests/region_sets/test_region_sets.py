"""Sets of regions: their file, their order, and sums of features against dense arrays."""

import gzip
import logging
import shutil
import subprocess

import numpy as np
import pytest
from annotation_files import stated_genome, write
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from region_sets import as_set
from toy import random_dna, write_fasta
from track_oracle import FEATURES, activations, any_readable, genomes, recut, regions_of, spans, toy_source

from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome
from sae_tracks.region_sets.regions import RegionSet, read_region_set
from sae_tracks.region_sets.sums import RegionSums, region_rows
from sae_tracks.regions import GenomicRegion

CUTOFFS = np.float32([0, 0.5, 1, 0.5, 0.01, np.inf])
PEAK = ("chr2\t10\t20\tpeak7\t5\t.\t1.5\t-1\t-1\t4", "chr1\t0\t9\t.\t5\t.\t1.5\t-1\t-1\t4")


def rows_of(regions: RegionSet) -> list[tuple]:
    return list(regions.table.itertuples(index=False, name=None))


def test_regions_come_in_the_order_of_the_fasta_and_know_their_row(tmp_path):
    genome = stated_genome(tmp_path, chr2=100, chr10=100, chr1=100)
    lines = [
        "chr1\t5\t9\tb\t0\t-",
        "chr2\t7\t8\td\t0\t+",
        "chr2\t1\t100\te\t0\t.",
        "chr2\t1\t9\tf\t0\t.",
        "chr1\t5\t9\ta\t0\t+",
    ]
    found = read_region_set(write(tmp_path, "r.bed", "# a comment", *lines), genome)
    assert rows_of(found) == [
        ("chr2", 1, 9, "f", ".", 3),
        ("chr2", 1, 100, "e", ".", 2),
        ("chr2", 7, 8, "d", "+", 1),
        ("chr1", 5, 9, "b", "-", 0),
        ("chr1", 5, 9, "a", "+", 4),
    ]
    assert found.source == "r.bed"
    assert list(found.table["Chromosome"].cat.categories) == ["chr2", "chr1"]
    assert found.regions()[0] == GenomicRegion("chr2", 1, 9)


@pytest.mark.parametrize(
    "name, lines, names",
    [
        ("r.bed", ["chr1\t0\t9", "chr1\t2\t9"], ["", ""]),
        ("r.bed", ["chr1\t0\t9\t.", "chr1\t2\t9\tx"], ["", "x"]),
        ("r.narrowPeak", PEAK, ["peak7", ""]),
        ("r.bed", ["#chrom\tstart\tend\tgene", "chr1\t0\t9\tABC"], ["ABC"]),
        ("r.bed", ["#chrom\tstart\tend\tscore\tname", "chr1\t0\t9\t5\tx"], ["x"]),
        ("r.bed", ["#chrom\tstart\tend\tscore\tstrand", "chr1\t0\t9\t5\t+"], [""]),
    ],
)
def test_a_region_has_its_own_name_or_none(tmp_path, name, lines, names):
    genome = stated_genome(tmp_path, chr2=100, chr1=100)
    assert read_region_set(write(tmp_path, name, *lines), genome).table["Name"].tolist() == names


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            ["chr1\t3\t4", "chr1\t9\t10"],
            "r.bed: 2 regions of one base, and only this base is measured; to widen a BED: ",
        ),
        (["chr1\t3\t4", "chr1\t9\t10", "chr1\t20\t30"], "2 regions of one base"),
        (["chr1\t3\t4", "chr1\t9\t11"], ""),
    ],
)
def test_single_bases_are_told_how_to_be_widened(tmp_path, caplog, rows, said):
    genome = Genome(write_fasta(tmp_path / "g.fa", chr1=random_dna(500)))
    path = write(tmp_path, "r.bed", *rows)
    read_region_set(path, genome)
    assert len(caplog.messages) == bool(said) and all(said in message for message in caplog.messages)
    if said:
        command = caplog.messages[0].split("widen a BED: ")[1].split()
        assert command == ["bedtools", "slop", "-i", str(path), "-g", f"{tmp_path}/g.fa.fai", "-b", "100"]
        genome.index()  # the .fai is there
        if shutil.which("bedtools"):
            wide = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            assert wide.startswith("chr1\t0\t104\nchr1\t0\t110\n")


def test_gzip_and_other_names_of_contigs_are_read_and_unknown_contigs_left_out(tmp_path, caplog):
    genome = stated_genome(tmp_path, chr1=100)
    path = tmp_path / "r.bed.gz"
    path.write_bytes(gzip.compress(b"1\t3\t5\nscaffold\t3\t5\n1\t1\t2\n"))
    with caplog.at_level(logging.INFO):
        found = read_region_set(path, genome, alias="ucsc")
    assert rows_of(found) == [("chr1", 1, 2, "", ".", 2), ("chr1", 3, 5, "", ".", 0)]
    assert "1 row on 1 contig that g.fa does not have is left out" in caplog.text


@pytest.mark.parametrize(
    "line, message",
    [
        ("chr1\t5\t5", "line 2: start 5 is not before end 5"),
        ("chr1\t90\t101", "line 2: end 101 is past chr1, which has 100 bases"),
        ("chr1\t-1\t5", "line 2: start '-1' is not a whole number"),
    ],
)
def test_an_empty_region_and_one_that_leaves_its_contig_are_refused(tmp_path, line, message):
    with pytest.raises(SaeTracksError, match=message):
        read_region_set(write(tmp_path, "r.bed", "chr1\t0\t100", line), stated_genome(tmp_path, chr1=100))


def test_other_contigs_and_genes_are_refused(tmp_path):
    genome = stated_genome(tmp_path, chr1=100)
    with pytest.raises(SaeTracksError, match=r"no contig of r\.bed is in g\.fa"):
        read_region_set(write(tmp_path, "r.bed", "chrZ\t1\t5"), genome)
    gene = 'chr1\tx\texon\t1\t5\t.\t+\t.\ttranscript_id "t"'
    with pytest.raises(SaeTracksError, match=r"g\.gtf is a table of genes"):
        read_region_set(write(tmp_path, "g.gtf", gene), genome)


def test_regions_that_are_not_whole_inside_of_others_are_left_out(caplog):
    spans = [(0, 4), (0, 5), (3, 6), (4, 5), (10, 20), (10, 21), (9, 12)]
    found = as_set([GenomicRegion("a", *span) for span in spans] + [GenomicRegion("b", 0, 2)], {"a": 50, "b": 9})
    inside = found.inside([GenomicRegion("a", 0, 5), GenomicRegion("a", 10, 20)])
    assert [(start, end) for _, start, end, *_ in rows_of(inside)] == [(0, 4), (0, 5), (4, 5), (10, 20)]
    assert "4 regions of drawn.bed are left out" in caplog.text
    with pytest.raises(SaeTracksError, match=r"no region of drawn\.bed lies whole"):
        found.inside([GenomicRegion("b", 1, 9)])


def joined(parts):
    """Everything of some `RegionRows`, region by region: readable bases, and the entries."""
    found = []
    for part in parts:
        assert part.first == len(found)
        for i, readable in enumerate(part.readable.tolist()):
            held = slice(part.indptr[i], part.indptr[i + 1])
            columns = part.feature[held], part.total[held], part.maximum[held], part.active[held]
            found.append((readable, list(zip(*(column.tolist() for column in columns)))))
    return found


def expected(source, regions: RegionSet, strand):
    """The same, from every activation as a dense array, base by base."""
    dense, found = activations(source), []
    for region in regions.regions():
        columns = {f: dense[f, strand][region.contig][region.start : region.end] for f in FEATURES}
        entries = []
        for feature, values in columns.items():
            readable = values[~np.isnan(values)]
            if (readable > 0).any():
                total = np.float64(0)
                for value in readable:
                    total += value
                entries.append((feature, total, readable.max(), int((np.float32(readable) > CUTOFFS[feature]).sum())))
        found.append((int((~np.isnan(columns[0])).sum()), entries))
    return found


@given(genomes(), spans(), spans(), st.sampled_from("+-"), st.integers(1, 40))
@settings(max_examples=40)
def test_sums_are_those_of_dense_arrays_whatever_the_cuts(records, drawn, more, strand, pieces):
    places = (regions_of(records, drawn) or []) + (regions_of(records, more) or [])
    places = places or [GenomicRegion(name, 0, len(text)) for name, text in records.items()]
    assume(any_readable(records, places))
    with toy_source(records, None, ["+", "-"]) as (source, _):
        regions = as_set(places, source.genome.lengths)
        found = joined(region_rows(source, regions, CUTOFFS, read_strand=strand))
        assert found == expected(source, regions, strand)
        sums, parts = RegionSums(regions, source.genome.lengths, CUTOFFS), []
        for block in recut((b for b in source.blocks() if b.read_strand == strand), pieces):
            sums.add(block)
            parts.append(sums.complete())
        parts.append(sums.rest())
        assert joined(part for part in parts if len(part)) == found


def test_a_region_is_given_back_when_its_last_base_has_come_and_those_before_it():
    with toy_source({"a": random_dna(100), "b": random_dna(50)}) as (source, _):
        spans = [("a", 0, 10), ("a", 2, 60), ("a", 5, 8), ("a", 70, 100), ("b", 0, 1)]
        regions = as_set([GenomicRegion(*span) for span in spans], source.genome.lengths)
        sums, given = RegionSums(regions, source.genome.lengths, CUTOFFS), []
        for block in recut(source.blocks(), 5):
            sums.add(block)
            given.append((block.region.contig, block.region.end, len(sums.complete())))
    assert [one for one in given if one[2]] == [("a", 10, 1), ("a", 60, 2), ("a", 100, 1), ("b", 5, 1)]
    assert len(sums.rest()) == 0


def test_regions_in_unread_stretches_have_no_readable_base():
    text = random_dna(40) + "N" * 120 + random_dna(40, seed=1)
    with toy_source({"n": "N" * 150, "a": text, "z": "N" * 150}) as (source, _):
        spans = [("n", 0, 9), ("a", 30, 50), ("a", 60, 70), ("a", 150, 170), ("a", 199, 200), ("z", 3, 9)]
        regions = as_set([GenomicRegion(*span) for span in spans], source.genome.lengths)
        found = joined(region_rows(source, regions, CUTOFFS))
        assert found == expected(source, regions, "+")
    assert [readable for readable, _ in found] == [0, 10, 0, 10, 1, 0]


def test_some_features_alone_have_the_same_sums():
    with toy_source({"a": random_dna(100)}) as (source, _):
        regions = as_set([GenomicRegion("a", 3, 60), GenomicRegion("a", 50, 100)], source.genome.lengths)
        whole = joined(region_rows(source, regions, CUTOFFS))
        some = joined(region_rows(source, regions, CUTOFFS, features=[4, 1]))
    assert some == [(readable, [one for one in row if one[0] in (1, 4)]) for readable, row in whole]
