"""Motif sites the slow way: every word of a sequence, scores in float64, p-values by adding up all words."""

from collections import Counter
from math import log2, sqrt

import numpy as np
from hypothesis import strategies as st

from sae_tracks.dna import reverse_complement
from sae_tracks.motifs import Motif

BASES = "ACGT"


@st.composite
def motifs(draw, min_width=1, max_width=9):
    """A motif of at most three kinds of position, so that many words tie and few scores are possible."""
    row = st.lists(st.integers(0, 6), min_size=4, max_size=4).filter(any)
    kinds = draw(st.lists(row, min_size=1, max_size=3))
    counts = draw(st.lists(st.sampled_from(kinds), min_size=min_width, max_size=max_width))
    return Motif("MA0001.1", "TF", np.array(counts, np.float64))


def sequences(max_size=60):
    return st.text(alphabet="ACGTACGTACGTACGTN", max_size=max_size).map(str.encode)


def scores(counts):
    """Rows of log2 odds, by JASPAR-UCSC's rule."""
    table = []
    for row in counts.tolist():
        n = sum(row)
        table.append([log2((x + 0.25 * sqrt(n)) / (n + sqrt(n)) / 0.25) for x in row])
    return table


def p_values(counts):
    """The share of all words that score at least as much, by score in thousandths of a bit."""
    words = Counter({0: 1.0})
    for row in scores(counts):
        after = Counter()
        for score, share in words.items():
            for x in row:
                after[score + round(1000 * x)] += share / 4
        words = after
    tail, p = 0.0, {}
    for score in sorted(words, reverse=True):
        tail += words[score]
        p[score] = tail
    return p


def sites(motif, sequence, p, relative):
    """(start, strand) -> (relative score, p-value); those within 1e-9 of the relative cut-off are called None."""
    table, known = scores(motif.counts), p_values(motif.counts)
    worst, best = sum(map(min, table)), sum(map(max, table))
    found = {}
    for start in range(len(sequence) - motif.width + 1):
        word = sequence[start : start + motif.width]
        if b"N" in word:
            continue
        for strand, letters in ((1, word), (-1, reverse_complement(word))):
            values = [row[BASES.index(chr(letter))] for row, letter in zip(table, letters)]
            share = (sum(values) - worst) / (best - worst) if best > worst else 1.0
            chance = known[sum(round(1000 * x) for x in values)]
            if chance <= p and abs(share - relative) < 1e-9:
                found[start, strand] = None
            elif chance <= p and share > relative:
                found[start, strand] = share, chance
    return found
