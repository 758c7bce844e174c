"""The bytes of a bigWig: what UCSC's readers search, zoom levels against the values, and cuts that change nothing."""

import itertools
import struct
import tempfile

import numpy as np
import pybigtools
import pyBigWig
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sae_tracks.errors import SaeTracksError
from sae_tracks.tracks.bbi import bigfile as bbi
from sae_tracks.tracks.bbi import bigwig
from sae_tracks.tracks.bbi.bigwig import finest_zoom, write_bigwig
from sae_tracks.tracks.bbi.runs import make_runs


def runs_of(values):
    """Maximal runs of equal values; NaN is a base without one."""
    runs, start = [], 0
    for value, group in itertools.groupby(values.tolist()):
        end = start + len(list(group))
        if value == value:
            runs.append((start, end, value))
        start = end
    return make_runs(*(np.array(column) for column in zip(*runs)))


def drawn(length, seed=0, density=0.3):
    """Values of neighbouring bases, some equal, some zero, some absent."""
    rng = np.random.default_rng(seed)
    values = np.where(rng.random(length) < density, rng.gamma(2, 1, length), 0).astype(np.float32)
    values = np.repeat(values, rng.integers(1, 3, length))[:length]
    values[rng.random(length) < 0.05] = np.nan
    return values


def write(path, tracks, finest=bbi.FINEST_ZOOM, lengths=None):
    lengths = lengths or {name: len(values) for name, values in tracks.items()}
    write_bigwig(path, lengths, [(name, runs_of(values)) for name, values in tracks.items()], finest)
    return path


def check_values(path, tracks):
    """Every base, through two libraries."""
    with pybigtools.open(str(path)) as file, pyBigWig.open(str(path)) as other:
        for name, values in tracks.items():
            np.testing.assert_array_equal(file.values(name, fillna=None), values.astype(np.float64))
            np.testing.assert_array_equal(other.values(name, 0, len(values), numpy=True), values)


def contig_by_search(path, name):
    """Number and length of a contig, by UCSC's search of the B+ tree (Kent et al. 2010, bptFile.c)."""
    data = path.read_bytes()
    (at,) = struct.unpack_from("<Q", data, 8)
    magic, _, width, size, _, _ = struct.unpack_from("<IIIIQQ", data, at)
    assert (magic, size) == (0x78CA8C91, 8)
    at, key = at + 32, name.encode().ljust(width, b"\0")
    while True:
        leaf, _, count = struct.unpack_from("<BBH", data, at)
        entries = [at + 4 + i * (width + 8) for i in range(count)]
        if leaf:
            found = [entry for entry in entries if data[entry : entry + width] == key]
            return struct.unpack_from("<II", data, found[0] + width) if found else None
        child = entries[0]
        for entry in entries[1:]:
            if key < data[entry : entry + width]:
                break
            child = entry
        (at,) = struct.unpack_from("<Q", data, child + width)


def test_every_contig_of_a_large_assembly_is_found_by_ucscs_search_and_listed_in_the_fastas_order(tmp_path):
    names = [f"c{i}" for i in np.random.default_rng(0).permutation(700)]
    tracks = {name: np.float32([i, 1]) for i, name in enumerate(names) if i % 3}
    lengths = {name: 2 + i for i, name in enumerate(names)}
    path = write(tmp_path / "x.bw", tracks, lengths=lengths)
    for i, name in enumerate(names):
        assert contig_by_search(path, name) == (i, 2 + i)
    assert contig_by_search(path, "c700") is None
    with pyBigWig.open(str(path)) as file:
        assert list(file.chroms().items()) == list(lengths.items())
        assert [file.values(name, 0, 2) for name in tracks] == [values.tolist() for values in tracks.values()]
    with pybigtools.open(str(path)) as file:
        assert file.chroms() == lengths
        assert all(file.values(name, 0, 2, fillna=None).tolist() == v.tolist() for name, v in tracks.items())


@pytest.mark.parametrize("fan, items, records", [(2, 1, 1), (3, 2, 3), (256, 1024, 512)])
def test_trees_of_any_depth_lead_to_every_value(tmp_path, monkeypatch, fan, items, records):
    monkeypatch.setattr(bbi, "FAN", fan)
    monkeypatch.setattr(bbi, "RECORDS", records)
    monkeypatch.setattr(bigwig, "ITEMS", items)
    monkeypatch.setattr(bigwig, "BATCH", 16 * items)
    tracks = {name: drawn(length, seed=length) for name, length in {"b": 211, "a": 1, "d": 97, "c": 64}.items()}
    tracks["a"] = np.float32([3])
    path = write(tmp_path / "x.bw", tracks, finest=4)
    check_values(path, tracks)
    check_zooms(path, tracks)
    for start, end in [(0, 1), (63, 65), (100, 211), (210, 211)]:
        with pyBigWig.open(str(path)) as file:
            np.testing.assert_array_equal(file.values("b", start, end), tracks["b"][start:end])


