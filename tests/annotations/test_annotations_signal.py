"""Signals against their rows, base by base; every bad input."""

import gzip

import numpy as np
import pyBigWig
import pysam
import pytest
from annotation_files import stated_genome, write
from hypothesis import given, settings
from hypothesis import strategies as st

from sae_tracks.annotations.signal import Signal, is_signal
from sae_tracks.errors import SaeTracksError
from sae_tracks.regions import GenomicRegion

LENGTHS = {"c1": 60, "c2": 40}
NUMBERS = st.one_of(st.integers(-5, 5), st.floats(-1e6, 1e6, width=32), st.sampled_from(["nan", "inf", "-inf", "."]))


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    return stated_genome(tmp_path_factory.mktemp("signal"), **LENGTHS)


@st.composite
def rows_of(draw):
    """Rows that do not overlap, in any order."""
    rows = []
    for contig, length in LENGTHS.items():
        edges = sorted(draw(st.sets(st.integers(0, length), max_size=8)))
        rows += [(contig, a, b, draw(NUMBERS)) for a, b in zip(edges, edges[1:]) if draw(st.booleans())]
    return draw(st.permutations(rows))


def bigwig(path, rows, lengths=LENGTHS):
    with pyBigWig.open(str(path), "w") as file:
        file.addHeader(list(lengths.items()))
        for contig, start, end, value in sorted(rows):
            file.addEntries([contig], [start], ends=[end], values=[float(value)])
    return path


def expected(rows):
    """A value per base, by painting."""
    found = {contig: np.full(length, np.nan, np.float32) for contig, length in LENGTHS.items()}
    for contig, start, end, value in rows:
        number = np.float32("nan") if value in (".", "nan") else np.float32(value)
        found[contig][start:end] = number if np.isfinite(number) else np.nan
    return found


@settings(max_examples=60)
@given(rows=rows_of(), start=st.integers(0, 59), width=st.integers(1, 60), ending=st.sampled_from(["", ".gz"]))
def test_values_of_a_bedgraph_are_those_of_its_rows(tmp_path_factory, genome, rows, start, width, ending):
    if not rows:
        return
    text = "track type=bedGraph\n" + "".join("\t".join(map(str, row)) + "\n" for row in rows)
    path = tmp_path_factory.mktemp("b") / f"x.bedGraph{ending}"
    path.write_bytes(gzip.compress(text.encode()) if ending else text.encode())
    signal = Signal(path, genome)
    for contig, values in expected(rows).items():
        first = min(start, len(values) - 1)
        region = GenomicRegion(contig, first, min(first + width, len(values)))
        found = signal.values(region)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, values[region.start : region.end])


@settings(max_examples=30)
@given(rows=rows_of())
def test_values_of_a_bigwig_are_those_of_its_rows(tmp_path_factory, genome, rows):
    rows = [row for row in rows if row[3] not in ("nan", ".", "inf", "-inf")]
    if not rows:
        return
    signal = Signal(bigwig(tmp_path_factory.mktemp("w") / "x.bw", rows), genome)
    for contig, values in expected(rows).items():
        np.testing.assert_array_equal(signal.values(GenomicRegion(contig, 0, len(values))), values)


def test_infinities_are_missing_and_counted(tmp_path, genome):
    signal = Signal(write(tmp_path, "x.bdg", "c1\t0\t3\tinf", "c1\t3\t4\t1", "c1\t5\t6\t1e39"), genome)
    values = signal.values(GenomicRegion("c1", 0, 8))
    assert signal.infinite == 4
    np.testing.assert_array_equal(values, [np.nan] * 3 + [1] + [np.nan] * 4)


def test_a_bigwig_of_infinities(tmp_path, genome):
    signal = Signal(bigwig(tmp_path / "x.bw", [("c1", 0, 2, np.inf), ("c1", 2, 3, 5)]), genome)
    np.testing.assert_array_equal(signal.values(GenomicRegion("c1", 0, 4)), [np.nan, np.nan, 5, np.nan])
    assert signal.infinite == 2


def test_contigs_have_aliases(tmp_path):
    genome = stated_genome(tmp_path, chr14=107043718)
    path = write(tmp_path, "x.bg", "14\t5\t7\t2.5")
    with pytest.raises(SaeTracksError, match=r"no contig of x.bg is in g.fa.*--alias ucsc maps them"):
        Signal(path, genome)
    assert Signal(path, genome, alias="ucsc").values(GenomicRegion("chr14", 4, 8)).tolist()[1:3] == [2.5, 2.5]
    wig = bigwig(tmp_path / "y.bw", [("14", 5, 7, 2.5)], {"14": 107043718})
    found = Signal(wig, genome, alias="ucsc").values(GenomicRegion("chr14", 4, 8))
    np.testing.assert_array_equal(found, np.float32([np.nan, 2.5, 2.5, np.nan]))


