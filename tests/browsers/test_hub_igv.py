"""Hubs obey UCSC's rules, sessions point to files that exist, and .2bit holds the genome."""

import json
import re
import struct
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from toy import random_dna, write_fasta
from track_oracle import contigs, toy_source
from typer.testing import CliRunner

from sae_tracks.browsers.check import check_hub as validate
from sae_tracks.browsers.hub import write_hub
from sae_tracks.browsers.igv import write_sessions
from sae_tracks.cli.app import app
from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome
from sae_tracks.tracks import loci as loci_module
from sae_tracks.tracks import write_bed, write_bigwigs
from sae_tracks.tracks.bbi.bigwig import write_bigwig
from sae_tracks.tracks.bbi.runs import make_runs
from sae_tracks.tracks.bbi.twobit import write_two_bit
from sae_tracks.tracks.folder import list_tracks
from sae_tracks.tracks.loci import highest

RECORDS = {"chr1": "N" * 10 + random_dna(90), "chr2": "ACGRT" * 8}
MAIL = {"email": "a@example.org"}


@pytest.fixture(scope="module")
def made():
    """A folder with the bigWigs of two features in both read strands, two BED files and the FASTA."""
    with toy_source(RECORDS, strands=["+", "-"]) as (source, folder):
        write_bigwigs(source, [4, 0], folder / "my tracks")
        write_bed(source, [0], folder / "my tracks" / "f0.bed")
        write_bed(source, [0], folder / "my tracks" / "f0.bed.gz")
        yield folder


def stanzas(path):
    """hub.txt as a list of dicts; every line is a key, a blank and a value."""
    blocks = path.read_text().strip().split("\n\n")
    return [dict(line.strip().split(" ", 1) for line in block.splitlines()) for block in blocks]


def check_hub(path):
    """UCSC's rules for a hub in one file."""
    head, genome, *tracks = stanzas(path)
    assert {"hub", "shortLabel", "longLabel", "email"} <= head.keys()
    assert head["useOneFile"] == "on"
    assert (path.parent / head["descriptionUrl"]).is_file()
    assert re.fullmatch(r"\w+", genome["genome"], re.ASCII)
    names = [track["track"] for track in tracks]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII) for name in [head["hub"], *names])
    for stanza in [head, *tracks]:
        assert 0 < len(stanza["shortLabel"]) <= 17
        assert 0 < len(stanza["longLabel"]) <= 80
    composites = {track["track"]: track for track in tracks if "compositeTrack" in track}
    members = [track for track in tracks if "parent" in track]
    assert {track["parent"].split()[0] for track in members} == composites.keys()
    for track in members:
        check_member(path, track)
        check_subgroups(composites[track["parent"].split()[0]], track)
    for track in tracks:
        if track not in members and track["track"] not in composites:
            assert track["type"].startswith("bigBed ") and (path.parent / unquote(track["bigDataUrl"])).is_file()
    return genome, members


def check_member(path, track):
    kind, low, high = track["type"].split()
    assert (kind, low) == ("bigWig", "0") and float(high) > 0
    assert track["viewLimits"] == f"0:{high}"
    assert (track["autoScale"], track["windowingFunction"], track["visibility"]) == ("off", "maximum", "full")
    assert all(0 <= int(part) <= 255 for part in track["color"].split(","))
    url = track["bigDataUrl"]
    assert " " not in url and not url.startswith("/") and ":" not in url
    assert (path.parent / unquote(url)).is_file()


def check_subgroups(composite, track):
    """A track is in a group of every kind that its composite has, and in no other."""
    kinds = [composite[key].split() for key in composite if key.startswith("subGroup")]
    tags = {kind[0]: {pair.split("=")[0] for pair in kind[2:]} for kind in kinds}
    mine = dict(pair.split("=") for pair in track.get("subGroups", "").split())
    assert mine.keys() == tags.keys() and all(tag in tags[kind] for kind, tag in mine.items())


@pytest.mark.parametrize("out", [None, "my tracks/hub", "elsewhere"])
def test_a_hub_obeys_the_rules_wherever_it_lies(made, out):
    hub = write_hub(made / "my tracks", out and made / out, assembly="toy1", **MAIL)
    genome, members = check_hub(hub.path)
    assert genome == {"genome": "toy1"} and (hub.tracks, hub.annotations) == (4, 2)
    assert [finding for finding in validate(hub.path) if finding.error] == []
    assert [track["shortLabel"] for track in members] == ["f0 read +", "f0 read -", "f4 read +", "f4 read -"]
    assert members[0]["color"] == members[1]["color"] != members[2]["color"]
    assert members[2]["viewLimits"] == "0:0.023"  # the last base of a window has 23 before it
    page = (hub.path.parent / "description.html").read_text()
    assert "one-hot" in page and "f4 read -: largest value" in page


