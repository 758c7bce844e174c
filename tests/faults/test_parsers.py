"""Whatever stands in a text file, its parser returns or says in one line why not."""

import gzip
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import random_dna, write_fasta

from sae_tracks.annotations import read_annotation, read_regions
from sae_tracks.annotations.alias import Contigs
from sae_tracks.annotations.signal import Signal
from sae_tracks.cli.inputs import parse_features
from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome
from sae_tracks.insight.vcf import read_variants
from sae_tracks.motifs import read_motifs
from sae_tracks.region_sets.deeptools import read_deeptools

LENGTHS = {"c1": 300, "c2": 60}
VCF = "##fileformat=VCFv4.2\n##contig=<ID=c1,length=300>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
IDS = 'gene_id "g"; transcript_id "t";'
WHOLE = {  # a sound file of each format
    "a.bed": "c1\t5\t20\tn\t7\t+\nc2\t0\t9\tm\t8\t-\n",
    "a.narrowPeak": "c1\t5\t20\tn\t7\t.\t1.5\t2\t3\t4\n",
    "a.gtf": f"c1\tx\tgene\t1\t90\t.\t+\t.\t{IDS}\nc1\tx\texon\t1\t40\t.\t+\t.\t{IDS}\n"
    f"c1\tx\tCDS\t4\t40\t.\t+\t0\t{IDS}\n",
    "a.gff3": "##gff-version 3\nc1\tx\tgene\t1\t90\t.\t-\t.\tID=g\nc1\tx\tmRNA\t1\t90\t.\t-\t.\tID=t;Parent=g\n"
    "c1\tx\texon\t1\t90\t.\t-\t.\tParent=t\n",
    "a.rmsk.txt": "585\t1\t1\t1\t1\tc1\t5\t30\t-9\t+\tAluY\tSINE\tAlu\t1\t30\t-1\t1\n",
    "a.out": "   SW  perc\nscore  div.\n\n  300  1.0  0.0  0.0  c1  6  30  (9)  +  AluY  SINE/Alu  1  30  (0)  1\n",
    "a.bedgraph": "c1\t0\t20\t0.5\nc1\t30\t40\t1e-3\n",
    "alias.txt": "c1\tone\nc2\ttwo\n",
    "regions.bed": "c1\t0\t50\nc2\t3\t9\n",
    "a.pfm": ">M1 T\n1 2 3\n4 5 6\n7 8 9\n1 1 1\n",
    "a.jaspar": ">M1 T\nA [ 1 2 ]\nC [ 3 4 ]\nG [ 5 6 ]\nT [ 7 8 ]\n",
    "a.meme": "MEME version 4\n\nALPHABET= ACGT\n\nMOTIF M1 T\nletter-probability matrix: alength= 4 w= 1 nsites= 9\n"
    "0.1 0.2 0.3 0.4\n",
    "a.homer": ">ACG\tT/x\t5.2\n0.1\t0.2\t0.3\t0.4\n",
    "a.vcf": VCF + "c1\t5\t.\tA\tC\t.\t.\t.\n",
    "a.features": "1, 2-4 f7\n",
    "a.matrix.gz": '@{"upstream":[2],"downstream":[2],"body":[0],"bin size":[1],"ref point":["center"],'
    '"unscaled 5 prime":[0],"unscaled 3 prime":[0],'
    '"group_labels":["g"],"group_boundaries":[0,1],"sample_labels":["s"]}\n'
    "c1\t5\t6\tn\t.\t+\t1\t2\t3\t4\n",
}
WORDS = (
    "",
    "-1",
    "1e308",
    "nan",
    "inf",
    "9" * 30,
    "9" * 400,
    "c9",
    "=1",
    "\x00",
    "\xff",
    "é",
    "\r",
    "\n",
    "\t\t",
    '"',
    "{",
    "[" * 70,
)


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    records = {name: random_dna(length, length) for name, length in LENGTHS.items()}
    return Genome(write_fasta(tmp_path_factory.mktemp("genome") / "g.fa", **records))


