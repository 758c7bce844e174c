"""GTF and GFF3: concepts against a walk over the rows, against pyranges, and by hand."""

import gzip
import re
from collections import defaultdict

import pandas as pd
import pytest
from annotation_files import rows, stated_genome, write, write_tabix
from conftest import shared
from hypothesis import given, settings
from hypothesis import strategies as st

from sae_tracks.annotations import read_annotation
from sae_tracks.errors import SaeTracksError
from sae_tracks.regions import GenomicRegion

GENCODE = "data/gencode_human.chr1_0-1.5M.gtf.gz"
CUT = "ENST00000378756.7"  # the file ends within this transcript
LAST_BASE = 1_520_617


@pytest.fixture(scope="module")
def hg38(tmp_path_factory):
    return stated_genome(tmp_path_factory.mktemp("hg38"), "hg38.fa", chr1=248_956_422)


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    return stated_genome(tmp_path_factory.mktemp("toy"), chr1=1000, chr2=500)


def concepts(annotation) -> dict[str, set]:
    found = defaultdict(set)
    for contig, start, end, name, strand in rows(annotation, "Chromosome", "Start", "End", "Name", "Strand"):
        assert (contig, start, end, strand) not in found[name]
        found[name].add((contig, start, end, strand))
    return dict(found)


def walk(lines, identifier=r'transcript_id "([^"]*)"') -> dict[str, set]:
    """The concepts of a GTF, transcript by transcript and base by base."""
    found, transcripts = defaultdict(set), defaultdict(lambda: defaultdict(set))
    for line in lines:
        if line.startswith("#") or not line.strip():
            continue
        contig, _, kind, start, end, _, strand, _, attributes = line.rstrip("\n").split("\t")
        site = (contig, int(start) - 1, int(end), strand)
        if kind in ("exon", "CDS", "UTR"):
            found[kind].add(site)
        if match := re.search(identifier, attributes):
            transcripts[contig, strand, match[1]][kind].add(site)
    for (contig, strand, _), parts in transcripts.items():
        bases = sorted({base for _, start, end, _ in parts["exon"] for base in range(start, end)})
        if strand == "." or not bases:
            continue
        first = bases[0] if strand == "+" else bases[-1]
        found["TSS"].add((contig, first, first + 1, strand))
        for left, right in zip(bases, bases[1:]):
            if right - left - 1 >= 4:
                ends = [(contig, left + 1, left + 3, strand), (contig, right - 2, right, strand)]
                donor, acceptor = ends if strand == "+" else ends[::-1]
                found["splice_donor"].add(donor)
                found["splice_acceptor"].add(acceptor)
    return dict(found)


def open_text(path):
    with gzip.open(path, "rt") as file:
        return file.readlines()


def test_gencode_equals_a_walk_over_its_rows(hg38):
    path = shared(GENCODE)
    assert concepts(read_annotation(path, hg38)) == walk(open_text(path))


def test_gencode_equals_pyranges(hg38):
    import pyranges

    path = shared(GENCODE)
    ours = concepts(read_annotation(path, hg38))
    theirs = pyranges.read_gtf(str(path))
    column = ["Chromosome", "Start", "End", "Strand"]

    def sites(frame):
        return set(frame[column].astype(object).itertuples(index=False, name=None))

    for kind in ("exon", "CDS", "UTR"):
        assert ours[kind] == sites(theirs[theirs.Feature == kind].df)
    assert ours["TSS"] == sites(theirs.features.tss().df)
    introns = theirs.features.introns(by="transcript").df
    beyond = (introns["transcript_id"] == CUT) & (introns["Start"] >= LAST_BASE)  # no exon follows in the file
    introns = introns[(introns["End"] - introns["Start"] >= 4) & ~beyond]
    left, right = introns.assign(End=introns["Start"] + 2), introns.assign(Start=introns["End"] - 2)
    forward = introns["Strand"] == "+"
    assert ours["splice_donor"] == sites(pd.concat([left[forward], right[~forward]]))
    assert ours["splice_acceptor"] == sites(pd.concat([right[forward], left[~forward]]))


def test_utr_where_the_file_has_none_is_gencodes_less_the_stop_codon(hg38, tmp_path):
    lines = open_text(shared(GENCODE))
    lines = [line for line in lines if CUT not in line]
    kept = [line.rstrip("\n") for line in lines if "\tUTR\t" not in line]
    ours = concepts(read_annotation(write(tmp_path, "x.gtf", *kept), hg38))["UTR"]
    parts = defaultdict(lambda: defaultdict(set))
    for line in lines:
        if not line.startswith("#"):
            _, _, kind, start, end, _, strand, _, attributes = line.split("\t")
            if match := re.search(r'transcript_id "([^"]*)"', attributes):
                parts[match[1], strand][kind].update(range(int(start) - 1, int(end)))
    bases = {"+": set(), "-": set()}
    for (_, strand), kinds in parts.items():
        bases[strand] |= kinds["UTR"] - kinds["stop_codon"]
    found = {strand: {b for _, start, end, s in ours if s == strand for b in range(start, end)} for strand in "+-"}
    assert found == bases and bases["+"] and bases["-"]


