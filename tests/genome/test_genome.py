"""FASTA access: formats, indexes, stretches, identity."""

import base64
import hashlib
import multiprocessing
import os
import re
from pathlib import Path

import pysam
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy import random_dna, write_fasta

from sae_tracks import genome as module
from sae_tracks.dna import readable_bases, reverse_complement
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import unwritable, values_differ
from sae_tracks.genome import Genome
from sae_tracks.regions import GenomicRegion


@pytest.mark.parametrize("name", ["g.fa", "g.fa.bgz"])
def test_plain_and_bgzip_read_the_same_without_an_index(tmp_path, name):
    sequence = random_dna(333)
    genome = Genome(write_fasta(tmp_path / name, chr1=sequence, chr2=sequence[::-1].lower()))
    assert genome.lengths == {"chr1": 333, "chr2": 333}
    assert genome.sequence(GenomicRegion("chr1", 0, 333)) == sequence.encode()
    assert genome.sequence(GenomicRegion("chr1", 332, 333)) == sequence[-1].encode()
    assert genome.sequence(GenomicRegion("chr2", 49, 51)) == sequence[::-1][49:51].encode()


@pytest.mark.parametrize("name", ["g.fa", "g.fa.bgz"])
def test_a_folder_that_cannot_be_written_still_reads(tmp_path, monkeypatch, name):
    path = write_fasta(tmp_path / name, chr1="ACGT")

    def refuses(path):
        raise unwritable(path, OSError(30, "Read-only file system"))

    monkeypatch.setattr(module, "atomic", refuses)
    assert Genome(path).sequence(GenomicRegion("chr1", 1, 3)) == b"CG"
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty"), (b"chr1\t5\t10\n", "not FASTA"), (None, "no FASTA file")],
)
def test_what_is_not_fasta_is_refused(tmp_path, content, message):
    path = tmp_path / "g.fa"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SaeTracksError, match=message):
        Genome(path)


def test_a_folder_in_the_place_of_the_genome_is_named_and_a_genome_is_short_in_print(tmp_path):
    with pytest.raises(SaeTracksError, match="is a folder, not a FASTA: the genome comes after the SAE"):
        Genome(tmp_path)
    assert repr(Genome(write_fasta(tmp_path / "g.fa", a="ACGT" * 500, b="A"))) == "Genome(g.fa, 2 contigs, 2,001 bases)"


def test_a_damaged_block_is_an_error_of_one_line(tmp_path):
    path = write_fasta(tmp_path / "g.fa.bgz", chr1=random_dna(500_000))
    Genome(path)  # makes the index
    stamp, data = path.stat().st_mtime_ns, bytearray(path.read_bytes())
    data[-60:-40] = bytes(20)  # in the last block with bases
    path.write_bytes(data)
    os.utime(path, ns=(stamp, stamp))
    with pytest.raises(SaeTracksError, match=r"g\.fa\.bgz is cut short or damaged"):
        Genome(path).sequence(GenomicRegion("chr1", 0, 500_000))


def test_gzip_is_refused_with_the_way_out(tmp_path):
    with pytest.raises(SaeTracksError, match="not bgzip"):
        Genome(write_fasta(tmp_path / "g.fa.gz", chr1="ACGT"))


def test_regions_outside_are_refused(tmp_path):
    genome = Genome(write_fasta(tmp_path / "g.fa", chr14="ACGT"))
    with pytest.raises(SaeTracksError, match="did you mean 'chr14'"):
        genome.sequence(GenomicRegion("14", 0, 1))
    with pytest.raises(SaeTracksError, match="ends past chr14"):
        genome.sequence(GenomicRegion("chr14", 0, 5))


def test_stretches_lie_between_runs_of_100_n(tmp_path):
    sequence = "N" * 150 + "ACGT" * 10 + "N" * 99 + "A" * 7 + "N" * 100 + "G"
    genome = Genome(write_fasta(tmp_path / "g.fa", a=sequence, b="N" * 200, c="n" * 100 + "T" + "n" * 100))
    assert genome.stretches("a") == [GenomicRegion("a", 150, 296), GenomicRegion("a", 396, 397)]
    assert genome.stretches("b") == []
    assert genome.stretches("c") == [GenomicRegion("c", 100, 101)]


