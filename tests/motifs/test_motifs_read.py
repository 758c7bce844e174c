"""Files of matrices: the formats, and what is wrong with a line."""

import gzip

import numpy as np
import pytest
from conftest import shared

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import bundled
from sae_tracks.motifs import Motif, Scanner, jaspar_motifs, read_motifs

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


@pytest.mark.parametrize(
    "other", [">AC\tX\t6.0\n" + "0.25\t0.25\t0.25\t0.25\n" * 5, ">MA3.1 Y\n" + "1 2 3 4\n" * 5], ids=["HOMER", "PFM"]
)
def test_labelled_rows_are_of_letters_whatever_else_the_file_holds(tmp_path, other):
    path = tmp_path / "m.txt"
    path.write_text(other + ">MA1 X\nA [ 9 1 0 0 ]\nC [ 0 8 1 0 ]\nG [ 0 0 7 1 ]\nT [ 1 0 0 6 ]\n")
    counts = [[9, 0, 0, 1], [1, 8, 0, 0], [0, 1, 7, 0], [0, 0, 1, 6]]
    assert read_motifs(path)[1].counts.tolist() == counts


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
        (">MA1.1 X\n1 0 1\n0 1 1\n0 1 1\n", "line 2: MA1.1 has 3 numbers per position"),
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
    def relative_score(motif, word):
        hits = Scanner([motif], p=1, relative=0).scan(word)
        return hits.relative[hits.strand == 1].item()

    motif = Motif("MA1.1", "", np.array(COUNTS, float))
    assert relative_score(motif, b"ACAGC") == relative_score(motif, b"ACTGT") == 1
    assert relative_score(motif, b"CAAAA") == pytest.approx(0)
    assert relative_score(motif.reverse_complement(), b"GCTGT") == 1
    assert motif.probabilities().tolist()[0] == pytest.approx([3.5 / 6, 0.5 / 6, 0.5 / 6, 1.5 / 6])
    assert motif.probabilities().sum(axis=1) == pytest.approx(1)


ROW = "0.01 0.01 0.97 0.01\n"
HOMER = ">GATAAGST\tGATA3(Zf)/iTreg Gata3/Homer\t8.059\t-23791.5\t0\tT:17311.0(44.36%),B:2181.5(5.80%),P:1e-10317\n"


def read_text(tmp_path, text):
    (tmp_path / "m.txt").write_text(text)
    return read_motifs(tmp_path / "m.txt")


@pytest.mark.parametrize("positions", [3, 4, 8])
def test_homers_header_gives_id_and_name_and_its_rows_are_probabilities(tmp_path, positions, caplog):
    first, second = read_text(tmp_path, HOMER + ROW.replace(" ", "\t") * positions + ">ACGT\t1-ACGT\t6.2\n" + ROW * 4)
    assert (first.matrix_id, first.tf) == ("GATA3(Zf)/iTreg_Gata3/Homer", "GATA3")
    assert (second.matrix_id, second.tf, second.width) == ("1-ACGT", "", 4)
    assert first.counts.tolist() == [[10, 10, 970, 10]] * positions
    assert "m.txt: 2 HOMER matrices are taken as made of 1000 sites each" in caplog.text


def test_sites_of_a_homer_motif_are_bed_of_seven_columns(tmp_path):
    from sae_tracks.genome import Genome
    from sae_tracks.motifs import write_sites

    (tmp_path / "g.fa").write_text(">a\n" + "T" * 20 + "GGGGGGGG" + "T" * 20 + "\n")
    motifs = read_text(tmp_path, HOMER + ROW * 8)
    write_sites(Genome(tmp_path / "g.fa"), Scanner(motifs), tmp_path / "s.bed")
    (line,) = (tmp_path / "s.bed").read_text().splitlines()
    assert line.split("\t") == ["a", "20", "28", "GATA3(Zf)/iTreg_Gata3/Homer", "481", "+", "GATA3"]


