"""Peaks, UCSC's tables, JASPAR's tables, repeats: each by hand, and the same sites written in several formats."""

import math

import numpy as np
import pytest
from annotation_files import rows, stated_genome, write
from conftest import shared
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import write_fasta

from sae_tracks.annotations import read_annotation
from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome
from sae_tracks.regions import GenomicRegion

SITE = ("Chromosome", "Start", "End", "Name", "Score", "Strand", "TF")


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    return stated_genome(tmp_path_factory.mktemp("toy"), chr1=1_000_000, chr2=500)


def read(genome, folder, name, *lines):
    return rows(read_annotation(write(folder, name, *lines), genome), *SITE)


JASPAR = "chr1\t9\t28\tMA0139.1\t450\t-\tCTCF"


@pytest.mark.parametrize(
    "lines",
    [
        [JASPAR],
        ["585\t" + JASPAR],
        ["#bin\tchrom\tchromStart\tchromEnd\tname\tscore\tstrand\tTFName", "585\t" + JASPAR],
        ["#chrom\tchromStart\tchromEnd\tname\tscore\tstrand\tTFName", JASPAR],
        ["chrom\tchromStart\tchromEnd\tname\tscore\tstrand\tTFName", JASPAR],
        ["#hg38.j.chrom\thg38.j.chromStart\thg38.j.chromEnd\tx.name\tx.score\tx.strand\tx.TFName", JASPAR],
        ["#TFName\tstrand\tscore\tname\tchromEnd\tchromStart\tchrom", "\t".join(JASPAR.split("\t")[::-1])],
        ["# a comment", "#bin\tchrom\tchromStart\tchromEnd\tname\tscore\tstrand\tTFName", "", "585\t" + JASPAR],
    ],
)  # fmt: skip
def test_table_browser_with_and_without_bin_and_header(genome, tmp_path, lines):
    assert read(genome, tmp_path, "t.txt", *lines) == [("chr1", 9, 28, "MA0139.1", 450.0, "-", "CTCF")]


@pytest.mark.parametrize(
    ("header", "row", "name"),
    [
        ("#chrom\tstart\tend\tgene\tscore\tstrand", "chr1\t1\t9\tTP53\t5\t+", "TP53"),
        ("chr\tstart\tend\tTF\tscore\tstrand", "chr1\t1\t9\tCTCF\t5\t+", "CTCF"),
        ("#bin\tgenoName\tgenoStart\tgenoEnd\trepName", "585\tchr1\t1\t9\tAluY", "AluY"),
        ("#chrom\tchromStart\tchromEnd\tthickStart\tthickEnd", "chr1\t1\t9\t1\t9", "t"),
        ("#chrom\tchromStart\tchromEnd", "chr1\t1\t9\tx\t9\t+", "x"),
        ("#chrom\tchromStart\tlength\tfoo\tchromEnd\tname", "chr1\t1\t8\tx\t9\tCTCF", "CTCF"),
        ("#chrom\tstart\tend\tlength\tscore\tstrand\tname", "chr1\t1\t9\t8\t3\t+\tCTCF", "CTCF"),
    ],
)
def test_a_fourth_column_of_the_users_own_name_is_the_concept(genome, tmp_path, header, row, name):
    assert read(genome, tmp_path, "t.bed", header, row)[0][:4] == ("chr1", 1, 9, name)


def test_an_error_below_a_header_names_its_line(genome, tmp_path):
    with pytest.raises(SaeTracksError, match=r"t\.txt, line 3: start 9 is not before end 8"):
        read(genome, tmp_path, "t.txt", "chrom\tstart\tend", "chr1\t1\t8", "chr1\t9\t8")
    with pytest.raises(SaeTracksError, match=r"t\.txt, line 3: 2 columns; the first row has 3"):
        read(genome, tmp_path, "t.txt", "chrom\tstart\tend", "chr1\t1\t8", "chr1\t9")


def test_a_header_alone_is_no_row(genome, tmp_path):
    with pytest.raises(SaeTracksError, match=r"t\.txt has no row"):
        read(genome, tmp_path, "t.txt", "chrom\tstart\tend")