def test_the_link_opens_the_hub_where_the_first_track_is_highest(made):
    hub = write_hub(made / "my tracks", made / "linked", assembly="mm39", **MAIL)
    first = 11 + RECORDS["chr1"][10:].index("A")
    assert hub.link("https://example.org/x/") == (
        "https://genome.ucsc.edu/cgi-bin/hgTracks?db=mm39&hubUrl=https://example.org/x/hub.txt&position=chr1:1-100"
    )
    assert str(highest(made / "my tracks" / "f0.plus.bw", span=1)) == f"chr1:{first}-{first}"


def test_a_hub_for_a_genome_of_its_own_brings_it_along(made):
    hub = write_hub(made / "my tracks", made / "own", genome=Genome(made / "toy.fa"), **MAIL)
    genome, _ = check_hub(hub.path)
    assert {"organism", "defaultPos", "description"} <= genome.keys()
    assert [finding for finding in validate(hub.path) if finding.error] == []
    assert decode((hub.path.parent / genome["twoBitPath"]).read_bytes())["chr1"] == RECORDS["chr1"]
    assert "genome=toy&" in hub.link("https://example.org/hub.txt")


def test_tracks_of_another_genome_are_refused(made, tmp_path):
    other = Genome(write_fasta(tmp_path / "other.fa", chr1="ACGT", chr2="ACGRT" * 8))
    with pytest.raises(SaeTracksError, match=r"f0\.plus\.bw is of another genome: chr1 has 100 bases, but 4 in other"):
        write_hub(made / "my tracks", tmp_path, genome=other, **MAIL)
    with pytest.raises(SaeTracksError, match="chr1 has 100 bases, but 248,956,422 in hg38"):
        write_hub(made / "my tracks", tmp_path, assembly="hg38", **MAIL)
    assert {path.name for path in tmp_path.iterdir()} == {"other.fa", "other.fa.fai"}  # nothing was written


def test_a_hub_needs_one_genome_and_a_track(made, tmp_path):
    with pytest.raises(SaeTracksError, match="name the genome"):
        write_hub(made / "my tracks", **MAIL)
    with pytest.raises(SaeTracksError, match="no bigWig"):
        write_hub(tmp_path, assembly="hg38", **MAIL)


def test_tracks_sort_by_number_and_a_track_of_zeros_has_an_axis(tmp_path):
    for name in ("f10", "f9.minus", "f9.plus"):
        write_bigwig(tmp_path / f"{name}.bw", {"c": 5}, [("c", make_runs(np.array([0]), np.array([5])))], 1)
    assert [track.name for track in list_tracks(tmp_path)] == ["f9.plus", "f9.minus", "f10"]
    _, members = check_hub(write_hub(tmp_path, assembly="toy1", **MAIL).path)
    assert members[0]["viewLimits"] == "0:1"


def test_the_highest_base_is_found_over_contigs_and_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(loci_module, "PEAK_SPAN", 7)
    starts = np.array([3, 40, 44, 60])
    pieces = [("a", make_runs(starts, starts + 2, np.float32([1, 4, 9, 9]))), ("b", make_runs(starts, starts + 1))]
    write_bigwig(tmp_path / "x.bw", {"empty": 50, "a": 100, "b": 90}, pieces, 8)
    assert str(highest(tmp_path / "x.bw", span=1)) == "a:45-45"
    assert str(highest(tmp_path / "x.bw", span=20)) == "a:35-54"


@pytest.mark.parametrize(
    "spoil", [lambda raw: raw[:-40], lambda raw: raw[:8] + struct.pack("<Q", len(raw) - 8) + raw[16:]]
)
def test_a_cut_or_damaged_bigwig_is_named(tmp_path, spoil):
    for name in ("f1", "f2"):
        write_bigwig(tmp_path / f"{name}.bw", {"c": 5}, [("c", make_runs(np.array([0]), np.array([5])))], 1)
    hub = write_hub(tmp_path, assembly="toy1", **MAIL)
    path = tmp_path / "f1.bw"  # the first: igv looks for its highest value
    path.write_bytes(spoil(path.read_bytes()))
    for call in (lambda: write_hub(tmp_path, assembly="toy1", **MAIL), lambda: write_sessions(tmp_path, "toy1")):
        with pytest.raises(SaeTracksError, match=r"f1\.bw (is cut short|is damaged: .*ends too early)"):
            call()
    assert [("f1.bw" in finding.text) for finding in validate(hub.path) if finding.error] == [True]


@pytest.mark.parametrize("out", [None, "elsewhere/s.1", "my tracks/t.xml"])
def test_sessions_parse_and_every_path_exists(made, out):
    desktop, web = write_sessions(made / "my tracks", str(made / "toy.fa"), out and made / out)
    root = ElementTree.parse(desktop).getroot()
    paths = [resource.get("path") for resource in root.iter("Resource")]
    assert all((desktop.parent / path).is_file() for path in [*paths, root.get("genome")])
    assert not any(path.startswith("/") for path in paths)
    tracks = {track.get("id"): track for track in root.iter("Track")}
    assert set(paths) <= tracks.keys() and len(paths) == 6
    assert root.get("locus") == "chr1:1-100"
    wigs = [track for track in tracks.values() if track.get("windowFunction")]
    assert {track.get("windowFunction") for track in wigs} == {"max"}
    assert [track.get("autoscaleGroup") for track in wigs] == ["1", "1", "1", "1"]  # one scale
    ranges = {limits.get("maximum") for limits in root.iter("DataRange")}
    assert ranges == {"1.0"}
    features = [track for track in root.iter("Track") if track.get("clazz", "").endswith("FeatureTrack")]
    assert [track.get("displayMode") for track in features] == ["EXPANDED"] * 2
    check_web(web)


