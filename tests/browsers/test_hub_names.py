"""A hub names a factor only where its match is supported, groups features by that, and shows the sites beside them."""

import gzip
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyBigWig
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_hub_igv import MAIL, check_hub, stanzas
from toy import write_fasta
from typer.testing import CliRunner

from sae_tracks.browsers.check import check_hub as validate
from sae_tracks.browsers.hub import NO_EMAIL, write_hub
from sae_tracks.browsers.igv import write_sessions
from sae_tracks.browsers.names import Match, NamedTrack, named_tracks
from sae_tracks.browsers.sites import SQL
from sae_tracks.cli.app import app
from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import ContigLengths, Genome
from sae_tracks.regions import GenomicRegion
from sae_tracks.tracks.bbi.bigbed import write_bigbed
from sae_tracks.tracks.bbi.bigwig import write_bigwig
from sae_tracks.tracks.bbi.runs import make_runs
from sae_tracks.tracks.folder import TrackFile

LENGTHS = {"c1": 1000, "c2": 500}
COLUMNS = ("concept", "tf", "site_strand", "feature", "read_strand", "f1", "verdict", "repeat_class", "chosen")
ROWS = [
    ("MA1.1", "ZNF460", "+", "f3", "+", 0.9, "repeat", "SINE/Alu", "True"),
    ("MA2.1", "CTCF", "+", "f3", "+", 0.2, "supported", "", "True"),
    ("MA2.1", "CTCF", "+", "f3", "+", 0.8, "supported", "", "False"),  # another threshold of the pair
    ("MA3.1", "MEF2A", "-", "f3", "-", 0.8, "repeat", "", "True"),
    ("exon", "", "+", "f20", "+", 0.5, "supported", "", "True"),
    ("MA4.1", "EWSR1-FLI1", "+", "f20", "-", 0.4, "supported", "", "True"),
    ("MA5.1", "SP1", "+", "f4", "+", 0.99, "chance", "SINE/Alu", "True"),
    ("MA6.1", "GATA1", "+", "f4", "+", 0.98, "not-tested", "", "True"),
    ("MA1.1", "ZNF460", "+", "f5", "+", 0.7, "repeat", "LINE/L1", "True"),
]


def write_table(path, rows=ROWS, columns=COLUMNS):
    path.write_text("\n".join("\t".join(map(str, row)) for row in [columns, *rows]) + "\n")
    return path


