"""VCF files: which records are refused and where, and what other readers find in what is written."""

import gzip
import subprocess
from pathlib import Path

import numpy as np
import pysam
import pysam.bcftools
import pytest
from toy import random_dna, write_fasta
from variant_files import COLUMNS, HEAD, write_vcf

from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome
from sae_tracks.insight.vcf import Field, _header_lines, as_info, check_fields, format_of, read_variants, write_calls
from sae_tracks.regions import Shard

DNA = random_dna(300, 1)
FIELDS = [Field("SAE_MAX", 2, "Float", "Largest change"), Field("SAE_TOP", ".", "String", "feature|change")]


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    folder = tmp_path_factory.mktemp("g")
    return Genome(write_fasta(folder / "g.fa", c1=DNA[:100] + "N" * 150 + DNA[100:], chr2=DNA))


def change(base):
    return "ACGT"["ACGT".index(base) - 1]


def some(n=7):
    """SNVs, an insertion and a deletion of c1, sorted."""
    found = [("c1", p, DNA[p - 1], change(DNA[p - 1])) for p in range(5, 5 + n)]
    return [*found, ("c1", 40, DNA[39], DNA[39] + "TTT"), ("c1", 40, DNA[39:43], DNA[39])]


def test_records_become_variants_from_text_gzip_and_bcf(genome, tmp_path):
    path = write_vcf(tmp_path / "in.vcf", some())
    with pysam.BGZFile(str(tmp_path / "in.vcf.gz"), "wb") as file:
        file.write(path.read_bytes())
    with (
        pysam.VariantFile(str(path)) as file,
        pysam.VariantFile(str(tmp_path / "in.bcf"), "wb", header=file.header) as b,
    ):
        for record in file:
            b.write(record)
    for name in ("in.vcf", "in.vcf.gz", "in.bcf"):
        found = read_variants(tmp_path / name, genome).variants
        assert [(v.contig, v.start + 1, v.ref.decode(), v.alt.decode()) for v in found] == some()
    lower = [(c, p, r.lower(), a.lower()) for c, p, r, a in some()]
    assert read_variants(write_vcf(tmp_path / "lower.vcf", lower), genome).variants == found


def test_the_commands_of_the_errors_leave_what_can_be_scored(genome, tmp_path):
    """The commands that the errors name, run by the bcftools that comes with pysam."""
    alts = ["<DEL>", "*", f"{DNA[9]}[c1:100[", f".{DNA[9]}", ".", "R", f"{DNA[9]}CG"]
    rows = [("c1", 10, DNA[9], alt) for alt in alts] + [("c1", 11, DNA[10], f"{DNA[10]}TT,*"), ("c1", 120, "N", "A")]
    with pytest.raises(SaeTracksError, match="leave such records out, bcftools view -e '") as refused:
        read_variants(write_vcf(tmp_path / "all.vcf", rows), genome)
    expression = str(refused.value).split("'")[1]
    assert f"bcftools view -e '{expression}'" in (Path(__file__).parents[2] / "docs/faq.md").read_text()
    (tmp_path / "one.vcf").write_text(pysam.bcftools.norm("-m-", str(tmp_path / "all.vcf")))
    (tmp_path / "letters.vcf").write_text(pysam.bcftools.view("-e", expression, str(tmp_path / "one.vcf")))
    found = read_variants(tmp_path / "letters.vcf", genome).variants
    assert [v.alt.decode() for v in found] == [f"{DNA[9]}CG", f"{DNA[10]}TT"]

    bare = write_vcf(tmp_path / "bare.vcf", [("2", 10, DNA[9], change(DNA[9]))], contigs=("2",))
    with pytest.raises(SaeTracksError, match="bcftools annotate --rename-chrs") as refused:
        read_variants(bare, genome)
    (tmp_path / "names.txt").write_text(str(refused.value).split("such as '")[1].split("'")[0] + "\n")
    renamed = pysam.bcftools.annotate("--rename-chrs", str(tmp_path / "names.txt"), str(bare))
    (tmp_path / "renamed.vcf").write_text(renamed)
    assert read_variants(tmp_path / "renamed.vcf", genome).variants[0].contig == "chr2"


