"""By region: an indexed bgzip file or a bigBed gives what the whole gives; files that are cut short."""

import logging
import os
import shutil

import pybigtools
import pysam
import pytest
from annotation_files import rows, stated_genome, write, write_tabix
from conftest import shared
from hypothesis import given, settings
from hypothesis import strategies as st

from sae_tracks.annotations import bigbed, filter_sites, read_annotation, read_annotations, read_regions
from sae_tracks.errors import SaeTracksError
from sae_tracks.regions import GenomicRegion

LENGTHS = {"chr1": 1000, "chr2": 500, "chr3": 90}
SITES = st.lists(
    st.tuples(st.sampled_from(["chr1", "chr2"]), st.integers(0, 400), st.integers(1, 100), st.sampled_from("ab")),
    min_size=1,
    max_size=12,
)
REGIONS = st.lists(
    st.tuples(st.sampled_from([*LENGTHS]), st.integers(0, 80), st.integers(1, 300)).map(
        lambda r: GenomicRegion(r[0], r[1], min(r[1] + r[2], LENGTHS[r[0]]))
    ),
    min_size=1,
    max_size=4,
)


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    return stated_genome(tmp_path_factory.mktemp("toy"), **LENGTHS)


def write_bigbed(path, rows, lengths=LENGTHS):
    pybigtools.open(str(path), "w").write(dict(lengths), rows)
    return path


def overlapping(annotation, regions):
    return [
        row for row in rows(annotation)
        if any(row[0] == r.contig and row[1] < r.end and row[2] > r.start for r in regions)
    ]  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(sites=SITES, regions=REGIONS, csi=st.booleans())
def test_tabix_by_region_equals_the_whole(genome, sites, regions, csi):
    lines = ["# comment", *(f"{c}\t{s}\t{s + n}\t{name}\t7\t-" for c, s, n, name in sorted(sites))]
    for stale in genome.path.parent.glob("t.bed.gz*"):
        stale.unlink()
    path = write_tabix(genome.path.parent, "t.bed.gz", *lines, csi=csi)
    whole, part = read_annotation(path, genome), read_annotation(path, genome, regions)
    assert rows(part) == overlapping(whole, regions)
    assert part.sites.dtypes.astype(str).tolist() == whole.sites.dtypes.astype(str).tolist()


@settings(max_examples=40, deadline=None)
@given(sites=SITES, regions=st.one_of(st.none(), REGIONS), tile=st.sampled_from([7, 100, 1 << 20]))
def test_bigbed_by_region_equals_what_was_written(genome, sites, regions, tile):
    written = [(c, s, s + n, f"{name}\t7\t-\tTF{name}") for c, s, n, name in sorted(sites)]
    path = write_bigbed(genome.path.parent / "t.bb", written)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bigbed, "TILE", tile)
        found = read_annotation(path, genome, regions)
    expected = [(c, s, e, rest[0], "-", f"TF{rest[0]}") for c, s, e, rest in written]
    if regions is not None:
        expected = [x for x in expected if any(x[0] == r.contig and x[1] < r.end and x[2] > r.start for r in regions)]
    assert rows(found) == expected and set(found.sites["Score"]) <= {7.0}


def test_real_sites_by_region(tmp_path):
    path = shared("data/JASPARscan.hg19.chr22_20000000-21000000.JASPAR2022.p1e-4.bed.gz")
    for end in ("", ".tbi"):
        shutil.copy(f"{path}{end}", tmp_path / f"sites.bed.gz{end}")
    genome = stated_genome(tmp_path, chr22=51_304_566)
    regions = [GenomicRegion("chr22", 20_100_000, 20_100_500), GenomicRegion("chr22", 20_100_505, 20_150_000)]
    part = read_annotation(tmp_path / "sites.bed.gz", genome, regions)
    assert rows(part) == overlapping(read_annotation(path, genome), regions) and len(part) > 10_000


def test_aliases_work_by_region_too(genome, tmp_path):
    region = [GenomicRegion("chr1", 10, 20)]
    indexed = write_tabix(tmp_path, "t.bed.gz", "1\t15\t30", "1\t20\t30", "2\t15\t30")
    assert rows(read_annotation(indexed, genome, region, alias="ucsc")) == [("chr1", 15, 30, "t", ".", "")]
    big = write_bigbed(tmp_path / "t.bb", [("1", 15, 30, ""), ("1", 20, 30, "")], {"1": 1000})
    assert rows(read_annotation(big, genome, region, alias="ucsc")) == [("chr1", 15, 30, "t", ".", "")]
    for path in (indexed, big):
        with pytest.raises(SaeTracksError, match=r"no contig of t\.\S+ is in g.fa: .*\(--alias ucsc maps them\)"):
            read_annotation(path, genome, region)


