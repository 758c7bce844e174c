"""Matched regions: their traits letter by letter, and what every match must hold."""

import numpy as np
import pandas as pd
import pytest
from annotation_files import write
from hypothesis import given, settings
from hypothesis import strategies as st
from region_sets import as_set
from toy import random_dna, write_fasta

from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome
from sae_tracks.region_sets import matched as module
from sae_tracks.region_sets.matched import LIKE, PLACE, Landscape, landscape, match_regions, read_matched
from sae_tracks.regions import GenomicRegion

LETTERS = 30_000


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    """Two contigs: one with a rich half and an N run, one that is soft-masked in part."""
    folder = tmp_path_factory.mktemp("genome")
    rich = random_dna(LETTERS, 1, "ACGTCGCG")
    first = random_dna(LETTERS, 2) + "N" * 300 + rich
    second = random_dna(LETTERS, 3)
    return Genome(write_fasta(folder / "g.fa", a=first, b=second[:9000] + second[9000:15000].lower() + second[15000:]))


@pytest.fixture(scope="module")
def genes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("genes")
    row = 'a\tx\texon\t{}\t{}\t.\t{}\t.\tgene_id "{}"; transcript_id "{}"'
    spans = [(501, 900, "+"), (3001, 4000, "-"), (31001, 33000, "+"), (40001, 44000, "-")]
    return write(folder, "g.gtf", *(row.format(*span, i, i) for i, span in enumerate(spans)))


def drawn(genome, n, length, seed):
    rng = np.random.default_rng(seed)
    regions = []
    while len(regions) < n:
        contig = str(rng.choice(["a", "b"]))
        start = int(rng.integers(0, genome.lengths[contig] - length))
        if b"N" not in genome.sequence(GenomicRegion(contig, start, start + length)):
            regions.append(GenomicRegion(contig, start, start + length))
    return as_set(regions, genome.lengths)


def by_letter(genome, region, repeats, starts):
    """The traits of one region, from its letters one by one."""
    letters = genome.sequence(region).decode().upper()
    gc = sum(letter in "GC" for letter in letters)
    cpg = sum(letters[i : i + 2] == "CG" for i in range(len(letters)))
    inside = sum(any(s <= base < e for s, e in repeats) for base in range(region.start, region.end))
    middle = (region.start + region.end) // 2
    nearest = min(starts, key=lambda one: abs(middle - one[0]), default=None)
    distance = np.nan if nearest is None else (middle - nearest[0]) * nearest[1]
    known = sum(letter in "ACGT" for letter in letters)
    n = len(region)
    gc, cpg = (count / known if known else np.nan for count in (gc, cpg))
    return n, gc, cpg, inside / n, distance, known / n


@pytest.fixture(scope="module")
def land(genome, genes):
    return landscape(genome, repeats="softmask", genes=genes)


@settings(deadline=None)
@given(st.data())
def test_traits_are_those_of_the_letters(genome, land, data):
    starts = {"a": [(500, 1), (3999, -1), (31000, 1), (43999, -1)], "b": []}
    masked = {"a": [], "b": [(9000, 15000)]}
    regions = []
    for _ in range(data.draw(st.integers(1, 4))):
        contig = data.draw(st.sampled_from(["a", "b"]))
        start = data.draw(st.integers(0, genome.lengths[contig] - 1) | st.sampled_from([0, 8999, 14999, LETTERS - 1]))
        end = min(start + data.draw(st.integers(1, 700)), genome.lengths[contig])
        regions.append(GenomicRegion(contig, start, end))
    table = pd.DataFrame([(r.contig, r.start, r.end) for r in regions], columns=["Chromosome", "Start", "End"])
    found = land.measure(table)
    wanted = [by_letter(genome, r, masked[r.contig], starts[r.contig]) for r in regions]
    np.testing.assert_allclose(found.to_numpy(np.float64), np.array(wanted, np.float64), rtol=1e-12)


