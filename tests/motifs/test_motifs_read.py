"""Files of matrices: the formats, and what is wrong with a line."""

import gzip

import numpy as np
import pytest
from conftest import shared

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import bundled
from sae_tracks.motifs import Motif, jaspar_motifs, read_motifs

COUNTS = [[3, 0, 0, 1], [0, 4, 0, 0], [1, 1, 1, 1], [0, 0, 4, 0], [0, 2, 0, 2]]  # a row a position
JASPAR = """\
>MA0001.1\tAGL3::X
A  [ 3 0 1 0 0 ]
C  [ 0 4 1 0 2 ]
G  [ 0 0 1 4 0 ]
T  [ 1 0 1 0 2 ]
"""
ROWS = ">MA0001.1 AGL3::X\n3 0 1 0 0\n0 4 1 0 2\n0 0 1 4 0\n1 0 1 0 2\n"
POSITIONS = "# a comment\n>MA0001.1_MA0001.1.AGL3::X\n" + "".join("\t".join(map(str, row)) + "\n" for row in COUNTS)
MEME = """\
MEME version 4

ALPHABET= ACGT

strands: + -

MOTIF MA0001.1 AGL3::X

letter-probability matrix: alength= 4 w= 5 nsites= 4 E= 0
 0.75 0 0 0.25
 0 1 0 0
 0.25 0.25 0.25 0.25
 0 0 1 0
 0 0.5 0 0.5

URL http://example.org
"""


@pytest.mark.parametrize("text", [JASPAR, ROWS, POSITIONS, MEME, JASPAR.replace("\n", "\r\n")])
@pytest.mark.parametrize("packed", [False, True])
def test_all_formats_say_the_same(tmp_path, text, packed):
    path = tmp_path / "m.txt"
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    (motif,) = read_motifs(path)
    assert (motif.matrix_id, motif.tf) == ("MA0001.1", "AGL3::X")
    assert motif.counts.dtype == np.float64 and motif.counts.tolist() == COUNTS


def test_several_matrices_keep_their_order_and_a_name_may_be_missing(tmp_path):
    path = tmp_path / "m.pfm"
    path.write_text(">MA2.1\n1 0\n0 1\n0 0\n0 0\n\n>MA1.1 Y factor\nA 1\nC 2\nG 3\nT 4\n")
    first, second = read_motifs(path)
    assert (first.matrix_id, first.tf, first.counts.tolist()) == ("MA2.1", "", [[1, 0, 0, 0], [0, 1, 0, 0]])
    assert (second.matrix_id, second.tf, second.counts.tolist()) == ("MA1.1", "Y factor", [[1, 2, 3, 4]])


def test_meme_without_nsites_has_twenty(tmp_path):
    path = tmp_path / "m.meme"
    path.write_text(MEME.replace("nsites= 4 ", ""))
    assert read_motifs(path)[0].counts[1].tolist() == [0, 20, 0, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "m.txt holds no motif"),
        ("# only a comment\n", "m.txt holds no motif"),
        ("1 2 3 4\n", "line 1: '1 2 3 4' is no header"),
        (">\n1 2 3 4\n", "line 1: the header has no matrix ID"),
        (">MA1.1 X\n>MA2.1 Y\n1\n1\n1\n1\n", "line 1: no row of numbers follows"),
        (">MA1.1 X\n1 0\n0 1\n0\n1 1\n", "line 4: 1 numbers; the first row of the motif has 2"),
        (">MA1.1 X\n1 0\n0 x\n0 1\n1 1\n", "line 3: '0 x' is not a row of numbers"),
        (">MA1.1 X\nA [1 0]\nG [0 1]\nC [0 1]\nT [1 1]\n", "line 2: expected the four rows A, C, G and T"),
        (">MA1.1 X\nA [1 0]\nC [0 1]\nG [0 1]\n", "line 2: expected the four rows A, C, G and T"),
        (">MA1.1 X\n1 0 1\n0 1 1\n0 1 1\n", "line 2: MA1.1 has 3 numbers a position"),
        (">MA1.1 X\n1 0 0\n0 0 1\n0 0 1\n0 0 1\n", "line 2: position 2 of MA1.1 has a negative count, or none"),
        (">MA1.1 X\n1 0 0 0\n0 0 1 0\n0 -1 1 0\n", "line 4: position 3 of MA1.1 has a negative count"),
        (">MA1.1 X\n1 0 0 0\n0 nan 1 0\n0 1 1 0\n", "line 3: position 2 of MA1.1"),
        (JASPAR + JASPAR, "line 6: matrix MA0001.1 comes twice"),
        (MEME.replace("ACGT", "ACGU"), "line 3: 'ALPHABET= ACGU': only the alphabet ACGT"),
        (MEME.replace("nsites= 4", "nsites= 0"), "line 9: nsites= 0: expected a number above 0"),
        (MEME.replace(" 0 1 0 0\n", " 0 1 0\n"), "line 11: 3 numbers; the first row of the motif has 4"),
        (MEME.replace("MOTIF MA0001.1 AGL3::X", ""), "line 9: a matrix without a MOTIF line"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path, text, message):
    path = tmp_path / "m.txt"
    path.write_text(text)
    with pytest.raises(SaeTracksError) as error:
        read_motifs(path)
    assert message in str(error.value)


