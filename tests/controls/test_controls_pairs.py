"""What is counted of pairs base by base, against walks along the bases."""

import numpy as np
import pytest
from control_scenes import Scene, draw_scene, every_pair, labels_of, pairs_on
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr, rankdata

from sae_tracks.bootstrap import draws_of
from sae_tracks.controls.pairs import ByBase

seeds, strands = st.integers(0, 10**6), st.sampled_from("+-")
few = settings(deadline=None, max_examples=15)


def f1(active, labelled):
    both = active.sum() + labelled.sum()
    return 2 * (active & labelled).sum() / both if both else np.nan


def measured(scene, chosen, **options):
    return scene.through(ByBase(pairs_on(scene, chosen, **options)))


def begun(scene, concept):
    """(tile start, tile end, start, end, score) of the sites whose first base, as read, lies on a tile."""
    for low, high in zip(scene.edges, scene.edges[1:]):
        for start, end, _, score in scene.instances(concept):
            if low <= (start if scene.read_strand == "+" else end - 1) < high:
                yield low, high, int(start), int(end), score


@given(seeds, strands)
@settings(deadline=None, max_examples=6)
def test_the_interval_is_that_of_f1_over_drawn_blocks(seed, read_strand):
    scene = draw_scene(seed, read_strand, blocks=5)
    chosen = every_pair(scene)
    table = measured(scene, chosen, seed=seed).table()
    for i, (concept, feature, threshold) in enumerate(chosen[::3]):
        active, labelled = scene.features[:, feature] > threshold, scene.labelled(concept)
        masks = [scene.block == b for b in range(5)]
        found = []
        for times in draws_of(5, seed).astype(int):
            drawn = np.concatenate([np.flatnonzero(mask) for mask, k in zip(masks, times) for _ in range(k)])
            found.append(f1(active[drawn], labelled[drawn]))
        expected = np.percentile([x for x in found if np.isfinite(x)] or [np.nan], [2.5, 97.5])
        assert table.loc[3 * i, ["f1_low", "f1_high"]].tolist() == pytest.approx(expected, nan_ok=True)
    assert (table["bins"] == 5).all()


@given(seeds, strands)
@few
def test_with_one_block_both_ends_are_the_f1(seed, read_strand):
    scene = draw_scene(seed, read_strand, blocks=1)
    chosen = every_pair(scene, 0) + every_pair(scene, 2)
    table = measured(scene, chosen).table()
    expected = [f1(scene.features[:, f] > t, scene.labelled(c)) for c, f, t in chosen]
    for name in ("f1_low", "f1_high"):
        assert table[name].tolist() == pytest.approx(expected, nan_ok=True)


@given(seeds, strands)
@few
def test_the_lag_is_the_median_way_to_the_first_active_base(seed, read_strand):
    scene = draw_scene(seed, read_strand)
    chosen = every_pair(scene)
    found = measured(scene, chosen).table()["lag"]
    for lag, (concept, feature, threshold) in zip(found, chosen):
        ways = []
        for low, high, start, end, _ in begun(scene, concept) if concept >= 4 else ():
            walk = range(start, min(end, high)) if read_strand == "+" else range(end - 1, max(start, low) - 1, -1)
            ways += [i for i, base in enumerate(walk) if scene.features[base, feature] > threshold][:1]
        assert lag == pytest.approx(np.median(ways) if ways else np.nan, nan_ok=True)


@given(seeds, strands)
@few
def test_the_correlation_is_that_of_scores_and_highest_levels(seed, read_strand):
    scene = draw_scene(seed, read_strand)
    chosen = every_pair(scene)
    found, seen = measured(scene, chosen).table()["spearman"], 0
    for rho, (concept, feature, _) in zip(found, chosen):
        rows = list(begun(scene, concept)) if concept >= 4 else []
        top = [scene.features[max(start, low) : min(end, high), feature].max() for low, high, start, end, _ in rows]
        score, top = np.array([(row[-1], t) for row, t in zip(rows, top) if np.isfinite(row[-1])]).reshape(-1, 2).T
        known = len(score) >= 10 and np.ptp(score) > 0 and np.ptp(top) > 0
        expected = pearsonr(rankdata(score), rankdata(top))[0] if known else np.nan
        assert rho == pytest.approx(expected, nan_ok=True)
        seen += known
    assert seen


def profile(scene, pair):
    """{(anchor, offset): (sites, share)} by a walk from every site, in its own orientation."""
    concept, feature, threshold = pair
    forward, found = scene.labels.concepts["site_strand"][concept] != "-", {}
    rows = list(begun(scene, concept))
    for anchor in ("start", "end"):
        for offset in range(-50, 51):
            bases = []
            for low, high, start, end, _ in rows:
                first, last = (start, end - 1) if forward else (end - 1, start)
                base = (first if anchor == "start" else last) + (offset if forward else -offset)
                if low <= base < high and scene.readable[base]:
                    bases.append(base)
            active = scene.features[bases, feature] > threshold
            found[anchor, offset] = len(bases), active.mean() if bases else np.nan
    return found


