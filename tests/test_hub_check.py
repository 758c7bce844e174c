"""check-hub: hubs that UCSC takes pass, and each broken one is reported with its line."""

import re
import shutil
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from sae_tracks.cli.app import app
from sae_tracks.errors import SaeTracksError
from sae_tracks.hub import check_hub
from sae_tracks.tracks.bigbed import write_bigbed
from sae_tracks.tracks.bigwig import write_bigwig
from sae_tracks.tracks.runs import make_runs

LENGTHS = {"c1": 1000, "c2": 500}
SQL = 'table t\n"t"\n(\nstring a; "a"\nuint b; "b"\nuint c; "c"\nstring d; "d"\nuint e; "e"\nchar[1] f; "f"\n)\n'
GOOD = """\
# a hub by hand, after the examples of UCSC's help
hub myHub
shortLabel My hub
longLabel A hub with one of everything
useOneFile on
email me@uni.edu
descriptionUrl about.html

genome toy
twoBitPath toy.2bit
organism Toy
defaultPos c1:1-1,000
htmlPath about.html

track super
superTrack on show
shortLabel Everything
longLabel A super-track
html about

track comp
parent super
compositeTrack on
shortLabel Signals
longLabel A composite with views and subgroups
type bigWig 0 10
visibility full
subGroup1 view Views Signal=Signal Sites=Sites
subGroup2 cell Cell A=Cell_A B=Cell_B
dimensions dimX=cell dimY=view
sortOrder cell=+ view=-

    track compSignal
    parent comp
    view Signal
    shortLabel Signal
    visibility full
    viewLimits 0:10
    maxHeightPixels 100:40:16

        track wigA
        parent compSignal on
        bigDataUrl a.bw
        shortLabel A
        longLabel Signal of A
        color 0,114,178
        windowingFunction mean+whiskers
        autoScale group
        priority 1.5
        subGroups view=Signal cell=A

        track wigB
        parent compSignal off
        bigDataUrl https://example.org/b.bw
        longLabel Signal of B, \\
            continued
        type bigWig
        subGroups view=Signal cell=B

    track compSites
    parent comp
    view Sites
    shortLabel Sites
    visibility pack

        track sitesA
        parent compSites
        bigDataUrl data/a%20b.bb
        longLabel Sites of A
        type bigBed 6
        subGroups view=Sites cell=A

track multi
container multiWig
shortLabel Overlay
longLabel Two in one
type bigWig 0 10
aggregate transparentOverlay
html about.html

    track overlayA
    parent multi
    bigDataUrl a.bw
    shortLabel A
    longLabel A

    track overlayB
    parent multi
    bigDataUrl a.bw
    shortLabel B
    longLabel B
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The files that `GOOD` points to, and some that are broken or of another genome."""
    folder = tmp_path_factory.mktemp("hub")
    runs = make_runs(np.array([10]), np.array([20]))
    for name, lengths in (("a", LENGTHS), ("other", {"c1": 999}), ("alien", {"x": 30}), ("hg", {"chr1": 248_956_422})):
        write_bigwig(folder / f"{name}.bw", lengths, [(next(iter(lengths)), runs)], 1)
    (folder / "cut.bw").write_bytes((folder / "a.bw").read_bytes()[:-7])
    (folder / "text.bw").write_text("track type=wiggle_0\n" * 9)
    (folder / "data").mkdir()
    write_bigbed(folder / "data" / "a b.bb", LENGTHS, [("c1", 5, 9, "x\t0\t+")], SQL, 64)
    (folder / "about.html").write_text("<h2>Description</h2>")
    (folder / "toy.2bit").write_bytes(two_bit(LENGTHS))
    (folder / "reads.bam").write_bytes(b"")
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


