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

from sae_tracks.annotations import read_annotation, read_transcripts
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


def rows_and_transcripts(lines, identifier=r'transcript_id "([^"]*)"'):
    """The rows as tuples, and the rows of each contig, strand and transcript."""
    found, transcripts = [], defaultdict(list)
    for line in lines:
        if line.startswith("#") or not line.strip():
            continue
        contig, _, kind, start, end, _, strand, phase, attributes = line.rstrip("\n").split("\t")
        found.append((contig, int(start) - 1, int(end), strand, kind, phase))
        if match := re.search(identifier, attributes):
            transcripts[contig, strand, match[1]].append(found[-1])
    return found, transcripts


def walk(lines, lengths) -> dict[str, set]:
    """The concepts of a GTF whose exons and coding rows are disjoint within a transcript, base by base.

    Not those of RNA, and not UTRs or codons that the file does not state.
    """
    found, covered = defaultdict(set), defaultdict(set)
    every, transcripts = rows_and_transcripts(lines)
    for contig, start, end, strand, kind, _ in every:
        covered[contig].update(range(start, end))
        if kind in ("exon", "CDS", "UTR", "start_codon", "stop_codon"):
            found[kind].add((contig, start, end, strand))
    for (contig, strand, _), parts in transcripts.items():
        bases = sorted({base for _, start, end, _, kind, _ in parts if kind == "exon" for base in range(start, end)})
        if bases:
            covered[contig].update(range(bases[0], bases[-1]))
        walk_exons(found, contig, strand, bases, lengths[contig])
        coding = sorted((part for part in parts if part[4] == "CDS"), reverse=strand == "-")
        walk_codons(found, contig, strand, coding)
    for contig, bases in covered.items():
        free = [base not in bases for base in range(lengths[contig])] if lengths[contig] < 10_000 else []
        edges = [i for i, (one, other) in enumerate(zip([False, *free], [*free, False])) if one != other]
        found["intergenic"] |= {(contig, one, other, ".") for one, other in zip(edges[::2], edges[1::2])}
    return {name: sites for name, sites in found.items() if sites}


def walk_exons(found, contig, strand, bases, length):
    for left, right in zip(bases, bases[1:]):
        if right - left - 1 >= 4:
            found["intron"].add((contig, left + 1, right, strand))
            ends = [(left + 1, left + 3), (right - 2, right), (left, left + 1), (right, right + 1)]
            names = ["splice_donor", "splice_acceptor", "exon_end", "exon_start"]
            if strand == "-":
                names = [names[i] for i in (1, 0, 3, 2)]
            for name, (start, end) in zip(names, ends) if strand != "." else ():
                found[name].add((contig, start, end, strand))
    if bases and strand != ".":
        first = bases[0] if strand == "+" else bases[-1]
        found["TSS"].add((contig, first, first + 1, strand))
        upstream = [first - i if strand == "+" else first + i for i in range(1, 201)]
        upstream = [base for base in upstream if 0 <= base < length]
        if upstream:
            found["promoter:-200"].add((contig, min(upstream), max(upstream) + 1, strand))


def walk_codons(found, contig, strand, coding):
    """Codon positions of coding rows in the order of translation: each row by its phase, or by the bases before it."""
    before = 0
    first = int(coding[0][5].replace(".", "0")) if coding else 0
    for _, start, end, _, _, phase in coding if strand != "." else ():
        skip = (first - before) % 3 if phase == "." else int(phase)
        for i, base in enumerate(range(start, end) if strand == "+" else range(end - 1, start - 1, -1)):
            found[f"CDS:{(i - skip) % 3 + 1}"].add((contig, base, base + 1, strand))
        before += end - start


def open_text(path):
    with gzip.open(path, "rt") as file:
        return file.readlines()


def test_gencode_equals_a_walk_over_its_rows(hg38):
    path = shared(GENCODE)
    ours = concepts(read_annotation(path, hg38))
    expected = walk(open_text(path), hg38.lengths)  # no intergenic on so long a contig
    assert {name: ours[name] for name in expected} == expected
    rest = {"intergenic", "ncRNA", "snRNA", "five_prime_UTR", "three_prime_UTR"}
    assert set(ours) == set(expected) | rest


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