def test_jaspars_table_of_a_motif(genome, tmp_path):
    expected = [("chr1", 9, 28, "MA0139.1", 450.0, "-", "CTCF")]
    row = "28\tCTCF\t850\t450\t-"
    assert read(genome, tmp_path, "MA0139.1.tsv.gz", f"chr1\t9\t{row}") == expected
    of_2018 = "chr\tstart (1-based)\tend\trel_score * 1000\t-1 * log10(p_value) * 100\tstrand"  # the TF is not in it
    assert read(genome, tmp_path, "MA0139.1.tsv.gz", of_2018, f"chr1\t10\t{row}") == expected
    with pytest.raises(SaeTracksError, match="line 2: start 0, where positions count from 1"):
        read(genome, tmp_path, "MA0139.1.tsv", of_2018, f"chr1\t0\t{row}")


@pytest.mark.parametrize(
    ("name", "line", "score"),
    [
        ("p.narrowPeak.gz", "chr1\t9\t28\tpeak_1\t214\t.\t13.2\t24.2\t21.4\t166", 214),
        ("p.bed", "chr1\t9\t28\tpeak_1\t214\t.\t13\t-1\t-1\t-1", 214),
        ("p.broadPeak", "chr1\t9\t28\tpeak_1\t214\t.\t13\t24\t21", 214),
        ("p.bed", "chr1\t9\t28\tpeak_1\t214\t.\t13.5\t24\t21", 214),
    ],
)
def test_peaks_are_one_concept_of_the_files_name(genome, tmp_path, name, line, score):
    assert read(genome, tmp_path, name, line) == [("chr1", 9, 28, "p", score, ".", "")]


def test_peaks_under_a_header_and_names_that_are_dots(genome, tmp_path):
    header = "#chrom\tchromStart\tchromEnd\tname\tscore\tstrand\tsignalValue\tpValue\tqValue\tpeak"
    line = "chr1\t9\t28\tpeak_1\t214\t.\t13.2\t24.2\t21.4\t166"
    assert read(genome, tmp_path, "p.txt", header, line)[0][3] == "p"
    assert [row[3] for row in read(genome, tmp_path, "q.bed", "chr1\t1\t9\t.", "chr1\t1\t9\tx")] == ["q", "x"]


def test_bed9_is_no_peak(genome, tmp_path):
    assert read(genome, tmp_path, "x.bed", "chr1\t9\t28\tx\t1\t+\t9\t28\t0")[0][3] == "x"
    assert read(genome, tmp_path, "x.bed", "chr1\t9\t28\tx\t1\t+\t9\t28\t255,0,0")[0][3] == "x"


def test_real_peaks(tmp_path):
    path = shared("data/CTCF_chr22_hg19.macs3.narrowPeak.gz")
    annotation = read_annotation(path, stated_genome(tmp_path, chr22=51_304_566))
    assert len(annotation) == 730 and set(annotation.sites["Name"]) == {"CTCF_chr22_hg19.macs3"}
    assert annotation.sites.iloc[0][["Start", "End", "Score"]].tolist() == [17255466, 17255847, 214]


REPEATS = st.lists(
    st.tuples(
        st.sampled_from(["chr1", "chr2"]),
        st.integers(0, 400),
        st.integers(1, 90),
        st.sampled_from("+-"),
        st.sampled_from([("SINE", "Alu"), ("SINE", "MIR"), ("LINE", "L1"), ("Simple_repeat", ""), ("DNA?", "hAT?")]),
        st.integers(0, 60_000),
    ),
    min_size=1,
    max_size=8,
)  # fmt: skip
HEADING = (
    "   SW   perc perc perc  query     position in query           matching       repeat         position in repeat",
    "score   div. del. ins.  sequence  begin end       (left)   repeat         class/family begin  end    (left)  ID",
    "",
)
RMSK = (
    "#bin\tswScore\tmilliDiv\tmilliDel\tmilliIns\tgenoName\tgenoStart\tgenoEnd\tgenoLeft\tstrand\trepName\trepClass\t"
    "repFamily\trepStart\trepEnd\trepLeft\tid"
)