def test_no_site_in_the_regions_is_said_by_the_filter(genome, tmp_path):
    path = write_tabix(tmp_path, "t.bed.gz", "chr1\t15\t30\ta")
    elsewhere = [GenomicRegion("chr1", 100, 200)]
    none = read_annotation(path, genome, elsewhere)
    assert len(none) == 0
    with pytest.raises(SaeTracksError, match=r"^t.bed.gz has no site in the regions$"):
        filter_sites(none, elsewhere)
    both = read_annotations([path, write(tmp_path, "b.bed", "chr1\t150\t160\tb")], genome, elsewhere)
    assert rows(both) == [("chr1", 150, 160, "b", ".", "")]


def test_a_malformed_row_that_an_index_found_is_named_by_its_line(genome, tmp_path):
    path = write_tabix(
        tmp_path, "t.bed.gz", "# x", "chr1\t1\t9\ta\t1\t+", "chr1\t50\t60\ta\t1\t+", "chr1\t51\t60\ta\t1\t?"
    )
    assert len(read_annotation(path, genome, [GenomicRegion("chr1", 0, 10)])) == 1
    with pytest.raises(SaeTracksError, match=r"^t\.bed\.gz, line 4: strand '\?' \(column 6\)"):
        read_annotation(path, genome, [GenomicRegion("chr1", 55, 56)])


def test_an_index_of_another_order_is_noticed(genome, tmp_path):
    write_tabix(tmp_path, "t.bed.gz", "chr1\t1\t90", "chr1\t5\t90", "chr1\t7\t90")
    with pysam.BGZFile(str(tmp_path / "t.bed.gz"), "wb") as file:
        file.write(b"chr1\t1\t90\nchr1\t7\t90\nchr1\t5\t90\n")
    os.utime(tmp_path / "t.bed.gz.tbi")
    with pytest.raises(SaeTracksError, match=r"t\.bed\.gz, line 3: start 5 comes after 7: sort and index it"):
        read_annotation(tmp_path / "t.bed.gz", genome, [GenomicRegion("chr1", 0, 50)])


def test_an_index_older_than_its_file_is_not_used(genome, tmp_path, caplog):
    path = write_tabix(tmp_path, "t.bed.gz", "chr1\t1\t9", "chr1\t50\t90")
    os.utime(f"{path}.tbi", (1, 1))
    with caplog.at_level(logging.INFO):
        assert len(read_annotation(path, genome, [GenomicRegion("chr1", 0, 50)])) == 2
    assert "t.bed.gz.tbi is older than t.bed.gz: the whole file is read" in caplog.text


def test_windows_line_ends_by_index(genome, tmp_path):
    path = write_tabix(tmp_path, "t.bed.gz", "chr1\t1\t9\ta\t1\t+\r")
    assert rows(read_annotation(path, genome, [GenomicRegion("chr1", 0, 50)])) == [("chr1", 1, 9, "a", "+", "")]


@pytest.mark.parametrize("regions", [None, [GenomicRegion("chr1", 0, 50)]])
def test_a_bgzip_file_cut_at_a_block_is_refused(genome, tmp_path, regions):
    path = write_tabix(tmp_path, "t.bed.gz", *(f"chr1\t{i}\t{i + 1}" for i in range(900)))
    path.write_bytes(path.read_bytes()[:-28])
    os.utime(f"{path}.tbi")
    with pytest.raises(SaeTracksError, match=r"t\.bed\.gz: it is cut short"):
        read_annotation(path, genome, regions)


@pytest.mark.parametrize("kept", [4, 60, -1000, -4, -1])
def test_a_bigbed_cut_short_is_refused(genome, tmp_path, kept):
    path = write_bigbed(tmp_path / "t.bb", [("chr1", i, i + 1, f"name{i}") for i in range(900)])
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(SaeTracksError, match=r"t\.bb .*(is cut short|is damaged)"):
        read_annotation(path, genome)


def test_a_bigbed_of_another_assembly_is_refused(tmp_path):
    path = write_bigbed(tmp_path / "t.bb", [("chr14", 1, 9, "a")], {"chr14": 107_349_540, "chr15": 9})
    genome = stated_genome(tmp_path, "hg38.fa", chr14=107_043_718, chr15=9)
    message = (
        r"^t\.bb and hg38\.fa do not match: chr14 has 107,349,540 bases there \(GRCh37\) and 107,043,718 here; "
        r"take both from one assembly$"
    )
    with pytest.raises(SaeTracksError, match=message):
        read_annotation(path, genome)


