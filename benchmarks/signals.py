"""Correlations of 1,000 features with 5 signals over 1 Mb: our sums, and a script with pyBigWig and scipy.

    python benchmarks/signals.py --json

The blocks are those of benchmarks/counter.py: of its 64 groups of features the first 38, so 38 of 1,000 features are
active on every base, in runs of 4 bases on average. Three signals have a value on every base (counts, drawn numbers,
and runs of 50 bases), two have gaps. All are bigWigs. The language model is not part of it.

`stream_cpu_s` is the time from blocks to both correlations per base of all pairs: the pass over the signals for their
ranks, the sums, the means of bins, and the correlations. `peer_cpu_s` is that of a careful script: it reads the bigWigs
of features and signals once, ranks each column once with `scipy.stats.rankdata` (again where a signal has gaps), and
multiplies vectors. It is timed on 4 features with all signals and multiplied.
`pearson_error` and `spearman_error` are the largest differences of a correlation to scipy's on the same pairs.
"""

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyBigWig
import torch
from counter import BASES, blocks_of, timed
from scipy import stats

from sae_tracks.annotations.signal import Signal
from sae_tracks.genome import Genome
from sae_tracks.metrics import Halves
from sae_tracks.regions import GenomicRegion
from sae_tracks.sae import SAE
from sae_tracks.signals.bins import Bins
from sae_tracks.signals.sink import SignalSink
from sae_tracks.signals.sums import pearson, spearman
from sae_tracks.signals.survey import survey
from sae_tracks.source import Source

FEATURES, SAMPLED = 1000, (0, 9, 300, 999)
REGION = GenomicRegion("c", 0, BASES)


class NoLM:
    """A language model that is never run."""

    model_id, revision, checksum, architecture = "none", None, "none", "none"
    layer, hook_name, d_model, causal, max_length = 3, "none", 1, True, 24_576

    def activations(self, sequence: bytes) -> torch.Tensor:
        raise NotImplementedError

    def token_starts(self, sequence: bytes) -> np.ndarray:
        return np.ones(len(sequence), bool)


def source_of(folder: Path) -> Source:
    """A megabase of random sequence, and an SAE whose maxima are 1."""
    letters = np.random.default_rng(1).choice(np.frombuffer(b"ACGT", np.uint8), BASES).tobytes().decode()
    (folder / "g.fa").write_text(f">c\n{letters}\n")
    wide = torch.zeros(1, FEATURES)
    numbers = {"max": np.float32(1), "mean": np.float32(1), "density": np.float32(1), "dead": False}
    table = pd.DataFrame({"feature": np.arange(FEATURES, dtype=np.int32), **numbers})
    sae = SAE(wide, torch.zeros(FEATURES), wide.T.clone(), torch.zeros(1), stats=table)
    return Source(NoLM(), sae, Genome(folder / "g.fa"))


def signals_of(folder: Path) -> list[Path]:
    """Five bigWigs."""
    rng = np.random.default_rng(3)
    drawn = {
        "counts": rng.poisson(3, BASES),
        "normal": rng.normal(size=BASES),
        "runs": np.repeat(rng.gamma(2, 1, BASES // 50), 50),
        "half": np.where(rng.random(BASES) < 0.5, rng.normal(size=BASES), np.nan),
        "peaks": np.where(np.arange(BASES) % 5000 < 500, rng.poisson(9, BASES), np.nan),
    }
    return [write(folder / f"{name}.bw", values.astype(np.float32)) for name, values in drawn.items()]


def write(path: Path, values: np.ndarray) -> Path:
    """A bigWig of one contig; bases that are NaN have no value."""
    with pyBigWig.open(str(path), "w") as file:
        file.addHeader([("c", BASES)])
        there = np.flatnonzero(~np.isnan(values))
        file.addEntries(["c"] * len(there), there.tolist(), ends=(there + 1).tolist(), values=values[there].tolist())
    return path


def stream(source: Source, paths: list[Path], blocks: list) -> tuple[np.ndarray, np.ndarray]:
    """(F, G) Spearman's and Pearson's correlations."""
    signals = [Signal(path, source.genome) for path in paths]
    surveys = survey(source, signals, Halves(), "+")
    sink = SignalSink(source, signals, Halves(), Bins.of([REGION], Halves(), 100), surveys)
    for block in blocks:
        sink.add(block)
    done = sink.result()
    done.bins.means()
    totals = done.totals
    return (
        spearman(done.sums, 0, totals.bases[0], totals.rank_squares[0]),
        pearson(done.sums, 0, totals.bases[0], totals.squares[0]),
    )


def peer(features: list[Path], paths: list[Path]) -> np.ndarray:
    """(2, F, G) the same by pyBigWig and scipy: every file is read once, and no column is ranked twice."""
    found, signals = np.empty((2, len(features), len(paths))), []
    for path in paths:
        y = dense_values(path)
        known = ~np.isnan(y)
        signals.append((known, standard(y[known]), standard(stats.rankdata(y[known]))))
    for f, feature in enumerate(features):
        x, whole = dense_values(feature), None
        for g, (known, values, ranks) in enumerate(signals):
            mine = x[known]
            if known.all():
                whole = standard(stats.rankdata(mine)) if whole is None else whole
            own = whole if known.all() else standard(stats.rankdata(mine))
            found[:, f, g] = own @ ranks, standard(mine) @ values
    return found


def dense_values(path: Path) -> np.ndarray:
    with pyBigWig.open(str(path)) as file:
        return file.values("c", 0, BASES, numpy=True).astype(np.float64)


def standard(values: np.ndarray) -> np.ndarray:
    """Values less their mean, of length 1."""
    values = values - values.mean()
    return values / np.sqrt(values @ values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, paths = source_of(folder), signals_of(folder)
        blocks = [replace(block, d_sae=FEATURES) for block in blocks_of(REGION, FEATURES)]
        stream(source, paths[:1], blocks[:1])  # compiles
        (rho, r), ours = timed(stream, source, paths, blocks)
        dense = np.concatenate([block.to_scipy()[:, list(SAMPLED)].toarray() for block in blocks])
        features = [write(folder / f"f{f}.bw", column) for f, column in zip(SAMPLED, dense.T)]
        theirs, seconds = timed(peer, features, paths)
    error = np.abs(np.stack([rho, r])[:, list(SAMPLED)] - theirs).max(axis=(1, 2))
    per_pair = seconds * FEATURES / len(SAMPLED)
    found = {
        "pairs": FEATURES * len(paths),
        "nonzeros": sum(len(block.feature) for block in blocks),
        "stream_cpu_s": round(ours, 2),
        "peer_cpu_s": round(per_pair, 1),
        "times_faster": round(per_pair / ours, 1),
        "spearman_error": float(f"{error[0]:.2g}"),
        "pearson_error": float(f"{error[1]:.2g}"),
    }
    print(json.dumps(found) if asked.json else "\n".join(f"{key:>15} {value}" for key, value in found.items()))


if __name__ == "__main__":
    main()
