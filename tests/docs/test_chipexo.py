"""What the ChIP-exo example measures, on sites and peaks made up here, against other ways to count."""

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import mannwhitneyu

from sae_tracks.regions import GenomicRegion


@pytest.fixture(scope="module")
def chipexo():
    path = Path(__file__).parents[2] / "examples" / "yeast" / "chipexo.py"
    spec = importlib.util.spec_from_file_location("chipexo", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_sites_and_peaks_are_matched_as_by_comparing_all_pairs(chipexo):
    rng, length = np.random.default_rng(0), 5_000
    start = np.sort(rng.choice(length - 10, 60, replace=False))
    base = np.sort(rng.choice(length, 40, replace=False))
    sites = pd.DataFrame({"factor": "Reb1", "contig": "c", "start": start, "end": start + 9, "bound": False})
    peaks = pd.DataFrame({"factor": "Reb1", "contig": "c", "base": base, "has_site": False})
    found = chipexo.classify("Reb1", sites, peaks, [GenomicRegion("c", 0, length)])
    every = np.arange(length)
    near = (every[:, None] >= start - chipexo.NEAR) & (every[:, None] < start + 9 + chipexo.NEAR)  # bases x sites
    assert sites["bound"].tolist() == near[base].any(axis=0).tolist()
    assert peaks["has_site"].tolist() == near[base].any(axis=1).tolist()
    assert found["bases with a site"] == near.any(axis=1).mean()
    around = np.abs(every[:, None] - base) <= chipexo.NEAR
    assert found["bases with a peak"] == around.any(axis=1).mean()


def test_auroc_is_that_of_mann_and_whitney_and_weights_are_copies(chipexo):
    rng = np.random.default_rng(1)
    values, bound = rng.integers(0, 6, 50), rng.random(50) < 0.4
    times = rng.integers(0, 3, 50)
    for weight in (np.ones(50, np.int64), times):
        copied, which = np.repeat(values, weight), np.repeat(bound, weight)
        expected = mannwhitneyu(copied[which], copied[~which]).statistic / (which.sum() * (~which).sum())
        assert chipexo.auroc(values, bound, weight[None].astype(float)) == pytest.approx([expected])


def test_a_feature_that_is_lower_at_bound_sites_is_turned_round(chipexo):
    bound = np.array([True] * 5 + [False] * 15)
    levels = np.stack([np.zeros(20), bound * -1.0, np.arange(20) % 2], axis=1)
    assert chipexo.choose(levels, bound) == (1, -1)


def test_the_recall_needed_is_seen_in_draws_and_falls_with_more_items(chipexo):
    few, many = chipexo.recall_needed(50, 0.2), chipexo.recall_needed(500, 0.2)
    assert 0.2 / chipexo.PRECISION < many < few < 1
    draws = np.random.default_rng(2).binomial(50, few, 20_000) / 50 * chipexo.PRECISION
    assert np.percentile(draws, 2.5) == pytest.approx(0.2, abs=0.02)
    assert np.isnan(chipexo.recall_needed(50, 0.7))
