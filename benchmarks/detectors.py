"""Features of known behaviour: a language model and an SAE that are active exactly where a table says.

The model finds a window by its letters and looks its bases up. A channel is a detector or noise. Channels are mixed by
a random rotation, so that no single dimension of the model is a detector; the SAE takes them apart again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
import torch
from numba import njit
from numpy.typing import NDArray

from sae_tracks.dna import kmers
from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome
from sae_tracks.jit import FAST
from sae_tracks.sae import SAE
from sae_tracks.source import Source

BIAS = np.float32(0.1)  # of the SAE, below which the rounding of the rotation stays
NOISE, PERIOD = 32, 65_521  # channels that are active everywhere, and the bases after which they repeat
WINDOW, CONTEXT = 8192, 256  # the context is not needed; it keeps the last window long enough to be found
DENSITY = (1e-4, 1e-2)  # of a null feature: drawn log-uniformly
Column = tuple[NDArray[np.int64], NDArray[np.float32]]  # bases, ascending, and the activations there, at most 1


@dataclass(frozen=True, slots=True)
class Table:
    """The activations of `width` features on one contig: (m,) each, by base, then by channel."""

    base: NDArray[np.int64]
    channel: NDArray[np.int32]
    value: NDArray[np.float32]
    width: int

    @classmethod
    def of(cls, columns: Sequence[Column]) -> Self:
        """From the bases and activations of each feature."""
        base = np.concatenate([bases for bases, _ in columns])
        channel = np.repeat(np.arange(len(columns), dtype=np.int32), [len(bases) for bases, _ in columns])
        value = np.concatenate([values for _, values in columns]).astype(np.float32)
        order = np.argsort(base, kind="stable")
        return cls(base[order].astype(np.int64), channel[order], value[order], len(columns))

    def maxima(self) -> NDArray[np.float32]:
        """(width,) float32: the highest activation of each feature, 0 if it has none."""
        found = np.zeros(self.width, np.float32)
        np.maximum.at(found, self.channel, self.value)
        return found


class DetectorLM:
    """A causal `GeneLM` whose activations are looked up by the place of a window in the genome.

    Parameters
    ----------
    genome : Genome
        Windows are looked for in it.
    tables : mapping of str to Table
        By contig, all of one width.
    seed : int
        Of the rotation and of the noise.
    noise : float
        Standard deviation of each noise channel.
    """

    revision, architecture, layer, hook_name, causal = None, "toy", 3, "toy", True
    max_length = WINDOW

    def __init__(self, genome: Genome, tables: Mapping[str, Table], seed: int = 0, *, noise: float = 1.0) -> None:
        self.model_id = self.checksum = f"detectors {seed}"
        self.tables = dict(tables)
        self.width = next(iter(self.tables.values())).width
        self.d_model = self.width + NOISE
        draw = torch.Generator().manual_seed(seed)
        self.rotation = torch.linalg.qr(torch.randn(self.d_model, self.d_model, generator=draw)).Q.contiguous()
        self._noise = noise * torch.randn(PERIOD, NOISE, generator=draw)
        self._text = {name: genome.sequence(genome.region(name)) for name in self.tables}
        self._last = next(iter(self.tables)), 0  # where the last window was: the next one is not far behind

    def place(self, sequence: bytes) -> tuple[str, int]:
        """The contig and the first base of a window."""
        contig, near = self._last
        found = self._text[contig].find(sequence, near)
        if found < 0:
            places = [(name, text.find(sequence)) for name, text in self._text.items()]
            contig, found = next((place for place in places if place[1] >= 0), ("", -1))
        if found < 0:
            raise SaeTracksError(f"a window of {len(sequence):,} bases is not in the genome of the detectors")
        self._last = contig, found
        return contig, found

    def activations(self, sequence: bytes) -> torch.Tensor:
        """(n, d_model) float32."""
        contig, start = self.place(sequence)
        table, n = self.tables[contig], len(sequence)
        inside = slice(*np.searchsorted(table.base, (start, start + n)))
        first = np.searchsorted(table.base[inside], np.arange(start, start + n))
        known = torch.nn.functional.embedding_bag(
            torch.from_numpy(table.channel[inside]).long(),
            self.rotation[: self.width],
            torch.from_numpy(first),
            per_sample_weights=torch.from_numpy(table.value[inside] + BIAS),
            mode="sum",
        )
        rows = torch.arange(start, start + n) % PERIOD
        return known + self._noise[rows] @ self.rotation[self.width :]

    def token_starts(self, sequence: bytes) -> NDArray[np.bool_]:
        """Every base is a token."""
        return np.ones(len(sequence), np.bool_)

    def sae(self) -> SAE:
        """Feature i is channel i of the tables; noise is not encoded."""
        decoder = self.rotation[: self.width].contiguous()
        bias = torch.full((self.width,), -float(BIAS))
        maxima = np.max([table.maxima() for table in self.tables.values()], axis=0)
        return SAE(decoder.T.contiguous(), bias, decoder, torch.zeros(self.d_model), stats=stats_of(maxima))


def stats_of(maxima: NDArray[np.float32]) -> pd.DataFrame:
    """Feature statistics of which only the maxima count."""
    dead, number = maxima <= 0, np.arange(len(maxima), dtype=np.int32)
    return pd.DataFrame({"feature": number, "max": maxima, "mean": maxima, "density": maxima, "dead": dead})


def detector_source(genome: Genome, tables: Mapping[str, Table], seed: int = 0) -> Source:
    """A genome read through `DetectorLM` and its SAE."""
    lm = DetectorLM(genome, tables, seed)
    return Source(lm, lm.sae(), genome, window=WINDOW, context=CONTEXT)


def noise_columns(length: int, n: int, rng: np.random.Generator, density: float = 5e-3) -> list[Column]:
    """Features that are active on random bases."""
    return [always(np.flatnonzero(rng.random(length) < density)) for _ in range(n)]


def always(bases: NDArray[np.int64]) -> Column:
    """A feature with the activation 1 on some bases."""
    bases = np.unique(bases)
    return bases, np.ones(len(bases), np.float32)


def filter_columns(sequence: bytes, width: int, n: int, rng: np.random.Generator) -> list[Column]:
    """Random filters: normal weights for the letters of the last `width` bases, a multiple of 6.

    A filter is active on the bases above the quantile of its density, as far as its score is above it.
    """
    code, run = kmers(sequence, 6)
    whole = np.flatnonzero(run >= width)
    words = [code[whole - 6 * part].astype(np.int64) for part in range(width // 6)]
    found = []
    for _ in range(n):
        score = np.zeros(len(whole), np.float32)
        for word in words:
            score += _word_scores(rng.standard_normal((6, 4)))[word]
        count = max(int(np.exp(rng.uniform(*np.log(DENSITY))) * len(whole)), 1)
        cut, most = np.partition(score, -count)[-count], score.max()
        on = np.flatnonzero(score >= cut)
        found.append((whole[on], ((score[on] - cut) / max(most - cut, 1e-6) * 0.9 + 0.1).astype(np.float32)))
    return found


def _word_scores(weights: NDArray[np.float64]) -> NDArray[np.float32]:
    """(4096,) float32: the score of each word of 6 letters, the last one in the lowest bits."""
    letters = np.arange(4096)[:, None] >> (2 * np.arange(5, -1, -1)) & 3
    return weights[np.arange(6), letters].sum(axis=1).astype(np.float32)


def word_columns(sequence: bytes, each: int, rng: np.random.Generator) -> list[Column]:
    """Random words of 4, 5 and 6 letters, `each` of a length or all there are: active on their last base."""
    found = []
    for k in (4, 5, 6):
        code, run = kmers(sequence, k)
        code = np.where(run >= k, code & np.uint32(4**k - 1), 4**k).astype(np.int64)
        order = np.argsort(code, kind="stable")
        edges = np.searchsorted(code[order], np.arange(4**k + 1))
        for word in np.sort(rng.permutation(4**k)[:each]):
            found.append(always(order[edges[word] : edges[word + 1]]))
    return found


def word_ends(sequence: bytes, word: int, k: int = 6) -> NDArray[np.int64]:
    """The last bases of a word, given as its code."""
    code, run = kmers(sequence, k)
    return np.flatnonzero((run >= k) & ((code & np.uint32(4**k - 1)) == word))


def on_sites(start: NDArray[np.int64], end: NDArray[np.int64], behaviour: str) -> NDArray[np.int64]:
    """The bases of sites, (m,) each, on which a detector that was read from left to right is active.

    Parameters
    ----------
    behaviour : "full", "half", "last3" or "last1"
        All bases; the last half; the last three; the last one.
    """
    width = {"full": end - start, "half": (end - start) // 2, "last3": np.int64(3), "last1": np.int64(1)}[behaviour]
    first = np.maximum(end - width, start)
    return np.unique(_bases(first, end, int((end - first).sum())))


@njit(**FAST)
def _bases(start, end, total):
    """(total,) int64: the bases of intervals, one after the other."""
    found, at = np.empty(total, np.int64), 0
    for i in range(len(start)):
        for base in range(start[i], end[i]):
            found[at] = base
            at += 1
    return found


def partly(
    start: NDArray[np.int64],
    end: NDArray[np.int64],
    length: int,
    rng: np.random.Generator,
    *,
    recall: float = 0.3,
    precision: float = 0.6,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Some of the sites, and as many other places of their width as the precision says."""
    chosen = rng.random(len(start)) < recall
    others = round(chosen.sum() * (1 / precision - 1))
    width = int((end - start).max(initial=1))
    away = rng.integers(0, length - width, 20 * others + 20)
    at = np.searchsorted(np.sort(start), away + width)
    before = np.append(-width, np.sort(end))[at]  # sites of one matrix have one width, so ends are in the same order
    away = away[before <= away][:others]
    return np.concatenate([start[chosen], away]), np.concatenate([end[chosen], away + width])