B = DNA[9]
ERRORS = [
    (("c1", 10, change(B), B), f"REF of c1:10 is {change(B)}, but g.fa has {B} there: is it of another assembly"),
    (("c1", 120, "A", "C"), r"REF of c1:120 is A, but g.fa has N there \(unknown bases\)"),
    (("c1", 120, "N", "C"), "REF N of c1:120 has letters other than A, C, G and T"),
    (("c1", 10, B, "R"), "ALT R of c1:10 has letters other"),
    (("2", 10, B, "A"), r"'chr2'\? A file with lines such as '2 chr2' renames them: bcftools annotate --rename-chrs$"),
    (("c1", 0, "A", "C"), "c1:0 A lies outside of c1, which has 450 bases"),
    (("c1", 450, DNA[-1] + "A", "C"), "c1:450 .. lies outside of c1"),
    (("c1", 10, B, "<DEL>"), "ALT <DEL> of c1:10 is symbolic"),
    (("c1", 10, B, "*"), r"ALT \* of c1:10 is symbolic"),
    (("c1", 10, B, f"{B}[c1:100["), "is symbolic, a breakend"),
    (("c1", 10, B, "A,C"), "c1:10 has 2 ALT alleles: split them, bcftools norm -m-"),
    (("c1", 10, B, "."), "c1:10 has no ALT"),
    (("c1", 6, DNA[5], change(DNA[5])), "c1:6 comes after a later position: sort the file"),
]


@pytest.mark.parametrize(("record", "message"), ERRORS)
def test_a_record_that_cannot_be_scored_is_named_by_its_line(genome, tmp_path, record, message):
    good = some(3)[:3]
    path = write_vcf(tmp_path / "in.vcf", [*good, record], contigs=("c1", "2"))
    line = 1 + path.read_text().splitlines().index(next(t for t in path.read_text().splitlines() if "\tid3\t" in t))
    with pytest.raises(SaeTracksError, match=rf"in\.vcf, line {line}: .*{message}") as found:
        read_variants(path, genome)
    assert "\n" not in str(found.value)


def test_contigs_that_alternate_are_not_sorted(genome, tmp_path):
    rows = [("c1", 10, B, change(B)), ("chr2", 5, DNA[4], change(DNA[4])), ("c1", 20, DNA[19], change(DNA[19]))]
    with pytest.raises(SaeTracksError, match="c1:20 comes after a later position"):
        read_variants(write_vcf(tmp_path / "in.vcf", rows, contigs=("c1", "chr2")), genome)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not VCF or BCF"),
        (">c1\nACGT\n", "is not VCF or BCF"),
        ("c1\t1\t2\n", "is not VCF or BCF"),
        (HEAD + COLUMNS, "in.vcf has no variant"),
        (HEAD + COLUMNS + f"c1\t10\t.\t{B}\t{change(B)}\t.\t.\t.\nc1\tx\t.\n", "is damaged after line 4"),
        (HEAD + COLUMNS + f"c1\t10\t.\t\xe3\t{B}\t.\t.\t.\n", "in.vcf, line 4: an allele or a name is not text"),
        (HEAD + COLUMNS + f"c1\t10\t.\t{B}\t\xe3\t.\t.\t.\n", "in.vcf, line 4: an allele or a name is not text"),
    ],
)
def test_files_that_are_no_vcf_are_refused(genome, tmp_path, text, message):
    (tmp_path / "in.vcf").write_bytes(text.encode("latin-1"))
    with pytest.raises(SaeTracksError, match=message):
        read_variants(tmp_path / "in.vcf", genome)