@given(st.lists(st.tuples(st.sampled_from("AaNn"), st.integers(1, 6)), min_size=1, max_size=12), st.integers(1, 7))
def test_soft_masked_runs_equal_a_regular_expression_whatever_the_chunks(tmp_path_factory, runs, chunk):
    sequence = "".join(letter * n for letter, n in runs)
    genome = Genome(write_fasta(tmp_path_factory.mktemp("soft") / "g.fa", a=sequence))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK", chunk)
        found = genome.soft_masked("a")
    assert found.tolist() == [list(match.span()) for match in re.finditer("[a-z]+", sequence)]
    assert found.shape == (len(found), 2)


def test_m5_is_the_md5_of_the_upper_case_sequence_whatever_the_chunks(tmp_path, monkeypatch):
    sequence = random_dna(500)
    genome = Genome(write_fasta(tmp_path / "g.fa", a=sequence.lower()))
    monkeypatch.setattr(module, "CHUNK", 7)
    assert genome.m5("a") == hashlib.md5(sequence.encode()).hexdigest()


@pytest.mark.parametrize("name", ["g.fa", "g.bgz"])
def test_an_index_older_than_its_fasta_is_used_if_it_fits_and_else_refused(tmp_path, name):
    path = write_fasta(tmp_path / name, a="ACGT" * 100, b="GATTACA")
    Genome(path)
    old = path.stat().st_mtime - 60
    os.utime(f"{path}.fai", (old, old))
    assert Genome(path).sequence(GenomicRegion("b", 0, 7)) == b"GATTACA"

    write_fasta(path, a="ACGT" * 90, b="GATTACA")
    os.utime(f"{path}.fai", (old, old))
    with pytest.raises(SaeTracksError, match=f"{name}: it has changed since it was indexed; delete {name}.fai"):
        Genome(path)


def test_a_fasta_cut_short_behind_its_index_is_refused_where_it_is_read(tmp_path):
    path = write_fasta(tmp_path / "g.fa", a="ACGT" * 100)
    Genome(path)
    path.write_bytes(path.read_bytes()[:200])
    new = path.stat().st_mtime + 60
    os.utime(f"{path}.fai", (new, new))
    with pytest.raises(SaeTracksError, match="ends before a:1-400"):
        Genome(path).sequence(GenomicRegion("a", 0, 400))


def test_letters_that_are_not_ascii_are_named_as_what_they_are(tmp_path):
    (tmp_path / "g.fa").write_bytes(b">a\nACGT\n>b\nAC\xe9T\n")
    genome = Genome(tmp_path / "g.fa")
    assert genome.sequence(GenomicRegion("a", 0, 4)) == b"ACGT"
    with pytest.raises(SaeTracksError, match=r"^g\.fa holds letters in b:1-[34] that are not ASCII$"):
        genome.stretches("b")


def test_rna_reads_as_dna_in_either_direction_and_keeps_its_own_m5(tmp_path):
    genome = Genome(write_fasta(tmp_path / "r.fa", a="ACGUu"))
    bases = genome.sequence(GenomicRegion("a", 0, 5))
    assert bases == b"ACGTT" and reverse_complement(bases) == b"AACGT" and readable_bases(bases).all()
    assert genome.m5("a") == hashlib.md5(b"ACGUU").hexdigest()


def test_refget_digest_is_the_published_one_whatever_the_case_and_the_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr("sae_tracks.genome.CHUNK", 3)
    genome = Genome(write_fasta(tmp_path / "g.fa", a="acGT", b="GATTACA" * 3))
    assert genome.refget("a") == "SQ.aKF498dAxcJAqme6QYQ7EZ07-fiw8Kw2"  # GA4GH refget v2, and VRS
    standard = base64.b64encode(hashlib.sha512(b"GATTACA" * 3).digest()).decode()[:32]  # 24 bytes are 32 letters
    assert genome.refget("b") == "SQ." + standard.replace("+", "-").replace("/", "_")