def test_letters_are_read_in_parts(genome, monkeypatch):
    table = drawn(genome, 40, 350, 5).table
    whole = landscape(genome).measure(table)
    monkeypatch.setattr(module, "AT_ONCE", 1000)
    pd.testing.assert_frame_equal(landscape(genome).measure(table), whole)


@pytest.mark.parametrize("seed", [0, 1])
def test_every_match_is_alike_and_no_base_is_used_twice(genome, genes, seed):
    regions = drawn(genome, 40, 60, seed)
    black = [GenomicRegion("a", 10_000, 20_000)]
    land = landscape(genome, repeats="softmask", genes=genes, black_list=black)
    found = match_regions(regions, land, per_region=3, seed=seed)
    table, own = found.table, found.own
    assert found.traits == ["length", "gc", "cpg", "repeats", "tss_distance"]
    assert len(table) > 0 and found.found.max() <= 3
    for contig, rows in table.groupby("Chromosome"):
        taken = [*rows[["Start", "End"]].itertuples(index=False, name=None)]
        mine = regions.table[regions.table["Chromosome"] == contig]
        taken += sorted(set(mine[["Start", "End"]].itertuples(index=False, name=None)))
        count = np.zeros(genome.lengths[contig], int)
        for start, end in taken[: len(rows)]:
            count[start:end] += 1
        assert count.max() == 1
        for start, end in taken[len(rows) :]:
            assert not count[start:end].any()
        if contig == "a":
            assert not count[10_000:20_000].any()
    for row in table.itertuples():
        theirs = own.loc[row.Region]
        assert abs(np.log(row.length / theirs["length"])) <= LIKE["length"]
        for trait in ("gc", "cpg", "repeats"):
            assert abs(getattr(row, trait) - theirs[trait]) <= LIKE[trait] + 1e-12
        if not np.isnan(theirs["tss_distance"]):
            signed = [np.sign(d) * np.log(max(abs(d), 100) / 100) for d in (row.tss_distance, theirs["tss_distance"])]
            assert abs(signed[0] - signed[1]) <= LIKE["tss_distance"] + 1e-12
        else:
            assert row.Chromosome == "b"
    again = match_regions(regions, land, per_region=3, seed=seed)
    pd.testing.assert_frame_equal(again.table, table)


def test_matching_removes_a_difference_of_composition(genome):
    rich = as_set([GenomicRegion("a", s, s + 50) for s in range(31_000, 55_000, 600)], genome.lengths)
    found = match_regions(rich, landscape(genome), per_region=2)
    balance = found.balance()
    everywhere = landscape(genome).measure(drawn(genome, 300, 50, 1).table)["gc"].mean()
    assert balance.loc["gc", "set"] - everywhere > 0.1
    assert abs(balance.loc["gc", "difference"]) < 0.1 and abs(balance.loc["cpg", "difference"]) < 0.2


def test_no_region_has_a_second_match_before_all_had_the_chance_of_a_first(genome):
    land = Landscape(genome, [GenomicRegion("b", 0, 3000)])
    regions = as_set([GenomicRegion("b", s, s + 40) for s in range(0, 3000, 300)], genome.lengths)
    wide = dict.fromkeys(LIKE, 100.0)
    found = match_regions(regions, land, per_region=50, tolerance=wide).found  # fewer candidates than are wanted
    assert found.min() >= 1 and found.max() - found.min() <= 1


def test_a_set_that_nothing_is_like_is_refused_and_says_so(genome, caplog):
    land = Landscape(genome, [GenomicRegion("b", 0, 9000)])
    regions = as_set([GenomicRegion("a", 31_000, 31_200)], genome.lengths)
    narrow = {**LIKE, "gc": 1e-6, "cpg": 1e-6}
    with pytest.raises(SaeTracksError, match=r"no region of drawn\.bed has a match among \d+ candidates"):
        match_regions(regions, land, tolerance=narrow)
    both = as_set([GenomicRegion("a", 31_000, 31_200), GenomicRegion("b", 9000, 9200)], genome.lengths)
    with caplog.at_level("INFO"):
        match_regions(both, land, per_region=2)
    assert "drawn.bed: 1 of 2 regions have matches, 1 of them all 2" in caplog.text


