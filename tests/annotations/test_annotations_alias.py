"""Names of contigs: aliases, accessions, and assemblies that do not match."""

import pytest
from annotation_files import rows, stated_genome, write
from hypothesis import given, settings
from hypothesis import strategies as st

from sae_tracks.annotations import read_annotation
from sae_tracks.annotations.alias import Contigs
from sae_tracks.errors import SaeTracksError

GRCH38, GRCH37 = 107_043_718, 107_349_540  # bases of chromosome 14


def contigs_read(path, genome, alias):
    return [row[0] for row in rows(read_annotation(path, genome, alias=alias))]


@pytest.mark.parametrize("ours", ["chr14", "14", "NC_000014.9", "CM000676.2"])
@pytest.mark.parametrize("theirs", ["chr14", "14", "NC_000014.9", "CM000676.2"])
def test_ucsc_maps_each_name_to_each(tmp_path, ours, theirs):
    genome = stated_genome(tmp_path, **{ours: GRCH38})
    assert contigs_read(write(tmp_path, "s.bed", f"{theirs}\t1\t9"), genome, "ucsc") == [ours]


@pytest.mark.parametrize(
    ("theirs", "ours", "length"),
    [
        ("NC_000001.11", "chr1", 248_956_422), ("NC_000001.10", "chr1", 249_250_621),
        ("CM000663.1", "1", 249_250_621), ("NC_000023.10", "chrX", 155_270_560), ("CM000686.2", "chrY", 57_227_415),
        ("NC_000022.11", "chr22", 50_818_468), ("NC_000007.13", "chr7", 159_138_663), ("MT", "chrM", 16_569),
        ("chrM", "MT", 16_569), ("NC_012920.1", "chrM", 16_569), ("2L", "chr2L", 5000), ("chrIV", "IV", 5000),
    ],
)  # fmt: skip
def test_names_known_by_heart(tmp_path, theirs, ours, length):
    genome = stated_genome(tmp_path, **{ours: length})
    assert contigs_read(write(tmp_path, "s.bed", f"{theirs}\t1\t9"), genome, "ucsc") == [ours]


def test_ensembls_mitochondrion_is_not_hg19s(tmp_path, caplog):
    genome = stated_genome(tmp_path, chr14=GRCH37, chrM=16_571)
    path = write(tmp_path, "s.bed", "14\t1\t9", "MT\t1\t9")
    assert contigs_read(path, genome, "ucsc") == ["chr14"]


def test_without_an_alias_the_error_says_which_would_do(tmp_path):
    genome = stated_genome(tmp_path, "hg38.fa", chr14=GRCH38, chr15=101_991_189, chr16=9)
    with pytest.raises(SaeTracksError) as caught:
        read_annotation(write(tmp_path, "sites.bed", "14\t1\t9", "15\t1\t9", "16\t1\t9"), genome)
    assert str(caught.value) == (
        "no contig of sites.bed is in hg38.fa: it has '14', '15' ...; the genome has 'chr14', 'chr15' ... "
        "(--alias ucsc maps them)"
    )


def test_an_accession_of_the_other_assembly_is_refused(tmp_path):
    genome = stated_genome(tmp_path, "hg38.fa", chr14=GRCH38)
    path = write(tmp_path, "s.bed", "NC_000014.8\t1\t9")
    for alias in (None, "ucsc"):
        with pytest.raises(
            SaeTracksError, match=r"s.bed and hg38.fa do not match: 'NC_000014.8' is of GRCh37, 'chr14'"
        ):
            read_annotation(path, genome, alias=alias)
    named = stated_genome(tmp_path, "ncbi.fa", **{"NC_000014.9": 1000})
    with pytest.raises(SaeTracksError, match=r"'NC_000014.8' is of GRCh37, 'NC_000014.9' of GRCh38"):
        read_annotation(path, named, alias="ucsc")


def test_a_row_past_the_end_of_an_aliased_contig_names_the_mismatch(tmp_path):
    genome = stated_genome(tmp_path, "hg38.fa", chr14=GRCH38)
    path = write(tmp_path, "s.bed", "14\t1\t9", f"14\t1\t{GRCH38 + 1}")
    with pytest.raises(SaeTracksError) as caught:
        read_annotation(path, genome, alias="ucsc")
    assert str(caught.value) == (
        "s.bed, line 2: end 107,043,719 is past chr14, which has 107,043,718 bases "
        "(--alias ucsc took '14' for it, but the assemblies do not match; hg38.fa is GRCh38)"
    )