# what is replaced, by what, the words of the broken line, what is said
ERRORS = [
    # the hub
    ("email me@uni.edu\n", "", "hub myHub", "no 'email'"),
    ("email me@uni.edu", "email me at uni", "email me", "is no mail address"),
    ("shortLabel My hub\n", "", "hub myHub", "no 'shortLabel'"),
    ("longLabel A hub with one of everything\n", "", "hub myHub", "no 'longLabel'"),
    ("useOneFile on\n", "", "hub myHub", "neither 'useOneFile on' nor 'genomesFile"),
    ("useOneFile on", "useOneFile yes", "useOneFile yes", "useOneFile is 'yes'"),
    ("useOneFile on", "useOneFile on\ngenomesFile g.txt", "genomesFile g", "both useOneFile and genomesFile"),
    ("hub myHub", "hub my hub", "hub my hub", "holds a space"),
    ("descriptionUrl about.html", "descriptionUrl no.html", "descriptionUrl", r"no\.html: no such file"),
    # the genome
    ("organism Toy\n", "", "genome toy", "needs 'organism'"),
    ("defaultPos c1:1-1,000\n", "", "genome toy", "needs 'defaultPos'"),
    ("defaultPos c1:1-1,000", "defaultPos chr1:1-1000", "defaultPos", "defaultPos: .*'chr1'"),
    ("defaultPos c1:1-1,000", "defaultPos c1:1-1001", "defaultPos", "defaultPos: .*1,000"),
    ("twoBitPath toy.2bit", "twoBitPath no.2bit", "twoBitPath", r"no\.2bit: no such file"),
    ("twoBitPath toy.2bit", "twoBitPath a.bw", "twoBitPath", r"is not a .*\.2bit"),
    ("genome toy\n", "genome toy\norderKey 1.5\n", "orderKey", "orderKey '1.5' is no whole number"),
    ("genome toy\n", "genome 1 toy\n", "genome 1", "'1 toy' is no name of a genome"),
    ("track super\n", "genome toy2\n\ntrack super\n", "genome toy2", "2 stanzas 'genome NAME'"),
    ("htmlPath about.html\n", "htmlPath no.html\n", "htmlPath", r"htmlPath no\.html"),
    # the text
    ("shortLabel Signals\n", "shortLabel\n", "shortLabel\n", "'shortLabel' has no value"),
    ("on show\n", "on show\n\n", "shortLabel Everything", "begins with 'track NAME', not 'shortLabel': a blank line"),
    (
        "longLabel A\n\n    track overlayB",
        "longLabel A\n    track overlayB",
        "track overlayB",
        "a blank line is missing",
    ),
    # the tracks: names, labels, types
    ("track overlayB", "track overlayA", "track overlayA", "overlayA is there already, in line 81"),
    ("track overlayB", "track over.lay", "track over.lay", "'over.lay': it is of letters"),
    ("track overlayB", "track 1overlay", "track 1overlay", "'1overlay': it is of letters"),
    ("track overlayB", "track over layB", "track over layB", "'over layB': it is of letters"),
    ("shortLabel Everything\n", "", "track super", "super has no shortLabel"),
    ("        type bigBed 6\n", "        type bigBad 6\n", "type bigBad", "type 'bigBad' is none"),
    ("        type bigBed 6\n", "        type bed 6\n", "type bed", "type 'bed' is none"),
    ("        type bigBed 6\n", "        type bigBed 2\n", "type bigBed 2", "its BED columns"),
    ("        type bigBed 6\n", "        type bigBed 6 x\n", "type bigBed 6 x", "its BED columns"),
    ("        type bigBed 6\n", "        type bigBed 9\n", "type bigBed 9", r"a%20b\.bb has 6 columns: write bigBed 6"),
    ("        type bigBed 6\n", "        type bigBed 4\n", "type bigBed 4", r"has 6 columns: write bigBed 4 \+"),
    ("        type bigWig\n", "        type bigWig 0\n", "type bigWig 0\n", "lowest and highest"),
    ("        type bigWig\n", "        type bigWig 5 0\n", "type bigWig 5", "lowest and highest"),
    # values
    ("color 0,114,178", "color 0,114,256", "color", "color '0,114,256'"),
    ("color 0,114,178", "color blue", "color", "color 'blue'"),
    ("color 0,114,178", "color 0,114", "color", "color '0,114'"),
    ("viewLimits 0:10", "viewLimits 0-10", "viewLimits", "lower:upper"),
    ("viewLimits 0:10", "viewLimits 10:0", "viewLimits", "lower:upper"),
    ("viewLimits 0:10", "viewLimits 0:nan", "viewLimits", "lower:upper"),
    ("maxHeightPixels 100:40:16", "maxHeightPixels 16:40:100", "maxHeightPixels", "most:default:least"),
    ("visibility pack", "visibility packed", "visibility packed", "it is one of hide, dense, squish, pack, full"),
    ("mean+whiskers", "max", "windowingFunction", "it is one of maximum, mean,"),
    ("autoScale group", "autoScale yes", "autoScale", "it is one of on, off, group"),
    ("priority 1.5", "priority first", "priority", "it is a number"),
    # families
    ("parent compSignal on", "parent compSignals on", "compSignals", "compSignals of track wigA is no track"),
    ("parent compSignal on", "parent compSignal yes", "compSignal yes", "a name, or a name and on or off"),
    ("parent compSignal on", "parent wigB", "parent wigB", "wigB of track wigA is no compositeTrack"),
    ("    parent multi\n", "    parent overlayA\n", "parent overlayA", "track overlayA is its own parent"),
    ("parent super", "parent multi", "parent multi", "parent multi of the composite comp is no superTrack"),
    ("compositeTrack on\n", "", "parent comp\n", "parent comp of track compSignal is no compositeTrack"),
    ("viewLimits 0:10\n", "bigDataUrl a.bw\n", "bigDataUrl a.bw", "compSignal is a container and so has no"),
    ("track overlayB\n    parent multi\n", "track overlayB\n", "track multi", "one track: it overlays"),
    # subgroups
    ("Cell A=Cell_A", "Cell A", "subGroup2", "a name, a title, and tag=title"),
    ("view=Signal cell=A", "view=Signal cell=C", "cell=C", "'C' is no group of cell"),
    ("view=Signal cell=A", "view=Signal", "subGroups view=Signal\n", "wigA is in no group of cell"),
    ("view=Signal cell=A", "view=Signal cell=A sex=f", "sex=f", "subgroup 'sex' is not defined"),
    ("dimY=view", "dimY=views", "dimensions", "'views' is no subGroup of comp"),
    ("view=-", "sex=-", "sortOrder", "'sex' is no subGroup of comp"),
    ("dimX=cell", "dimX", "dimensions", "'dimX' is no name=value"),
    ("    longLabel B\n", "    longLabel B\n    subGroups cell=A\n", "    subGroups cell=A\n", "no composite above it"),
    # files
    ("        bigDataUrl a.bw\n", "", "track wigA", "wigA has no bigDataUrl"),
    ("        bigDataUrl a.bw", "        bigDataUrl no.bw", "no.bw", r"no\.bw: no such file"),
    ("        bigDataUrl a.bw", "        bigDataUrl /data/a.bw", "/data", "a path of this machine"),
    ("        bigDataUrl a.bw", "        bigDataUrl file:///a.bw", "file:", "a path of this machine"),
    ("        bigDataUrl a.bw", "        bigDataUrl C:\\a.bw", "C:", "a path of this machine"),
    ("        bigDataUrl data/a%20b.bb", "        bigDataUrl data/a b.bb", "data/a b", "holds a blank"),
    ("        bigDataUrl a.bw", "        bigDataUrl text.bw", "text.bw", r"text\.bw is not a .*bigWig"),
    ("        bigDataUrl a.bw", "        bigDataUrl about.html", "rl about.html\n        short", "is not a bigWig"),
    ("        bigDataUrl a.bw", "        bigDataUrl cut.bw", "cut.bw", r"cut\.bw is cut short"),
    (
        "        bigDataUrl a.bw",
        "        bigDataUrl other.bw",
        "other.bw",
        "c1 has 999 bases, but 1,000 in toy",
    ),
    ("        bigDataUrl a.bw", "        bigDataUrl alien.bw", "alien.bw", "another genome: toy has no contig x"),
    ("        type bigBed 6\n", "        type bigWig\n", "data/a%20b.bb", r"is not a .*bigWig"),
    (
        "        bigDataUrl a.bw\n",
        "        type bigBed\n        bigDataUrl a.bw\n",
        "bigDataUrl a.bw",
        "is not a .*bigBed",
    ),
    (
        "        bigDataUrl a.bw\n",
        "        type bam\n        bigDataUrl reads.bam\n",
        "reads.bam",
        r"reads\.bam\.bai: no such",
    ),
    ("html about\n", "html no\n", "html no", r"html no\.html: no such file"),
]


