"""The linear probe on 31 letters: against numpy's least squares, and what it must not see."""

import numpy as np
import pandas as pd
import pytest
from control_scenes import COLUMNS, average_precision, draw_scene, labels_of, pairs_on
from hypothesis import given
from hypothesis import strategies as st
from toy import random_dna, write_fasta

from sae_tracks.annotations import Annotation
from sae_tracks.controls.probe import QUANTILES, RIDGE, SequenceProbe, _score, labels_on
from sae_tracks.controls.rivals import Probed
from sae_tracks.dna import codes
from sae_tracks.genome import Genome
from sae_tracks.metrics import Evaluation, Halves, Labels
from sae_tracks.regions import GenomicRegion

HALVES, N = Halves(1500), 6000
BLACK = GenomicRegion("c", 700, 760)


def evaluation_of(path, text, rows, black=(BLACK,)):
    genome = Genome(write_fasta(path, c=text))
    sites = pd.DataFrame([("c", *row, "") for row in rows], columns=COLUMNS)
    return Evaluation(genome, genome.whole, list(black), Labels(Annotation(sites, "drawn")), HALVES)


def words_in(text, word):
    """Sites of three bases beside the places of a word, in a drawn way that depends on the letters around."""
    starts = [i for i in range(20, len(text) - 20) if text[i : i + len(word)] == word]
    return [(i, i + 3, "near", 1, "+") for i in starts if text[i + 5] != "G"] or [(20, 23, "near", 1, "+")]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Two concepts that the letters tell in part, with N, lower case and bases that are left out."""
    text = random_dna(N, 3)
    text = text[:2000] + "N" * 40 + text[2040:4000] + text[4000:].lower()
    rows = words_in(text.upper(), "CA") + [(s, e, "far", 1, "-") for s, e, *_ in words_in(text.upper(), "TTA")]
    return evaluation_of(tmp_path_factory.mktemp("probe") / "g.fa", text, rows), text.upper()


def inputs(text, read_strand, causal):
    """(n, 124) one-hot letters that a probe may see at each base, none beyond the contig."""
    before = 15 if not causal else 30 if read_strand == "+" else 0
    padded, x = np.array([*"N" * before, *text, *"N" * (30 - before)]), np.zeros((len(text), 31, 4))
    for i in range(31):
        for code, letter in enumerate("ACGT"):
            x[:, i, code] = padded[i : i + len(text)] == letter
    return x.reshape(len(text), 124)


def scores_by_lstsq(text, select, labelled, read_strand, causal):
    """Ridge regression on some bases, solved as least squares with rows for the penalty: (n, C) scores of all bases."""
    x = inputs(text, read_strand, causal)
    mean, scale = x[select].mean(axis=0), x[select].std(axis=0)
    z, m = (x - mean) / scale, len(select)
    rows = np.vstack([np.column_stack([z[select], np.ones(m)]), np.eye(124, 125) * np.sqrt(m * RIDGE)])
    y = np.concatenate([labelled[select].astype(float), np.zeros((124, labelled.shape[1]))])
    return z @ np.linalg.lstsq(rows, y, rcond=None)[0][:-1]


def mask_of(evaluation, concept, n=N):
    rows = evaluation.labels.instances
    mask = np.zeros(n, bool)
    for start, end in rows.loc[rows["concept"] == concept, ["Start", "End"]].itertuples(index=False):
        mask[start:end] = True
    return mask


def scores(probe, region):
    """(C, n): what is cut into levels."""
    around, own = probe._letters(region)
    return np.stack([_score(around, weights, len(own)) for weights in probe._weights])


@pytest.mark.parametrize("read_strand", ["+", "-"])
@pytest.mark.parametrize("causal", [True, False])
def test_levels_are_quantiles_of_a_ridge_regression_on_the_select_half(small, read_strand, causal):
    evaluation, text = small
    concepts = np.array([5, 4, 2])
    probe = SequenceProbe(evaluation, concepts, read_strand, causal=causal)
    select = [b for b in range(N) if b // 1500 % 2 == 0 and text[b] != "N" and not BLACK.start <= b < BLACK.end]
    found = np.stack([*probe.levels(GenomicRegion("c", 0, N))])
    assert found.shape == (3, N) and found.dtype == np.uint8
    labelled = [mask_of(evaluation, 5), mask_of(evaluation, 4), np.array([x == "G" for x in text])]
    scores = scores_by_lstsq(text, select, np.stack(labelled, axis=1), read_strand, causal)
    for i, (concept, score) in enumerate(zip(concepts.tolist(), scores.T)):
        cuts = np.quantile(score[select], QUANTILES)
        close = np.abs(score[:, None] - cuts).min(axis=1) < 1e-4 * np.ptp(score)
        expected = (score[:, None] > cuts).sum(axis=1)
        assert (found[i] == expected)[~close].all()
        assert close.mean() < 0.5 or concept < 4  # scores of a letter are 0 and 1, but for rounding
    assert found[1].max() == len(QUANTILES)


@pytest.mark.parametrize("read_strand", ["+", "-"])
def test_levels_do_not_depend_on_the_cut_of_the_region(small, read_strand):
    probe = SequenceProbe(small[0], np.array([4, 5]), read_strand, causal=True)
    parts = [np.stack([*probe.levels(GenomicRegion("c", i, min(i + 700, N)))]) for i in range(0, N, 700)]
    assert (np.concatenate(parts, axis=1) == np.stack([*probe.levels(GenomicRegion("c", 0, N))])).all()


@pytest.mark.parametrize(("read_strand", "causal", "seen"), [
    ("+", True, range(-30, 1)), ("-", True, range(31)), ("+", False, range(-15, 16)), ("-", False, range(-15, 16)),
])  # fmt: skip
def test_letters_beyond_the_31_do_not_matter_and_those_within_do(tmp_path, small, read_strand, causal, seen):
    """Causal: none after the base in the direction of reading. Only letters of the report half are changed."""
    evaluation, text = small
    base, other = 5200, {}
    for name, inside in (("beyond", False), ("within", True)):
        letters = list(text)
        for i in range(4600, 5900):
            if (i - base in seen) == inside:
                letters[i] = "CAGT"["ACGT".index(letters[i])]
        rows = evaluation.labels.instances
        rows = [(s, e, "near" if c == 5 else "far", 1, "+" if c == 5 else "-") for s, e, c in zip(
            rows["Start"], rows["End"], rows["concept"])]  # fmt: skip
        changed = evaluation_of(tmp_path / f"{name}.fa", "".join(letters), rows)
        probe = SequenceProbe(changed, np.array([4, 5]), read_strand, causal=causal)
        other[name] = scores(probe, GenomicRegion("c", base, base + 1))
    unchanged = SequenceProbe(evaluation, np.array([4, 5]), read_strand, causal=causal)
    own = scores(unchanged, GenomicRegion("c", base, base + 1))
    assert (other["beyond"] == own).all()
    assert (other["within"] != own).all()


def test_labels_of_the_report_half_do_not_change_the_fit(tmp_path, small):
    text = small[1]
    rows = words_in(text, "CA")
    less = [row for row in rows if row[0] // 1500 % 2 == 0 or row[0] % 2]
    found = []
    for i, some in enumerate((rows, less)):
        probe = SequenceProbe(evaluation_of(tmp_path / f"{i}.fa", text, some), np.array([4]), "+", causal=True)
        found.append(next(probe.levels(GenomicRegion("c", 0, N))))
    assert len(less) < len(rows) and (found[0] == found[1]).all()


def test_no_other_letter_has_a_higher_level_than_the_letter_that_was_probed(small):
    evaluation, text = small
    for read_strand, causal in (("+", True), ("-", True), ("+", False)):
        probe = SequenceProbe(evaluation, np.array([0]), read_strand, causal=causal)
        levels = next(probe.levels(GenomicRegion("c", 0, N)))
        letter = np.array([x == "A" for x in text])
        known = np.array([x != "N" for x in text])
        assert levels[letter].min() >= levels[~letter & known].max()


def test_no_concept_is_no_error(small):
    probe = SequenceProbe(small[0], np.empty(0, np.int64), "+", causal=True)
    assert probe.concepts.shape == (0,)


@given(st.integers(0, 10**6), st.integers(0, 199), st.integers(1, 200))
def test_labels_on_a_region_are_those_of_a_walk(seed, start, length):
    rng = np.random.default_rng(seed)
    text = "".join(rng.choice(list("ACGTN"), 200))
    drawn = [(int(s), int(s + rng.integers(1, 60)), "xyz"[rng.integers(3)]) for s in rng.integers(0, 140, 9)]
    places = [*drawn, (0, 1, "x"), (199, 200, "y"), (0, 200, "z")]
    labels = labels_of([(*place, 1, "+") for place in places])
    region = GenomicRegion("c", start, min(start + length, 200))
    concepts = np.array([5, 0, 4, 3, 6])
    found = labels_on(labels, region, codes(text[region.start : region.end].encode()), concepts)
    for row, concept in zip(found, concepts.tolist()):
        for base, labelled in zip(range(region.start, region.end), row.tolist()):
            if concept < 4:
                assert labelled == (text[base] == "ACGT"[concept])
            else:
                assert labelled == any(s <= base < e and name == "xyz"[concept - 4] for s, e, name in places)


@pytest.mark.parametrize("read_strand", ["+", "-"])
def test_the_precision_of_the_probe_is_that_of_a_walk_over_its_levels(tmp_path, read_strand):
    """Of concepts that are no motifs; bases that are not readable have no level."""
    scene = draw_scene(5, read_strand, n=900)
    genome = Genome(write_fasta(tmp_path / "g.fa", c=scene.text))
    evaluation = Evaluation(genome, genome.whole, [], scene.labels, Halves())
    chosen = [(4, 1, 0), (0, 1, 0), (6, 2, 0)]
    pairs = pairs_on(scene, chosen, motifs=[4])
    table = scene.through(Probed(pairs, evaluation, causal=True)).table()
    probe = SequenceProbe(evaluation, np.array([0, 6]), read_strand, causal=True)
    levels = np.stack([*probe.levels(genome.whole[0])])
    levels[:, ~scene.readable] = 0
    expected = [np.nan]
    for concept, row in zip((0, 6), levels):
        items, windows = scene.items(concept, row)
        expected.append(average_precision(*[[level for level, *_ in part] for part in (items, windows)]))
    assert table["probe_ap"].tolist() == pytest.approx(expected, nan_ok=True)


def test_without_concepts_but_motifs_there_is_no_probe():
    scene = draw_scene(0)
    pairs = pairs_on(scene, [(4, 1, 0)], motifs=[4])
    evaluation = Evaluation(None, [], [], scene.labels, Halves())
    assert np.isnan(scene.through(Probed(pairs, evaluation, causal=True)).table()["probe_ap"]).all()
