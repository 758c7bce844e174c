"""Annotation files: every layout, every way to be wrong, and a naive reader beside the fast one."""

import gzip
import logging
import subprocess
import sys

import pysam
import pytest
from conftest import shared
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import write_fasta

from sae_tracks.annotations import Removal, filter_sites, read_annotation, read_annotations, read_regions
from sae_tracks.annotations.bed import bed_columns
from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome
from sae_tracks.regions import GenomicRegion


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    return Genome(write_fasta(tmp_path_factory.mktemp("genome") / "toy.fa", chr1="A" * 1000, chr2="C" * 500))


def write(folder, text, name="sites.bed"):
    path = folder / name
    path.write_text(text, newline="")
    return path


def rows(annotation):
    return list(annotation.sites.drop(columns="Score").itertuples(index=False, name=None))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("chr1\t1\t9", ("sites", ".", "")),
        ("chr1\t1\t9\texon", ("exon", ".", "")),
        ("chr1\t1\t9\texon\t7", ("exon", ".", "")),
        ("chr1\t1\t9\tCTCF\t7\t-", ("CTCF", "-", "")),
        ("chr1\t1\t9\tMA0139.1\t7\t-\tCTCF", ("MA0139.1", "-", "CTCF")),
        ("chr1\t1\t9\tCTCF\t803\t7\t-", ("CTCF", "-", "CTCF")),
        ("chr1\t1\t9\tgene\t7\t+\t2\t8\t0\t1\t8\t0", ("gene", "+", "")),
        ("chr1\t1\t9\tgene\t7\t+\t2", ("gene", "+", "")),
    ],
)
def test_layouts(genome, tmp_path, line, expected):
    annotation = read_annotation(write(tmp_path, line + "\n"), genome)
    assert rows(annotation) == [("chr1", 1, 9, *expected)]
    assert annotation.sites["Score"].tolist() == pytest.approx([7 if "7" in line else float("nan")], nan_ok=True)


def test_a_table_of_one_motif_is_named_by_the_matrix_of_its_file_name(genome, tmp_path):
    path = write(tmp_path, "chr1\t1\t9\tCTCF\t803\t390\t-\n", "MA0139.1.tsv")
    assert rows(read_annotation(path, genome)) == [("chr1", 1, 9, "MA0139.1", "-", "CTCF")]


def test_ucsc_rows_of_the_real_track():
    path = shared("data/jaspar_ucsc_format_sample.bed")
    assert bed_columns(path.read_text().splitlines()[0].split("\t")) == (0, 1, 2, 3, 5, 6, 3, False)


def test_comments_track_lines_blank_lines_and_windows_line_ends_are_passed_over(genome, tmp_path):
    text = '#chrom\r\nbrowser position chr1\r\ntrack name="x"\r\nchr1\t1\t9\tb\r\n\r\n  \r\n#\r\ntrack\r\nchr2\t2\t9\tc'
    assert rows(read_annotation(write(tmp_path, text), genome)) == [
        ("chr1", 1, 9, "b", ".", ""),
        ("chr2", 2, 9, "c", ".", ""),
    ]


def test_gzip_and_bgzip_read_the_same(genome, tmp_path):
    text = b"chr1\t1\t9\tb\nchr2\t2\t9\tc\n"
    (tmp_path / "a.bed").write_bytes(text)
    (tmp_path / "b.bed.gz").write_bytes(gzip.compress(text))
    with pysam.BGZFile(str(tmp_path / "c.bed.gz"), "wb") as file:
        file.write(text)
    plain, *others = (rows(read_annotation(tmp_path / name, genome)) for name in ("a.bed", "b.bed.gz", "c.bed.gz"))
    assert others == [plain, plain]


