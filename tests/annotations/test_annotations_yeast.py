"""Yeast: SGD's table of features by hand, and codons of the real genes against the real sequence."""

import gzip

import pytest
from annotation_files import rows, stated_genome, write
from conftest import shared

from sae_tracks.annotations import read_annotation
from sae_tracks.dna import reverse_complement
from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome

FOLDER = "data/yeast/"
STOPS = {b"TAA", b"TAG", b"TGA"}


def feature(kind, chromosome, start, stop, strand, *, parent="", number=1):
    fields = [f"S{number:09}", kind, "", "x", "", "", parent, "", chromosome, start, stop, strand, "", "", "", "text"]
    return "\t".join(map(str, fields))


TABLE = (
    feature("ORF", 1, 30, 11, "C"),
    feature("CDS", 1, 30, 27, "C", parent="Y1"),
    feature("intron", 1, 26, 21, "C", parent="Y1"),
    feature("CDS", 1, 20, 11, "C", parent="Y1"),
    feature("five_prime_UTR_intron", 1, 41, 45, "W", parent="Y2"),
    feature("ARS", 17, 5, 9, ""),
    feature("gene_group", 1, "", "", ""),
)


@pytest.fixture
def genome(tmp_path):
    return stated_genome(tmp_path, I=230_218, Mito=85_779)


def test_sgds_table_by_hand(genome, tmp_path, caplog):
    with caplog.at_level("INFO"):
        found = read_annotation(write(tmp_path, "features.txt", *TABLE), genome, alias="ucsc")
    assert "features.txt: 1 feature without a place is left out" in caplog.text
    sites = rows(found)
    assert [site for site in sites if not site[3].startswith("CDS:")] == [
        ("I", 10, 30, "ORF", "-", ""), ("I", 26, 30, "CDS", "-", ""), ("I", 20, 26, "intron", "-", ""),
        ("I", 10, 20, "CDS", "-", ""), ("I", 40, 45, "five_prime_UTR_intron", "+", ""), ("Mito", 4, 9, "ARS", ".", ""),
    ]  # fmt: skip
    bases = [*range(29, 25, -1), *range(19, 9, -1)]
    expected = {("I", base, base + 1, f"CDS:{i % 3 + 1}", "-", "") for i, base in enumerate(bases)}
    assert {site for site in sites if site[3].startswith("CDS:")} == expected


def test_a_feature_beyond_its_chromosome_is_named_by_its_line(genome, tmp_path):
    path = write(tmp_path, "features.txt", *TABLE, feature("ARS", 1, 230_000, 230_219, "W"))
    with pytest.raises(SaeTracksError, match=r"features.txt, line 8: end 230,219 is past I, which has 230,218 bases"):
        read_annotation(path, genome, alias="ucsc")


@pytest.fixture(scope="module")
def yeast(tmp_path_factory):
    path = tmp_path_factory.mktemp("yeast") / "yeast.fa"
    path.write_bytes(
        gzip.decompress(shared(f"{FOLDER}Saccharomyces_cerevisiae.R64-1-1.dna.toplevel.fa.gz").read_bytes())
    )
    return Genome(path)


@pytest.fixture(scope="module")
def genes(yeast):
    return read_annotation(shared(f"{FOLDER}Saccharomyces_cerevisiae.R64-1-1.96.gtf.gz"), yeast).sites


def whole(yeast):
    return {region.contig: yeast.sequence(region) for region in yeast.whole}


def of(sites, name):
    found = sites[sites["Name"] == name]
    columns = ["Chromosome", "Start", "End", "Strand"]
    return set(found[columns].astype({"Chromosome": str, "Strand": str}).itertuples(index=False, name=None))


def letters(sequences, site):
    contig, start, end, strand = site
    text = sequences[contig][start:end]
    return text if strand == "+" else reverse_complement(text)


def test_start_codons_read_atg_and_are_codons(yeast, genes):
    sequences, codons = whole(yeast), of(genes, "start_codon")
    assert sum(letters(sequences, site) == b"ATG" for site in codons) > 0.99 * len(codons) > 6000
    first = of(genes, "CDS:1")
    begin = [(c, s if strand == "+" else e - 1, strand) for c, s, e, strand in codons if e - s == 3]
    assert sum((c, base, base + 1, strand) in first for c, base, strand in begin) > 0.99 * len(begin)


def test_coding_sequence_has_no_stop_codon_in_frame(yeast, genes):
    sequences, first, clean, total = whole(yeast), of(genes, "CDS:1"), 0, 0
    for contig, start, end, strand in of(genes, "CDS"):
        if contig != "Mito":  # its code is another one
            begins = [b for b in range(start, end) if (contig, b, b + 1, strand) in first]
            places = [(b, b + 3) if strand == "+" else (b - 2, b + 1) for b in begins]
            inside = {letters(sequences, (contig, a, b, strand)) for a, b in places if a >= start and b <= end}
            total, clean = total + 1, clean + (not STOPS & inside)
    assert clean > 0.99 * total > 6000


def test_sgds_table_and_the_gtf_give_the_same_codon_positions(yeast, genes):
    table = read_annotation(shared(f"{FOLDER}SGD_features_170331.tab.gz"), yeast, alias="ucsc").sites
    ours, theirs = of(genes, "CDS:1"), of(table, "CDS:1")
    assert len(ours & theirs) > 0.99 * len(ours)


@pytest.mark.parametrize("name", ["chipexo/Reb1_CX.bed", "rhee2012-TATAboxes-cleaned.bed"])
def test_other_names_of_chromosomes_are_read(yeast, name):
    path = shared(f"{FOLDER}{name}")
    assert len(read_annotation(path, yeast, alias="ucsc")) == sum(1 for line in path.open() if line.strip())
    with pytest.raises(SaeTracksError, match="--alias ucsc maps them"):
        read_annotation(path, yeast)
