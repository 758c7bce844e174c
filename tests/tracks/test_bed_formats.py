"""narrowPeak, bedGraph and bigBed against the bigWig's values, and read by the programs that people use."""

import io
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pandas as pd
import pybigtools
import pyBigWig
import pysam
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from track_oracle import FEATURES, any_readable, genomes, read_back, regions_of, spans, toy_source

from sae_tracks import files as output_module
from sae_tracks.errors import SaeTracksError
from sae_tracks.json_file import read_json
from sae_tracks.tracks import write_bed, write_beds, write_bigwigs
from sae_tracks.tracks.bbi.bigbed import write_bigbed
from sae_tracks.tracks.folder import track_name

A, PLACE = 0, 4  # features of the toy model: "is A", and the number of bases read before over 1,000
RECORDS = {"z": "ACCCA" * 30 + "N" * 3 + "R" + "GGGA" * 20, "gap": "N" * 150, "b": "TTTA"}


def rows(path):
    return [line.split("\t") for line in path.read_text().splitlines()]


def peaks(values, cutoff, gap, least):
    """Start, end, maximum and its first base, walking along the bases."""
    found = []
    for i in np.flatnonzero(values > cutoff).tolist():
        if found and (i - found[-1][1] < gap or i == found[-1][1]):
            start, _, best, at = found.pop()
            found.append((start, i + 1, max(best, values[i]), i if values[i] > best else at))
        else:
            found.append((i, i + 1, values[i], i))
    return [peak for peak in found if peak[1] - peak[0] >= least]


@given(genomes(), spans(), st.sampled_from([0, 0.004, 0.0115]), st.integers(0, 9), st.integers(1, 5))
@settings(max_examples=15, deadline=None)
def test_peaks_are_runs_of_the_bigwigs_joined_and_filtered(records, drawn, threshold, gap, least):
    regions = regions_of(records, drawn)
    assume(any_readable(records, regions))
    with toy_source(records, regions, ["+", "-"]) as (source, folder):
        how = {"form": "narrowpeak", "merge_gap": gap, "min_length": least}
        count = write_bed(source, FEATURES, folder / "f.narrowPeak", threshold, "raw", **how)
        write_bigwigs(source, FEATURES, folder)
        expected = []
        for rank, contig in enumerate(source.genome.lengths):
            for feature, strand in [(feature, strand) for feature in FEATURES for strand in "+-"]:
                values = read_back(folder / f"{track_name(feature, strand, '+-')}.bw", contig)
                for start, end, best, at in peaks(values, np.float32(threshold), gap, least):
                    expected.append((rank, start, end, feature, strand, contig, best, at - start))
        found = rows(folder / "f.narrowPeak")
        assert count == len(found) == len(expected)
        for row, (_, start, end, feature, strand, contig, best, peak) in zip(found, sorted(expected)):
            assert row[:4] == [contig, str(start), str(end), f"f{feature}"]
            assert [row[5], *row[7:]] == [strand, "-1", "-1", str(peak)]
            assert np.float32(row[6]) == np.float32(best)


def test_bedgraph_has_the_values_above_the_threshold():
    with toy_source(RECORDS) as (source, folder):
        write_bed(source, [PLACE], folder / "f.bedGraph", 0.0115, "raw", form="bedgraph")
        (path,) = write_bigwigs(source, [PLACE], folder)
        painted = {contig: np.full(length, np.nan) for contig, length in source.genome.lengths.items()}
        for contig, start, end, value in rows(folder / "f.bedGraph"):
            painted[contig][int(start) : int(end)] = np.float32(value)
        for contig, values in painted.items():
            expected = read_back(path, contig)
            expected[~(expected > np.float32(0.0115))] = np.nan
            np.testing.assert_array_equal(values, expected)
        assert rows(folder / "f.bedGraph")


