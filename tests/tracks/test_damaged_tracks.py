"""Damaged bigWigs and parts of exports are refused before pyBigWig or numba follow them out of memory."""

import os
import struct

import numpy as np
import pyBigWig
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import random_dna
from track_oracle import FEATURES, toy_source

from sae_tracks.bbi import BIGBED, BIGWIG, HEADER, check_structure, contig_lengths, open_bbi
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import write_provenance
from sae_tracks.json_file import read_json
from sae_tracks.records import part_sums
from sae_tracks.regions import Shard
from sae_tracks.tracks import merge_bigwigs, write_bigwig_shard
from sae_tracks.tracks.bbi.bigbed import write_bigbed
from sae_tracks.tracks.bbi.bigwig import write_bigwig
from sae_tracks.tracks.bbi.runs import RUN, make_runs
from sae_tracks.tracks.folder import list_intervals, list_tracks
from sae_tracks.tracks.spool import INDEX, RECORD, RUNS, index_row

MEGABASE = 1 << 20
LENGTHS = {"c1": 4000, "c2": 900}
SQL = 'table s "s"\n(\nstring chrom; "c"\nuint chromStart; "s"\nuint chromEnd; "e"\nstring name; "n"\n)\n'


def bigwig(path, top=1.0):
    edges = np.arange(0, 4001, 4)
    values = np.linspace(0, top, len(edges) - 1).astype(np.float32)
    write_bigwig(path, LENGTHS, [("c1", make_runs(edges[:-1], edges[1:], values))], 64)
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bbi")
    write_bigbed(folder / "s.bb", LENGTHS, [("c1", i, i + 9, f"n{i}") for i in range(0, 3000, 7)], SQL, 64)
    return {BIGWIG: bigwig(folder / "t.bw").read_bytes(), BIGBED: (folder / "s.bb").read_bytes()}


def read_all(path, kind):
    """Read every contig; of one that is said to be long the ends, because pyBigWig holds all that it reads."""
    with open_bbi(path, kind) as file:
        for contig, length in file.chroms().items():
            for start, end in {(0, min(length, MEGABASE)), (max(length - MEGABASE, 0), length)}:
                file.values(contig, start, end) if kind == BIGWIG else file.entries(contig, start, end)
            file.stats(contig, 0, length, nBins=3) if kind == BIGWIG else None


@pytest.mark.parametrize("kind", [BIGWIG, BIGBED])
def test_a_whole_file_passes(files, kind, tmp_path):
    (tmp_path / "x").write_bytes(files[kind])
    read_all(tmp_path / "x", kind)
    assert contig_lengths(tmp_path / "x", kind) == LENGTHS


@given(st.sampled_from([BIGWIG, BIGBED]), st.data())
@settings(max_examples=150)
def test_no_change_of_a_place_or_a_size_reaches_pybigwig(files, tmp_path_factory, kind, data):
    """A crash would end the whole run of tests."""
    content = bytearray(files[kind])
    header = HEADER.unpack_from(content)
    trees = [header[3], header[5], header[9], 0, 8, 64]
    at = min(data.draw(st.sampled_from(trees)) + data.draw(st.integers(0, 120)), len(content) - 8)
    width, value = data.draw(
        st.sampled_from([("<B", 255), ("<H", 65535), ("<I", 2**31), ("<I", 2**32 - 1), ("<Q", 2**40), ("<Q", 2**63)])
    )
    struct.pack_into(width, content, at, data.draw(st.sampled_from([0, 1, value])))
    path = tmp_path_factory.getbasetemp() / "changed"
    path.write_bytes(content)
    try:
        read_all(path, kind)
    except SaeTracksError as error:
        assert "\n" not in str(error)


def test_a_tree_that_goes_in_a_circle_and_a_block_outside_are_named(files, tmp_path):
    path, index_at = tmp_path / "t.bw", HEADER.unpack_from(files[BIGWIG])[5]
    for at, form, value, message in (
        (index_at + 48, "<B", 2, "a tree reaches outside of it"),
        (index_at + 52 + 16, "<Q", 1 << 40, "a block lies outside of it"),
        (index_at, "<I", 7, "its index cannot be read"),
        (HEADER.unpack_from(files[BIGWIG])[3], "<I", 7, "its contigs cannot be read"),
        (4, "<H", 999, "its version or number of zoom levels is wrong"),
    ):
        content = bytearray(files[BIGWIG])
        struct.pack_into(form, content, at, value)
        path.write_bytes(content)
        with pytest.raises(SaeTracksError, match=f"t.bw is damaged: .*{message}"):
            check_structure(path)