SPANS = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 12)), min_size=1, max_size=4)
TRANSCRIPTS = st.lists(st.tuples(st.sampled_from(["chr1", "chr2"]), st.sampled_from("+-."), SPANS), max_size=5)


def exons_of(spans):
    """Disjoint exons, 1-based inclusive, in any order."""
    taken, end = [], 0
    for gap, length in spans:
        taken.append((end + gap, end + gap + length))
        end = end + gap + length
    return taken


@settings(max_examples=40, deadline=None)
@given(transcripts=TRANSCRIPTS, backwards=st.booleans())
def test_drawn_transcripts_equal_a_walk(genome, transcripts, backwards):
    lines = [
        f'{contig}\tx\texon\t{start}\t{end}\t.\t{strand}\t.\tgene_id "g"; transcript_id "t{i}"; tag "basic";'
        for i, (contig, strand, spans) in enumerate(transcripts)
        for start, end in (exons_of(spans)[::-1] if backwards else exons_of(spans))
    ]
    path = write(genome.path.parent, "drawn.gtf", *lines)
    if lines:
        assert concepts(read_annotation(path, genome)) == walk(lines)


GFF3 = (
    "##gff-version 3",
    "##sequence-region chr1 1 1000",
    "chr1\tx\tgene\t101\t400\t.\t-\t.\tID=g1",
    "chr1\tx\tmRNA\t101\t400\t.\t-\t.\tID=t1;Parent=g1",
    "chr1\tx\texon\t101\t150\t.\t-\t.\tID=e1;Parent=t1,t2",
    "chr1\tx\texon\t301\t400\t.\t-\t.\tParent=t1",
    "chr1\tx\texon\t201\t220\t.\t?\t.\tParent=t3",
    "chr1\tx\texon\t200\t210\t.\t-\t.\tParent=t2",
    "chr1\tx\tCDS\t131\t150\t.\t-\t0\tParent=t1",
    "chr1\tx\tthree_prime_UTR\t101\t130\t.\t-\t.\tParent=t1",
    "chr1\tx\tfive_prime_UTR\t301\t400\t.\t-\t.\tParent=t1",
    "###",
    "##FASTA",
    ">chr1",
    "ACGT",
)


def test_gff3_by_hand(genome, tmp_path):
    assert concepts(read_annotation(write(tmp_path, "x.gff3.gz", *GFF3), genome)) == {
        "exon": {
            ("chr1", 100, 150, "-"), ("chr1", 300, 400, "-"), ("chr1", 200, 220, "."), ("chr1", 199, 210, "-"),
        },
        "CDS": {("chr1", 130, 150, "-")},
        "UTR": {("chr1", 100, 130, "-"), ("chr1", 300, 400, "-")},
        "three_prime_UTR": {("chr1", 100, 130, "-")},
        "five_prime_UTR": {("chr1", 300, 400, "-")},
        "splice_donor": {("chr1", 298, 300, "-"), ("chr1", 197, 199, "-")},
        "splice_acceptor": {("chr1", 150, 152, "-")},
        "TSS": {("chr1", 399, 400, "-"), ("chr1", 209, 210, "-")},
    }  # fmt: skip


def test_a_utr_is_computed_within_exons_and_ends_at_the_stop_codon(genome, tmp_path):
    kinds = [("exon", 11, 30), ("exon", 51, 90), ("CDS", 21, 30), ("CDS", 51, 60), ("stop_codon", 61, 63)]
    lines = [f'chr1\tx\t{kind}\t{start}\t{end}\t.\t+\t.\ttranscript_id "t";' for kind, start, end in kinds]
    found = concepts(read_annotation(write(tmp_path, "x.gtf", *lines), genome))
    assert found["UTR"] == {("chr1", 10, 20, "+"), ("chr1", 63, 90, "+")}