def check_web(path):
    session = json.loads(path.read_text())
    reference = session["reference"]
    files = [reference["fastaURL"], reference["indexURL"], *(track["url"] for track in session["tracks"])]
    assert all((path.parent / unquote(file)).is_file() for file in files)
    assert not any(" " in file for file in files)
    assert {(track["type"], track["format"]) for track in session["tracks"]} == {
        ("wig", "bigwig"),
        ("annotation", "bed"),
    }
    assert session["locus"] == "chr1:1-100"
    wigs = [track for track in session["tracks"] if track["type"] == "wig"]
    assert {(track["autoscaleGroup"], track["windowFunction"]) for track in wigs} == {("1", "max")}


def test_a_session_may_name_a_genome_and_a_locus(made, tmp_path):
    desktop, web = write_sessions(made / "my tracks", "hg38", tmp_path / "s", "chr2:1-20")
    assert ElementTree.parse(desktop).getroot().attrib["genome"] == "hg38"
    session = json.loads(web.read_text())
    assert (session["genome"], session["locus"]) == ("hg38", "chr2:1-20")
    with pytest.raises(SaeTracksError, match="no FASTA file"):
        write_sessions(made / "my tracks", "missing/hg38.fa", tmp_path / "s")


def decode(data):
    """{name: sequence} of a .2bit, base by base."""
    signature, version, count, reserved = struct.unpack_from("<4I", data)
    assert (signature, version, reserved) == (0x1A412743, 0, 0)
    at, found = 16, {}
    for _ in range(count):
        size = data[at]
        name = data[at + 1 : at + 1 + size].decode()
        found[name] = decode_record(data, struct.unpack_from("<I", data, at + 1 + size)[0])
        at += 5 + size
    return found


def decode_record(data, at):
    length, blocks = struct.unpack_from("<2I", data, at)
    spans = struct.unpack_from(f"<{2 * blocks}I", data, at + 8)
    masks, reserved = struct.unpack_from("<2I", data, at + 8 + 8 * blocks)
    assert (masks, reserved) == (0, 0)
    packed = data[at + 16 + 8 * blocks :]
    letters = ["TCAG"[packed[i // 4] >> (6 - 2 * (i % 4)) & 3] for i in range(length)]
    for start, size in zip(spans[:blocks], spans[blocks:]):
        letters[start : start + size] = "N" * size
    return "".join(letters)


@given(contigs(), contigs())
@settings(max_examples=20, deadline=None)
def test_two_bit_holds_the_genome(first, second):
    with toy_source({"one": first, "two": second}) as (source, folder):
        write_two_bit(folder / "g.2bit", source.genome)
        known = re.compile("[^ACGT]")
        expected = {"one": known.sub("N", first.upper()), "two": known.sub("N", second.upper())}
        assert decode((folder / "g.2bit").read_bytes()) == expected


def test_two_bit_in_chunks_is_the_same(tmp_path, monkeypatch):
    genome = Genome(write_fasta(tmp_path / "g.fa", c="ACNNNNNNACGTNN" * 3 + "NN"))
    write_two_bit(tmp_path / "whole.2bit", genome)
    monkeypatch.setattr("sae_tracks.tracks.bbi.twobit.CHUNK", 4)
    write_two_bit(tmp_path / "parts.2bit", genome)
    assert (tmp_path / "parts.2bit").read_bytes() == (tmp_path / "whole.2bit").read_bytes()


def test_two_bit_is_read_by_py2bit(tmp_path):
    py2bit = pytest.importorskip("py2bit")
    write_two_bit(tmp_path / "g.2bit", Genome(write_fasta(tmp_path / "g.fa", **RECORDS)))
    file = py2bit.open(str(tmp_path / "g.2bit"))
    assert file.chroms() == {"chr1": 100, "chr2": 40}
    assert {name: file.sequence(name) for name in RECORDS} == {
        name: sequence.replace("R", "N") for name, sequence in RECORDS.items()
    }
    file.close()


def test_the_verb_says_what_the_server_must_do_and_prints_the_link(made, caplog):
    folder = str(made / "my tracks")
    words = ["hub", folder, "--assembly", "toy1", "-o", str(made / "verb"), "--url", "https://a.org/x"]
    with caplog.at_level("INFO"):
        ran = CliRunner().invoke(app, words)
    assert ran.exit_code == 0
    assert ran.stdout.splitlines()[-1].startswith(
        "https://genome.ucsc.edu/cgi-bin/hgTracks?db=toy1&hubUrl=https://a.org"
    )
    for said in ("tracks: 4, annotations: 2", "HTTPS", "byte ranges", "sae-tracks view", "sae-tracks check-hub"):
        assert said in caplog.text