def test_transcripts_go_from_their_first_exon_to_their_last(hg38, genome, tmp_path):
    path = shared(GENCODE)
    _, transcripts = rows_and_transcripts(open_text(path))
    expected = defaultdict(set)
    for (contig, strand, name), parts in transcripts.items():
        exons = [row for row in parts if row[4] == "exon"]
        if exons:
            expected[contig, min(row[1] for row in exons), max(row[2] for row in exons), strand].add(name)
    found = read_transcripts(path, hg38)
    sites = rows(found, "Chromosome", "Start", "End", "Strand", "Name")
    assert {site[:4] for site in sites} == set(expected) and len(sites) == len(expected)
    assert all(name in expected[tuple(site)] for *site, name in sites)
    assert read_transcripts(write(tmp_path, "a.bed", "chr1\t1\t2"), genome) is None
    coding = write(tmp_path, "cds.gtf", 'chr1\tx\tCDS\t1\t9\t.\t+\t0\ttranscript_id "t";')
    with pytest.raises(SaeTracksError, match="no exon names its transcript; name a concept"):
        read_transcripts(coding, genome)


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
TRANSCRIPTS = st.lists(
    st.tuples(st.sampled_from(["chr1", "chr2"]), st.sampled_from("+-."), SPANS, st.lists(st.sampled_from(".012"))),
    max_size=5,
)


def exons_of(spans):
    """Disjoint exons, 1-based inclusive, in any order."""
    taken, end = [], 0
    for gap, length in spans:
        taken.append((end + gap, end + gap + length))
        end = end + gap + length
    return taken


@settings(max_examples=20, deadline=None)
@given(transcripts=TRANSCRIPTS, backwards=st.booleans(), gene=st.booleans())
def test_drawn_transcripts_equal_a_walk(genome, transcripts, backwards, gene):
    lines = ["chr2\tx\tgene\t90\t120\t.\t+\t.\tgene_id g"] * gene
    for i, (contig, strand, spans, phases) in enumerate(transcripts):
        exons = exons_of(spans)[::-1] if backwards else exons_of(spans)
        ids = f'gene_id "g"; transcript_id "t{i}"; tag "basic";'
        lines += [f"{contig}\tx\texon\t{start}\t{end}\t.\t{strand}\t.\t{ids}" for start, end in exons]
        lines += [
            f"{contig}\tx\tCDS\t{start}\t{end}\t.\t{strand}\t{phase}\t{ids}"
            for (start, end), phase in zip(exons, phases)
        ]
    path = write(genome.path.parent, "drawn.gtf", *lines)
    if transcripts:
        found = concepts(read_annotation(path, genome))
        for name in ("UTR", "five_prime_UTR", "three_prime_UTR", "start_codon"):  # derived
            found.pop(name, None)
        assert found == walk(lines, genome.lengths)
        region = GenomicRegion("chr1", 20, 31)
        part = concepts(read_annotation(path, genome, [region]))
        for name in ("CDS:1", "CDS:2", "CDS:3"):
            inside = {site for site in found.get(name, ()) if site[0] == "chr1" and 20 <= site[1] < 31}
            assert part.get(name, set()) == inside


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
        "promoter:-200": {("chr1", 400, 600, "-"), ("chr1", 210, 410, "-")},
        "intron": {("chr1", 150, 300, "-"), ("chr1", 150, 199, "-")},
        "exon_end": {("chr1", 300, 301, "-"), ("chr1", 199, 200, "-")},
        "exon_start": {("chr1", 149, 150, "-")},
        "intergenic": {("chr1", 0, 100, "."), ("chr1", 400, 1000, ".")},
        "start_codon": {("chr1", 147, 150, "-")},
        "CDS:1": {("chr1", base, base + 1, "-") for base in range(149, 129, -3)},
        "CDS:2": {("chr1", base, base + 1, "-") for base in range(148, 129, -3)},
        "CDS:3": {("chr1", base, base + 1, "-") for base in range(147, 129, -3)},
    }  # fmt: skip


