"""Genes as regions: bodies and promoters of GTF and GFF3, against the file's own rows and against hand counts."""

import gzip

import pytest
from annotation_files import stated_genome, write
from conftest import shared

from sae_tracks.errors import SaeTracksError
from sae_tracks.region_sets.regions import read_gene_set

GTF = [
    'chr1\tx\ttranscript\t101\t200\t.\t+\t.\tgene_id "G1"; transcript_id "T1"; gene_name "ABC";',
    'chr1\tx\texon\t151\t300\t.\t+\t.\tgene_id "G1"; transcript_id "T2"; gene_name "ABC";',
    'chr1\tx\texon\t51\t90\t.\t-\t.\tgene_id "G2"; transcript_id "T3";',
    'chr2\tx\texon\t1\t90\t.\t+\t.\tgene_id "G2"; transcript_id "T4";',
    'chr1\tx\texon\t400\t410\t.\t.\t.\tgene_id "G3"; transcript_id "T5";',
    'chrZ\tx\texon\t400\t410\t.\t+\t.\tgene_id "G4"; transcript_id "T6";',
]


@pytest.fixture
def genome(tmp_path):
    return stated_genome(tmp_path, chr2=95, chr1=500)


def rows_of(found):
    columns = ["Chromosome", "Start", "End", "Name", "Strand", "Row", "gene_name"]
    return list(found.table[columns].itertuples(index=False, name=None))


def test_a_gene_reaches_from_the_first_to_the_last_row_with_its_id(genome, tmp_path):
    assert rows_of(read_gene_set(write(tmp_path, "g.gtf", *GTF), genome)) == [
        ("chr2", 0, 90, "G2", "+", 3, "G2"),
        ("chr1", 50, 90, "G2-1", "-", 2, "G2"),
        ("chr1", 100, 300, "G1", "+", 0, "ABC"),
        ("chr1", 399, 410, "G3", ".", 4, "G3"),
    ]


def test_promoters_lie_around_the_start_in_the_direction_of_the_strand(genome, tmp_path, caplog):
    path = write(tmp_path, "g.gtf", *GTF)
    found = read_gene_set(path, genome, over="promoter", upstream=30, downstream=10)
    assert [row[:4] for row in rows_of(found)] == [
        ("chr2", 0, 10, "G2"),  # cut at the contig's start
        ("chr1", 70, 110, "G1"),  # the base at 100 is the first of 10
        ("chr1", 80, 120, "G2-1"),  # the base at 89 is the first of 10
    ]
    assert "g.gtf: 1 gene without a strand is left out" in caplog.text
    assert [row[:4] for row in rows_of(read_gene_set(path, genome, over="promoter", upstream=0, downstream=1))] == [
        ("chr2", 0, 1, "G2"),
        ("chr1", 89, 90, "G2-1"),
        ("chr1", 100, 101, "G1"),
    ]
    with pytest.raises(SaeTracksError, match="holds no base"):
        read_gene_set(path, genome, over="promoter", upstream=0, downstream=0)


@pytest.mark.parametrize(
    "gene, name, symbol",
    [
        ("ID=gene-TP53;Dbxref=GeneID:7157;Name=TP53;gene=TP53", "TP53", "TP53"),  # NCBI
        ("ID=gene:ENSG01;Name=TP53;biotype=protein_coding;gene_id=ENSG01", "ENSG01", "TP53"),  # Ensembl
        ("ID=YAL069W;Name=YAL069W;gene=ABC1", "YAL069W", "ABC1"),  # SGD
        ("ID=x", "x", "x"),
    ],
)
def test_genes_of_gff3(genome, tmp_path, gene, name, symbol):
    lines = [f"chr1\tx\tncRNA_gene\t11\t20\t.\t-\t.\t{gene}", "chr1\tx\tmRNA\t11\t20\t.\t-\t.\tID=rna1;Parent=x"]
    assert rows_of(read_gene_set(write(tmp_path, "g.gff3", *lines), genome)) == [("chr1", 10, 20, name, "-", 0, symbol)]


def test_files_without_genes_are_refused(genome, tmp_path):
    with pytest.raises(SaeTracksError, match=r"r\.bed is no GTF or GFF3"):
        read_gene_set(write(tmp_path, "r.bed", "chr1\t1\t5"), genome)
    with pytest.raises(SaeTracksError, match=r"g\.gff3 names no gene"):
        read_gene_set(write(tmp_path, "g.gff3", "chr1\tx\texon\t1\t5\t.\t+\t.\tParent=a"), genome)
    with pytest.raises(SaeTracksError, match="line 1: start 9 is after end 5"):
        read_gene_set(write(tmp_path, "g.gtf", 'chr1\tx\texon\t9\t5\t.\t+\t.\tgene_id "a"'), genome)


def test_genes_of_gencode_are_its_rows_of_genes(tmp_path):
    path = shared("data/gencode_human.chr1_0-1.5M.gtf.gz")
    expected = []
    with gzip.open(path, "rt") as file:
        for line in file:
            if not line.startswith("#") and (fields := line.split("\t"))[2] == "gene":
                words = fields[8].split('"')
                expected.append((int(fields[3]) - 1, int(fields[4]), words[1], fields[6]))
    found = read_gene_set(path, stated_genome(tmp_path, "h.fa", chr1=248_956_422))
    assert sorted(zip(*(found.table[c] for c in ("Start", "End", "Name", "Strand")))) == sorted(expected)
    assert len(expected) > 50 and "SAMD11" in set(found.table["gene_name"])