def check_profiles(scene, chosen):
    table, at = measured(scene, chosen).offsets(), 0
    for pair in chosen:
        if pair[0] < 4 or not any(begun(scene, pair[0])):
            continue
        part, (name, strand) = (
            table.iloc[at : at + 202],
            scene.labels.concepts.iloc[pair[0]][["concept", "site_strand"]],
        )
        at += 202
        assert set(part["concept"]) == {name} and set(part["site_strand"]) == {strand}
        assert set(part["feature"]) == {pair[1]} and set(part["read_strand"]) == {scene.read_strand}
        assert set(part["reading"]) == {"along" if (strand != "-") == (scene.read_strand == "+") else "against"}
        active = scene.features[:, pair[1]] > pair[2]
        assert part["background"].to_numpy() == pytest.approx(active.sum() / scene.readable.sum())
        expected = profile(scene, pair)
        assert list(zip(part["anchor"], part["offset"])) == list(expected)
        sites, share = zip(*expected.values())
        assert part["sites"].tolist() == list(sites)
        assert part["active_share"].tolist() == pytest.approx(share, nan_ok=True)
    assert at == len(table) > 0


def inner_scene(seed, read_strand):
    """Sites that do not cross the border of the tiles, but touch it and both ends of the contig."""
    scene = draw_scene(seed, read_strand, n=300, sites=6)
    border = scene.edges[1]
    rows = [(s, e, "wxyz"[c - 4], score, "+-.+"[c - 4]) for c in range(4, 8) for s, e, _, score in scene.instances(c)]
    kept = [row for row in rows if not row[0] < border < row[1]]
    kept += [(0, 5, "x", 1, "-"), (border - 6, border, "x", 1, "-"), (border, border + 3, "w", 1, "+")]
    return Scene(
        scene.text, labels_of(kept), scene.levels_of, scene.readable, scene.block, scene.edges, scene.read_strand
    )


@given(seeds, strands)
@few
def test_offset_profiles_are_in_the_orientation_of_the_site(seed, read_strand):
    scene = inner_scene(seed, read_strand)
    check_profiles(scene, [(c, f, 1) for c in range(8) for f in (0, 1)])


@pytest.mark.parametrize("read_strand", ["+", "-"])
def test_offsets_of_a_site_that_ends_behind_its_tile_count_from_its_own_ends(read_strand):
    scene = draw_scene(3, read_strand)
    check_profiles(scene, [(c, 1, 1) for c in range(4, 8)])


def one_site(read_strand, on, site=(40, 60), strand="+", edges=(0, 100)):
    """A scene of 100 bases with ten equal rows of one site, and one feature."""
    dense = np.zeros((100, 1), int)
    dense[on] = 1
    labels = labels_of([(*site, "m", np.nan, strand)])
    return Scene(
        "A" * 100, labels, {"features": dense}, np.ones(100, bool), np.zeros(100, int), list(edges), read_strand
    )


@pytest.mark.parametrize(("read_strand", "lag"), [("+", 7), ("-", 3)])
def test_the_lag_counts_from_the_base_that_is_read_first(read_strand, lag):
    scene = one_site(read_strand, [39, 47, 56, 60])
    assert measured(scene, [(4, 0, 0)]).table()["lag"].tolist() == [lag]


@pytest.mark.parametrize(("read_strand", "lag"), [("+", 999), ("-", 1000)])
def test_a_lag_above_a_thousand_bases_counts_as_this(read_strand, lag):
    dense = np.zeros((3000, 1), int)
    dense[999] = 1
    labels = labels_of([(0, 3000, "exon", np.nan, ".")])
    nothing = np.zeros(3000, int)
    scene = Scene("A" * 3000, labels, {"features": dense}, nothing == 0, nothing, [0, 3000], read_strand)
    assert measured(scene, [(4, 0, 0)]).table()["lag"].tolist() == [lag]


@pytest.mark.parametrize("read_strand", ["+", "-"])
@pytest.mark.parametrize(("strand", "offset"), [("+", 7), (".", 7), ("-", 12)])
def test_a_site_strand_mirrors_the_offsets_and_the_read_strand_does_not(read_strand, strand, offset):
    table = measured(one_site(read_strand, [47], strand=strand), [(4, 0, 0)]).offsets()
    hit = table[table["active_share"] == 1]
    assert dict(zip(hit["anchor"], hit["offset"])) == {"start": offset, "end": offset - 19}


@pytest.mark.parametrize(("read_strand", "seen"), [("+", [44]), ("-", [55])])
def test_a_site_on_a_border_belongs_to_the_tile_in_which_its_reading_begins(read_strand, seen):
    for base in (44, 55):
        scene = one_site(read_strand, [base], edges=[0, 50, 100])
        assert measured(scene, [(4, 0, 0)]).table()["lag"].notna().tolist() == [base in seen]


def test_the_same_seed_gives_the_same_interval():
    scene = draw_scene(1, blocks=6)
    tables = [measured(scene, every_pair(scene), seed=seed).table() for seed in (5, 5, 6)]
    assert tables[0].equals(tables[1]) and not tables[0].equals(tables[2])


def test_nothing_readable_is_none_everywhere():
    scene = draw_scene(0)
    scene.readable[:] = False
    scene.features[:] = 0
    part = measured(scene, [(0, 1, 0), (4, 1, 0)])
    assert part.table()[["f1_low", "f1_high", "spearman", "lag"]].isna().all(axis=None)
    assert part.offsets().empty