def test_a_comment_before_does_not_shift_the_line_number(genome, tmp_path):
    path = write(tmp_path, "#a\n\nchr1\t1\t9\ntrack\nchr1\tx\t9\n")
    with pytest.raises(SaeTracksError, match=r"^sites\.bed, line 5: start 'x' is not a whole number, 0 or more$"):
        read_annotation(path, genome)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("chr1\t-5\t9\tx\t1\t+", "start '-5' is not a whole number, 0 or more"),
        ("chr1\t5\t9.0\tx\t1\t+", "end '9.0' is not a whole number, 0 or more"),
        ("chr1\t5\t\tx\t1\t+", "end '' is not a whole number, 0 or more"),
        ("chr1\t5\t99999999999999999999\tx\t1\t+", "end '99999999999999999999' is not a whole number, 0 or more"),
        ("chr1\t9\t9\tx\t1\t+", "start 9 is not before end 9"),
        ("chr1\t10\t9\tx\t1\t+", "start 10 is not before end 9"),
        ("chr1\t5\t1001\tx\t1\t+", "end 1,001 is past chr1, which has 1,000 bases (is it of another assembly?)"),
        ("chr1\t5\t9\tx\t1", "5 columns; the first row has 6"),
        ("chr1", "1 column; the first row has 6"),
        ("chr1\t5\t9\tx\t1\tplus", "strand 'plus' (column 6) is none of + - ."),
        ("chr1\t5\t9\tx\thigh\t+", "score 'high' (column 5) is not a number"),
        ("chr1\t5\t9\tx\tnan\t+", "score 'nan' (column 5) is not a number"),
        ("chr1\t5\t9\t\t1\t+", "the name (column 4) is empty"),
    ],
)
def test_a_malformed_row_is_named_by_its_line(genome, tmp_path, line, reason):
    path = write(tmp_path, f"chr1\t0\t1000\tx\t.\t.\n{line}\nchr1\t0\t5\tx\t1\t+\n")
    with pytest.raises(SaeTracksError) as caught:
        read_annotation(path, genome)
    assert str(caught.value) == f"sites.bed, line 2: {reason}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no row: it is empty or holds only comments"),
        (b"# nothing\n\n", "has no row: it is empty or holds only comments"),
        (b"chr1 1 9\n", "line 1: 1 column; BED has 3 or more, separated by tabs"),
        (b"chr1\t1\t9\t\xff\n", "is not a text file in UTF-8"),
        (gzip.compress(b"chr1\t1\t9\n" * 99)[:-9], "cannot read .*sites.bed: Compressed file ended"),
        (b"1\t1\t9\n2\t1\t9\n", r"no contig of sites.bed is in toy.fa: it has '1', '2'; the genome has 'chr1', 'chr2' "
                                 r"\(--alias ucsc maps them\)$"),
        (b"x\t1\t9\ny\t1\t9\nz\t1\t9\n", r"it has 'x', 'y' ...; .* \(is it of another assembly\?\)$"),
    ],
    ids=["empty", "comments", "blanks", "latin-1", "cut gzip", "other names", "other assembly"],
)  # fmt: skip
def test_a_file_that_is_no_annotation(genome, tmp_path, content, message):
    (tmp_path / "sites.bed").write_bytes(content)
    with pytest.raises(SaeTracksError, match=message) as caught:
        read_annotation(tmp_path / "sites.bed", genome)
    assert "\n" not in str(caught.value)


def test_no_file(genome, tmp_path):
    with pytest.raises(SaeTracksError, match=r"no file .*none\.bed"):
        read_annotation(tmp_path / "none.bed", genome)


def test_rows_on_unknown_contigs_are_left_out_and_counted(genome, tmp_path, caplog):
    path = write(tmp_path, "chr1\t1\t9\nchrUn\t1\t999999\nchrM\t1\t9\nchrM\t2\t9\n")
    with caplog.at_level(logging.INFO):
        assert rows(read_annotation(path, genome)) == [("chr1", 1, 9, "sites", ".", "")]
    assert "sites.bed: 3 rows on 2 contigs that toy.fa does not have are left out" in caplog.text


def test_several_files_are_one_annotation(genome, tmp_path):
    both = read_annotations(
        [write(tmp_path, "chr1\t1\t9\tb\n", "one.bed"), write(tmp_path, "chr2\t2\t9\n", "two.bed")], genome
    )
    assert rows(both) == [("chr1", 1, 9, "b", ".", ""), ("chr2", 2, 9, "two", ".", "")]
    assert both.source == "one.bed, two.bed"


