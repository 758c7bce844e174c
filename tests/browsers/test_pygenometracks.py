"""``tracks.ini`` says what pyGenomeTracks must know, and where it is installed, it draws it."""

import shlex
import subprocess
import sys
from configparser import ConfigParser

import numpy as np
import pytest
from toy import random_dna
from track_oracle import toy_source

from sae_tracks.browsers.pygenometracks import write_tracks_ini
from sae_tracks.errors import SaeTracksError
from sae_tracks.tracks import write_bed, write_bigwigs

RECORDS = {"chr1": "N" * 10 + random_dna(90), "chr2": "ACGRT" * 8}


@pytest.fixture
def tracks():
    """A folder with the bigWigs of two features in both read strands, and a BED."""
    with toy_source(RECORDS, strands=["+", "-"]) as (source, folder):
        write_bigwigs(source, [4, 0], folder / "tracks")
        write_bed(source, [0], folder / "tracks" / "100%.bed")
        yield folder / "tracks"


def sections(path):
    """The file as pyGenomeTracks reads it: with configparser's own interpolation."""
    ini = ConfigParser()
    ini.read_string(path.read_text())
    return {name: dict(ini[name]) for name in ini.sections()}


@pytest.mark.parametrize("out", [None, "here.ini", "elsewhere/deep/t.ini"])
def test_it_names_every_file_from_its_own_folder(tracks, out):
    path, _ = write_tracks_ini(tracks, out and tracks.parent / out)
    assert path == (tracks.parent / out if out else tracks / "tracks.ini")
    axis, *others = sections(path).items()
    assert axis == ("x-axis", {"where": "top"})
    found = [(path.parent / section["file"]).resolve() for _, section in others]
    expected = ["f0.plus.bw", "f0.minus.bw", "f4.plus.bw", "f4.minus.bw", "100%.bed"]
    assert found == [(tracks / name).resolve() for name in expected]
    assert [section["file_type"] for _, section in others] == ["bigwig"] * 4 + ["bed"]


def test_read_strands_of_a_feature_share_colour_and_scale(tracks):
    plus, minus, other, _ = [
        s for s in sections(write_tracks_ini(tracks)[0]).values() if s.get("file_type") == "bigwig"
    ]
    assert (plus["title"], minus["title"]) == ("f0 read +", "f0 read -")
    assert plus["color"] == minus["color"] == "#0072b2" != other["color"]
    assert (plus["min_value"], plus["max_value"], other["max_value"]) == ("0", "1", "0.023")


def test_the_command_draws_where_the_first_track_is_highest(tracks):
    path, command = write_tracks_ini(tracks)
    words = shlex.split(command)
    assert words == ["pyGenomeTracks", "--tracks", str(path), "--region", "chr1:0-100", "-o", "tracks.png"]


def test_a_blank_in_a_name_and_a_folder_without_a_track_are_errors(tracks, tmp_path):
    with pytest.raises(SaeTracksError, match="no bigWig"):
        write_tracks_ini(tmp_path)
    (tracks / "my sites.bed").write_text("chr1\t1\t2\n")
    with pytest.raises(SaeTracksError, match=r"takes no file name with a blank: rename 'my sites\.bed'"):
        write_tracks_ini(tracks)
    assert not (tracks / "tracks.ini").exists()


def test_pygenometracks_draws_it(tracks, tmp_path):
    pytest.importorskip("pygenometracks", reason="pyGenomeTracks is not installed (examples/own_tools.sh runs it)")
    from matplotlib.image import imread

    path, _ = write_tracks_ini(tracks)
    words = ["--tracks", path, "--region", "chr1:0-100", "-o", tmp_path / "x.png"]
    code = "import sys; from pygenometracks.plotTracks import main; main(sys.argv[1:])"
    subprocess.run([sys.executable, "-c", code, *map(str, words)], check=True, capture_output=True)
    pixels = np.round(imread(tmp_path / "x.png")[..., :3] * 255).reshape(-1, 3)
    for colour in [(0, 114, 178), (213, 94, 0)]:
        assert (pixels == colour).all(axis=1).sum() > 100


def test_a_bracket_in_a_name_does_not_end_its_section_and_a_line_break_is_refused(tracks):
    (tracks / "f4.plus.bw").rename(tracks / "f4]x.bw")
    ini = sections(write_tracks_ini(tracks)[0])
    assert ini["f4)x.bw"]["file"] == "f4]x.bw"
    (tracks / "f4]x.bw").rename(tracks / "f4\nx.bw")
    with pytest.raises(SaeTracksError, match="no file name with a tab or a line break"):
        write_tracks_ini(tracks)