def test_bigbed_has_the_rows_of_the_narrowpeak_and_says_what_its_columns_are():
    with toy_source(RECORDS, strands=["+", "-"]) as (source, folder):
        write_bed(source, FEATURES, folder / "f.narrowPeak", 0.004, "raw", form="narrowpeak")
        count = write_bed(source, FEATURES, folder / "f.bb", 0.004, "raw", form="bigbed")
        text = rows(folder / "f.narrowPeak")
        assert count == len(text) > 256  # more than a block
        with pybigtools.open(str(folder / "f.bb")) as file:
            assert file.chroms() == source.genome.lengths
            found = [[c, *map(str, record)] for c in source.genome.lengths for record in file.records(c)]
            columns = file.sql(parse=True)["fields"]
            assert len(columns) == len(text[0]) == 10
            depth = {c: np.zeros(n) for c, n in source.genome.lengths.items()}
            for contig, start, end, *_ in text:
                depth[contig][int(start) : int(end)] += 1
            covered = np.concatenate(list(depth.values()))
            summary = file.info()["summary"]
            assert summary["basesCovered"] == np.count_nonzero(covered)
            assert (summary["sum"], summary["max"]) == (covered.sum(), covered.max())
            for start, end, record in file.zoom_records(file.zooms()[0], "z"):
                assert record["sum"] == depth["z"][start:end].sum()
        assert found == text
        with pyBigWig.open(str(folder / "f.bb")) as file:
            assert list(file.chroms().items()) == list(source.genome.lengths.items())
            assert [["z", str(s), str(e), *rest.split("\t")] for s, e, rest in file.entries("z", 0, 230)] == [
                row for row in text if row[0] == "z" and int(row[1]) < 230
            ]


def test_a_bigbed_of_overlapping_intervals_is_searched_by_its_longest_one(tmp_path):
    items = [("c", 0, 5000, "long"), *(("c", 2 * i, 2 * i + 1, f"s{i}") for i in range(1, 2000)), ("d", 3, 4, "x")]
    assert write_bigbed(tmp_path / "x.bb", {"c": 6000, "d": 5}, items, "string a; string b; uint c; string d;", 64)
    with pyBigWig.open(str(tmp_path / "x.bb")) as file:
        assert file.entries("c", 4900, 4901) == [(0, 5000, "long")]
        assert sorted(file.entries("c", 3998, 4000)) == [(0, 5000, "long"), (3998, 3999, "s1999")]


@pytest.mark.parametrize("form, suffix", [("bed6", "bed"), ("narrowpeak", "narrowPeak"), ("bedgraph", "bedgraph")])
def test_a_file_per_track_has_the_rows_of_that_track_in_the_file_of_all(form, suffix):
    joined = {} if form == "bedgraph" else {"merge_gap": 3, "min_length": 2}
    with toy_source(RECORDS, strands=["+", "-"]) as (source, folder):
        paths = write_beds(source, FEATURES, folder / "each", 0.004, "raw", form=form, **joined)
        strands = {"plus": "+", "minus": "-"}
        assert [path.name for path in paths] == [f"f{f}.{s}.{suffix}" for s in strands for f in FEATURES]
        for path in paths:
            feature, strand, _ = path.name.split(".")
            alone = replace(source, read_strands=[strands[strand]])
            write_bed(alone, [int(feature[1:])], folder / "one", 0.004, "raw", form=form, **joined)
            assert path.read_bytes() == (folder / "one").read_bytes()
        facts = read_json(folder / "each" / "intervals.provenance.json")
        assert (facts["format"], facts["features"]) == (form, list(FEATURES))
        assert not list((folder / "each").glob(".spool-*"))
        with pytest.raises(SaeTracksError, match="write_bed writes a bigBed"):
            write_beds(source, [0], folder / "each", form="bigbed")


@pytest.mark.parametrize(
    "out, features, how, message",
    [
        ("f.bg", [0, 1], {"form": "bedgraph"}, "holds one track, not 2"),
        ("f.bg", [0], {"form": "bedgraph", "merge_gap": 3}, "leave out --merge-gap"),
        ("-", [0], {"form": "bigbed"}, "name a file such as features.bb, not -"),
        ("f.bb.gz", [0], {"form": "bigbed"}, "bigBed is binary"),
        ("f.bb", [0], {}, "is a name of bigBed: add --format bigbed"),
        ("f.bigBed", [0], {"form": "bedgraph"}, "is a name of bigBed"),
        ("f.bed", [0], {"form": "bed12"}, "one of bed6, narrowpeak, bedgraph, bigbed"),
    ],
)
def test_what_does_not_go_together_is_an_error_before_anything_is_read(out, features, how, message):
    with toy_source(RECORDS) as (source, folder):
        with pytest.raises(SaeTracksError, match=message):
            write_bed(source, features, out if out == "-" else folder / "out" / out, **how)
        assert not source.lm.reads and not (folder / "out").exists()