def test_a_malformed_row_of_a_bigbed_is_named_by_its_place(genome, tmp_path):
    path = write_bigbed(tmp_path / "t.bb", [("chr1", 1, 9, "a\t1\t+"), ("chr1", 5, 9, "a\t1\t*")])
    with pytest.raises(SaeTracksError, match=r"^t\.bb, chr1:6-9: strand '\*' \(column 6\) is none of \+ - \.$"):
        read_annotation(path, genome)


def test_fields_of_a_bigbed_are_told_by_its_schema():
    fields = ['string chrom; "c"', 'uint chromStart; "s"', "uint chromEnd;", 'char[1] strand; "+"', "lstring name;"]
    schema = "\n".join(['table x "X"', "(", *fields, ")"]).encode()
    assert bigbed._FIELD.findall(schema) == [b"chrom", b"chromStart", b"chromEnd", b"strand", b"name"]


RMSK = "585\t{score}\t10\t0\t0\tchr1\t{start}\t{end}\t-18700\t{strand}\tAluY\tSINE\tAlu\t1\t300\t-11\t1"
AFTER_A_LINE = {"seq_col": 0, "start_col": 1, "end_col": 2, "zerobased": True, "preset": None, "line_skip": 1}
NO_BED = {"seq_col": 5, "start_col": 6, "end_col": 7, "zerobased": True, "preset": None}


def write_indexed(folder, name, *lines, **index):
    path = folder / name
    with pysam.BGZFile(str(path), "wb") as file:
        file.write("".join(line + "\n" for line in lines).encode())
    pysam.tabix_index(str(path), force=True, **index)
    return path


@pytest.mark.parametrize("header", [(), ("#bin\tswScore\tmilliDiv\tmilliDel\tmilliIns\tgenoName\tgenoStart\tgenoEnd\t"
    "genoLeft\tstrand\trepName\trepClass\trepFamily\trepStart\trepEnd\trepLeft\tid",)])  # fmt: skip
def test_a_table_of_repeats_is_the_same_by_index(genome, tmp_path, header):
    starts = [(10, "+"), (50, "-"), (90, "+"), (120, "-"), (150, "+"), (400, "+")]
    lines = [RMSK.format(score=2000 + s, start=s, end=s + 30, strand=strand) for s, strand in starts]
    path = write_indexed(tmp_path, "r.txt.gz", *header, *lines, **NO_BED)
    regions = [GenomicRegion("chr1", 0, 40), GenomicRegion("chr1", 80, 200)]
    whole, part = read_annotation(path, genome), read_annotation(path, genome, regions)
    assert rows(part) == overlapping(whole, regions) and len(part) == 8
    assert part.sites["Score"].tolist() == [2010, 2090, 2120, 2150] * 2


@pytest.mark.parametrize(
    ("first", "index"),
    [
        ("track name=x description=y", AFTER_A_LINE),
        ("browser position chr1:1-100", AFTER_A_LINE),
        ("chrom\tstart\tend\tgene", AFTER_A_LINE),
        ("# comment", {"seq_col": 0, "start_col": 1, "end_col": 1, "zerobased": True, "preset": None}),
        ("# comment", {"seq_col": 0, "start_col": 2, "end_col": 2, "preset": None}),
        ("# comment", {"seq_col": 0, "start_col": 1, "end_col": 2, "preset": None}),
    ],
    ids=["track", "browser", "names without #", "no end", "end alone", "counted from 1"],
)
def test_whatever_stands_first_and_however_it_was_indexed_regions_give_what_the_whole_gives(
    genome, tmp_path, first, index
):
    rest = [f"chr1\t{start}\t{start + 40}\t{name}" for start, name in ((10, "a"), (100, "b"), (199, "c"), (300, "d"))]
    path = write_indexed(tmp_path, "t.bed.gz", first, *rest, **index)
    for regions in ([GenomicRegion("chr1", 0, 101)], [GenomicRegion("chr1", 30, 40), GenomicRegion("chr1", 238, 300)]):
        whole, part = read_annotation(path, genome), read_annotation(path, genome, regions)
        assert overlapping(part, regions) == overlapping(whole, regions) != []
        assert len(whole) == 4


@pytest.mark.parametrize("zerobased", [False, True])
def test_starts_that_count_from_1_are_not_read_twice_or_missed(genome, tmp_path, zerobased):
    header = "#chr\tstart (1-based)\tend\trel_score * 1000\t-1 * log10(p_value) * 100\tstrand"
    lines = [f"chr1\t{start}\t{start + 9}\tX\t800\t400\t+" for start in (40, 41, 50, 60)]
    index = {"seq_col": 0, "start_col": 1, "end_col": 2, "zerobased": zerobased, "preset": None}
    path = write_indexed(tmp_path, "MA1.1.tsv.gz", header, *lines, **index)
    regions = [GenomicRegion("chr1", 0, 40), GenomicRegion("chr1", 40, 50), GenomicRegion("chr1", 58, 60)]
    whole, part = read_annotation(path, genome), read_annotation(path, genome, regions)
    assert overlapping(part, regions) == overlapping(whole, regions) and len(part) == 4


