"""Among the places of a word, does a feature tell sites from the rest? Against a walk along the letters."""

import numpy as np
import pytest
from control_scenes import ALL_WORDS, NUMBER, Scene, labels_of, pairs_on
from hypothesis import given, settings
from hypothesis import strategies as st

from sae_tracks.bootstrap import draws_of
from sae_tracks.controls.beyond import BeyondWord
from sae_tracks.controls.verdict import DESCRIBES

COLUMNS = ["word_auroc", "word_auroc_low", "word_auroc_high"]


def motif_scene(seed, read_strand, causal=True, n=420, width=7):
    """Sites of one width on two tiles of few letters: words recur in sites, across their ends, and elsewhere."""
    rng = np.random.default_rng(seed)
    letters = rng.choice(list("ACGT"), n, p=[0.5, 0.4, 0.05, 0.05])
    letters[100:103] = letters[n - 40] = "N"
    border = int(rng.integers(150, 250))
    starts = [0, border - 5, border, n - width, *rng.integers(0, n - width, 12).tolist()]
    rows = [(start, start + width, name, 1, "+-"[name == "n"]) for start in starts for name in "mn"[: 1 + start % 2]]
    readable = (letters != "N") & (rng.random(n) < 0.98)
    dense = rng.integers(1, 4, (n, 3)) * (rng.random((n, 3)) < 0.2) * readable[:, None]
    dense[:, 0] = 0
    block = np.repeat([0, 1], n // 2)
    return Scene(
        "".join(letters), labels_of(rows), {"features": dense}, readable, block, [0, border, n], read_strand, causal
    )


def places_by_walk(scene, concept, levels, word):
    """[(in a site, level, block)] of the places of a word that lie in a site or touch none."""
    forward, k, found = scene.read_strand == "+", len(word), []
    width, lag = int(scene.shape.width[concept]), int(scene.shape.lag[concept])
    for low, high in zip(scene.edges, scene.edges[1:]):
        touched, sites = set(), []
        for start, end, *_ in scene.instances(concept):
            if start < high and end > low:
                reach = range(start, end + lag) if forward else range(start - lag, end)
                touched |= {base for base in reach if low <= base < high}
                begins = start if forward else end - 1
                if low <= begins < high and scene.readable[begins]:
                    sites.append((max(start, low), min(end, high)))
        for base in range(low, high):
            start = base - k + 1 if forward else base
            if start < 0 or scene.text[start : start + k] != word or not scene.readable[base]:
                continue
            spare = max(width - k, 0)
            first, last = start - spare - (0 if forward else lag), start + k + spare + (lag if forward else 0)
            top = levels[max(first, low) : min(last, high)].max(initial=0)
            inside = any(s <= start and start + k <= e for s, e in sites)
            if inside or not touched & set(range(start, start + k)):
                found.append((inside, int(top), int(scene.block[max(start, low)])))
    return found


def auroc(rows):
    """By all pairs of a place in a site and another one."""
    pairs = [(p > q) + (p == q) / 2 for inside, p in rows if inside for other, q in rows if not other]
    return np.mean(pairs) if pairs else np.nan


def beyond_by_walk(places, blocks, seed):
    """AUROC and its interval over drawn blocks."""
    if not places or {inside for inside, *_ in places} == {True}:
        return [0.5] * 3 if places else [np.nan] * 3
    known, values = {}, []
    for times in map(tuple, draws_of(blocks, seed).astype(int).tolist()):
        if times not in known:
            known[times] = auroc([(inside, level) for inside, level, b in places for _ in range(times[b])])
        values.append(known[times])
    known = [x for x in values if np.isfinite(x)] or [np.nan]
    return [auroc([place[:2] for place in places]), *np.percentile(known, [2.5, 97.5])]


def marked_by_walk(scene, feature, threshold):
    """The word with the best F1 of its places against the last bases of runs, the first if several tie; "" and 0."""
    columns = scene.words(type(scene.regions[0])("c", 0, len(scene.text)), scene.readable)
    on = scene.features[:, feature] > threshold
    step, best, found = 1 if scene.read_strand == "+" else -1, 0, ""
    tile = np.searchsorted(scene.edges, np.arange(len(on)), side="right")
    goes_on = [on[b] and 0 <= b + step < len(on) and on[b + step] and tile[b] == tile[b + step] for b in range(len(on))]
    active = on & ~np.array(goes_on)
    for number in np.unique(columns[columns >= 0]).tolist():
        there = (columns == number).any(axis=0)
        score = 2 * (there & active).sum() / (there.sum() + active.sum())
        if score > best:
            best, found = score, ALL_WORDS[number]
    return found, best


@given(st.integers(0, 10**6), st.sampled_from("+-"), st.booleans(), st.data())
@settings(deadline=None, max_examples=12)
def test_the_worse_of_both_words_is_that_of_a_walk(seed, read_strand, causal, data):
    scene = motif_scene(seed, read_strand, causal)
    words = data.draw(st.lists(st.sampled_from(["A", "C", "AC", "AAC", "CAAA", "ACACAC", "G"]), min_size=4, max_size=4))
    chosen = [(4, 1, 0), (5, 2, 1), (4, 0, 0), (0, 1, 0)]  # the third is never active, the last is no motif
    pairs = pairs_on(scene, chosen, motifs=[4, 5], seed=seed)
    part = scene.through(BeyondWord(pairs, np.array([NUMBER[word] for word in words]), scene))
    table = part.table()
    for i, (concept, feature, threshold) in enumerate(chosen[:3]):
        marked, fit = marked_by_walk(scene, feature, threshold)
        assert table["feature_kmer"][i] == marked
        assert table["feature_kmer_f1"][i] == pytest.approx(fit or np.nan, nan_ok=True)
        found = []
        for word in [words[i], *([marked] if fit >= DESCRIBES else [])]:
            places = places_by_walk(scene, concept, scene.features[:, feature], word)
            found.append(beyond_by_walk(places, 2, seed + 2))
        expected = min(found, key=lambda one: np.nan_to_num(one[1], nan=np.inf))
        assert table.loc[i, COLUMNS].tolist() == pytest.approx(expected, nan_ok=True)
    assert table.loc[3, COLUMNS].isna().all() and table["feature_kmer"][3] == ""


WORD = "GATTAC"
EDGES = [0, 1000, 2000]


def planted(read_strand, detector, *, only_in_sites=False, width=12):
    """WORD at 40 places, of which every other one is the middle of a site; a feature of sites, words or their ends."""
    letters, dense = list("C" * 2000), np.zeros((2000, 1), int)
    rows = []
    for number, start in enumerate(range(10, 1960, 48)):
        site = number % 2 == 0
        if site or not only_in_sites:
            letters[start : start + 6] = WORD
        if site:
            rows.append((start - 3, start - 3 + width, "m", 1, "+"))
        if site or (detector == "word" and not only_in_sites):
            last = start + 5 if read_strand == "+" else start
            dense[slice(start - 3, start - 3 + width) if detector == "site" else last] = 2
    ones = np.ones(2000, bool)
    return Scene(
        "".join(letters), labels_of(rows), {"features": dense}, ones, np.repeat([0, 1], 1000), EDGES, read_strand
    )


def measured(scene):
    pairs = pairs_on(scene, [(4, 0, 0)], motifs=[4])
    return scene.through(BeyondWord(pairs, np.array([NUMBER[WORD]]), scene)).table().loc[0]


@pytest.mark.parametrize("read_strand", ["+", "-"])
def test_a_detector_of_the_site_tells_it_among_the_places_of_its_word(read_strand):
    scene = planted(read_strand, "site")
    places = places_by_walk(scene, 4, scene.features[:, 0], WORD)
    assert {(inside, level) for inside, level, _ in places} == {(True, 2), (False, 0)}
    assert auroc([place[:2] for place in places]) == 1
    row = measured(scene)
    assert row[COLUMNS].tolist() == [1, 1, 1] and row["feature_kmer"] in "CCCGATTACCCC"


@pytest.mark.parametrize("read_strand", ["+", "-"])
def test_a_detector_of_the_word_tells_nothing_among_its_places(read_strand):
    row = measured(planted(read_strand, "word"))
    assert row[COLUMNS].tolist() == [0.5, 0.5, 0.5]
    assert row["feature_kmer"] == WORD[-len(row["feature_kmer"]) :] or read_strand == "-"


@pytest.mark.parametrize("detector", ["site", "word"])
def test_nothing_is_beyond_a_word_that_occurs_in_sites_alone(detector):
    row = measured(planted("+", detector, only_in_sites=True))
    assert row[COLUMNS].tolist() == [0.5, 0.5, 0.5]


def test_a_motif_without_a_word_is_unknown():
    scene = planted("+", "site")
    pairs = pairs_on(scene, [(4, 0, 0)], motifs=[4])
    row = scene.through(BeyondWord(pairs, np.array([-1]), scene)).table().loc[0]
    assert row[COLUMNS].isna().all()


def test_no_motif_at_all_is_no_error():
    scene = planted("+", "site")
    pairs = pairs_on(scene, [(4, 0, 0), (1, 0, 0)])
    part = scene.through(BeyondWord(pairs, np.array([NUMBER[WORD], 3]), scene))
    assert part.table()[COLUMNS].isna().all(axis=None) and part.table()["feature_kmer"].tolist() == ["", ""]