def test_a_bigbed_without_an_interval_is_an_error_and_leaves_nothing():
    with toy_source(RECORDS) as (source, folder):
        with pytest.raises(SaeTracksError, match="there is no interval"):
            write_bed(source, [A], folder / "out" / "f.bb", 5, "raw", form="bigbed")
        assert not list((folder / "out").iterdir())


@pytest.mark.parametrize("longest, ending", [(1 << 29, "tbi"), (1, "csi")])
def test_a_bgzip_file_has_the_index_that_its_contigs_need_and_no_other(monkeypatch, longest, ending):
    monkeypatch.setattr(output_module, "LONGEST_TBI", longest)
    with toy_source(RECORDS) as (source, folder):
        for old in ("tbi", "csi"):
            (folder / f"f.bed.gz.{old}").write_text("of an older file")
        write_bed(source, [A], folder / "f.bed.gz")
        assert [path.suffix[1:] for path in folder.glob("f.bed.gz.[tc]*")] == [ending]
        with pysam.TabixFile(str(folder / "f.bed.gz"), index=str(folder / f"f.bed.gz.{ending}")) as file:
            assert list(file.fetch("b", 0, 4)) == ["b\t3\t4\tf0\t1000\t+"]


def test_an_empty_bgzip_file_has_an_index_too():
    with toy_source(RECORDS) as (source, folder):
        assert write_bed(source, [A], folder / "f.bed.gz", 5, "raw") == 0
        assert (folder / "f.bed.gz.tbi").exists()


@pytest.fixture
def written():
    """narrowPeak of two features, plain and bgzip, and its rows."""
    with toy_source(RECORDS) as (source, folder):
        for name in ("f.narrowPeak", "f.narrowPeak.gz"):
            write_bed(source, [A, PLACE], folder / name, 0.004, "raw", form="narrowpeak")
        yield folder, rows(folder / "f.narrowPeak")


@pytest.mark.skipif(shutil.which("tabix") is None, reason="needs tabix")
def test_tabix_finds_the_rows_of_a_region(written):
    folder, text = written
    found = subprocess.run(
        ["tabix", folder / "f.narrowPeak.gz", "z:151-200"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    overlapping = [row for row in text if row[0] == "z" and int(row[1]) < 200 and int(row[2]) > 150]
    assert overlapping and [line.split("\t") for line in found] == overlapping


@pytest.mark.skipif(shutil.which("bedtools") is None, reason="needs bedtools")
@pytest.mark.parametrize("name", ["f.narrowPeak", "f.narrowPeak.gz"])
def test_bedtools_reads_them_and_joins_alike(written, name):
    folder, text = written
    command = ["bedtools", "intersect", "-u", "-a", folder / name, "-b", folder / name]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert [line.split("\t") for line in found.splitlines()] == text
    with toy_source(RECORDS) as (source, other):
        write_bed(source, [A], other / "apart.bed")
        write_bed(source, [A], other / "joined.bed", merge_gap=4)
        merged = subprocess.run(
            ["bedtools", "merge", "-d", "3", "-i", other / "apart.bed"], capture_output=True, text=True, check=True
        ).stdout
        assert [line.split("\t") for line in merged.splitlines()] == [row[:3] for row in rows(other / "joined.bed")]


def test_pyranges_reads_them(written):
    pyranges = pytest.importorskip("pyranges")
    folder, text = written
    found = pyranges.read_bed(str(folder / "f.narrowPeak")).df
    assert len(found) == len(text)
    assert set(zip(found["Chromosome"], found["Start"], found["End"])) == {(c, int(s), int(e)) for c, s, e, *_ in text}


def test_bioframe_reads_them(written):
    bioframe = pytest.importorskip("bioframe")
    folder, text = written
    found = bioframe.read_table(str(folder / "f.narrowPeak"), schema="narrowPeak")
    assert found[["chrom", "start", "end", "name"]].astype(str).to_numpy().tolist() == [row[:4] for row in text]
    assert found["relSummit"].tolist() == [int(row[9]) for row in text]


def test_pandas_reads_stdout(capsys):
    with toy_source(RECORDS) as (source, folder):
        write_bed(source, [PLACE], folder / "f.bg", 0, "raw", form="bedgraph")
        write_bed(source, [PLACE], "-", 0, "raw", form="bedgraph")
    table = pd.read_csv(io.StringIO(capsys.readouterr().out), sep="\t", header=None)
    assert table.shape[1] == 4 and table[3].dtype == float
