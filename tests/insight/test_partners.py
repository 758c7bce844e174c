"""Partners against dense arrays of the whole genome, and planted pairs."""

import hashlib

import numpy as np
import pandas as pd
import pytest
import torch
from toy import OneHotLM, identity_sae, random_dna, write_fasta
from track_oracle import FEATURES, activations, toy_source

from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome
from sae_tracks.insight import partners
from sae_tracks.insight.partners import coactivation, reverse_complement_partner
from sae_tracks.regions import GenomicRegion
from sae_tracks.source import Source

A, C, G, T, PLACE, AFTER_C = FEATURES
RECORDS = {
    "a": random_dna(140, 1) + "NNR" + random_dna(100, 2) + "N" * 120 + random_dna(90, 3),
    "b": random_dna(61, 4),
}


@pytest.fixture(autouse=True)
def short_distances(monkeypatch):
    """The null lies near, and few rows are compared at once, so that many seams are crossed."""
    monkeypatch.setattr(partners, "FAR", 20)
    monkeypatch.setattr(partners, "APART", 7)
    monkeypatch.setattr(partners, "ROWS", 30)


def dense(source, strand, cutoff):
    """{contig: (length, 6) bool}, and how many bases are readable."""
    whole = activations(source)
    found = {c: np.stack([whole[f, strand][c] > cutoff for f in FEATURES], 1) for c in source.genome.lengths}
    return found, sum(int((~np.isnan(whole[0, strand][c])).sum()) for c in source.genome.lengths)


@pytest.mark.parametrize("strands", [("+",), ("-",), ("+", "-")])
@pytest.mark.parametrize("chosen", [None, [AFTER_C, C, PLACE]])
def test_counts_are_the_product_of_dense_arrays(strands, chosen):
    with toy_source(RECORDS, None, strands) as (source, _):
        found = coactivation(source, chosen, threshold=0.0035, scale="raw")
        ids = sorted(chosen or FEATURES)
        counts, bases = np.zeros((len(ids), len(ids)), int), 0
        for strand in strands:
            parts, readable = dense(source, strand, 0.0035)
            bases += readable
            for active in parts.values():
                counts += active[:, ids].T.astype(int) @ active[:, ids]
    assert found.features.tolist() == ids and found.bases == bases
    assert (found.counts == counts).all() and counts.any()
    for i, j in np.ndindex(counts.shape):
        either = counts[i, i] + counts[j, j] - counts[i, j]
        assert found.jaccard[i, j] == (counts[i, j] / either if either else 0)


def test_features_that_are_never_active_have_no_index():
    with toy_source({"a": "A" * 40}) as (source, _):
        found = coactivation(source, [C, G])
    assert (found.jaccard == 0).all() and "2 features" in repr(found)


def by_hand(stretches, f, shift, max_lag):
    """{(feature, lag): Jaccard}: every base of + with the base of - that lies shift + lag before it."""
    found, n_f, n_g = {}, 0, 0
    for plus, minus in stretches:
        n_f += plus[shift:, f].sum()
        n_g = n_g + minus[: max(len(minus) - shift, 0)].sum(0)
    for lag in range(-max_lag, max_lag + 1):
        both = 0
        for plus, minus in stretches:
            for i in range(shift, len(plus)):
                j = i - shift - lag
                if plus[i, f] and 0 <= j < len(minus):
                    both = both + minus[j]
        for g in FEATURES:
            count = both[g] if np.ndim(both) else 0
            either = n_f + n_g[g] - count
            found[g, lag] = count / either if either else 0.0
    return found