def out_line(contig, start, length, strand, kind, score):
    ends = "(9) 300 1" if strand == "-" else "1 300 (9)"
    family = "/".join(filter(None, kind))
    where = f"{contig:>8} {start + 1:>6} {start + length:>6}  (99)"
    return f" {score} 10.0  0.0  0.1 {where} {'C' if strand == '-' else '+'} Name_x {family:>14} {ends} 7 *"


def rmsk_line(contig, start, length, strand, kind, score, with_bin=True):
    family = kind[1] or kind[0]
    fields = [
        585,
        score,
        100,
        0,
        1,
        contig,
        start,
        start + length,
        -99,
        strand,
        "Name_x",
        kind[0],
        family,
        1,
        300,
        -9,
        7,
    ]
    return "\t".join(map(str, fields[not with_bin :]))


@settings(deadline=None)
@given(repeats=REPEATS, heading=st.booleans(), with_bin=st.booleans())
def test_repeats_read_the_same_from_out_and_table(genome, repeats, heading, with_bin):
    folder = genome.path.parent
    expected = [
        (contig, start, start + length, name, float(score), strand, "")
        for contig, start, length, strand, kind, score in repeats
        for name in [kind[0], *(["/".join(kind)] if kind[1] else [])]
    ]
    head = [RMSK if with_bin else "#" + RMSK.partition("\t")[2]] * heading
    out = read(genome, folder, "r.fa.out", *HEADING * heading, *(out_line(*repeat) for repeat in repeats))
    table = read(genome, folder, "rmsk.txt", *head, *(rmsk_line(*repeat, with_bin) for repeat in repeats))
    assert sorted(out) == sorted(table) == sorted(expected)


def test_a_chosen_part_of_rmsk(genome, tmp_path):
    header = "#hg38.rmsk.genoName\thg38.rmsk.genoStart\thg38.rmsk.genoEnd\thg38.rmsk.repClass"
    found = read(genome, tmp_path, "r.txt", header, "chr1\t0\t9\tSINE")
    assert found[0][:4] == ("chr1", 0, 9, "SINE") and math.isnan(found[0][4]) and found[0][5] == "."
    renamed = read(
        genome, tmp_path, "r.txt", "strand\tchrom\tstart\tend\trepFamily\trepClass", "C\tchr1\t0\t9\tAlu\tSINE"
    )
    assert [(row[1:4], row[5]) for row in renamed] == [((0, 9, "SINE"), "-"), ((0, 9, "SINE/Alu"), "-")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (" 9 1.0 0.0 0.0 chr1 0 9 (9) + A SINE/Alu 1 300 (9) 1", "line 5: start 0, where positions count from 1"),
        (" 9 1.0 0.0 0.0 chr1 5 x (9) + A SINE/Alu 1 300 (9) 1", "line 5: end 'x' is not a whole number"),
        (" 9 1.0 0.0 0.0 chr1 5 9 (9) - A SINE/Alu 1 300 (9) 1", None),
        (" 9 1.0 0.0 0.0 chr1 5 9 (9) ? A SINE/Alu 1 300 (9) 1", r"line 5: strand '\?' \(column 9\) is none of"),
        (" 9 1.0 0.0 0.0 chr1 5 9", "line 5: 7 columns; the first row has 11"),
        (" 9 1.0 0.0 0.0 chr2 5 501 (9) + A SINE/Alu 1 300 (9) 1", "line 5: end 501 is past chr2, which has 500 bases"),
    ],
)
def test_a_malformed_repeat_is_named_by_its_line(genome, tmp_path, line, message):
    lines = [*HEADING, out_line("chr1", 4, 9, "+", ("SINE", "Alu"), 7), line]
    if message is None:
        assert len(read(genome, tmp_path, "r.out", *lines)) == 4
        return
    with pytest.raises(SaeTracksError, match=rf"^r\.out, {message}"):
        read(genome, tmp_path, "r.out", *lines)


