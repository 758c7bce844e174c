"""The spool gives back the levels of the report half, however they came: against a dense array."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sae_tracks.controls.spool import Spool, Spooled, levels_of
from sae_tracks.errors import SaeTracksError
from sae_tracks.features import FeatureBlock
from sae_tracks.metrics import Halves
from sae_tracks.regions import GenomicRegion

CUTOFFS = np.tile(np.array([[0.1], [0.5]], np.float32), (1, 5)) * np.array([1, 1, 0.5, 1, 1.5], np.float32)
LENGTHS = {"b": 400, "a": 230}
HALVES = Halves(100)
WANTED = [np.array([1, 3]), np.array([0]), np.arange(5), np.array([4])]


def block(contig, strand, start, dense, readable):
    base, feature = np.nonzero(dense)
    indptr = np.searchsorted(base, np.arange(len(dense) + 1)).astype(np.int64)
    region = GenomicRegion(contig, start, start + len(dense))
    return FeatureBlock(region, strand, readable, indptr, feature.astype(np.int32), dense[base, feature], 5)


def drawn(seed):
    """{(contig, read strand): (values, readable)}; values tie with cut-offs."""
    rng, found = np.random.default_rng(seed), {}
    for contig, n in LENGTHS.items():
        for strand in "+-":
            values = rng.choice(np.array([0.05, 0.1, 0.25, 0.5, 0.7, 0.9], np.float32), (n, 5))
            values *= rng.random((n, 5)) < rng.choice([0.0, 0.3, 1.0], (n, 1))
            readable = rng.random(n) < 0.9
            values[~readable] = 0
            found[contig, strand] = values, readable
    return found


def spooled(folder, values, cuts, folders):
    """All written in blocks that are cut at some bases, dealt to folders by turns, which are opened in reverse."""
    spools = [Spool(folder / str(i), HALVES, CUTOFFS) for i in range(folders)]
    turn = 0
    for (contig, strand), (dense, readable) in values.items():
        edges = [0, *sorted({cut for cut in cuts if cut < len(dense)}), len(dense)]
        for start, end in zip(edges, edges[1:]):
            spools[turn % folders].add(block(contig, strand, start, dense[start:end], readable[start:end]))
            turn += 1
    for spool in spools:
        spool.close()
    return Spooled([spool.folder for spool in spools[::-1]])


def check(opened, values, tile, strand, wanted):
    dense, readable = values[tile.contig, strand]
    bases = np.arange(tile.start, tile.end)
    report = bases // 100 % 2 == 1
    seen, levels = opened.columns(tile, strand, wanted)
    assert (seen == (readable[bases] & report)).all()
    for i, feature in enumerate(wanted):
        at, level = levels[i]
        assert (np.diff(at) > 0).all() and (level > 0).all() and at.dtype == np.int32
        found = np.zeros(len(tile), int)
        found[at] = level
        expected = sum((dense[bases, feature] > cut).astype(int) for cut in CUTOFFS[:, feature])
        assert (found == expected * report).all()


@given(st.integers(0, 10**6), st.sets(st.integers(1, 399), max_size=5), st.integers(1, 3), st.data())
@settings(max_examples=40)
def test_a_spool_gives_back_the_levels_of_the_report_half(tmp_path_factory, seed, cuts, folders, data):
    """On both read strands and contigs, and of tiles that lie across pieces and halves."""
    values = drawn(seed)
    opened = spooled(tmp_path_factory.mktemp("spool"), values, cuts, folders)
    for _ in range(6):
        contig, strand = data.draw(st.sampled_from(list(values)))
        start = data.draw(st.integers(0, LENGTHS[contig] - 1))
        tile = GenomicRegion(contig, start, data.draw(st.integers(start + 1, LENGTHS[contig])))
        check(opened, values, tile, strand, data.draw(st.sampled_from(WANTED)))


@pytest.mark.parametrize("cuts", [(), (100, 200, 300), (99, 101, 150, 299), range(1, 400)])
def test_borders_of_blocks_tiles_and_contigs_lose_no_base(tmp_path, cuts):
    values = drawn(7)
    opened = spooled(tmp_path, values, cuts, 2)
    edges = [(100, 200), (300, 400), (0, 400), (99, 101), (199, 201), (100, 101), (199, 200), (399, 400), (0, 100)]
    for strand in "+-":
        for start, end in edges:
            check(opened, values, GenomicRegion("b", start, end), strand, WANTED[2])
        for start, end in [(100, 200), (229, 230), (0, 230), (150, 230)]:
            check(opened, values, GenomicRegion("a", start, end), strand, WANTED[2])


def test_what_was_not_read_is_not_readable(tmp_path):
    spool = Spool(tmp_path / "s", HALVES, CUTOFFS)
    spool.add(block("b", "+", 120, np.ones((20, 5), np.float32), np.ones(20, bool)))
    spool.close()
    opened = Spooled([tmp_path / "s"])
    for contig, strand in (("b", "-"), ("a", "+"), ("other", "+")):
        seen, levels = opened.columns(GenomicRegion(contig, 100, 200), strand, WANTED[0])
        assert not seen.any() and not len(levels[0][0])
    seen, levels = opened.columns(GenomicRegion("b", 100, 200), "+", WANTED[0])
    assert np.flatnonzero(seen).tolist() == levels[1][0].tolist() == list(range(20, 40))


def test_a_spool_of_nothing_is_empty(tmp_path):
    spool = Spool(tmp_path / "s", HALVES, CUTOFFS)
    spool.add(block("b", "+", 0, np.ones((100, 5), np.float32), np.ones(100, bool)))  # of the select half
    spool.close()
    seen, levels = Spooled([tmp_path / "s"]).columns(GenomicRegion("b", 0, 400), "+", WANTED[2])
    assert not seen.any() and levels.indptr.tolist() == [0] * 6
    seen, _ = Spooled([]).columns(GenomicRegion("b", 0, 400), "+", WANTED[2])
    assert not seen.any()


def test_the_level_of_a_value_is_the_number_of_cutoffs_below_it():
    value = np.array([0.1, 0.1000001, 0.5, 0.6, 9], np.float32)
    assert levels_of(np.zeros(5, np.int32), value, np.array([[0.1, 0.5]], np.float32)).tolist() == [0, 1, 1, 2, 2]


def test_what_another_run_left_is_overwritten(tmp_path):
    for value in (0.3, 0.9):
        spool = Spool(tmp_path / "s", HALVES, CUTOFFS)
        spool.add(block("b", "+", 150, np.full((1, 5), value, np.float32), np.ones(1, bool)))
        spool.close()
    _, levels = Spooled([tmp_path / "s"]).columns(GenomicRegion("b", 100, 200), "+", WANTED[1])
    assert [one.tolist() for one in levels[0]] == [[50], [2]]


def test_a_spool_that_was_not_closed_is_refused(tmp_path):
    Spool(tmp_path / "s", HALVES, CUTOFFS)
    with pytest.raises(SaeTracksError, match="which metrics --shard writes beside its counts"):
        Spooled([tmp_path / "s"])


@pytest.mark.parametrize("name", ["level.bin", "width.bin"])
def test_a_file_that_was_cut_is_damaged(tmp_path, name):
    spooled(tmp_path, drawn(1), (), 1)
    path = tmp_path / "0" / name
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(SaeTracksError, match="is damaged: its files have other lengths than its index says"):
        Spooled([tmp_path / "0"])


@pytest.mark.parametrize("name", ["readable.bin", "feature.bin"])
def test_each_file_of_the_four_is_compared_with_the_index(tmp_path, name):
    spooled(tmp_path, drawn(1), (), 1)
    path = tmp_path / "0" / name
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(SaeTracksError, match="is damaged"):
        Spooled([tmp_path / "0"])