def test_exons_without_a_transcript_have_no_splice_sites(genome, tmp_path):
    lines = [f"chr1\tx\texon\t{start}\t{start + 9}\t.\t+\t.\tID=e{start}" for start in (1, 51)]
    assert set(concepts(read_annotation(write(tmp_path, "x.gff", *lines), genome))) == {"exon"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("chr1\tx\texon\t0\t9\t.\t+\t.\t.", "line 2: start 0, where positions count from 1"),
        ("chr1\tx\texon\t10\t9\t.\t+\t.\t.", "line 2: start 10 is after end 9"),
        ("chr1\tx\texon\t10\t1001\t.\t+\t.\t.", "line 2: end 1,001 is past chr1, which has 1,000 bases"),
        ("chr1\tx\texon\t1\t9\t.\tplus\t.\t.", r"line 2: strand 'plus' \(column 7\) is none of \+ - \. \?"),
        ("chr1\tx\texon\t1\t9\t.\t+\t.", "line 2: 8 columns; the first row has 9"),
        ("chr1\tx\texon\tone\t9\t.\t+\t.\t.", "line 2: start 'one' is not a whole number, 0 or more"),
    ],
)
def test_a_malformed_row_is_named_by_its_line(genome, tmp_path, line, message):
    path = write(tmp_path, "x.gtf", 'chr1\tx\texon\t1\t1\t.\t+\t.\ttranscript_id "t"', line)
    with pytest.raises(SaeTracksError, match=message):
        read_annotation(path, genome)


def test_a_file_of_other_rows_or_columns_is_refused(genome, tmp_path):
    with pytest.raises(SaeTracksError, match=r"x\.gtf has no exon, CDS or UTR: its rows are of type gene, enhancer"):
        lines = ["chr1\tx\tgene\t1\t9\t.\t+\t.\t.", "chr1\tx\tenhancer\t1\t9\t.\t+\t.\t."]
        read_annotation(write(tmp_path, "x.gtf", *lines), genome)
    with pytest.raises(SaeTracksError, match=r"x\.gff3, line 1: 4 columns; GTF and GFF3 have 9"):
        read_annotation(write(tmp_path, "x.gff3", "chr1\tx\texon\t1"), genome)


def test_a_gff3_that_states_other_lengths_is_of_another_assembly(genome, tmp_path):
    path = write(tmp_path, "x.gff3", "##sequence-region chr1 1 1001", *GFF3[2:])
    with pytest.raises(SaeTracksError, match=r"x.gff3 and g.fa do not match: chr1 has 1,001 bases there and 1,000"):
        read_annotation(path, genome)


def test_splice_sites_of_a_region_need_exons_outside_it(genome, tmp_path):
    lines = [f'chr1\tx\texon\t{s}\t{s + 9}\t.\t+\t.\ttranscript_id "t";' for s in (101, 301)]
    path = write_tabix(tmp_path, "x.gtf.gz", *lines, 'chr2\tx\texon\t1\t9\t.\t+\t.\ttranscript_id "u";', preset="gff")
    region = GenomicRegion("chr1", 110, 112)
    found = concepts(read_annotation(path, genome, [region]))
    assert found["splice_donor"] == {("chr1", 110, 112, "+")} and len(found["exon"]) == 2


EXONS = ("chr1\tx\texon\t101\t200\t.\t+\t.\tID=e1;Parent=g1", "chr2\tx\texon\t31\t40\t.\t-\t.\tID=e2;Parent=g2")
EXON_SITES = {("chr1", 100, 200, "+"), ("chr2", 30, 40, "-")}


@pytest.mark.parametrize(
    "between",
    [
        ("##FASTAKDLVQNGR", "##end-Protein"),
        ("##FASTA-like", "# >chr1"),
        ("##Protein 7", "##MSTLWPRKEL", "##FASTAS"),
        ("###", "##species x", "#!FASTA"),
    ],
)
def test_a_directive_is_a_whole_line(genome, tmp_path, between):
    path = write(tmp_path, "x.gff3", "##gff-version 3", EXONS[0], *between, EXONS[1])
    assert concepts(read_annotation(path, genome))["exon"] == EXON_SITES


@pytest.mark.parametrize("name", ["x.gff3", "x.txt"])
@pytest.mark.parametrize(
    "end", [("##FASTA", ">chr1 x\ty"), ("##FASTA  ", ">chr1"), ("###", ">chr1 plasmid"), (">chr1",)]
)
def test_a_sequence_ends_the_rows(genome, tmp_path, name, end):
    path = write(tmp_path, name, "##gff-version 3", *EXONS, *end, "ACGTTGCA" * 9, "acgt", ">chr2", "GATTACA")
    assert concepts(read_annotation(path, genome))["exon"] == EXON_SITES


@pytest.mark.parametrize("begins", ["##FASTA", ">chr1 x"])
def test_a_row_after_the_sequence_is_never_dropped(genome, tmp_path, begins):
    path = write(tmp_path, "x.gff3", EXONS[0], begins, "ACGT", "##gff-version 3", EXONS[1])
    with pytest.raises(SaeTracksError, match=r"x\.gff3, line 5: a row of GFF3 after the sequence .* line 2"):
        read_annotation(path, genome)