def check_zooms(path, tracks):
    """Every record of every level against the values of its bases."""
    with pybigtools.open(str(path)) as file:
        assert file.zooms()
        for size, (name, values) in itertools.product(file.zooms(), tracks.items()):
            bins = [values[first : first + size] for first in range(0, len(values), size)]
            bins = [part[~np.isnan(part)].astype(np.float64) for part in bins]
            expected = [(len(p), p.min(), p.max(), p.sum(), (p**2).sum()) for p in bins if len(p)]
            found = list(file.zoom_records(size, name))
            places = [start // size for start, _, _ in found]
            assert places == [i for i, part in enumerate(bins) if len(part)]
            sums = [(s["bases_covered"], s["min_val"], s["max_val"], s["sum"], s["sum_squares"]) for *_, s in found]
            np.testing.assert_allclose(sums, expected, rtol=1e-6)


def test_zoom_levels_reach_from_the_finest_to_the_length_of_the_longest_contig(tmp_path):
    tracks = {"a": drawn(20_000), "b": drawn(3000, seed=1)}
    path = write(tmp_path / "x.bw", tracks)
    with pybigtools.open(str(path)) as file:
        assert file.zooms() == [64, 256, 1024, 4096, 16384, 65536]
    check_zooms(path, tracks)


@pytest.mark.parametrize("how", ["min", "max", "mean", "coverage"])
def test_pybigwigs_statistics_from_the_zoom_levels_are_those_of_the_bases(tmp_path, how):
    values = drawn(16_384)
    path = write(tmp_path / "x.bw", {"a": values})
    with pyBigWig.open(str(path)) as file:
        found = np.array(file.stats("a", 0, 16_384, type=how, nBins=64), float)  # 256 bases each, from bins of 64
    bins = values.astype(np.float64).reshape(64, 256)
    oracle = {"min": np.nanmin, "max": np.nanmax, "mean": np.nanmean}.get(how)
    expected = oracle(bins, axis=1) if oracle else (~np.isnan(bins)).mean(axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_zoom_levels_of_the_longest_contig_fit_into_the_header(tmp_path):
    length = 2**31 - 1
    runs = make_runs(np.array([5, length - 1]), np.array([6, length]), np.float32([1, 2]))
    write_bigwig(tmp_path / "x.bw", {"c": length}, [("c", runs)], finest_zoom(0))
    with pybigtools.open(str(tmp_path / "x.bw")) as file:
        assert file.zooms() == [2**24, 2**26, 2**28, 2**30]
        ends = [(start, end, found["max_val"]) for start, end, found in file.zoom_records(2**30, "c")]
        assert ends == [(5, 6, 1), (length - 1, length, 2)]
    write_bigwig(tmp_path / "y.bw", {"c": length}, [("c", runs)], finest_zoom(0, 2**31))
    with pyBigWig.open(str(tmp_path / "y.bw")) as file:
        assert file.intervals("c") == ((5, 6, 1.0), (length - 1, length, 2.0))


def test_temporary_files_lie_where_the_output_has_room(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "full"))
    monkeypatch.setattr(bbi, "IN_MEMORY", 1)
    check_values(write(tmp_path / "x.bw", {"a": drawn(400)}), {"a": drawn(400)})
    assert [path.name for path in tmp_path.iterdir()] == ["x.bw"]


@pytest.mark.parametrize("density, size", [(1, 64), (0.02, 1024), (1e-5, 1 << 20), (0, 64 << 18)])
def test_the_finest_zoom_goes_with_the_density(density, size):
    assert finest_zoom(density) == size
    assert finest_zoom(density, 1000) >= 8 * 1000


@given(st.lists(st.integers(0, 400), max_size=6), st.integers(1, 3))
@settings(max_examples=20, deadline=None)
def test_how_runs_come_in_changes_no_byte(tmp_path_factory, cuts, size):
    folder, values = tmp_path_factory.mktemp("cut"), drawn(400)
    runs = runs_of(values)
    edges = sorted({0, len(runs), *(cut % (len(runs) + 1) for cut in cuts)})
    pieces = [("c", runs[i:j]) for i, j in itertools.pairwise(edges)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bigwig, "ITEMS", 8)
        patch.setattr(bigwig, "BATCH", 8 * size)
        write_bigwig(folder / "whole.bw", {"c": 400}, [("c", runs)])
        write_bigwig(folder / "cut.bw", {"c": 400}, pieces)
    assert (folder / "cut.bw").read_bytes() == (folder / "whole.bw").read_bytes()


def test_what_pybigwig_reads_back_otherwise_is_not_kept(tmp_path, monkeypatch):
    add = bigwig._add

    def shifted(file, contig, runs):
        other = runs.copy()
        other["value"] *= np.float32(1.0000002)
        add(file, contig, other)

    monkeypatch.setattr(bigwig, "_add", shifted)
    with pytest.raises(SaeTracksError, match=r"x\.bw is not what was written \(c:"):
        write(tmp_path / "x.bw", {"c": np.float32([5, 3, 1, 0, 0])})
    monkeypatch.setattr(bigwig, "_add", lambda file, contig, runs: add(file, contig, runs[:1]))
    with pytest.raises(SaeTracksError, match=r"x\.bw is not what was written"):
        write(tmp_path / "x.bw", {"c": np.float32([5, 3, 1, 0, 0])})
    assert not list(tmp_path.iterdir())


def test_sums_other_than_those_of_the_spool_are_an_error(tmp_path):
    runs = runs_of(np.float32([5, 3]))
    write_bigwig(tmp_path / "x.bw", {"c": 9}, [("c", runs)], expected=(2, 8.0))
    for expected in [(3, 8.0), (2, 8.1)]:
        with pytest.raises(SaeTracksError, match="not what was read"):
            write_bigwig(tmp_path / "y.bw", {"c": 9}, [("c", runs)], expected=expected)
    assert [path.name for path in tmp_path.iterdir()] == ["x.bw"]