def test_hidden_files_are_no_tracks_and_impossible_ones_are_refused(tmp_path):
    bigwig(tmp_path / "f1.bw")
    for name in ("._f1.bw", ".f2.bw", ".hidden.bed", "._sites.bed.gz"):
        (tmp_path / name).write_bytes(b"\0\5\26\7 of macOS")
    (tmp_path / "sites.bed").write_text("c1\t1\t5\n")
    assert [track.name for track in list_tracks(tmp_path)] == ["f1"]
    assert [path.name for path in list_intervals(tmp_path)] == ["sites.bed"]
    (tmp_path / "f3.bw").write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(SaeTracksError, match=r"f3.bw is not a bigWig"):
        list_tracks(tmp_path)
    content = bytearray((tmp_path / "f1.bw").read_bytes())
    struct.pack_into("<d", content, HEADER.unpack_from(content)[9] + 16, np.inf)
    (tmp_path / "f3.bw").write_bytes(content)
    with pytest.raises(SaeTracksError, match=r"f3.bw: its largest value is inf: export it again"):
        list_tracks(tmp_path)


def change(path, edit):
    content = bytearray(path.read_bytes())
    edit(content)
    path.write_bytes(content)


@pytest.mark.parametrize("name", [RECORD, RUNS, INDEX])
def test_a_part_of_an_export_that_changed_is_refused(name):
    with toy_source({"a": random_dna(300)}) as (source, folder):
        parts = [folder / "1", folder / "2"]
        for i, part in enumerate(parts, 1):
            write_bigwig_shard(source, FEATURES, part, Shard(i, 2))
        change(parts[1] / name, lambda content: content.__setitem__(len(content) // 2, content[len(content) // 2] ^ 1))
        with pytest.raises(SaeTracksError) as caught:
            merge_bigwigs(parts, folder / "out")
        assert str(parts[1]) in str(caught.value) and "\n" not in str(caught.value)
        assert not list((folder / "out").glob("*.bw"))


@pytest.mark.parametrize(
    ("name", "field", "value", "message"),
    [
        (RUNS, "end", 10**9, "the runs of a shard are damaged"),
        (RUNS, "start", -5, "the runs of a shard are damaged"),
        (INDEX, "offset", -1, r"index\.bin is damaged"),
        (INDEX, "position", 10**12, r"index\.bin is damaged"),
    ],
)
def test_parts_with_right_checksums_and_impossible_places_are_refused(name, field, value, message):
    with toy_source({"a": random_dna(300)}) as (source, folder):
        part = folder / "1"
        write_bigwig_shard(source, FEATURES, part, Shard(1, 1))
        rows = np.fromfile(part / name, RUN if name == RUNS else index_row(len(FEATURES)))
        rows[field][0] = value
        rows.tofile(part / name)
        made = read_json(part / "provenance.json") | {"parts": part_sums(part, RECORD, RUNS, INDEX)}
        write_provenance(part, **{k: v for k, v in made.items() if k not in ("sae_tracks", "command")})
        with pytest.raises(SaeTracksError, match=message):
            merge_bigwigs([part], folder / "out")


def test_a_complete_shard_that_was_changed_gets_no_new_checksums():
    with toy_source({"a": random_dna(300)}) as (source, folder):
        part = folder / "1"
        write_bigwig_shard(source, FEATURES, part, Shard(1, 1))
        made = (part / "provenance.json").read_bytes()
        write_bigwig_shard(source, FEATURES, part, Shard(1, 1))
        runs = bytearray((part / RUNS).read_bytes())
        runs[-1] ^= 1
        (part / RUNS).write_bytes(runs)
        with pytest.raises(SaeTracksError, match=r"runs\.bin has changed .*delete the folder and run that shard again"):
            write_bigwig_shard(source, FEATURES, part, Shard(1, 1))
        assert (part / "provenance.json").read_bytes() == made


def test_a_bigwig_without_values_is_read(tmp_path):
    with pyBigWig.open(str(tmp_path / "f1.bw"), "w") as file:
        file.addHeader([("c", 100)])
    with open_bbi(tmp_path / "f1.bw") as file:
        assert file.chroms() == {"c": 100} and file.intervals("c") is None


@pytest.mark.parametrize("name", ["f9.bw", "z.bed"])
def test_a_pipe_in_a_folder_of_tracks_is_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(SaeTracksError, match=f"{name} is a named pipe"):
        list_tracks(tmp_path) if name == "f9.bw" else list_intervals(tmp_path)