def test_regions_keep_the_order_of_the_file(genome, tmp_path):
    path = write(tmp_path, "chr2\t5\t9\tx\nchr1\t0\t1000\ty\n")
    assert read_regions(path, genome) == [GenomicRegion("chr2", 5, 9), GenomicRegion("chr1", 0, 1000)]


def test_regions_on_an_unknown_contig_are_refused_or_passed_over(genome, tmp_path, caplog):
    path = write(tmp_path, "#\nchr2\t5\t9\n2\t5\t9\n")
    with pytest.raises(SaeTracksError, match=r"^sites.bed, line 3: no contig '2' in toy.fa: did you mean 'chr2'\?$"):
        read_regions(path, genome)
    assert read_regions(path, genome, skip_unknown=True) == [GenomicRegion("chr2", 5, 9)]
    assert read_regions(write(tmp_path, "2\t5\t9\n"), genome, skip_unknown=True) == []
    assert "no contig of sites.bed is in toy.fa" in caplog.text


FIELDS = st.sampled_from(["0", "1", "7", "07", "500", "501", "-1", "1e3", "", "x", "٣"])
LINES = st.one_of(
    st.sampled_from(["", "   ", "\t\t", "#x\ty", "track", "track a=1", "browser\tx", "tracks\t1\t5\tn\t.\t+"]),
    st.tuples(st.sampled_from(["chr1", "chr2", "chr9"]), st.integers(0, 90), st.integers(91, 500)).map(
        lambda r: f"{r[0]}\t{r[1]}\t{r[2]}\tn\t.\t+"
    ),
    st.tuples(FIELDS, FIELDS, st.sampled_from([".", "4", "no"]), st.sampled_from("+-.*")).map(
        lambda r: f"chr2\t{r[0]}\t{r[1]}\tn\t{r[2]}\t{r[3]}"
    ),
)


def naive(lines, lengths):
    """(rows, None) or (None, set of bad line numbers), line by line."""
    kept, bad = [], set()
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or line.startswith("#") or words[0] in ("track", "browser"):
            continue
        contig, start, end, name, score, strand = line.split("\t")
        whole = all(text and set(text) <= set("0123456789") for text in (start, end))
        if not whole or not int(start) < int(end) <= lengths.get(contig, 10**9) or score == "no" or strand == "*":
            bad.add(number)
        elif contig in lengths:
            kept.append((contig, int(start), int(end), name, strand, ""))
    return (None, bad) if bad else (kept, None)


@given(lines=st.lists(LINES, max_size=12), ending=st.sampled_from(["\n", "\r\n"]), last=st.booleans())
def test_the_fast_reader_agrees_with_a_naive_one(genome, lines, ending, last):
    path = write(genome.path.parent, ending.join(lines) + ending * last)
    kept, bad = naive(lines, genome.lengths)
    if kept:
        assert rows(read_annotation(path, genome)) == kept
        return
    with pytest.raises(SaeTracksError) as caught:
        read_annotation(path, genome)
    if bad:
        assert int(str(caught.value).split("line ")[1].split(":")[0]) in bad


WHOLE = [GenomicRegion("chr1", 0, 1000)]


def test_filters_say_what_they_leave_out(genome, tmp_path, caplog):
    lines = [f"chr1\t{i}\t{i + 5}\ta\t{i}\t+" for i in range(20)] + ["chr1\t1\t9\tb\t50\t-", "chr2\t1\t9\ta\t50\t+"]
    annotation = read_annotation(write(tmp_path, "\n".join(lines)), genome)
    with caplog.at_level(logging.INFO):
        kept = filter_sites(annotation, WHOLE, min_score=10, min_instances=10)
    assert sorted(kept.sites["Start"]) == list(range(10, 20))
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "sites.bed: 22 sites",
        "the regions left out 1 site and 0 concepts altogether",
        "--min-score 10 left out 10 sites and 0 concepts altogether",
        "--min-instances 10 left out 1 site and 1 concept altogether",
    ]
    assert kept.removed == (
        Removal("the regions", 1, 0, 21), Removal("--min-score 10", 10, 0, 11), Removal("--min-instances 10", 1, 1, 10),
    )  # fmt: skip