def read(path: Path, genome: Genome):
    if path.name.endswith((".pfm", ".jaspar", ".meme", ".homer")):
        return read_motifs(path)
    if path.suffix == ".vcf":
        return read_variants(path, genome)
    if path.suffix == ".bedgraph":
        return Signal(path, genome)
    if path.suffix == ".features":
        return parse_features(f"@{path}")
    if path.name == "alias.txt":
        return Contigs(genome, path).translate(["one", "c1", "x"], "a.bed")
    if path.name == "regions.bed":
        return read_regions(path, genome)
    return read_deeptools(path) if path.name.endswith(".matrix.gz") else read_annotation(path, genome)


def put(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("name", WHOLE)
def test_the_whole_file_is_read(genome, tmp_path, name):
    if name == "a.vcf":
        base = genome.sequence(genome.region("c1:5-5")).decode()
        WHOLE[name] = VCF + f"c1\t5\t.\t{base}\t{'C' if base != 'C' else 'G'}\t.\t.\t.\n"
    assert read(put(tmp_path / name, WHOLE[name].encode()), genome) is not None


@st.composite
def changed(draw):
    """A sound file with a few words or bytes replaced, lines moved, or its end cut off."""
    name = draw(st.sampled_from(list(WHOLE)))
    text = WHOLE[name]
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(len(text) - 1, 0)))
        kind = draw(st.integers(0, 3))
        if kind == 0:
            text = text[:at]
        elif kind == 1:
            text = text[:at] + draw(st.sampled_from(WORDS)) + text[at + draw(st.integers(0, 6)) :]
        elif kind == 2:
            lines = text.splitlines(keepends=True)
            text = "".join(draw(st.permutations(lines))) if len(lines) < 8 else text + text
        else:
            text = text[:at] + draw(st.text(max_size=4)) + text[at:]
    return name, text.encode("utf-8", "replace")


@given(changed())
@settings(max_examples=150)
def test_a_damaged_file_is_read_or_refused_in_one_line(genome, tmp_path_factory, case):
    name, content = case
    path = put(tmp_path_factory.getbasetemp() / name, content)
    try:
        read(path, genome)
    except SaeTracksError as error:
        assert str(error)


@given(st.sampled_from(list(WHOLE)), st.binary(max_size=200))
@settings(max_examples=100)
def test_bytes_of_any_kind_are_refused_in_one_line(genome, tmp_path_factory, name, content):
    try:
        read(put(tmp_path_factory.getbasetemp() / name, content), genome)
    except SaeTracksError as error:
        assert str(error)


@given(st.text(max_size=20) | st.from_regex(r"c[12]:[0-9,]{0,25}-?[0-9,]{0,25}", fullmatch=True))
def test_a_region_is_read_or_refused(genome, text):
    try:
        region = genome.region(text)
    except SaeTracksError:
        return
    assert 0 <= region.start < region.end <= LENGTHS[region.contig]


@given(st.binary(max_size=60) | st.text(">;ACGTN\n\r \tc1", max_size=60).map(str.encode), st.binary(max_size=40))
@settings(max_examples=60)
def test_a_fasta_and_its_index_are_read_or_refused(tmp_path_factory, content, index):
    path = tmp_path_factory.mktemp("fasta") / "g.fa"
    path.write_bytes(content)
    for with_index in (False, True):
        if with_index:
            path.with_name("g.fa.fai").write_bytes(index)
        try:
            genome = Genome(path)
            for name in genome.lengths:
                genome.m5(name)
        except SaeTracksError as error:
            assert str(error)


def test_amino_acids_are_no_genome(tmp_path):
    write_fasta(tmp_path / "p.fa", p1="MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ" * 3)
    with pytest.raises(SaeTracksError, match=r"p\.fa holds amino acids; a genome of A, C, G, T and N is needed"):
        Genome(tmp_path / "p.fa")
    write_fasta(tmp_path / "n.fa", n1="ACGTNRYSWKMBDHVacgtn" * 9)
    assert Genome(tmp_path / "n.fa").lengths == {"n1": 180}