@pytest.mark.parametrize("regions", [None, [GenomicRegion("a", 3, 250), GenomicRegion("b", 10, 61)]])
def test_scores_are_those_of_every_pair_of_bases(regions):
    max_lag, shifts = 3, 3
    with toy_source(RECORDS, regions, ("+", "-")) as (source, _):
        table = reverse_complement_partner(source, max_lag=max_lag, shifts=shifts, threshold=0.0035, scale="raw")
        plus, minus = (dense(source, strand, 0.0035)[0] for strand in "+-")
        spans = [("a", 0, 243), ("a", 363, 453), ("b", 0, 61)] if regions is None else [("a", 3, 243), ("b", 10, 61)]
        if regions is not None:
            spans[0] = ("a", 3, 243)
        stretches = [(plus[c][s:e], minus[c][s:e]) for c, s, e in spans]
    for f, row in zip(FEATURES, table.to_dict("records"), strict=True):
        scores = by_hand(stretches, f, 0, max_lag)
        nulls = [max(by_hand(stretches, f, 20 + 7 * i, max_lag).values()) for i in range(shifts)]
        best = max(scores.values())
        assert row["feature"] == f"f{f}" and row["score"] == pytest.approx(best) and best > 0
        assert scores[int(row["best"][1:]), row["lag"]] == best
        assert row["null"] == pytest.approx(max(nulls))
        assert row["p"] == (1 + sum(one >= best for one in nulls)) / (1 + shifts)
        found = row["partner"] == row["best"] if best > 2 * max(nulls) else pd.isna(row["partner"])
        assert found
        assert row["bases"] == sum(one[:, f].sum() for one, _ in stretches)


def test_planted_pairs_are_found_with_their_lags():
    """A on + is T on - at the same base. What follows a C on + lies one base behind a G of -."""
    with toy_source({"a": random_dna(3000, 5)}, None, ("+",), window=64, context=8) as (source, _):
        table = reverse_complement_partner(source, [A, C, AFTER_C], max_lag=5, shifts=9).set_index("feature")
        one = reverse_complement_partner(source, AFTER_C, max_lag=5, shifts=9)
    assert table["partner"].to_dict() == {"f0": "f3", "f1": "f2", "f5": "f2"}
    assert table["lag"].to_dict() == {"f0": 0, "f1": 0, "f5": 1}
    assert table.loc[["f0", "f1"], "score"].tolist() == [1, 1] and table.loc["f5", "score"] > 0.95
    assert (table["p"] == 0.1).all() and (table["null"] < 0.5).all()
    assert one.iloc[0].to_dict() == table.reset_index().iloc[2].to_dict()


class HashLM(OneHotLM):
    """Three channels that fire at one base in eight, by a hash of the last seven letters as they are read."""

    d_model = 3

    def activations(self, sequence):
        out = np.zeros((len(sequence), 3), np.float32)
        for i in range(6, len(sequence)):
            out[i] = [byte < 32 for byte in hashlib.md5(sequence[i - 6 : i + 1]).digest()[:3]]
        return torch.from_numpy(out)


def test_features_without_a_partner_get_none(tmp_path):
    genome = Genome(write_fasta(tmp_path / "g.fa", a=random_dna(3000, 6)))
    source = Source(HashLM(), identity_sae(3), genome, window=64, context=8)
    table = reverse_complement_partner(source, max_lag=5, shifts=19)
    assert table["partner"].isna().all() and table["best"].notna().all()
    source.sae.b_enc[1] = -5
    silent = reverse_complement_partner(source, 1, max_lag=5)
    assert silent["score"][0] == 0 and silent["best"].isna().all() and silent["partner"].isna().all()


def test_passes_for_a_few_features_each_give_the_same(monkeypatch):
    with toy_source(RECORDS, None, ("+", "-")) as (source, _):
        whole = reverse_complement_partner(source, max_lag=2, shifts=2)
        monkeypatch.setattr(partners, "MOST_CELLS", 2 * 3 * 5 * 6)
        assert reverse_complement_partner(source, max_lag=2, shifts=2).equals(whole)


def test_requests_that_cannot_be_met_are_errors():
    with toy_source({"a": random_dna(60)}) as (source, _):
        for call, said in (
            (lambda: reverse_complement_partner(source, 6), "no feature 6"),
            (lambda: coactivation(source, [-1]), "no feature -1"),
            (lambda: reverse_complement_partner(source, 0, max_lag=-1), "max_lag is at least 0"),
            (lambda: reverse_complement_partner(source, 0, shifts=0), "shifts at least 1"),
            (lambda: reverse_complement_partner(source, 0, shifts=9), "more than 76 bases"),
        ):
            with pytest.raises(SaeTracksError, match=said):
                call()