def test_a_contig_that_the_file_lacks_has_no_value(tmp_path, genome):
    wig = bigwig(tmp_path / "y.bw", [("c1", 5, 7, 2.5)], {"c1": 60, "other": 9})
    assert np.isnan(Signal(wig, genome).values(GenomicRegion("c2", 0, 40))).all()


@pytest.mark.parametrize(
    "lines, says",
    [
        (["c1\t0\t5\t1", "c1\t4\t6\t2"], "line 2: start 4 lies in another row"),
        (["c1\t4\t6\t2", "# no row", "c1\t0\t5\t1"], "line 1: start 4 lies in another row"),
        (["c1\t0\t5\t1", "c1\t5\t6\tx"], "line 2: value 'x' .* is not a number"),
        (["c1\t0\t5\t1", "c1\t7\t7\t2"], "line 2: start 7 is not before end 7"),
        (["c1\t0\t5\t1", "c1\t-1\t7\t2"], "line 2: start '-1' is not a whole number"),
        (["c1\t0\t61\t1"], "line 1: end 61 is past c1, which has 60 bases"),
        (["c1\t0\t5\t1", "c1\t6\t7"], "line 2: 3 columns; the first row has 4"),
        (["c1\t0\t5\t1\t+"], "line 1: 5 columns; bedGraph has 4"),
        (["zz\t0\t5\t1"], "no contig of x.bdg is in g.fa"),
        (["# empty"], "has no row"),
    ],
)
def test_a_bad_bedgraph_is_refused(tmp_path, genome, lines, says):
    with pytest.raises(SaeTracksError, match=says):
        Signal(write(tmp_path, "x.bdg", *lines), genome)


def test_a_bad_bigwig_is_refused(tmp_path, genome):
    good = bigwig(tmp_path / "good.bw", [("c1", 0, 5, 1)])
    (tmp_path / "cut.bw").write_bytes(good.read_bytes()[:-20])
    cases = [
        (tmp_path / "cut.bw", "cut short"),
        (bigwig(tmp_path / "other.bw", [("c1", 0, 5, 1)], {"c1": 61}), "c1 has 61 bases there and 60 here"),
        (bigwig(tmp_path / "foreign.bw", [("zz", 0, 5, 1)], {"zz": 60}), "no contig of foreign.bw is in g.fa"),
        (tmp_path / "gone.bw", "no file"),
    ]
    for path, says in cases:
        with pytest.raises(SaeTracksError, match=says):
            Signal(path, genome)


def test_the_name_is_that_of_the_file(tmp_path, genome):
    assert Signal(bigwig(tmp_path / "K562.atac.bigWig", [("c1", 0, 5, 1)]), genome).name == "K562.atac"
    assert Signal(write(tmp_path, "a.b.bedGraph.gz", "c1\t0\t5\t1"), genome).name == "a.b"


@pytest.mark.parametrize(
    "name, lines, signal",
    [
        ("x.bdg", ["c1\t0\t5\t1"], True),
        ("x.txt", ["# c", "c1\t0\t5\t-1.5e-3"], True),
        ("x.gz", ["c1\t0\t5\tnan"], True),
        ("x.bed", ["c1\t0\t5\t1"], False),
        ("x.bed", ["track type=bedGraph name=y", "c1\t0\t5\t1"], True),
        ("x.bed", ["c1\t0\t5\tpeak"], False),
        ("x.txt", ["c1\t0\t5\tpeak1"], False),
        ("x.txt", ["#chrom\tstart\tend\tname", "c1\t0\t5\t1"], False),
        ("x.txt", ["c1\t0\t5"], False),
        ("x.txt", ["c1\t0\t5\t1\t+"], False),
        ("x.txt", [], False),
    ],
)
def test_a_signal_is_known_by_its_content(tmp_path, name, lines, signal):
    assert is_signal(write(tmp_path, name, *lines)) == signal


def test_files_of_other_kinds_are_no_signals(tmp_path):
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY\0\0")
    assert is_signal(bigwig(tmp_path / "odd.bed", [("c1", 0, 5, 1)]))
    assert not is_signal(tmp_path / "x.npy")
    assert not is_signal("softmask")
    with pysam.BGZFile(str(tmp_path / "z.bg.gz"), "wb") as file:
        file.write(b"c1\t0\t5\t1\n")
    assert is_signal(tmp_path / "z.bg.gz")