def test_genes_without_a_start_are_refused(genome, tmp_path):
    path = write(tmp_path, "g.bed", "a\t1\t50\tx")
    with pytest.raises(SaeTracksError, match=r"g\.bed has no transcription start"):
        landscape(genome, genes=path)


def test_what_is_written_is_read_again(genome, genes, tmp_path):
    land, regions = landscape(genome, genes=genes), drawn(genome, 30, 60, 4)
    found = match_regions(regions, land)
    found.write(tmp_path / "m.bed", seed=0)
    again = read_matched(tmp_path / "m.bed", regions, land)
    pd.testing.assert_frame_equal(again.table, found.table, check_dtype=False)
    first = (tmp_path / "m.bed").read_text().splitlines()[1].split("\t")
    mine = regions.table.iloc[found.table["Region"][0]]
    assert first[6] == f"{mine['Chromosome']}:{mine['Start']}-{mine['End']}" and first[3:6] == [".", "0", "."]
    with pytest.raises(SaeTracksError, match="which is no region of drawn"):
        read_matched(tmp_path / "m.bed", drawn(genome, 30, 60, 5), land)
    with pytest.raises(SaeTracksError, match="name what match-regions wrote"):
        read_matched(write(tmp_path, "x.bed", "a\t1\t2"), regions, land)


def test_equal_regions_count_once(genome, caplog):
    one = drawn(genome, 20, 60, 4)
    twice = as_set([*one.regions(), *one.regions()], genome.lengths)
    found = match_regions(twice, landscape(genome))
    pd.testing.assert_frame_equal(found.table, match_regions(one, landscape(genome)).table)
    assert "20 regions of drawn.bed are there twice or more: each counts once" in caplog.text


def test_only_matches_in_the_landscape_are_read(genome, tmp_path):
    regions = drawn(genome, 30, 60, 4)
    found = match_regions(regions, landscape(genome))
    found.write(tmp_path / "m.bed")
    part = read_matched(tmp_path / "m.bed", regions, landscape(genome, [GenomicRegion("b", 0, LETTERS)]))
    assert set(part.table["Chromosome"]) == set(part.regions.table["Chromosome"]) == {"b"}
    of = regions.table.iloc[found.table["Region"]]["Chromosome"].to_numpy()
    kept = found.table[(of == "b") & (found.table["Chromosome"] == "b")]
    assert 0 < len(kept) < np.count_nonzero(of == "b")
    assert part.table[PLACE].to_numpy().tolist() == kept[PLACE].to_numpy().tolist()


def test_a_match_that_reaches_out_of_the_landscape_is_not_read(genome, tmp_path, caplog):
    """Neither one outside of its regions, nor one with a base in the black list."""
    regions = as_set([GenomicRegion("b", 0, 9)], genome.lengths)
    places = [(10, 19), (60, 69), (91, 100), (92, 101), (49, 58), (200, 209)]
    lines = [f"b\t{start}\t{end}\tb:0-9" for start, end in places]
    path = write(tmp_path, "m.bed", "#chrom\tstart\tend\tregion", *lines)
    land = landscape(genome, [GenomicRegion("b", 0, 100)], black_list=[GenomicRegion("b", 50, 60)])
    part = read_matched(path, regions, land)
    assert [*part.table[["Start", "End"]].itertuples(index=False, name=None)] == places[:3]
    assert part.found.tolist() == [3]
    assert "3 of 6 matched regions in m.bed are left out" in caplog.text


def test_a_long_region_does_not_make_others_slow(genome, monkeypatch):
    monkeypatch.setattr(module, "AT_ONCE", 2000)
    read, plain = [], Genome.sequence
    monkeypatch.setattr(Genome, "sequence", lambda self, region: read.append(len(region)) or plain(self, region))
    spans = [(0, 25_000), *((start, start + 50) for start in range(100, 24_000, 100))]
    regions = as_set([GenomicRegion("a", *span) for span in spans], genome.lengths)
    landscape(genome).measure(regions.table)
    assert sum(read) < 60_000