@settings(deadline=None)
@given(runs=st.lists(st.tuples(st.sampled_from(["ACG", "acgn", "N", "t"]), st.integers(1, 9)), min_size=1, max_size=9))
def test_the_soft_mask_is_the_lower_case_of_the_fasta(tmp_path_factory, runs):
    sequence = "A" + "".join(letters * n for letters, n in runs) + "a"
    genome = Genome(write_fasta(tmp_path_factory.mktemp("soft") / "soft.fa", one=sequence, two="ACGT", three="acg"))
    whole = read_annotation("softmask", genome)
    lower = [i for i, letter in enumerate(sequence) if letter.islower()]
    found = [(start, end) for contig, start, end, *_ in rows(whole) if contig == "one"]
    assert [base for start, end in found for base in range(start, end)] == lower
    assert all(end < start for (_, end), (start, _) in zip(found, found[1:]))
    assert {row[3:] for row in rows(whole)} == {("repeat", ".", "")} and ("three", 0, 3) in {r[:3] for r in rows(whole)}
    in_region = read_annotation("softmask", genome, [GenomicRegion("three", 1, 2)])
    assert rows(in_region, "Chromosome", "Start", "End") == [("three", 0, 3)]


def test_a_fasta_without_lower_case_has_no_soft_mask(tmp_path):
    genome = Genome(write_fasta(tmp_path / "g.fa", chr1="ACGT"))
    with pytest.raises(SaeTracksError, match=r"g\.fa has no lower-case base on chr1: it is not soft-masked"):
        read_annotation("softmask", genome)


def test_real_soft_mask():
    genome = Genome(shared("data/hg19.chr20_9995000-11095000.fa.gz"))
    sites = read_annotation("softmask", genome).sites
    letters = genome._fasta.fetch("chr20_9995000_11095000")
    assert (sites["End"] - sites["Start"]).sum() == sum(letter.islower() for letter in letters) > 400_000
    assert np.all(sites["Start"].to_numpy()[1:] > sites["End"].to_numpy()[:-1])


GAPPED = "chr1\t{0}\t{1}\tPeak_{0}\t7\t.\t{0}\t{1}\t255,0,0\t3\t1,5,1\t0,2,11\t77.0\t-1\t{2}"
NARROW = "chr1\t{0}\t{1}\tpeak_{0}\t7\t.\t4.5\t{2}\t5.0\t5"
BROAD = "chr1\t{0}\t{1}\tpeak_{0}\t7\t.\t4\t{2}\t5"


@pytest.mark.parametrize("value", ["-1", "9.1", "inf", "-Inf", "1e-5", "1E+300", "nan", "+0.5"])
@pytest.mark.parametrize(
    ("name", "row"),
    [("p.gappedPeak", GAPPED), ("p.bed", GAPPED), ("p.bed.gz", NARROW), ("p.narrowPeak", NARROW), ("p.bed", BROAD)],
)
def test_peaks_are_one_concept_whatever_their_values(genome, tmp_path, name, row, value, caplog):
    lines = [row.format(start, start + 12, value) for start in (10, 60, 110)]
    with caplog.at_level("INFO"):
        found = read(genome, tmp_path, name, *lines)
    assert found == [("chr1", start, start + 12, "p", 7.0, ".", "") for start in (10, 60, 110)]
    assert ("p.gappedPeak: a site is the whole row; its blocks are not read" in caplog.text) == (name == "p.gappedPeak")


def test_a_bed12_of_genes_keeps_its_names_and_says_that_blocks_are_not_read(genome, tmp_path, caplog):
    line = "chr1\t10\t22\tTP53\t7\t+\t10\t22\t0\t2\t3,5,\t0,7,"
    with caplog.at_level("INFO"):
        assert read(genome, tmp_path, "x.bed", line) == [("chr1", 10, 22, "TP53", 7.0, "+", "")]
    assert "x.bed: a site is the whole row; its blocks are not read" in caplog.text


@pytest.mark.parametrize("contig", ["track", "browser"])
def test_a_contig_may_be_called_track(tmp_path, contig):
    genome = stated_genome(tmp_path, **{contig: 50})
    found = read(genome, tmp_path, "x.bed", f"{contig} name=x", f"{contig}\tname=x", contig, f"{contig}\t1\t9\ta")
    assert found[0][:4] == (contig, 1, 9, "a") and len(found) == 1