def test_a_name_of_several_words_has_no_tab(tmp_path):
    (motif,) = read_text(tmp_path, ">MA1.1\tX\tof  mouse\nA 1\nC 2\nG 3\nT 4\n")
    assert (motif.matrix_id, motif.tf) == ("MA1.1", "X of mouse")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (">M X\nA 0.2 0.97\nC 0.8 0.01\nG 0 0.01\nT 0 0.01\n", "line 1: M holds probabilities, not counts of sites"),
        (">M\n" + ROW * 5, "line 1: M holds probabilities, not counts of sites: give counts, or MEME's format"),
        (">M\n" + "0.33 0.33 0.33 0\n" * 5, "line 1: M holds probabilities"),
        (">M\n" + "1.5 2.5 95 1\n" * 5, "line 1: M holds per cent, not counts of sites"),
        (">M\n" + "0.1 0.2 1.3 0.1\n" + "9.5 0 0 0\n" * 4, "line 1: M sums to 1.7 at a position; expected counts"),
        (HOMER + "3 1 7 9\n" * 5, "line 1: position 1 of GATA3(Zf)/iTreg_Gata3/Homer sums to 20; expected 1"),
        (MEME.replace(" 0 1 0 0\n", " 0 7 0 0\n"), "line 9: position 2 of MA0001.1 sums to 7; expected 1"),
    ],
)
def test_the_unit_of_a_matrix_is_never_guessed(tmp_path, text, message):
    with pytest.raises(SaeTracksError) as error:
        read_text(tmp_path, text)
    assert message in str(error.value)


@pytest.mark.parametrize("counts", ["1.5 2.5 9 7\n", "25.5 24.5 0 0\n", "1 0 0 0\n", "0 100 0 0\n"])
def test_counts_may_be_whole_numbers_of_any_sum_or_fractions_of_more_than_one_site(tmp_path, counts):
    (motif,) = read_text(tmp_path, ">M\n" + counts * 5)
    assert motif.counts[4].tolist() == [float(word) for word in counts.split()]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (" 0 1 0 0\n", " nan nan nan nan\n", "line 11: position 2 of MA0001.1 has a negative count, or none"),
        (" 0 1 0 0\n", " -nan 1 0 0\n", "line 11: position 2 of MA0001.1 has a negative count, or none"),
        (" 0 1 0 0\n", " inf 1 0 0\n", "line 11: position 2 of MA0001.1 has a negative count, or none"),
        (" 0 1 0 0\n", " -1 2 0 0\n", "line 11: position 2 of MA0001.1 has a negative count, or none"),
        (" 0 1 0 0\n", "", "line 9: MA0001.1 has w= 5, but 4 rows of numbers follow"),
        (" 0 1 0 0\n", " 0 1 0 0\n" * 2, "line 9: MA0001.1 has w= 5, but 6 rows of numbers follow"),
        (" 0 1 0 0\n", " N/A\n", "line 9: MA0001.1 has w= 5, but 1 rows of numbers follow"),
        (" 0 1 0 0\n", " .5 .5 0 x\n", "line 11: '.5 .5 0 x' is not a row of numbers"),
        ("letter-probability", "log-odds", "line 7: MA0001.1 has no letter-probability matrix"),
        ("URL", "MOTIF MA0002.1\nURL", "line 16: MA0002.1 has no letter-probability matrix"),
        ("nsites= 4", "nsites= nan", "line 9: nsites= nan: expected a number above 0"),
    ],
)
def test_a_meme_matrix_is_whole_or_refused(tmp_path, old, new, message):
    with pytest.raises(SaeTracksError) as error:
        read_text(tmp_path, MEME.replace(old, new))
    assert message in str(error.value)


def test_a_meme_matrix_without_a_width_ends_at_the_next_line_that_is_no_row(tmp_path):
    (motif,) = read_text(tmp_path, MEME.replace("w= 5 ", "").replace(" 0 0 1 0\n", " .0 .0 +1 0\n"))
    assert motif.counts.tolist() == COUNTS


@pytest.mark.parametrize("header", ["MA0004.1 MA0004.1.Arnt", "MA0004.1 Arnt"])
def test_the_name_in_jaspars_meme_file_is_without_the_id(tmp_path, header):
    (motif,) = read_text(tmp_path, MEME.replace("MA0001.1 AGL3::X", header))
    assert (motif.matrix_id, motif.tf) == ("MA0004.1", "Arnt")


ONE_SITE = ["1 0 0 0", "0 0 1 0", "0 0 0 1", "0 1 0 0", "1 0 0 0"]


def test_the_format_says_whether_zeros_and_ones_are_counts(tmp_path, caplog):
    (counted,) = read_text(tmp_path, ">M\n" + "\n".join(ONE_SITE))
    assert counted.counts.tolist()[1] == [0, 0, 1, 0]
    assert "m.txt: 1 matrices sum to 1 at every position and are taken as counts of one site" in caplog.text
    caplog.clear()
    meme = MEME.split("nsites= 4 E= 0\n")[0] + "nsites= 4 E= 0\n" + "\n".join(ONE_SITE)
    assert read_text(tmp_path, meme)[0].counts.tolist()[1] == [0, 0, 4, 0]
    assert read_text(tmp_path, HOMER + "\n".join(ONE_SITE))[0].counts.tolist()[1] == [0, 0, 1000, 0]
    assert "one site" not in caplog.text