CHROM_ALIAS = ["# ucsc\tensembl\trefseq", "chr2L\t2L\tNT_033779.5", "chrUn_x\tx.1"]


def test_a_file_of_aliases_maps_any_name_of_a_line(tmp_path):
    alias = write(tmp_path, "dm6.chromAlias.txt", *CHROM_ALIAS)
    path = write(tmp_path, "s.bed", "2L\t1\t9", "NT_033779.5\t2\t9", "chr2L\t3\t9", "x.1\t4\t9")
    genome = stated_genome(tmp_path, chr2L=5000)
    assert rows(read_annotation(path, genome, alias=alias), "Chromosome", "Start") == [
        ("chr2L", 1), ("chr2L", 2), ("chr2L", 3),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["chrX\tX"], "a.txt gives no other name to a contig of g.fa: a line of it names one contig"),
        (["chr1\ta", "chr2\ta"], "s.bed: 'a' could be chr1 or chr2 of g.fa: rename it"),
    ],
)
def test_a_file_of_aliases_that_says_nothing_or_two_things(tmp_path, lines, message):
    genome = stated_genome(tmp_path, chr1=9, chr2=9)
    with pytest.raises(SaeTracksError, match=message.replace(".", r"\.")):
        read_annotation(write(tmp_path, "s.bed", "a\t1\t9"), genome, alias=write(tmp_path, "a.txt", *lines))


def test_a_name_that_fits_two_contigs_is_refused(tmp_path):
    genome = stated_genome(tmp_path, **{"chr14": GRCH38, "14": GRCH38})
    with pytest.raises(SaeTracksError, match=r"'NC_000014.9' could be chr14 or 14 of g.fa"):
        read_annotation(write(tmp_path, "s.bed", "NC_000014.9\t1\t9"), genome, alias="ucsc")


@settings(deadline=None)
@given(names=st.lists(st.sampled_from(["chr1", "1", "chrM", "MT", "M", "x", "chrx", ""]), max_size=6))
def test_names_of_the_genome_and_unknown_names_stay(tmp_path_factory, names):
    genome = stated_genome(tmp_path_factory.getbasetemp(), chr1=9, x=9)
    assert Contigs(genome).translate(names, "f") == names
    told = {"1": "chr1", "chrx": "x"}
    assert Contigs(genome, "ucsc").translate(names, "f") == [told.get(name, name) for name in names]


YEAST = {"I": 230_218, "VIII": 562_643, "X": 745_751, "XIV": 784_333, "Mito": 85_779}
YEAST_NAMES = [
    ("I", "chrI", "1", "chr1", "NC_001133.9", "BK006935.2"),
    ("VIII", "chrVIII", "8", "chr8", "NC_001140.6", "BK006934.2"),
    ("X", "chrX", "10", "chr10", "NC_001142.9", "BK006943.2"),
    ("XIV", "chrXIV", "14", "chr14", "NC_001146.8", "BK006947.3"),
    ("Mito", "chrM", "MT", "chrmt", "17", "NC_001224.1"),
]


@pytest.mark.parametrize("kind", range(6))
def test_the_names_of_a_yeast_chromosome_are_one_contig(tmp_path, kind):
    ours = {names[kind]: YEAST[names[0]] for names in YEAST_NAMES}
    genome = stated_genome(tmp_path, "y.fa", **ours)
    for names in YEAST_NAMES:
        path = write(tmp_path, "s.bed", *(f"{name}\t1\t9" for name in names))
        assert set(contigs_read(path, genome, "ucsc")) == {names[kind]}


def test_yeast_names_are_those_of_r64_only(tmp_path):
    path = write(tmp_path, "s.bed", "10\t1\t9", "chrX\t1\t9")
    human = stated_genome(tmp_path, "h.fa", X=156_040_895, I=9)
    assert contigs_read(path, human, "ucsc") == ["X"]
    yeast = stated_genome(tmp_path, "y.fa", **YEAST)
    with pytest.raises(SaeTracksError, match=r"no contig of t\.bed is in y\.fa: .*\(--alias ucsc maps them\)$"):
        read_annotation(write(tmp_path, "t.bed", "chr1\t1\t9"), yeast)