def test_a_utr_is_computed_within_exons_and_ends_at_the_stop_codon(genome, tmp_path):
    kinds = [("exon", 11, 30), ("exon", 51, 90), ("CDS", 21, 30), ("CDS", 51, 60), ("stop_codon", 61, 63)]
    lines = [f'chr1\tx\t{kind}\t{start}\t{end}\t.\t+\t.\ttranscript_id "t";' for kind, start, end in kinds]
    found = concepts(read_annotation(write(tmp_path, "x.gtf", *lines), genome))
    assert found["UTR"] == {("chr1", 10, 20, "+"), ("chr1", 63, 90, "+")}


def test_exons_without_a_transcript_have_no_splice_sites(genome, tmp_path):
    lines = [f"chr1\tx\texon\t{start}\t{start + 9}\t.\t+\t.\tID=e{start}" for start in (1, 51)]
    assert set(concepts(read_annotation(write(tmp_path, "x.gff", *lines), genome))) == {"exon", "intergenic"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("chr1\tx\texon\t0\t9\t.\t+\t.\t.", "line 2: start 0, where positions count from 1"),
        ("chr1\tx\texon\t10\t9\t.\t+\t.\t.", "line 2: start 10 is after end 9"),
        ("chr1\tx\texon\t10\t1001\t.\t+\t.\t.", "line 2: end 1,001 is past chr1, which has 1,000 bases"),
        ("chr1\tx\texon\t1\t9\t.\tplus\t.\t.", r"line 2: strand 'plus' \(column 7\) is none of \+ - \. \?"),
        ("chr1\tx\tgene\t10\t1001\t.\t+\t.\t.", "line 2: end 1,001 is past chr1, which has 1,000 bases"),
        ("chr1\tx\tCDS\t1\t9\t.\t+\t3\t.", r"line 2: phase '3' \(column 8\) is none of \. 0 1 2"),
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
        "chr1\tx\tmatch\t9\t1\t.\tplus\t.\t.",
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


def gtf_rows(*kinds, strand="+", ids='transcript_id "t"'):
    return [f"chr1\tx\t{kind}\t{a}\t{b}\t.\t{strand}\t{phase}\t{ids}" for kind, a, b, phase in kinds]


def test_ensembls_gff3_names_what_its_rows_are(genome, tmp_path):
    lines = [
        "chr1\te\tgene\t11\t60\t.\t+\t.\tID=gene:g1;biotype=protein_coding",
        "chr1\te\tmRNA\t11\t60\t.\t+\t.\tID=transcript:t1;Parent=gene:g1;biotype=protein_coding",
        "chr1\te\tfive_prime_UTR\t11\t12\t.\t+\t.\tParent=transcript:t1",
        "chr1\te\texon\t11\t20\t.\t+\t.\tParent=transcript:t1;Name=e1",
        "chr1\te\tCDS\t13\t20\t.\t+\t0\tID=CDS:p1;Parent=transcript:t1",
        "chr1\te\texon\t51\t60\t.\t+\t.\tParent=transcript:t1;Name=e2",
        "chr1\te\tCDS\t51\t57\t.\t+\t1\tID=CDS:p1;Parent=transcript:t1",
        "chr1\te\tthree_prime_UTR\t58\t60\t.\t+\t.\tParent=transcript:t1",
        "chr1\te\tncRNA_gene\t101\t150\t.\t-\t.\tID=gene:g2;biotype=tRNA",
        "chr1\te\ttRNA\t101\t150\t.\t-\t.\tID=transcript:t2;Parent=gene:g2;biotype=tRNA",
        "chr1\te\texon\t101\t120\t.\t-\t.\tParent=transcript:t2",
        "chr1\te\texon\t131\t150\t.\t-\t.\tParent=transcript:t2",
    ]
    found = concepts(read_annotation(write(tmp_path, "x.gff3", *lines), genome))
    assert found["tRNA"] == {("chr1", 100, 120, "-"), ("chr1", 130, 150, "-")}
    assert found["start_codon"] == {("chr1", 12, 15, "+")} and found["stop_codon"] == {("chr1", 54, 57, "+")}
    assert found["five_prime_UTR"] == {("chr1", 10, 12, "+")}
    assert found["intergenic"] == {("chr1", 0, 10, "."), ("chr1", 60, 100, "."), ("chr1", 150, 1000, ".")}


def test_ncbis_gff3_of_one_protein_in_several_rows(genome, tmp_path):
    ids = "ID=cds-NP_1.1;Parent=rna-NM_1.1;gbkey=CDS"
    lines = [
        "chr1\tRefSeq\tregion\t1\t1000\t.\t+\t.\tID=chr1:1..1000;gbkey=Src",
        "chr1\tRefSeq\tgene\t11\t60\t.\t-\t.\tID=gene-A;gbkey=Gene;gene_biotype=protein_coding",
        "chr1\tRefSeq\tmRNA\t11\t60\t.\t-\t.\tID=rna-NM_1.1;Parent=gene-A;gbkey=mRNA",
        "chr1\tRefSeq\texon\t51\t60\t.\t-\t.\tID=exon-1;Parent=rna-NM_1.1;gbkey=mRNA",
        "chr1\tRefSeq\texon\t11\t20\t.\t-\t.\tID=exon-2;Parent=rna-NM_1.1;gbkey=mRNA",
        f"chr1\tRefSeq\tCDS\t51\t52\t.\t-\t0\t{ids}",
        f"chr1\tRefSeq\tCDS\t11\t17\t.\t-\t1\t{ids}",
        "chr1\tRefSeq\ttRNA\t101\t150\t.\t+\t.\tID=rna-T;Parent=gene-T;gbkey=tRNA",
        "chr1\tRefSeq\texon\t101\t150\t.\t+\t.\tID=exon-T;Parent=rna-T;gbkey=tRNA",
        "chr1\tRefSeq\tsnRNA\t201\t250\t.\t+\t.\tID=rna-S;Parent=gene-S;gbkey=ncRNA",
    ]
    found = concepts(read_annotation(write(tmp_path, "x.gff3", *lines), genome))
    assert found["start_codon"] == {("chr1", 50, 52, "-"), ("chr1", 16, 17, "-")}  # split by the intron
    assert found["stop_codon"] == {("chr1", 10, 13, "-")}
    assert found["CDS:1"] == {("chr1", base, base + 1, "-") for base in (51, 15, 12)}
    assert found["tRNA"] == {("chr1", 100, 150, "+")} and found["snRNA"] == {("chr1", 200, 250, "+")}
    open_end = [line.replace("gbkey=CDS", "gbkey=CDS;partial=true") for line in lines]
    assert not {"start_codon", "stop_codon"} & set(
        concepts(read_annotation(write(tmp_path, "y.gff3", *open_end), genome))
    )


def test_biotypes_of_a_gtf(genome, tmp_path):
    words = [
        'gene_id "a"; transcript_id "a"; gene_biotype "rRNA"; transcript_biotype "rRNA"',
        'gene_id "b"; transcript_id "b"; gene_type "lncRNA"; transcript_type "lncRNA"',
        'gene_id "c"; transcript_id "c"; gene_biotype "protein_coding"; transcript_biotype "snoRNA"',
        'gene_id "d"; transcript_id "d"; gene_biotype "tRNA"',
        'gene_id "e"; transcript_id "e"; gene_biotype "tRNA"; transcript_biotype "retained_intron"',
    ]
    lines = [f"chr1\tx\texon\t{100 * i + 1}\t{100 * i + 9}\t.\t+\t.\t{word}" for i, word in enumerate(words)]
    found = concepts(read_annotation(write(tmp_path, "x.gtf", *lines), genome))
    for i, name in enumerate(("rRNA", "ncRNA", "snoRNA", "tRNA")):
        assert found[name] == {("chr1", 100 * i, 100 * i + 9, "+")}


@pytest.mark.parametrize("strand", "+-")
def test_untranslated_regions_have_the_side_of_their_strand(genome, tmp_path, strand):
    lines = gtf_rows(("exon", 11, 90, "."), ("CDS", 21, 50, "0"), strand=strand)
    found = concepts(read_annotation(write(tmp_path, "x.gtf", *lines), genome))
    left, right = {("chr1", 10, 20, strand)}, {("chr1", 50, 90, strand)}
    five, three = (left, right) if strand == "+" else (right, left)
    assert (found["five_prime_UTR"], found["three_prime_UTR"], found["UTR"]) == (five, three, left | right)
    assert "stop_codon" not in found  # a GTF's CDS ends before it


def test_a_gene_may_wrap_around_the_origin_of_a_circular_contig(genome, tmp_path):
    region = "chr1\tx\tregion\t1\t1000\t.\t+\t.\tID=r;Is_circular=true"
    rows_of = [
        "chr1\tx\tgene\t990\t1050\t.\t+\t.\tID=g",
        "chr1\tx\texon\t990\t1010\t.\t+\t.\tParent=g",
        "chr1\tx\tCDS\t990\t1010\t.\t+\t0\tParent=g",
        "chr1\tx\texon\t31\t50\t.\t+\t.\tParent=g",
    ]
    found = concepts(read_annotation(write(tmp_path, "x.gff3", region, *rows_of), genome))
    assert found["exon"] == {("chr1", 989, 1000, "+"), ("chr1", 0, 10, "+"), ("chr1", 30, 50, "+")}
    assert found["intron"] == {("chr1", 10, 30, "+")} and found["TSS"] == {("chr1", 989, 990, "+")}
    assert found["CDS:1"] == {("chr1", b % 1000, b % 1000 + 1, "+") for b in range(989, 1010, 3)}
    assert found["intergenic"] == {("chr1", 50, 989, ".")}
    with pytest.raises(SaeTracksError, match=r"x\.gff3, line 1: end 1,050 is past chr1, which has 1,000 bases"):
        read_annotation(write(tmp_path, "x.gff3", *rows_of), genome)


def test_a_circular_contig_that_the_genome_lacks_is_left_out(genome, tmp_path):
    """As chrM often is."""
    mark = "chrM\tx\tregion\t1\t300\t.\t+\t.\tID=m;Is_circular=true"
    rows_of = [f"{contig}\tx\texon\t101\t150\t.\t+\t.\tParent=t{contig}" for contig in ("chr1", "chrM")]
    marked, plain = write(tmp_path, "m.gff3", mark, *rows_of), write(tmp_path, "p.gff3", *rows_of)
    found = concepts(read_annotation(marked, genome))
    assert found["exon"] == {("chr1", 100, 150, "+")}
    assert found == concepts(read_annotation(plain, genome))


def test_a_promoter_wraps_only_on_a_circular_contig(genome, tmp_path):
    exon = "chr1\tx\texon\t101\t150\t.\t+\t.\tParent=t"
    assert concepts(read_annotation(write(tmp_path, "x.gff3", exon), genome))["promoter:-200"] == {
        ("chr1", 0, 100, "+")
    }
    region = "chr1\tx\tregion\t1\t1000\t.\t+\t.\tID=r;Is_circular=true"
    found = concepts(read_annotation(write(tmp_path, "x.gff3", region, exon), genome))
    assert found["promoter:-200"] == {("chr1", 0, 100, "+"), ("chr1", 900, 1000, "+")}


def test_tracks_leave_out_single_bases_and_what_lies_between_genes(genome, tmp_path):
    path = write(tmp_path, "x.gff3", *GFF3)
    whole, drawn = (set(concepts(read_annotation(path, genome, per_base=wanted))) for wanted in (True, False))
    assert whole - drawn == {"CDS:1", "CDS:2", "CDS:3", "intergenic"}