def test_an_index_that_cannot_be_read_is_said_and_the_whole_file_is_read(genome, tmp_path, caplog):
    path = write_tabix(tmp_path, "t.bed.gz", "chr1\t1\t9", "chr1\t50\t90")
    (tmp_path / "t.bed.gz.tbi").write_bytes(b"nothing")
    with caplog.at_level(logging.INFO):
        assert len(read_annotation(path, genome, [GenomicRegion("chr1", 0, 20)])) == 2
    assert "t.bed.gz.tbi cannot be used" in caplog.text


def test_a_black_list_of_a_ucsc_table_is_read_by_its_own_columns(genome, tmp_path):
    path = write(tmp_path, "b.txt", "#bin\tchrom\tchromStart\tchromEnd\tname", "585\tchr1\t5\t9\tx")
    assert read_regions(path, genome) == [GenomicRegion("chr1", 5, 9)]


@pytest.mark.parametrize(
    ("first", "others"),
    [
        ("chr1\t10\t40\tp1\t7\t.\t2.5\t-1\t3.1", "chr1\t{}\t{}\tp2\t7\t.\t3\t{}\t{}"),  # broadPeak; BED9 by its values
        ("chr1\t10\t40\tMA1.1\t7\t+\tCTCF", "chr1\t{}\t{}\tMA1.1\t7\t+\t7"),  # the name of a factor that is a number
        ("chr1\t10\t40\ta\t7\t+\t15", "chr1\t{}\t{}\ta\t7\t+\tx"),
    ],
    ids=["broadPeak", "TF", "BED7"],
)
def test_the_first_row_of_the_file_decides_what_the_rows_of_a_region_are(genome, tmp_path, first, others):
    lines = [first, *(others.format(start, start + 30, start, start + 30) for start in (100, 200))]
    path = write_tabix(tmp_path, "x.bed.gz", *lines)
    regions = [GenomicRegion("chr1", 90, 140)]
    part = read_annotation(path, genome, regions)
    assert rows(part) == overlapping(read_annotation(path, genome), regions) and len(part) == 1


def test_the_first_row_of_a_bigbed_without_a_schema_decides_too(genome, tmp_path):
    peaks = [("chr1", 10, 40, "p1\t7\t.\t2.5\t-1\t3.1"), ("chr1", 100, 130, "p2\t7\t.\t3\t100\t130")]
    path = tmp_path / "x.bb"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bigbed, "_FIELD", bigbed.re.compile(rb"(?!)(x)"))
        write_bigbed(path, peaks)
        regions = [GenomicRegion("chr1", 90, 140)]
        assert rows(read_annotation(path, genome, regions)) == overlapping(read_annotation(path, genome), regions) != []


GFF_ROWS = st.lists(
    st.tuples(
        st.sampled_from(["chr1", "chr2", "chr3"]),
        st.integers(1, 60),
        st.integers(1, 29),
        st.sampled_from(["gene", "exon", "exon", "exon", "CDS", "UTR", "three_prime_UTR", "start_codon"]),
        st.sampled_from(["transcript_id u", 'transcript_id "v"', "Parent=u", "Parent=u,w", "ID=x", "."]),
    ),
    min_size=1,
    max_size=10,
).filter(lambda drawn: any(kind != "gene" for *_, kind, _ in drawn))


@settings(max_examples=20, deadline=None)
@given(drawn=GFF_ROWS, regions=REGIONS)
def test_gff_by_region_equals_the_whole(genome, drawn, regions):
    lines = [f"{c}\tx\t{kind}\t{s}\t{s + n}\t.\t+\t.\t{ids}" for c, s, n, kind, ids in sorted(drawn)]
    path = write_tabix(genome.path.parent, "t.gtf.gz", *lines, preset="gff")
    whole, part = read_annotation(path, genome), read_annotation(path, genome, regions)
    assert sorted(overlapping(part, regions)) == sorted(overlapping(whole, regions))


def test_a_contig_without_exons_has_no_site_by_index(genome, tmp_path):
    lines = ["chr1\tx\texon\t11\t30\t.\t+\t.\ttranscript_id t", "chr2\tx\tgap\t1\t90\t.\t+\t.\tgene_id g"]
    path = write_tabix(tmp_path, "x.gtf.gz", *lines, preset="gff")
    region = [GenomicRegion("chr2", 0, 100)]
    with pytest.raises(SaeTracksError, match=r"^x.gtf.gz has no site in the regions$"):
        filter_sites(read_annotation(path, genome, region), region)