def test_instances_are_counted_by_site_strand_within_the_regions(genome, tmp_path):
    lines = ["chr1\t1\t9\ta\t1\t+", "chr1\t2\t9\ta\t1\t+", "chr1\t3\t9\ta\t1\t-", "chr1\t500\t600\ta\t1\t-"]
    annotation = read_annotation(write(tmp_path, "\n".join(lines)), genome)
    kept = filter_sites(annotation, [GenomicRegion("chr1", 8, 500)], min_instances=2)
    assert kept.sites[["Start", "Strand"]].to_numpy().tolist() == [[1, "+"], [2, "+"]]


@pytest.mark.parametrize(
    ("settings", "which"),
    [
        ({"regions": [GenomicRegion("chr1", 9, 500)]}, "the regions left out the last 2"),
        ({"min_score": 9}, "--min-score 9 left out the last 2"),
        ({"max_coverage": 0.001}, "--max-coverage 0.001 left out the last 2"),
        ({"min_score": 2, "min_instances": 2}, r"--min-instances 2 left out the last 1 \(before it --min-score 2 1\)"),
        ({"min_instances": 2}, r"--min-instances 2 \(every site has a name .* left out the last 2"),
    ],
)
def test_the_filter_that_took_the_last_site_is_named(genome, tmp_path, settings, which):
    annotation = read_annotation(write(tmp_path, "chr1\t1\t9\ta\t.\nchr1\t1\t9\tb\t3\n"), genome)
    with pytest.raises(SaeTracksError, match=f"no site of sites.bed is left: {which}"):
        filter_sites(annotation, **{"regions": WHOLE, "min_instances": 1} | settings)


SPANS = st.lists(
    st.tuples(st.sampled_from(["chr1", "chr2"]), st.integers(0, 30), st.integers(1, 9), st.sampled_from("ab"),
              st.sampled_from("+-")),
    min_size=1, max_size=9,
)  # fmt: skip


@settings(deadline=None)
@given(
    spans=SPANS,
    limit=st.sampled_from([0.0, 0.05, 0.1, 0.2, 1.0]),
    ends=st.tuples(st.integers(5, 40), st.integers(1, 40)),
)
def test_coverage_is_counted_base_by_base(genome, spans, limit, ends):
    lines = [f"{contig}\t{start}\t{start + n}\t{name}\t1\t{strand}" for contig, start, n, name, strand in spans]
    annotation = read_annotation(write(genome.path.parent, "\n".join(lines)), genome)
    regions = [
        GenomicRegion("chr1", 0, ends[0]),
        GenomicRegion("chr1", 3, ends[0] + 1),
        GenomicRegion("chr2", 0, ends[1]),
    ]
    bases = {(r.contig, base) for r in regions for base in range(r.start, r.end)}
    covered = {}
    for contig, start, n, name, strand in spans:
        here = {(contig, base) for base in range(start, start + n)} & bases
        covered.setdefault((name, strand), set()).update(here)
    expected = [
        (contig, start, name, strand)
        for contig, start, n, name, strand in spans
        if {(contig, base) for base in range(start, start + n)} & bases
        and len(covered[name, strand]) / len(bases) <= limit
    ]
    if not expected:
        with pytest.raises(SaeTracksError, match="is left"):
            filter_sites(annotation, regions, min_instances=1, max_coverage=limit)
        return
    kept = filter_sites(annotation, regions, min_instances=1, max_coverage=limit).sites
    assert list(kept[["Chromosome", "Start", "Name", "Strand"]].itertuples(index=False, name=None)) == expected


def test_annotations_do_not_load_torch():
    code = "import sys, sae_tracks.annotations; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
