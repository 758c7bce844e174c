"""check-hub: hubs that UCSC takes pass, and each broken one is reported with its line."""

import re
import shutil
import struct

import numpy as np
import pytest
from broken_hubs import ALSO, ERRORS, GOOD, WARNINGS
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from sae_tracks.browsers.check import check_hub
from sae_tracks.cli.app import app
from sae_tracks.errors import SaeTracksError
from sae_tracks.tracks.bbi.bigbed import write_bigbed
from sae_tracks.tracks.bbi.bigwig import write_bigwig
from sae_tracks.tracks.bbi.runs import make_runs

LENGTHS = {"c1": 1000, "c2": 500}
SQL = 'table t\n"t"\n(\nstring a; "a"\nuint b; "b"\nuint c; "c"\nstring d; "d"\nuint e; "e"\nchar[1] f; "f"\n)\n'


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The files that `GOOD` points to, and some that are broken or of another genome."""
    folder = tmp_path_factory.mktemp("hub")
    runs = make_runs(np.array([10]), np.array([20]))
    for name, lengths in (
        ("a", LENGTHS),
        ("other", {"c1": 999}),
        ("alien", {"x": 30}),
        ("mito", {"chrM": 16_569}),
        ("hg", {"chr1": 248_956_422}),
        ("r64", {"chrXVI": 948_066, "chrM": 85_779}),  # NC_001148.4 and NC_001224.1
    ):
        write_bigwig(folder / f"{name}.bw", lengths, [(next(iter(lengths)), runs)], 1)
    (folder / "cut.bw").write_bytes((folder / "a.bw").read_bytes()[:-7])
    (folder / "text.bw").write_text("track type=wiggle_0\n" * 9)
    (folder / "data").mkdir()
    write_bigbed(folder / "data" / "a b.bb", LENGTHS, [("c1", 5, 9, "x\t0\t+")], SQL, 64)
    (folder / "about.html").write_text("<h2>Description</h2>")
    (folder / "toy.2bit").write_bytes(two_bit(LENGTHS))
    for name in ("reads.bam", "x.cram", "x.cram.crai"):
        (folder / name).write_bytes(b"")
    shutil.copy(folder / "a.bw", folder / "~a.bw")
    return folder


def two_bit(lengths):
    """A .2bit of As and Ts: header, index, and of each contig its length, no N, no mask, packed bases."""
    offset = 16 + sum(5 + len(name) for name in lengths)
    index, records = b"", b""
    for name, length in lengths.items():
        index += bytes([len(name)]) + name.encode() + struct.pack("<I", offset + len(records))
        records += struct.pack("<4I", length, 0, 0, 0) + bytes(-(-length // 4))
    return struct.pack("<4I", 0x1A412743, 0, len(lengths), 0) + index + records


def found(folder, text, name="broken.txt"):
    """What is found in a text of a hub: (line, error, text)."""
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return [(finding.line, finding.error, finding.text) for finding in check_hub(path)]


def line_of(text, words):
    """The line, from 1, that holds some words first."""
    return next(number for number, line in enumerate(text.split("\n"), 1) if words in line)


def test_a_hub_with_one_of_everything_passes(files):
    assert found(files, GOOD) == []
    (files / "hub.txt").write_text(GOOD)
    assert check_hub(files) == []  # by its folder


@pytest.mark.parametrize(("old", "new", "words", "said"), ERRORS, ids=lambda value: value.strip()[:30])
def test_a_broken_hub_is_reported_with_its_line(files, old, new, words, said):
    assert old in GOOD
    text = GOOD.replace(old, new, 1)
    errors = [(line, text) for line, error, text in found(files, text) if error]
    assert any(re.search(said, message) for _, message in errors), errors
    line = next(line for line, message in errors if re.search(said, message))
    assert line == 1 + text[: text.index(words)].count("\n") or "is there already" in said
    assert len(errors) == 1 + ALSO.get(said, 0)  # one mistake, not a flood


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("        type bigWig\n", "        type bam\n        bigDataUrl x.cram\n"),
        ("visibility pack", "visibility 3"),
        ("        bigDataUrl a.bw\n", "        bigDataUrl ~a.bw\n"),
    ],
)
def test_what_ucsc_takes_is_no_error(files, old, new):
    text = GOOD.replace("        bigDataUrl https://example.org/b.bw\n", "") if "cram" in new else GOOD
    assert old in text and found(files, text.replace(old, new, 1)) == []


@pytest.mark.parametrize(("old", "new", "said"), WARNINGS, ids=lambda value: value.strip()[:30])
def test_what_is_only_bad_practice_is_a_warning(files, old, new, said):
    assert old in GOOD
    findings = found(files, GOOD.replace(old, new))
    assert findings and all(said in text and not error for _, error, text in findings)


def test_a_byte_order_mark_is_an_error(files):
    assert [(line, error) for line, error, _ in found(files, "\ufeff" + GOOD)] == [(1, True)]


def test_a_child_may_name_its_super_track_by_that_setting(files):
    assert found(files, GOOD.replace("parent super\n", "superTrack super\n")) == found(files, GOOD)


def test_a_circle_of_parents_is_found(files):
    text = GOOD.replace("superTrack on show", "compositeTrack on\nparent comp")
    texts = [text for _, error, text in found(files, text) if error]
    assert "track super is its own parent" in texts and "track comp is its own parent" in texts


HEAD = GOOD.split("genome toy")[0]
TRACK = "\ntrack {}\ntype bigWig\nbigDataUrl {}\nshortLabel x\nlongLabel x\nhtml about\n"


@pytest.mark.parametrize(
    ("genome", "name", "said"),
    [
        ("hg38", "hg.bw", None),
        ("hg19", "hg.bw", "chr1 has 248,956,422 bases, but 249,250,621 in hg19"),
        ("hg38", "mito.bw", None),  # UCSC has it, though its length is not known here
        ("hg38", "alien.bw", "no chromosome of hg38: its contigs are called x, not chr1"),
        ("sacCer3", "r64.bw", None),
        ("sacCer3", "mito.bw", "chrM has 16,569 bases, but 85,779 in sacCer3"),
        ("ce11", "alien.bw", None),
    ],
)
def test_some_assemblies_are_known_by_their_lengths(files, genome, name, said):
    texts = [text for _, _, text in found(files, f"{HEAD}genome {genome}\n{TRACK.format('t', name)}")]
    assert (said is None and texts == []) or (len(texts) == 1 and said in texts[0])


def test_without_a_genome_of_its_own_the_files_must_agree(files):
    tracks = TRACK.format("s", "a.bw") + TRACK.format("t", "other.bw")
    assert [text for _, _, text in found(files, f"{HEAD}genome ce11\n{tracks}")] == [
        "other.bw is of another genome: c1 has 999 bases, but 1,000 in a.bw"
    ]


def test_a_hub_in_three_files_is_followed(files):
    (files / "toy").mkdir(exist_ok=True)
    (files / "genomes.txt").write_text("genome ce11\ntrackDb toy/trackDb.txt\n\ngenome ce11\ntrackDb toy/no.txt\n")
    track = TRACK.format("t", "../a.bw").lstrip().replace("html about", "html ../about")
    (files / "toy" / "trackDb.txt").write_text(track + "color red\n")
    (files / "three.txt").write_text(HEAD.replace("useOneFile on", "genomesFile genomes.txt"))
    findings = [(f.path.name, f.line, f.text) for f in check_hub(files / "three.txt") if f.error]
    assert [(name, line) for name, line, _ in findings] == [("genomes.txt", 4), ("genomes.txt", 5), ("trackDb.txt", 7)]
    assert [text.split(":")[0] for *_, text in findings] == [
        "genome ce11 has a stanza already",
        "trackDb toy/no.txt",
        "color 'red'",
    ]


@pytest.mark.parametrize("text", ["", "# nothing\n", "track x\ntype bigWig\n", b"\xff\xfe\x00"])
def test_what_is_no_hub_is_refused(files, text):
    with pytest.raises(SaeTracksError, match=r"is no hub|as the text of a hub"):
        found(files, text, "none.txt")
    with pytest.raises(SaeTracksError, match="no file"):
        check_hub(files / "absent.txt")


@given(st.lists(st.sampled_from([*GOOD.split("\n"), "", "\\", "track", "parent super", "subGroup3 x", "\tview a"])))
def test_any_order_of_lines_is_answered_not_crashed_on(files, lines):
    text = "hub x\n" + "\n".join(lines)
    for line, _, _ in found(files, text, "drawn.txt"):
        assert 0 <= line <= len(lines) + 1


def test_every_setting_without_a_value_is_an_error_of_its_line(files):
    lines = GOOD.split("\n")
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.startswith("#") and "continued" not in line and line.split()[0] != "hub":
            cut = [*lines[: number - 1], line.split()[0], *lines[number:]]
            texts = [(at, text) for at, error, text in found(files, "\n".join(cut), "drawn.txt") if error]
            assert (number, f"{line.split()[0]!r} has no value") in texts


@given(st.integers(0, len(GOOD) - 1))
def test_a_hub_cut_anywhere_is_answered(files, length):
    if length > GOOD.index("myHub"):
        found(files, GOOD[:length], "drawn.txt")


def test_the_verb_prints_findings_and_counts_and_exits_1_on_an_error(files):
    shutil.copy(files / "about.html", files / "page.html")
    (files / "verb.txt").write_text(GOOD)
    good = CliRunner().invoke(app, ["check-hub", str(files / "verb.txt")])
    assert (good.exit_code, good.stdout) == (0, "errors: 0, warnings: 0\n")
    (files / "verb.txt").write_text(GOOD.replace("color 0,114,178", "color red"))
    bad = CliRunner().invoke(app, ["check-hub", str(files / "verb.txt")])
    line = line_of(GOOD, "color 0")
    assert bad.exit_code == 1
    assert bad.stdout.splitlines() == [
        f"{files / 'verb.txt'}:{line}: error: color 'red': it is red,green,blue, each 0 to 255",
        "errors: 1, warnings: 0",
    ]
