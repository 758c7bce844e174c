"""What the windows of features say: aligned to a motif on the select half, which is tested on the report half."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sae_tracks.dna import OTHER
from sae_tracks.insight.align import LEAST_SITES, Alignment, align
from sae_tracks.insight.named import SITE
from sae_tracks.insight.places import FLANK, Places, windows_at
from sae_tracks.insight.separation import like, separation
from sae_tracks.progress import counter
from sae_tracks.threads import in_threads

HELD = 1 << 20  # windows in memory at once, about
BLOCK = 32_768  # bases of a block of the bootstrap


@dataclass(slots=True)
class Found:
    """What the windows of one feature say."""

    why: str = ""  # why there is no motif
    alignment: Alignment | None = None
    silent: int = 0
    auroc: tuple[float, float, float] = (np.nan, np.nan, np.nan)  # with its interval
    p: float = np.nan


@dataclass(frozen=True, slots=True)
class Studied:
    """What the windows of all features say, their places, and the frequencies of the letters."""

    found: list[Found]
    places: dict[int, NDArray]
    background: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Silent:
    """The drawn tiles of a half, and their windows."""

    tiles: NDArray[np.int64]
    line: NDArray[np.int64]
    windows: NDArray[np.uint8]

    @classmethod
    def of(cls, sink: Places, half: int) -> "_Silent":
        tiles = sink.tiles(half)
        line, strands = sink.middles(tiles), np.array(sink.bases.read_strands)
        backwards = strands[np.arange(len(tiles)) % len(strands)] == "-"
        return cls(tiles, line, windows_at(sink.bases.genome, sink.line, line, backwards))

    def places(self, sink: Places, column: int, wanted: int) -> NDArray[np.int64]:
        """Tiles in which a feature is silent; if there are fewer than wanted, those on whose middle base it is."""
        throughout, here = sink.silent(column, self.tiles)
        return np.flatnonzero(throughout if throughout.sum() >= wanted else here)


def study(sink: Places, seed: int) -> Studied:
    """Align the windows of every feature and test its motif; features are handled in groups that fit in memory."""
    halves = range(len(sink.halves.names))
    silent = [_Silent.of(sink, half) for half in halves]
    letters = np.bincount(silent[0].windows.ravel(), minlength=OTHER + 1)[:OTHER] + 1.0
    background = (letters + letters[::-1]) / (2 * letters.sum())
    places, found = dict[int, NDArray](), list[Found]()
    group = max(HELD // (sink.count * len(halves)), 1)
    with counter("aligning", len(sink.features)) as advance:
        for first in range(0, len(sink.features), group):
            columns = range(first, min(first + group, len(sink.features)))
            made = {column: _sites(sink, column) for column in columns}
            found += _aligned(sink, silent, background, made, seed, advance)
            places |= {sink.features[column]: some for column, some in made.items()}
    return Studied(found, places, background)


def _sites(sink: Places, column: int) -> NDArray:
    """(n,) `SITE`: the places of a feature, those of the select half first, without sites so far."""
    parts = []
    for half in range(len(sink.halves.names)):
        best = sink.best(column, half)
        some = np.zeros(len(best), SITE)
        some["half"] = half
        for name in ("line", "strand", "value"):
            some[name] = best[name]
        parts.append(some)
    return np.concatenate(parts)


def _aligned(
    sink: Places, silent: list[_Silent], background, made: dict[int, NDArray], seed: int, advance
) -> list[Found]:
    """Study the features of a group, and fill in the sites of their motifs."""
    rows = np.concatenate(list(made.values()))
    backwards = np.array(sink.bases.read_strands)[rows["strand"]] == "-"
    windows = windows_at(sink.bases.genome, sink.line, rows["line"], backwards)
    edges = np.cumsum([0, *(len(some) for some in made.values())])
    found = [Found() for _ in made]

    def study_some(part: slice) -> None:
        for i, column in list(enumerate(made))[part]:
            mine = slice(edges[i], edges[i + 1])
            found[i] = _one(sink, silent, background, column, made[column], windows[mine], seed)
            if (alignment := found[i].alignment) is not None:
                _fill_sites(made[column], windows[mine], backwards[mine], alignment)
            advance()

    with in_threads() as each:
        each(study_some, len(made), 1)
    return found


def _one(sink: Places, silent: list[_Silent], background, column: int, places: NDArray, windows, seed: int) -> Found:
    """Align the windows of the select half of a feature, and score the motif on the report half."""
    last = len(silent) - 1
    chosen, reported = windows[places["half"] == 0], places["half"] == last
    if not len(places):
        return Found("never active in the regions")
    for name, number in zip(sink.halves.names, (len(chosen), int(reported.sum()))):
        if number < LEAST_SITES:
            return Found(f"{number} places on the {name} half, fewer than {LEAST_SITES}")
    others = silent[0].windows[silent[0].places(sink, column, len(chosen))]
    alignment = align(chosen, others, background)
    if alignment is None:
        return Found("no informative column")
    if not last:
        return Found("there is no second half to test it on", alignment)
    positive, candidates = windows[reported], silent[last].places(sink, column, int(reported.sum()))
    candidates = np.random.default_rng(seed).permutation(candidates)  # of equal GC, no end of the half is preferred
    candidates = candidates[like(_gc(positive), _gc(silent[last].windows[candidates]))]
    if len(candidates) < LEAST_SITES:
        return Found(f"{len(candidates)} silent places on the report half, fewer than {LEAST_SITES}", alignment)
    score, _, _ = alignment.place(positive)
    other, _, _ = alignment.place(silent[last].windows[candidates])
    blocks = places["line"][reported] // BLOCK, silent[last].line[candidates] // BLOCK
    auroc, low, high, p = separation(score, other, blocks[0], blocks[1], seed)
    return Found("", alignment, len(candidates), (auroc, low, high), p)


def _gc(windows: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(n,) int64: G and C of each window."""
    return ((windows == 1) | (windows == 2)).sum(axis=1)


def _fill_sites(
    places: NDArray, windows: NDArray[np.uint8], backwards: NDArray[np.bool_], alignment: Alignment
) -> None:
    """Where the motif lies, in bases from each place on the forward strand."""
    score, start, turned = alignment.place(windows)
    places["bases"] = np.where(score > 0, alignment.width, 0)
    places["first"] = np.where(backwards, FLANK - start - alignment.width + 1, start - FLANK)
    places["turned"] = turned