@pytest.mark.parametrize(("old", "new", "words", "said"), ERRORS, ids=lambda value: value.strip()[:30])
def test_a_broken_hub_is_reported_with_its_line(files, old, new, words, said):
    assert old in GOOD
    text = GOOD.replace(old, new, 1)
    errors = [(line, text) for line, error, text in found(files, text) if error]
    assert any(re.search(said, message) for _, message in errors), errors
    line = next(line for line, message in errors if re.search(said, message))
    assert line == 1 + text[: text.index(words)].count("\n") or "is there already" in said
    assert len(errors) <= 6  # one mistake, not a flood


WARNINGS = [
    ("shortLabel Everything", "shortLabel Everything there is", "shortLabel has 19 letters, of which UCSC shows 17"),
    ("longLabel A super-track", f"longLabel {'long ' * 17}", "longLabel has 84 letters, of which UCSC shows 80"),
    ("email me@uni.edu", "email me@example.org", "reaches nobody"),
    ("descriptionUrl about.html\n", "", "no descriptionUrl"),
    ("html about.html\n\n    track overlayA", "\n    track overlayA", "has no page"),
    ("B=Cell_B", "B=Cell_B C=Cell_C", "subgroup cell: no track is in 'C'"),
    ("organism Toy", "organism\tToy", "a tab"),
    ("organism Toy", "organism Toy\norganism Toy", "'organism' is set in line 11 already"),
    ("useOneFile on\n", "useOneFile on\r\n", "Windows line ends"),
]


@pytest.mark.parametrize(("old", "new", "said"), WARNINGS, ids=lambda value: value.strip()[:30])
def test_what_is_only_bad_practice_is_a_warning(files, old, new, said):
    assert old in GOOD
    findings = found(files, GOOD.replace(old, new))
    assert findings and all(said in text and not error for _, error, text in findings)


def test_a_byte_order_mark_is_an_error(files):
    assert [(line, error) for line, error, _ in found(files, "\ufeff" + GOOD)] == [(1, True)]


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
        ("hg38", "alien.bw", "no chromosome of hg38: its contigs are called x, not chr1"),
        ("ce11", "alien.bw", None),
    ],
)
def test_human_assemblies_are_known_by_their_lengths(files, genome, name, said):
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