def write_tracks(folder):
    """f3 and f20 in both read strands, f4 and f5 in one; the largest value of f20 is in its second track."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {"f3.plus": 3, "f3.minus": 2, "f20.plus": 1, "f20.minus": 5, "f4": 4, "f5": 7}
    for i, (name, value) in enumerate(names.items()):
        starts = np.array([10 + i, 300 + 100 * i])
        pieces = [("c1", make_runs(starts, starts + 2, np.float32([value / 2, value])))]
        write_bigwig(folder / f"{name}.bw", LENGTHS, pieces, 8)
    return folder


def written(folder, **how):
    hub = write_hub(write_tracks(folder), assembly="toy1", scores=write_table(folder / "m.tsv"), **MAIL, **how)
    check_hub(hub.path)
    assert [finding for finding in validate(hub.path) if finding.error] == []
    return hub, [stanza for stanza in stanzas(hub.path) if "track" in stanza]


def test_a_factor_is_named_only_where_a_match_with_it_is_supported(tmp_path):
    _, tracks = written(tmp_path)
    labels = {track["bigDataUrl"]: track["shortLabel"] for track in tracks if "parent" in track}
    assert labels == {
        "f20.plus.bw": "f20 exon (+) +",
        "f20.minus.bw": "f20 EWSR1.. (+) -",
        "f3.plus.bw": "f3 CTCF (+) +",
        "f3.minus.bw": "f3 repeat -",
        "f5.bw": "f5 LINE/L1",
        "f4.bw": "f4",
    }
    text = (tmp_path / "hub.txt").read_text()
    for other in ("ZNF460", "MEF2A", "SP1", "GATA1", "MA1.1", "MA3.1", "MA5.1", "MA6.1"):
        assert other not in text


def test_features_lie_in_a_composite_by_their_verdict_the_best_first(tmp_path):
    hub, tracks = written(tmp_path)
    groups = {}
    for track in tracks:
        if "parent" in track:
            groups.setdefault(track["parent"], []).append(track["bigDataUrl"])
    assert groups == {
        "group_supported on": ["f20.plus.bw", "f20.minus.bw", "f3.plus.bw", "f3.minus.bw"],
        "group_repeat on": ["f5.bw"],
        "group_features on": ["f4.bw"],
    }
    assert [track["subGroups"] for track in tracks if "subGroups" in track] == ["strand=plus", "strand=minus"] * 2
    limits = {track["bigDataUrl"]: track["viewLimits"] for track in tracks if "viewLimits" in track}
    assert limits["f20.plus.bw"] == limits["f20.minus.bw"] == "0:5" and limits["f5.bw"] == "0:7"
    assert str(hub.position) == "c1:251-750"  # around base 500, where f20.plus is highest


def test_of_many_features_the_first_twenty_are_drawn(tmp_path):
    for i in range(25):
        runs = make_runs(np.array([i]), np.array([i + 2]))
        write_bigwig(tmp_path / f"f{i}.bw", LENGTHS, [("c1", runs)], 1)
    hub = write_hub(tmp_path, assembly="toy1", **MAIL)
    parents = [stanza["parent"] for stanza in stanzas(hub.path) if "parent" in stanza]
    assert parents == ["group_features on"] * 20 + ["group_features off"] * 5


def test_the_page_says_what_the_names_mean(tmp_path):
    written(tmp_path)
    page = (tmp_path / "description.html").read_text()
    assert "f20 exon (+) +: largest value 1; supported match with exon (+), F1 0.50" in page
    assert "f5 LINE/L1: largest value 7; its match lies in repeats (LINE/L1)" in page
    assert "f4: largest value 4; no supported match" in page


def test_igv_shows_the_same_names_in_the_same_order(tmp_path):
    tracks = write_tracks(tmp_path)
    _, web = write_sessions(tracks, "toy1", scores=write_table(tmp_path / "m.tsv"))
    names = [track["name"] for track in json.loads(web.read_text())["tracks"]]
    assert names == ["f20 exon (+) +", "f20 EWSR1-FLI1 (+) -", "f3 CTCF (+) +", "f3 repeat -", "f5 LINE/L1", "f4"]


def test_sites_lie_beside_the_features_as_bigbed(tmp_path):
    sites = ["c1\t5\t9\tMA1.1\t450.4\t-\tCTCF", "c1\t5\t7\tMA2.1\t2000\t+\tSP1", "c2\t0\t500\tMA1.1\t0\t+\tCTCF"]
    (tmp_path / "motifs.bed").write_text("\n".join([sites[2], *sites[:2]]) + "\n")  # another order than the contigs'
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "genes.bed").write_text("c2\t3\t8\n")
    (tmp_path / "own" / "empty.bed").write_text("")
    hub, tracks = written(tmp_path / "own", annotations=[tmp_path / "motifs.bed"])
    motifs, genes = (next(t for t in tracks if t["track"] == f"sites_{name}") for name in ("motifs", "genes"))
    assert hub.annotations == 2
    assert (motifs["type"], genes["type"], motifs["defaultLabelFields"]) == ("bigBed 6 +", "bigBed 6", "TFName")
    with pyBigWig.open(str(hub.path.parent / motifs["bigDataUrl"])) as file:
        assert file.chroms() == LENGTHS
        assert file.entries("c1", 0, 1000) == [(5, 7, "MA2.1\t1000\t+\tSP1"), (5, 9, "MA1.1\t450\t-\tCTCF")]
        assert file.entries("c2", 0, 500) == [(0, 500, "MA1.1\t0\t+\tCTCF")]
    with pyBigWig.open(str(hub.path.parent / genes["bigDataUrl"])) as file:
        assert file.entries("c2", 0, 500) == [(3, 8, "genes\t0\t.")]


def test_a_bigbed_of_elsewhere_is_copied_and_keeps_its_factors(tmp_path):
    (tmp_path / "sites.bed").write_text("c1\t5\t9\tMA1.1\t450\t-\tCTCF\n")
    first, _ = written(tmp_path / "a", annotations=[tmp_path / "sites.bed"])
    made = first.path.parent / "annotations" / "sites.bb"
    for annotation in (made, tmp_path / "b" / "annotations" / "sites.bb"):  # then the copy, which stays
        _, tracks = written(tmp_path / "b", annotations=[annotation])
        sites = next(t for t in tracks if t["track"] == "sites_sites")
        assert (sites["bigDataUrl"], sites.get("labelFields")) == ("annotations/sites.bb", "TFName,name")
    assert (tmp_path / "b" / "annotations" / "sites.bb").read_bytes() == made.read_bytes()


def test_a_bigbed_of_another_genome_or_none_is_refused(tmp_path):
    tracks = write_tracks(tmp_path / "t")
    for name, lengths in (("x", {"x": 50}), ("c", {"c1": 999})):
        write_bigbed(tmp_path / f"{name}.bb", lengths, [(next(iter(lengths)), 5, 9, "n\t0\t+")], SQL.format(""), 64)
    (tmp_path / "cut.bb").write_bytes((tmp_path / "c.bb").read_bytes()[:-9])
    for name, said in (
        ("x", r"no contig of x\.bb is in f3\.plus\.bw: they are called x, not c1"),
        ("c", r"c\.bb is of another genome: c1 has 999 bases, but 1,000 in f3\.plus\.bw"),
        ("cut", r"cut\.bb is cut short"),
        ("none", r"no file .*none\.bb"),
    ):
        with pytest.raises(SaeTracksError, match=said):
            write_hub(tracks, assembly="toy1", annotations=[tmp_path / f"{name}.bb"], **MAIL)
    assert not (tracks / "hub.txt").exists()


def test_a_bed_without_a_row_is_left_out(tmp_path):
    write_one(tmp_path / "f3.bw", 5)
    (tmp_path / "empty.bed").write_text("")
    (tmp_path / "comments.bed").write_text("# nothing\n\ntrack name=x\n")
    (tmp_path / "packed.bed.gz").write_bytes(gzip.compress(b""))
    (tmp_path / "one.bed.gz").write_bytes(gzip.compress(b"# one\nc1\t5\t9\n"))
    assert write_hub(tmp_path, assembly="toy1", **MAIL).annotations == 1
    _, web = write_sessions(tmp_path, "toy1")
    assert [track["name"] for track in json.loads(web.read_text())["tracks"]] == ["f3", "one.bed.gz"]
    (tmp_path / "one.bed.gz").write_bytes(gzip.compress(b"# one\n" * 99)[:-9])
    with pytest.raises(SaeTracksError, match=r"cannot read .*one\.bed\.gz"):
        write_sessions(tmp_path, "toy1")


def test_the_soft_mask_is_that_of_the_fasta(tmp_path):
    tracks = write_tracks(tmp_path / "t")
    with pytest.raises(SaeTracksError, match="the soft-mask is in the FASTA: name it by --genome"):
        write_hub(tracks, assembly="toy1", annotations=[Path("softmask")], **MAIL)
    genome = Genome(write_fasta(tmp_path / "g.fa", c1="ACgtA" * 200, c2="A" * 500))
    hub = write_hub(tracks, genome=genome, annotations=[Path("softmask")], **MAIL)
    with pyBigWig.open(str(hub.path.parent / "annotations" / "softmask.bb")) as file:
        assert [row[:2] for row in file.entries("c1", 0, 10)] == [(2, 4), (7, 9)]


def test_tracks_outside_the_hub_are_warned_of(tmp_path, caplog):
    written(tmp_path / "t", out=tmp_path)
    assert "outside" not in caplog.text
    written(tmp_path / "t", out=tmp_path / "hub")
    assert f"tracks lie outside {tmp_path / 'hub'}" in caplog.text


def _bed(path):
    path.write_text("c1\t5\t9\tMA1.1\t450\t-\n")
    return path


def test_sites_of_another_genome_or_of_one_name_are_refused(tmp_path):
    tracks = write_tracks(tmp_path / "t")
    (tmp_path / "far.bed").write_text("c1\t5\t1001\n")
    with pytest.raises(SaeTracksError, match=r"far\.bed, line 1: end 1,001 is past c1, which has 1,000 bases"):
        write_hub(tracks, assembly="toy1", annotations=[tmp_path / "far.bed"], **MAIL)
    for name in ("x.y.bed", "x_y.bed"):
        _bed(tmp_path / name)
    with pytest.raises(SaeTracksError, match=r"two files .* would be sites_x_y in UCSC's letters"):
        write_hub(tracks, assembly="toy1", annotations=[tmp_path / "x.y.bed", tmp_path / "x_y.bed"], **MAIL)
    assert not (tracks / "hub.txt").exists()


def test_a_table_of_something_else_is_refused(tmp_path):
    table = write_table(tmp_path / "t.tsv", [("a", "b")], ("concept", "feature"))
    with pytest.raises(SaeTracksError, match=r"has no column .read_strand.: name the metrics\.tsv"):
        named_tracks(write_tracks(tmp_path / "t"), table)


def test_a_score_that_is_no_number_is_refused(tmp_path):
    table = write_table(tmp_path / "t.tsv", [("MA1.1", "", "+", "f3", "+", "high", "supported", "", "True")])
    with pytest.raises(SaeTracksError, match=r"t\.tsv: expected numbers in the column 'f1'; one is 'high'"):
        named_tracks(write_tracks(tmp_path / "t"), table)
    unnamed = named_tracks(tmp_path / "t", write_table(tmp_path / "none.tsv", []))
    assert [track.match for track in unnamed] == [None] * 6


def test_the_parquet_of_metrics_names_without_the_class_of_the_repeat(tmp_path):
    table = pd.DataFrame(ROWS, columns=list(COLUMNS)).drop(columns="repeat_class")
    table.assign(chosen=table["chosen"] == "True").to_parquet(tmp_path / "metrics.parquet")
    found = named_tracks(write_tracks(tmp_path / "t"), tmp_path / "metrics.parquet")
    matches = {(track.file.feature, track.file.strand or "+"): track.match for track in found}
    assert {key: match.word for key, match in matches.items() if match} == {
        ("f20", "+"): "exon",
        ("f20", "-"): "EWSR1-FLI1",
        ("f3", "+"): "CTCF",
        ("f3", "-"): "repeat",
        ("f5", "+"): "repeat",
    }
    assert matches["f3", "+"].f1 == 0.2


@given(st.integers(0, 99_999), st.sampled_from(["", "+", "-"]), st.text("ABZ:/(.)19", min_size=1, max_size=25))
def test_a_short_label_fits_and_a_cut_name_is_marked(feature, strand, factor):
    track = TrackFile(None, "", f"f{feature}", strand, 0, 1.0)
    text = NamedTrack(track, Match("supported", "MA1.1", factor, "+", "", 1.0)).short_title
    assert len(text) <= 17 and text.split(" ")[0] == f"f{feature}" and text.endswith(strand)
    shown, *strands = text.split(" ")[1:]
    assert strands == ["(+)", *filter(None, [strand])]
    assert shown == factor or (shown.endswith("..") and factor.startswith(shown[:-2]) and len(text) == 17)


@pytest.mark.parametrize("match", [None, Match("supported", "MA1.1", "CTCF", "-", "", 1.0)])
def test_the_label_of_a_long_feature_keeps_its_strand(match):
    tracks = [TrackFile(None, "", name, strand, 0, 1.0) for name in ("x" * 16, "y" * 17, "z" * 18) for strand in "+-"]
    assert [NamedTrack(track, match).short_title for track in tracks] == [
        f"{c * 13}.. {strand}" for c in "xyz" for strand in "+-"
    ]
    assert NamedTrack(TrackFile(None, "", "z" * 18, "", 0, 1.0), match).short_title == f"{'z' * 15}.."
    assert NamedTrack(TrackFile(None, "", "x" * 15, "-", 0, 1.0), match).short_title == f"{'x' * 15} -"


def write_one(path, position, lengths=LENGTHS):
    """A bigWig of one base, on the first contig."""
    runs = make_runs(np.array([position]), np.array([position + 1]))
    write_bigwig(path, lengths, [(next(iter(lengths)), runs)], 1)


def test_a_match_of_a_read_strand_that_has_no_track_names_and_moves_nothing(tmp_path):
    rows = [
        ("MA2.1", "CTCF", "+", "f3", "-", 0.9, "supported", "", "True"),  # of f3 there is the + track alone
        ("MA1.1", "SP1", "+", "f7", "+", 0.5, "supported", "", "True"),
    ]
    for name in ("f3", "f7"):
        write_one(tmp_path / f"{name}.bw", 5)
    table = write_table(tmp_path / "m.tsv", rows)
    tracks = stanzas(write_hub(tmp_path, assembly="toy1", scores=table, **MAIL).path)
    assert [(track["parent"], track["shortLabel"]) for track in tracks if "parent" in track] == [
        ("group_supported on", "f7 SP1 (+)"),
        ("group_features on", "f3"),
    ]
    _, web = write_sessions(tmp_path, "toy1", scores=table)
    assert [track["name"] for track in json.loads(web.read_text())["tracks"]] == ["f7 SP1 (+)", "f3"]


def test_both_open_at_the_best_match_though_its_track_is_not_the_first(tmp_path):
    rows = [
        ("MA2.1", "CTCF", "+", "f3", "-", 0.9, "supported", "", "True"),
        ("MA1.1", "SP1", "+", "f3", "+", 0.5, "supported", "", "True"),
    ]
    write_one(tmp_path / "f3.plus.bw", 20)
    write_one(tmp_path / "f3.minus.bw", 500)
    table = write_table(tmp_path / "m.tsv", rows)
    assert str(write_hub(tmp_path, assembly="toy1", scores=table, **MAIL).position) == "c1:251-750"
    _, web = write_sessions(tmp_path, "toy1", scores=table)
    assert json.loads(web.read_text())["locus"] == "c1:251-750"


def test_without_a_name_the_best_row_of_the_table_comes_first_and_is_opened(tmp_path):
    rows = [
        ("MA2.1", "CTCF", "+", "f9", "+", 0.9, "chance", "", "True"),
        ("MA1.1", "SP1", "+", "f3", "+", 0.5, "chance", "", "True"),
    ]
    for name, at in (("f3", 20), ("f9", 500), ("f1", 700)):
        write_one(tmp_path / f"{name}.bw", at)
    table = write_table(tmp_path / "m.tsv", rows)
    assert str(write_hub(tmp_path, assembly="toy1", scores=table, **MAIL).position) == "c1:251-750"
    _, web = write_sessions(tmp_path, "toy1", scores=table)
    session = json.loads(web.read_text())
    assert [track["name"] for track in session["tracks"]] == ["f9", "f3", "f1"] and session["locus"] == "c1:251-750"


def test_a_hub_in_another_folder_can_have_its_tracks_with_it(tmp_path, caplog):
    (tmp_path / "tracks").mkdir()
    write_one(tmp_path / "tracks" / "f3.bw", 20)
    out = tmp_path / "hub"
    hub = write_hub(tmp_path / "tracks", out, assembly="toy1", **MAIL)
    assert "serve both as they lie, or add --copy" in caplog.text
    assert [found for found in validate(hub.path) if "leads out" in str(found)]
    done = CliRunner().invoke(app, ["hub", str(tmp_path / "tracks"), "-o", str(out), "--assembly", "toy1", "--copy"])
    assert done.exit_code == 0, done.output
    assert (out / "f3.bw").read_bytes() == (tmp_path / "tracks" / "f3.bw").read_bytes()
    assert [s["bigDataUrl"] for s in stanzas(hub.path) if "bigDataUrl" in s] == ["f3.bw"]
    assert not [found for found in validate(hub.path) if "leads out" in str(found)]
    assert not list(write_hub(out, assembly="toy1", copy=True, **MAIL).path.parent.glob(".*"))


def test_a_feature_may_be_called_as_a_label_reads(tmp_path):
    write_one(tmp_path / "f3 read me.bw", 5)
    tracks = stanzas(write_hub(tmp_path, assembly="toy1", **MAIL).path)
    assert [track["shortLabel"] for track in tracks if "parent" in track] == ["f3 read me"]


def test_the_page_is_html_whatever_a_file_or_the_record_says_and_names_no_folder(tmp_path):
    for name in ("f<3>&", "f4"):
        write_one(tmp_path / f"{name}.bw", 5)
    record = {"command": "x '</code><script>' /home/me/sae", "<b>": 1, "genome": {"path": "/home/me/toy.fa"}}
    (tmp_path / "provenance.json").write_text(json.dumps(record))
    _bed(tmp_path / "<i>.bed")
    rows = [
        ("<s>", "", "+", "f<3>&", "+", 0.5, "supported", "", "True"),
        ("MA1.1", "", "+", "f4", "+", 0.5, "repeat", "<em>", "True"),
    ]
    table = write_table(tmp_path / "<u>.tsv", rows)
    write_hub(tmp_path, assembly="toy1", scores=table, **MAIL)
    page = (tmp_path / "description.html").read_text()
    assert set(re.findall(r"<(\w+)", page)) == {*("h2", "p", "ul", "li", "table", "tr", "th", "td", "code", "a")}
    for said in (
        "f&lt;3&gt;&amp; &lt;s&gt;",
        "match with &lt;s&gt; (+),",
        "&lt;/code&gt;&lt;script&gt;",
        "&lt;b&gt;",
        "toy.fa",
    ):
        assert said in page
    assert "home" not in page


@pytest.mark.parametrize("record", ["[]", '"text"'])
def test_a_record_that_is_none_is_refused(tmp_path, record):
    write_one(tmp_path / "f3.bw", 5)
    (tmp_path / "provenance.json").write_text(record)
    with pytest.raises(SaeTracksError, match=r"provenance\.json: .*move it away"):
        write_hub(tmp_path, assembly="toy1", **MAIL)
    assert not (tmp_path / "hub.txt").exists()


def test_a_line_break_in_a_name_begins_no_line_of_the_hub(tmp_path):
    write_one(tmp_path / "f3\nemail x.bw", 5)
    hub = write_hub(tmp_path, assembly="toy1", **MAIL)
    assert [stanza["shortLabel"] for stanza in stanzas(hub.path) if "parent" in stanza] == ["f3 email x"]
    assert [finding for finding in validate(hub.path) if finding.error] == []


def test_paths_are_right_where_links_lead_to_a_folder(tmp_path):
    (tmp_path / "real" / "deep" / "out").mkdir(parents=True)
    (tmp_path / "out").symlink_to(tmp_path / "real" / "deep" / "out")
    write_tracks(tmp_path / "t")
    hub = write_hub(tmp_path / "t", tmp_path / "out", assembly="toy1", **MAIL)
    assert [finding for finding in validate(hub.path) if finding.error] == []
    _, web = write_sessions(tmp_path / "t", "toy1", tmp_path / "out" / "session")
    paths = [track["url"] for track in json.loads(web.read_text())["tracks"]]
    assert len(paths) == 6 and all((web.parent / path).is_file() for path in paths)


def test_the_verbs_hand_on_what_they_are_told(tmp_path):
    tracks, table = write_tracks(tmp_path), write_table(tmp_path / "m.tsv")
    (tmp_path / "more").mkdir()
    sites = _bed(tmp_path / "more" / "sites.bed")
    names = ["--from", str(table)]
    hub = ["hub", str(tracks), "--assembly", "toy1", "--annotation", str(sites), "--email", "me@uni.edu", *names]
    assert CliRunner().invoke(app, hub).exit_code == 0
    head, _, *shown = stanzas(tmp_path / "hub.txt")
    assert head["email"] == "me@uni.edu" and "f3 CTCF (+) +" in {stanza["shortLabel"] for stanza in shown}
    assert shown[-1]["track"] == "sites_sites"
    assert CliRunner().invoke(app, ["igv", str(tracks), "--genome", "toy1", "--locus", "c2:1-9", *names]).exit_code == 0
    session = json.loads((tmp_path / "session.json").read_text())
    assert (session["locus"], session["tracks"][0]["name"]) == ("c2:1-9", "f20 exon (+) +")
    assert CliRunner().invoke(app, ["hub", str(tracks), "--assembly", "toy1"]).exit_code == 0
    assert stanzas(tmp_path / "hub.txt")[0]["email"] == NO_EMAIL


def test_an_assembly_hub_may_hold_sites(tmp_path):
    tracks = write_tracks(tmp_path / "t")
    genome = Genome(write_fasta(tmp_path / "g.fa", c1="ACGTA" * 200, c2="A" * 500))
    hub = write_hub(tracks, genome=genome, annotations=[_bed(tmp_path / "s.bed")], **MAIL)
    assert [finding for finding in validate(hub.path) if finding.error] == []


def test_file_names_with_blanks_and_signs_are_addresses_in_the_hub(tmp_path, caplog):
    tracks = write_tracks(tmp_path / "my tracks #1+x")
    sites = _bed(tmp_path / "sites #2 100%+x&y.bed")
    with caplog.at_level("INFO", "sae_tracks"):
        made = CliRunner().invoke(app, ["hub", str(tracks), "--assembly", "toy1", "--annotation", str(sites)])
    assert made.exit_code == 0, made.output
    shown = stanzas(tracks / "hub.txt")[2:]
    assert shown[-1]["bigDataUrl"] == "annotations/sites%20%232%20100%25%2Bx%26y.bb"
    assert [finding for finding in validate(tracks) if finding.error] == []
    assert "-w '%{http_code}' -r 0-9" in caplog.text and "%%" not in caplog.text


def test_an_annotation_is_read_against_contigs_without_letters(tmp_path):
    names = ContigLengths(tmp_path / "f3.bw", {"c1": 1000, "c2": 500, "none": 0})
    assert [str(region) for region in names.whole] == ["c1:1-1000", "c2:1-500"]
    assert names.merged([names.region("c1:5-9"), names.region("c1:2-6")]) == [names.region("c1:2-9")]
    with pytest.raises(SaeTracksError, match="ends past c2"):
        names.check(GenomicRegion("c2", 0, 501))
    assert not hasattr(names, "sequence")


def test_features_without_a_match_are_called_as_they_are_described(tmp_path):
    folder, table = write_tracks(tmp_path / "tracks"), write_table(tmp_path / "metrics.tsv")
    described = [("f4", "codon position 3, CDS +", "motifs"), ("f5", "intergenic", "motifs"), ("f20", "no name", "")]
    lines = ["feature\tname\tname_from", *("\t".join(row) for row in [*described, ("f3", "TSS", "metrics")])]
    (tmp_path / "describe.tsv").write_text("\n".join(lines) + "\n")
    write_hub(folder, assembly="xx1", **MAIL, scores=table)
    labels = {s["track"]: (s["shortLabel"], s["longLabel"]) for s in stanzas(folder / "hub.txt") if "bigDataUrl" in s}
    assert labels["sae_f4"] == ("f4 codon positi..", "Activation of f4, strongest in codon position 3, CDS +")
    assert labels["sae_f5"][0].startswith("f5 LINE/L1"), "the match comes first"
    assert labels["sae_f20_plus"][0] == "f20 exon (+) +"
    assert "strongest in codon position 3, CDS +" in (folder / "description.html").read_text()
    (tmp_path / "describe.tsv").write_text("feature\tline\nf4\tx\n")
    with pytest.raises(SaeTracksError, match=r"describe.tsv has no column 'name'"):
        write_hub(folder, assembly="xx1", **MAIL, scores=table)