def test_a_line_that_only_looks_like_a_header_of_sequence_is_refused(genome, tmp_path):
    path = write(tmp_path, "x.gff3", EXONS[0], ">" + EXONS[1])
    assert concepts(read_annotation(path, genome))["exon"] == {("chr1", 100, 200, "+")}  # contig '>chr2' is unknown
    with pytest.raises(SaeTracksError, match=r"x\.bed, line 2: 1 column; the first row has 3"):
        read_annotation(write(tmp_path, "x.bed", "chr1\t1\t9", ">chr1", "ACGT"), genome)


@pytest.mark.parametrize(
    "line",
    [
        "chr1\tx\tD_loop\t901\t1080\t.\t+\t.\tID=d",
        "chr1\tx\tregion\t0\t0\t.\t+\t.\t.",
        "chr1\tx\tgene\t9\t1\t.\tplus\t.\t.",
        "chr1\tx\tgap\t?\t1\t.\t+\t.\t.",
    ],
)
def test_rows_of_types_that_are_not_read_never_abort(genome, tmp_path, line):
    path = write(tmp_path, "x.gff", "##sequence-region chr1 1 1000", line, *EXONS)
    assert concepts(read_annotation(path, genome))["exon"] == EXON_SITES


def test_an_error_after_rows_that_are_not_read_names_its_line(genome, tmp_path):
    path = write(tmp_path, "x.gff", EXONS[0], "chr1\tx\tD_loop\t901\t1080\t.\t+\t.\t.", "# x", EXONS[1] + "\n", *[
        "chr1\tx\texon\t901\t1080\t.\t+\t.\t."
    ])  # fmt: skip
    with pytest.raises(SaeTracksError, match=r"x\.gff, line 6: end 1,080 is past chr1"):
        read_annotation(path, genome)


@pytest.mark.parametrize(
    "attributes",
    [
        'gene_id "g"; transcript_id "u.1"',
        'gene_id "g"; transcript_id "u.1";',
        'gene_id  "g"; transcript_id  "u.1"',
        "gene_id g; transcript_id u.1",
        "transcript_id u.1",
        'gene_id="g"; transcript_id="u.1"',
        "gene_id=g;transcript_id=u.1;exon_number=2",
        "gene_id = g; transcript_id = u.1",
        'transcript_id\t"u.1"'.replace("\t", "   "),
        'note "a;b"; transcript_id "u;1"; x "y"',
        "ID=e;Parent=u.1",
        "ID=e;Parent=u.1,u.2",
    ],
)
def test_a_transcript_is_named_in_any_of_the_ways_that_files_do(genome, tmp_path, attributes):
    lines = [f"chr1\tx\texon\t{start}\t{start + 9}\t.\t+\t.\t{attributes}" for start in (101, 301, 501)]
    found = concepts(read_annotation(write(tmp_path, "x.gtf", *lines), genome))
    assert found["splice_donor"] == {("chr1", 110, 112, "+"), ("chr1", 310, 312, "+")}
    assert found["splice_acceptor"] == {("chr1", 298, 300, "+"), ("chr1", 498, 500, "+")}
    assert found["TSS"] == {("chr1", 100, 101, "+")}


def test_every_row_names_its_transcript_in_its_own_way(genome, tmp_path):
    ids = [".", "ID=e;Parent=u", 'gene_id "g"; transcript_id "u"', "transcript_id=u"]
    places = [(801, 809), (101, 110), (301, 310), (501, 510)]
    lines = [f"chr1\tx\texon\t{a}\t{b}\t.\t+\t.\t{name}" for (a, b), name in zip(places, ids)]
    found = concepts(read_annotation(write(tmp_path, "x.gff3", *lines), genome))
    assert found["splice_donor"] == {("chr1", 110, 112, "+"), ("chr1", 310, 312, "+")}
    assert found["TSS"] == {("chr1", 100, 101, "+")}


def test_utrs_are_those_stated_or_computed_contig_by_contig(genome, tmp_path):
    lines = []
    for contig in ("chr1", "chr2"):
        kinds = [("exon", 11, 90), ("CDS", 21, 60), *([("UTR", 11, 19)] if contig == "chr1" else [])]
        lines += [f'{contig}\tx\t{kind}\t{a}\t{b}\t.\t+\t.\ttranscript_id "t";' for kind, a, b in kinds]
    found = concepts(read_annotation(write(tmp_path, "x.gtf", *lines), genome))
    assert found["UTR"] == {("chr1", 10, 19, "+"), ("chr2", 10, 20, "+"), ("chr2", 60, 90, "+")}


def test_exons_that_name_no_transcript_are_said(genome, tmp_path, caplog):
    read_annotation(write(tmp_path, "x.gff", *EXONS, EXONS[0].replace("Parent", "parent")), genome)
    assert "x.gff: 1 of 3 exons name no transcript (transcript_id or Parent)" in caplog.text