def test_both_digests_take_one_walk(tmp_path, monkeypatch):
    genome = Genome(write_fasta(tmp_path / "g.fa", a="ACGT"))
    md5 = genome.m5("a")
    monkeypatch.setattr(genome, "_chunks", lambda contig: pytest.fail("walked again"))
    assert genome.record(["a", "a"]) == {
        "path": str(tmp_path / "g.fa"),
        "contigs": {"a": {"length": 4, "M5": md5}},
        "refget": {"a": "SQ.aKF498dAxcJAqme6QYQ7EZ07-fiw8Kw2"},
    }


def test_records_with_and_without_a_refget_digest_are_of_the_same_values(tmp_path):
    record = Genome(write_fasta(tmp_path / "g.fa", a="ACGT")).record("a")
    older = {name: value for name, value in record.items() if name != "refget"}
    other = Genome(write_fasta(tmp_path / "h.fa", a="ACGA")).record("a")
    assert values_differ({"genome": record}, {"genome": older}) is None
    assert values_differ({"genome": record}, {"genome": other}) == "genome"


def test_a_contig_is_walked_once_for_its_stretches_and_nobody_can_change_them(tmp_path, monkeypatch):
    genome = Genome(write_fasta(tmp_path / "g.fa", a="ACGT" + "N" * 100 + "ACGT"))
    first = genome.stretches("a")
    monkeypatch.setattr(genome, "_chunks", lambda contig: pytest.fail("walked again"))
    genome.stretches("a").clear()
    assert genome.stretches("a") == first == [GenomicRegion("a", 0, 4), GenomicRegion("a", 104, 108)]


