"""BED against a walk along the bigWig's values, and against bedtools."""

import shutil
import subprocess

import numpy as np
import pysam
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from track_oracle import FEATURES, any_readable, genomes, mirrored, read_back, regions_of, spans, toy_source, walk

from sae_tracks.errors import SaeTracksError
from sae_tracks.json_file import read_json
from sae_tracks.tracks import write_bed, write_bigwigs
from sae_tracks.tracks.bed import scores
from sae_tracks.tracks.folder import track_name

A, PLACE = 0, 4  # features of the toy model: "is A", and the number of bases read before over 1,000
RECORDS = {"z": "ACCCA" * 30 + "N" * 3 + "R" + "GGGA" * 20, "gap": "N" * 150, "b": "TTTA"}


def rows(path):
    return [line.split("\t") for line in path.read_text().splitlines()]


@given(genomes(), spans(), st.sampled_from([0, 0.004, 0.0115, 0.15, 1]), st.sampled_from(["max", "raw"]))
@settings(max_examples=15, deadline=None)
def test_bed_is_the_thresholding_of_the_bigwigs(records, drawn, threshold, scale):
    regions = regions_of(records, drawn)
    assume(any_readable(records, regions))
    with toy_source(records, regions, ["+", "-"]) as (source, folder):
        source.sae.stats["max"] = np.float32([1, 1, 0.5, 0, 0.02, 3])
        write_bed(source, FEATURES, folder / "f.bed", threshold, scale)
        write_bigwigs(source, FEATURES, folder)
        assert rows(folder / "f.bed") == expected_rows(source, folder, threshold, scale)


def expected_rows(source, folder, threshold, scale):
    maxima, found = source.sae.maxima(), []
    for rank, contig in enumerate(source.genome.lengths):
        for feature, strand in [(feature, strand) for feature in FEATURES for strand in "+-"]:
            cutoff = np.float32(threshold) * (maxima[feature] if scale == "max" else np.float32(1))
            if scale == "max" and maxima[feature] == 0:
                cutoff = np.inf
            for start, end, best in walk(read_back(folder / f"{track_name(feature, strand, '+-')}.bw", contig), cutoff):
                score = 1000 if maxima[feature] == 0 else min(round(1000 * best / float(maxima[feature])), 1000)
                found.append((rank, start, end, feature, strand, contig, score))
    return [
        [contig, str(start), str(end), f"f{feature}", str(score), strand]
        for _, start, end, feature, strand, contig, score in sorted(found)
    ]


def test_intervals_lie_where_they_should_at_the_ends_of_contigs():
    with toy_source({"c": "AACGA", "d": "ACA"}) as (source, folder):
        assert write_bed(source, [A], folder / "f.bed") == 4
        assert (folder / "f.bed").read_text() == (
            "c\t0\t2\tf0\t1000\t+\nc\t4\t5\tf0\t1000\t+\nd\t0\t1\tf0\t1000\t+\nd\t2\t3\tf0\t1000\t+\n"
        )


def test_the_minus_read_is_the_mirrored_plus_read_of_the_reverse_complement():
    with (
        toy_source(RECORDS, strands=["-"]) as (source, folder),
        toy_source(mirrored(RECORDS)) as (other, other_folder),
    ):
        write_bed(source, [A, PLACE], folder / "f.bed", 0.01, "raw")
        write_bed(other, [A, PLACE], other_folder / "f.bed", 0.01, "raw")
        minus = sorted((c, int(s), int(e), name, score) for c, s, e, name, score, _ in rows(folder / "f.bed"))
        plus = rows(other_folder / "f.bed")
        length = {contig: len(sequence) for contig, sequence in RECORDS.items()}
        assert minus and minus == sorted(
            (c, length[c] - int(e), length[c] - int(s), name, score) for c, s, e, name, score, _ in plus
        )


def test_stdout_has_the_rows_and_nothing_else(capsys):
    with toy_source(RECORDS) as (source, folder):
        count = write_bed(source, [A], folder / "f.bed")
        assert write_bed(source, [A], "-") == count
        assert capsys.readouterr().out == (folder / "f.bed").read_text()


def test_gz_is_bgzip_of_the_same_rows():
    with toy_source(RECORDS) as (source, folder):
        write_bed(source, [A], folder / "f.bed")
        write_bed(source, [A], folder / "g.bed.gz")
        with pysam.BGZFile(str(folder / "g.bed.gz")) as file:
            assert file.read().decode() == (folder / "f.bed").read_text()
        names = {path.name for path in folder.glob("g.*")}
        assert names == {"g.bed.gz", "g.bed.gz.tbi", "g.bed.gz.provenance.json"}
        with pysam.TabixFile(str(folder / "g.bed.gz")) as file:
            found = [row for contig in file.contigs for row in file.fetch(contig)]
            assert file.contigs == ["z", "b"][: len(file.contigs)]
            assert found == (folder / "f.bed").read_text().splitlines()


def test_the_record_lies_beside_the_file():
    with toy_source(RECORDS) as (source, folder):
        write_bed(source, [A], folder / "out" / "f.bed", 0.25)
        record = read_json(folder / "out" / "f.bed.provenance.json")
        assert (record["features"], record["threshold"], record["scale"]) == ([A], 0.25, "max")
        assert len(list((folder / "out").iterdir())) == 2


def test_without_maxima_only_a_raw_threshold_works_and_the_score_is_0():
    with toy_source({"c": "ACA"}) as (source, folder):
        source.sae.stats = None
        with pytest.raises(SaeTracksError, match="--scale raw"):
            write_bed(source, [A], folder / "f.bed")
        assert not source.lm.reads and not (folder / "f.bed").exists()
        write_bed(source, [A], folder / "f.bed", 0.5, "raw")
        assert rows(folder / "f.bed")[0] == ["c", "0", "1", "f0", "0", "+"]


def test_scores_are_rounded_and_end_at_1000():
    values = np.float32([0, 0.0004, 0.0006, 0.5, 0.9996, 1, 7])
    assert scores(values, 1.0).tolist() == [0, 0, 1, 500, 1000, 1000, 1000]
    assert scores(values[1:], 0.0).tolist() == [1000] * 6


def test_an_error_while_reading_leaves_no_file():
    with toy_source(RECORDS) as (source, folder):
        source.lm.max_length = 5  # the toy model fails on longer windows
        with pytest.raises(SaeTracksError, match="one-hot cannot read"):
            write_bed(source, [A], folder / "out" / "f.bed")
        assert not list((folder / "out").iterdir())


@pytest.mark.skipif(shutil.which("bedtools") is None, reason="needs bedtools")
def test_bedtools_finds_the_order_right_and_the_intervals_merged():
    with toy_source(RECORDS, strands=["+", "-"]) as (source, folder):
        bed, one, sizes = folder / "f.bed", folder / "one.bed", folder / "genome.txt"
        write_bed(source, FEATURES, bed, 0, "raw")
        sizes.write_text("".join(f"{name}\t{length}\n" for name, length in source.genome.lengths.items()))
        assert columns(bedtools("sort", "-g", sizes, "-i", bed), 2) == columns(bed.read_text(), 2)
        assert bedtools("merge", "-i", bed)
        source.read_strands = ["+"]
        write_bed(source, [A], one)
        assert columns(bedtools("merge", "-d", "-1", "-i", one), 3) == columns(one.read_text(), 3)


def bedtools(*arguments):
    command = ["bedtools", *(str(argument) for argument in arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def columns(text, count):
    return [line.split("\t")[:count] for line in text.splitlines()]