def test_a_missing_or_binary_file_is_an_error_that_names_it(tmp_path):
    with pytest.raises(SaeTracksError, match=r"no file .*none\.pfm"):
        read_motifs(tmp_path / "none.pfm")
    (tmp_path / "cut.pfm.gz").write_bytes(gzip.compress(JASPAR.encode())[:40])
    with pytest.raises(SaeTracksError, match=r"cannot read .*cut\.pfm\.gz"):
        read_motifs(tmp_path / "cut.pfm.gz")


def test_the_bundled_matrices_are_read():
    ctcf = read_motifs(bundled("demo-genome") / "motifs.jaspar")[0]
    assert (ctcf.matrix_id, ctcf.tf, ctcf.width) == ("MA0139.1", "CTCF", 19)
    assert ctcf.counts[0].tolist() == [87, 291, 76, 459]


def test_gimmemotifs_file_of_all_jaspar_vertebrates_is_read():
    motifs = read_motifs(shared("data/JASPAR2022_vertebrates.pfm.gz"))
    assert len(motifs) == 838
    assert [(m.matrix_id, m.tf) for m in motifs[:2]] == [("MA0004.1", "Arnt"), ("MA0006.1", "Ahr::Arnt")]
    assert motifs[0].counts.tolist()[0] == [4, 16, 0, 0]


def test_jaspar_2024_has_the_latest_version_of_every_vertebrate_core_matrix():
    pytest.importorskip("pyjaspar", reason="needs pyjaspar, the extra `motifs`")
    motifs = {motif.matrix_id: motif for motif in jaspar_motifs()}
    assert len(motifs) == 879
    assert {"MA1596.1": "ZNF460", "MA2121.1": "ZNF213", "MA0052.5": "MEF2A"}.items() <= {
        name: motif.tf for name, motif in motifs.items()
    }.items()
    assert motifs["MA0139.2"].tf_class == "C2H2 zinc finger factors"
    assert motifs["MA0139.2"].tf_family == "More than 3 adjacent zinc fingers"
    assert "MA0139.1" not in motifs
    with pytest.raises(SaeTracksError, match="no release 'JASPAR1999'"):
        jaspar_motifs("JASPAR1999")


def test_matrices_of_the_2022_release_are_those_of_a_file_made_elsewhere():
    pytest.importorskip("pyjaspar", reason="needs pyjaspar, the extra `motifs`")
    ours = {motif.matrix_id: motif for motif in jaspar_motifs("JASPAR2022")}
    both = [m for m in read_motifs(shared("data/JASPAR2022_vertebrates.pfm.gz")) if m.matrix_id in ours]
    assert len(both) > 750  # the file holds some under the IDs of an earlier draft of the release
    for motif in both:
        assert motif.tf == ours[motif.matrix_id].tf
        assert np.array_equal(motif.counts, ours[motif.matrix_id].counts)


def test_without_pyjaspar_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyjaspar", None)
    with pytest.raises(SaeTracksError, match=r"pip install 'sae-tracks\[motifs\]'"):
        jaspar_motifs()


def test_relative_score_and_reverse_complement():
    motif = Motif("MA1.1", "", np.array(COUNTS, float))
    assert motif.relative_score(b"ACAGC") == motif.relative_score(b"ACTGT") == 1
    assert motif.relative_score(b"CAAAA") == pytest.approx(0)
    assert motif.reverse_complement().relative_score(b"GCTGT") == 1
    assert motif.probabilities().tolist()[0] == pytest.approx([3.5 / 6, 0.5 / 6, 0.5 / 6, 1.5 / 6])
    assert motif.probabilities().sum(axis=1) == pytest.approx(1)
