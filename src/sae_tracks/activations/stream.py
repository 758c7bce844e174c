"""Training rows straight from a language model: a mixing buffer in memory instead of stored, shuffled shards."""

import json
import threading
from hashlib import sha256
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from sae_tracks.activations.extract import NOTHING_READABLE, Extraction, read_rows
from sae_tracks.activations.shards import ActivationShards, fill
from sae_tracks.errors import SaeTracksError
from sae_tracks.lm.protocol import MEMBERS, GeneLM
from sae_tracks.reading import read_windows

BUFFER = 2 << 30  # bytes
COPIES = 4  # of a group of windows in memory: the first chunk, the current one, the kept half, and a new group


class StreamedActivations:
    """Rows of activations in mixed order, read from a language model as they are needed and stored nowhere.

    `plan_training` and `train_sae` take it in place of stored shards. The windows of the extraction are put in random
    order and split into groups of G. The rows of each group are split at random into two halves, and chunk i is the
    second half of group i - 1 and the first half of group i in random order (chunk 0 begins with the half of the last
    group). So half of the buffer is new in each chunk, each row comes once per pass, and a row is a function of the
    extraction, the seed and its number alone: a run that goes on from row n reads two groups again and has the same
    rows as one that never stopped.

    With m rows per window, two rows of one chunk come from one window with probability

        (m - 1) (G m / 2 - 1) / (G m - 1)^2, or about 1 / (2 G),

    and with about half of it if they lie in neighbouring chunks. After a global shuffle of W windows it is
    (m - 1) / (W m - 1), or about 1 / W: as good as a buffer of W / 2 windows. If all windows fit into the buffer there
    is one group, and the order is a global shuffle.

    Parameters
    ----------
    plan : Extraction
        From `plan_extraction`: language model, genome and windows.
    seed : int
        Seed of the order.
    memory : int
        Bytes of memory to use, which determines G.

    Attributes
    ----------
    rows, d_model, group_windows : int
        Rows per pass; dimensions of a row; G.
    rows_at_hand : int
        Rows at the beginning that stay in memory. Statistics and features are measured on them.
    manifest : dict
        Same facts as in the manifest of stored shards.

    Raises
    ------
    SaeTracksError
        The memory does not hold a window, or no base of the windows gives a row.
    """

    def __init__(self, plan: Extraction, *, seed: int = 0, memory: int = BUFFER) -> None:
        self._plan, self._seed, self.d_model = plan, seed, plan.lm.d_model
        self.name = f"{plan.lm.model_id} on {plan.genome.path}"
        order = np.random.default_rng([seed, 0]).permutation(len(plan.windows))
        least = COPIES * 2 * self.d_model * max(len(window.kept) for window in plan.windows)  # bytes for one window
        self.group_windows = min(memory // least, len(order))
        if self.group_windows < 1:
            sizes = f"{memory / 2**20:,.0f} MiB hold no window; allow {least / 2**20:,.2f} MiB or more"
            raise SaeTracksError(f"--memory: {sizes}")
        groups = -(-len(order) // self.group_windows)
        self._groups = [np.sort(group) for group in np.array_split(order, groups)]
        sizes = np.array([self._count(group) for group in self._groups])
        self._first_halves = sizes // 2
        self._ends = np.cumsum(self._first_halves + np.roll(sizes - self._first_halves, 1))  # of the chunks, in rows
        self.rows = int(self._ends[-1])
        self.rows_at_hand = int(self._ends[0]) or self.rows
        if not self.rows:
            raise SaeTracksError(NOTHING_READABLE)
        mixing = {"seed": seed, "group_windows": self.group_windows}
        self.manifest: dict[str, Any] = {**plan.settings, "shuffled": True, "mixing": mixing, "rows": self.rows}
        self._threads, self._lock = torch.get_num_threads(), threading.Lock()
        self._kept: dict[int, NDArray[np.float16]] = {}  # second halves, of the newest groups
        self._chunks: dict[int, NDArray[np.float16]] = {}  # the first and the newest

    @property
    def checksum(self) -> str:
        """SHA-256 of what the rows depend on: model, genome, windows, order."""
        lm = {key: value for key, value in self.manifest["lm"].items() if key not in ("model", "revision")}
        return sha256(json.dumps({**self.manifest, "lm": lm}, sort_keys=True).encode()).hexdigest()

    def read_rows(self, start: int, stop: int) -> NDArray[np.float16]:
        """Rows ``start:stop`` of the mixed order, which repeats after `rows`; (stop - start, d_model)."""
        with self._lock:
            return fill(np.empty((stop - start, self.d_model), np.float16), start, self._ends, self._chunk)

    def _chunk(self, index: int) -> NDArray[np.float16]:
        """The rows of a chunk, in order. The first chunk and the newest stay in memory."""
        if index not in self._chunks:
            self._chunks = {i: chunk for i, chunk in self._chunks.items() if i == 0}
            before = (index - 1) % len(self._groups)
            first, kept = self._halves(index)
            self._kept.setdefault(index, kept)
            second = self._kept[before] if before in self._kept else self._halves(before)[1]
            self._kept = {index: kept}
            rows = np.concatenate([second, first])
            self._chunks[index] = rows[np.random.default_rng([self._seed, 2, index]).permutation(len(rows))]
        return self._chunks[index]

    def _halves(self, index: int) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
        """The rows of a group, split at random. The language model reads them with all threads, whoever calls."""
        group, own = self._groups[index], torch.get_num_threads()
        torch.set_num_threads(self._threads)
        try:
            rows, _ = read_rows(self._plan, group.tolist())
        finally:
            torch.set_num_threads(own)
        order = np.random.default_rng([self._seed, 1, index]).permutation(len(rows))
        half = self._first_halves[index]
        return rows[order[:half]], rows[order[half:]]

    def _count(self, group: NDArray[np.int64]) -> int:
        """Number of rows of a group of windows, without running the model."""
        plan, windows = self._plan, [self._plan.windows[i] for i in group]
        zeros = SimpleNamespace(**{name: getattr(plan.lm, name) for name in MEMBERS})
        zeros.d_model, zeros.activations = 1, lambda sequence: torch.zeros(len(sequence), 1)
        readings = read_windows(cast(GeneLM, zeros), plan.genome, windows, plan.black_list, plan.min_context)
        return sum(int((reading.readable & reading.token_starts).sum()) for reading in readings)


TrainingRows = ActivationShards | StreamedActivations  # in random order: what a training reads
