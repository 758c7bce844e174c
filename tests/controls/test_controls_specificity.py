"""The margin to the next concept, and clusters of motifs that mark the same bases: against loops and masks."""

import numpy as np
import pandas as pd
import pytest
from control_scenes import COLUMNS, draw_counts
from hypothesis import given
from hypothesis import strategies as st
from toy import random_dna, write_fasta

from sae_tracks.annotations import Annotation
from sae_tracks.controls.specificity import motif_clusters, selectivity
from sae_tracks.genome import Genome
from sae_tracks.metrics import Evaluation, Halves, Labels
from sae_tracks.regions import GenomicRegion


@given(st.integers(0, 10**6), st.booleans())
def test_the_margin_is_to_the_best_concept_of_another_cluster(seed, empty):
    rng = np.random.default_rng(seed)
    concepts = pd.DataFrame({"concept": list("abcdef"), "site_strand": "+", "tf": ""}, dtype=object)
    counts = draw_counts(rng, concepts, 3, 2, density=0.4)
    cluster = np.array([0, 1, 0, 2, 3, 3])
    for c in np.flatnonzero(rng.random(6) < 0.3):
        counts.labelled[:, :, c], counts.tp[:, :, c] = 0, 0
    if empty:
        counts.active[:, :, :, 0] = counts.tp[:, :, :, :, 0] = 0
    pairs = [(c, k, t) for c in range(6) for k in range(3) for t in range(2)]
    for strand in (0, 1):
        table = selectivity(counts, strand, *np.array(pairs).T, cluster)
        for i, (c, k, t) in enumerate(pairs):

            def f1(other, k=k, t=t, strand=strand):
                tp = sum(int(x) for x in counts.tp[strand, 1, other, t:, k])
                both = counts.labelled[strand, 1, other] + counts.active[strand, 1, t:, k].sum()
                return 2 * tp / both if both else np.nan

            others = {d: f1(d) for d in range(6) if cluster[d] != cluster[c] and counts.labelled[strand, 1, d]}
            if np.isnan(f1(c)) or not others:
                assert np.isnan(table["margin"][i]) and table["next_concept"][i] == ""
            else:
                best = max(others, key=lambda d: others[d])
                assert table["margin"][i] == pytest.approx(f1(c) - others[best])
                assert table["next_concept"][i] == "abcdef"[best]


@pytest.fixture(scope="module")
def clusters(tmp_path_factory):
    """Clusters of annotated sites, given as {(name, strand): spans}, without those of the letters."""
    path = write_fasta(tmp_path_factory.mktemp("clusters") / "g.fa", c=random_dna(2000, 1), d=random_dna(900, 2))
    genome = Genome(path)

    def found(pieces=None, **sites):
        rows = [
            ("c", start, end, name.strip("_"), 1, "-" if name.endswith("_") else "+", "")
            for name, spans in sites.items()
            for start, end in spans
        ]
        labels = Labels(Annotation(pd.DataFrame(rows, columns=COLUMNS), "drawn"))
        evaluation = Evaluation(genome, genome.whole, [], labels, Halves())
        numbers = motif_clusters(evaluation, genome.whole if pieces is None else pieces)
        assert len(numbers) == len(labels.concepts) and numbers[:4].tolist() == [0, 1, 2, 3]
        return numbers[4:].tolist()

    return found


SPANS = [(i, i + 10) for i in range(0, 400, 20)]


def moved(bases):
    return [(start + bases, end + bases) for start, end in SPANS]


OTHER = [(i, i + 10) for i in range(500, 800, 20)]


def test_motifs_that_share_half_of_their_bases_on_average_are_one_cluster(clusters):
    """Moved by 2 of 10 bases: 8 / 12 are shared; by 5, 5 / 15 and 7 / 13, which is less than half on average."""
    assert clusters(w=SPANS, x=moved(2), y=moved(5), z=OTHER) == [4, 4, 5, 6]
    assert clusters(w=SPANS, x=moved(2), y=moved(4), z=OTHER) == [4, 4, 4, 5]
    assert clusters(w=SPANS) == [4]


def test_both_strands_of_a_name_are_one_motif_and_its_nearest_strand_counts(clusters):
    assert clusters(w=SPANS, w_=OTHER) == [4, 4]
    assert clusters(w=SPANS, w_=OTHER, x=[(s + 1, e + 1) for s, e in OTHER]) == [4, 4, 4]


def test_bases_that_several_sites_of_a_concept_label_count_once(clusters):
    assert clusters(w=SPANS, x=SPANS * 3 + [(s + 2, e) for s, e in SPANS]) == [4, 4]


def test_only_bases_of_the_pieces_count_and_sites_are_cut_to_them(clusters):
    far = [(s, e + 600) for s, e in [(390, 400)]]
    assert clusters(w=[(380, 400)], x=[(380, 400), *far]) == [4, 5]
    assert clusters([GenomicRegion("c", 300, 400)], w=[(380, 400)], x=[(380, 400), *far]) == [4, 4]
    assert clusters([GenomicRegion("d", 0, 900)], w=SPANS, x=SPANS) == [4, 5]  # nothing is labelled there