def test_a_missing_file_gzip_and_other_names_are_refused(genome, tmp_path):
    with gzip.open(tmp_path / "in.vcf.gz", "wt") as file:
        file.write(write_vcf(tmp_path / "in.vcf", some()).read_text())
    with pytest.raises(SaeTracksError, match="is gzip, not bgzip"):
        read_variants(tmp_path / "in.vcf.gz", genome)
    with pytest.raises(SaeTracksError, match="no file"):
        read_variants(tmp_path / "none.vcf", genome)
    for name in ("out.txt", "out.vcf.bz2", ".vcf"):
        with pytest.raises(SaeTracksError, match=r"ends in \.vcf\.gz, \.vcf or \.bcf"):
            format_of(tmp_path / name)


def values(n):
    return ({"SAE_MAX": as_info([i / 8, np.nan]), "SAE_TOP": [f"f{i}|0.5", "f9|-1"]} for i in range(n))


@pytest.mark.parametrize("name", ["out.vcf", "out.vcf.gz", "out.bcf"])
def test_other_readers_find_the_records_in_order_with_the_lines_of_the_header(genome, tmp_path, name):
    path = write_vcf(tmp_path / "in.vcf", some(), contigs=(), info="FOO=3")  # contig and INFO are not declared
    calls = read_variants(path, genome)
    check_fields(calls, FIELDS)
    write_calls(calls, tmp_path / name, FIELDS, values(len(some())), 450)
    with pysam.VariantFile(str(tmp_path / name)) as file:
        lines, records = str(file.header), list(file)
    assert "##source=drawn by a test\n" in lines
    assert '##INFO=<ID=SAE_MAX,Number=2,Type=Float,Description="Largest change">\n' in lines
    assert [(r.contig, r.pos, r.ref, r.alts[0]) for r in records] == some()
    assert [r.id for r in records] == [f"id{i}" for i in range(len(some()))]
    for i, record in enumerate(records):
        assert record.info["FOO"] in ("3", ("3",))
        assert record.info["SAE_MAX"] == (i / 8, None)
        assert record.info["SAE_TOP"] == (f"f{i}|0.5", "f9|-1")
    assert not list(tmp_path.glob(".*"))
    with pytest.raises(SaeTracksError, match="has SAE_MAX already"):
        check_fields(read_variants(tmp_path / name, genome), FIELDS)
    if name != "out.vcf":
        with pysam.VariantFile(str(tmp_path / name)) as file:
            assert [r.id for r in file.fetch("c1", 6, 8)] == ["id2", "id3"]
    if name == "out.vcf.gz":
        found = subprocess.run(["tabix", tmp_path / name, "c1:7-8"], capture_output=True, text=True, check=False)
        assert [line.split("\t")[2] for line in found.stdout.splitlines()] == ["id2", "id3"]


def test_shards_are_the_parts_of_the_whole(genome, tmp_path):
    path = write_vcf(tmp_path / "in.vcf", some())
    whole = read_variants(path, genome)
    parts = [read_variants(path, genome, Shard(i, 4)) for i in range(1, 5)]
    assert [v for part in parts for v in part.variants] == whole.variants
    written = []
    for i, part in enumerate(parts):
        write_calls(part, tmp_path / f"{i}.vcf", FIELDS, values(len(part.variants)), 450)
        with pysam.VariantFile(str(tmp_path / f"{i}.vcf")) as file:
            written += [record.id for record in file]
    assert written == [f"id{i}" for i in range(len(some()))]


def test_a_file_that_cannot_be_written_whole_is_not_there(genome, tmp_path):
    calls = read_variants(write_vcf(tmp_path / "in.vcf", some()), genome)
    with pytest.raises(ValueError, match="shorter"):
        write_calls(calls, tmp_path / "out.vcf.gz", FIELDS, values(2), 450)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.vcf"]


def test_a_header_whose_blocks_are_damaged_is_one_line(tmp_path):
    path = tmp_path / "x.vcf.gz"
    content = bytearray(gzip.compress(b"##fileformat=VCFv4.2\n" + b"##x=" + bytes(range(33, 126)) * 40 + b"\n"))
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(SaeTracksError, match=r"x\.vcf\.gz is damaged"):
        _header_lines(path)