@pytest.mark.parametrize("name", ["g.fa", "g.fa.bgz"])
@pytest.mark.parametrize("again", ["a", "b", "c"])
def test_two_records_of_one_name_are_refused(tmp_path, name, again):
    sequences = {"a": "ACGT" * 30, "b": "GATTACA", "c": "T"}
    text = "".join(f">{key} x\n{letters}\n" for key, letters in [*sequences.items(), (again, "GGGG")]).encode()
    with pysam.BGZFile(str(tmp_path / name), "wb") if name.endswith("bgz") else (tmp_path / name).open("wb") as file:
        file.write(text)
    with pytest.raises(SaeTracksError, match=f"^{name} has two records called '{again}'"):
        Genome(tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == [name]  # no index that hides the second record


WRAPPED = ">a one\n" + "ACGTACGT\n" * 5 + "ACG\n>b\nGATTACA\n"


@pytest.mark.parametrize(
    ("text", "index", "message"),
    [
        (WRAPPED.replace(">a one", ">a version 2"), None, "changed since it was indexed; delete g.fa.fai"),
        (WRAPPED.replace("ACGTACGT\nACGTACGT\n", "ACGTACG\nACGTACGTT\n"), "a\t43\t7\t7\t8\n", "changed"),
        (WRAPPED, "a\t43\t7\t8\t9\n", "changed"),
        (WRAPPED, "b\t7\t58\t7\t8\n", "changed"),
        (WRAPPED, "a\t43\t7\t8\t9\nb\t7\t5", "changed"),
        (WRAPPED, "", "changed"),
        (WRAPPED + ">c\nA\n", None, "changed"),
        (WRAPPED.replace(">b", ">c"), None, "changed"),
        (WRAPPED[:-2], None, "ends before b:1-7"),
    ],
    ids=[
        "longer header",
        "other lines",
        "cut",
        "headless",
        "cut in a row",
        "empty",
        "record more",
        "renamed",
        "shorter",
    ],
)
def test_an_index_that_does_not_fit_is_refused_even_if_it_is_newer(tmp_path, text, index, message):
    path = tmp_path / "g.fa"
    path.write_text(WRAPPED)
    Genome(path)
    path.write_text(text)
    fai = tmp_path / "g.fa.fai"
    fai.write_text(fai.read_text() if index is None else index)
    new = path.stat().st_mtime + 60
    os.utime(fai, (new, new))
    with pytest.raises(SaeTracksError, match=message):
        Genome(path)


@pytest.mark.parametrize(
    "index",
    ["b\t7\t59\t7\t8\na\t43\t7\t8\t9\n", "a\t44\t7\t8\t9\nb\t7\t59\t7\t8\n", "a\t43\t7\t8\t9\nb\t8\t59\t8\t9\n"],
    ids=["moved", "a line break more", "a line break more at the end"],
)
def test_an_index_with_moved_or_altered_rows_is_refused(tmp_path, index):
    """It would give contigs in another order, or a letter that is not there."""
    (tmp_path / "g.fa").write_text(WRAPPED)
    (tmp_path / "g.fa.fai").write_text(index)
    said = "its rows are not in the order of g.fa: run" if index[0] == "b" else "changed since it was indexed"
    with pytest.raises(SaeTracksError, match=said):
        Genome(tmp_path / "g.fa")


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("last", ["", "ending"])
@given(lengths=st.lists(st.integers(1, 25), min_size=1, max_size=5), width=st.integers(1, 9))
def test_every_index_that_samtools_makes_fits(tmp_path_factory, ending, last, lengths, width):
    letters = random_dna(25)
    lines = []
    for i, length in enumerate(lengths):
        lines += [f">c{i} x", *(letters[j : min(j + width, length)] for j in range(0, length, width))]
    path = tmp_path_factory.mktemp("fits") / "g.fa"
    path.write_bytes((ending.join(lines) + (ending if last else "")).encode())
    for _ in range(2):  # without an index and with it
        genome = Genome(path)
        assert genome.lengths == {f"c{i}": length for i, length in enumerate(lengths)}
        assert all(genome.sequence(region) == letters[: len(region)].encode() for region in genome.whole)


def test_a_gzi_of_another_file_is_refused(tmp_path):
    path = write_fasta(tmp_path / "g.fa.bgz", a=random_dna(200_000))
    Genome(path)
    gzi = tmp_path / "g.fa.bgz.gzi"
    gzi.write_bytes(gzi.read_bytes()[:8] + bytes(8) + gzi.read_bytes()[16:])
    with pytest.raises(SaeTracksError, match="it has changed since it was indexed"):
        Genome(path)


def contigs_seen(path, barrier, queue):
    barrier.wait()
    queue.put(len(Genome(path).lengths))


def test_eight_processes_that_meet_a_fasta_without_an_index_see_all_of_it(tmp_path):
    Genome(write_fasta(tmp_path / "first.fa", a="ACGT"))  # what is compiled is compiled once, not by all eight
    (tmp_path / "eight").mkdir()
    path = tmp_path / "eight/g.fa"
    path.write_text("".join(f">c{i}\nACGT\n" for i in range(20_000)))
    fork = multiprocessing.get_context("fork")
    barrier, queue = fork.Barrier(8), fork.Queue()
    readers = [fork.Process(target=contigs_seen, args=(path, barrier, queue)) for _ in range(8)]
    for reader in readers:
        reader.start()
    assert [queue.get(timeout=60) for _ in readers] == [20_000] * 8
    for reader in readers:
        reader.join()
    assert sorted(p.name for p in path.parent.iterdir()) == ["g.fa", "g.fa.fai"]


def test_the_index_takes_its_name_when_it_is_whole(tmp_path, monkeypatch):
    path = write_fasta(tmp_path / "g.fa", a="ACGT")
    real = module.pysam.faidx

    def watched(fasta, *words):
        assert Path(words[1]).parent != tmp_path
        return real(fasta, *words)

    monkeypatch.setattr(module.pysam, "faidx", watched)
    Genome(path)
    assert (tmp_path / "g.fa.fai").read_text() == "a\t4\t3\t4\t5\n"
