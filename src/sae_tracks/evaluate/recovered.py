"""How much of a language model's prediction survives an SAE: cross entropy with the residual stream replaced.

The stream after the SAE's layer is replaced at every base of a window: by the SAE's reconstruction, by zero, or by its
mean. Zero and the mean carry nothing of the sequence, so predictions from them depend on the position in the window
alone. Each of them is run once, at the end, on counts of the bases that were to be predicted at each position.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from sae_tracks.activations.shards import MANIFEST, WINDOWS
from sae_tracks.evaluate.info import EVALUATION_VERSION
from sae_tracks.files import PROVENANCE, sha256, write_provenance
from sae_tracks.genome import Genome
from sae_tracks.json_file import read_json
from sae_tracks.lm import GeneLM, HyenaDNAReader, base_tokens, describe
from sae_tracks.lm.tokens import BASES
from sae_tracks.pretrain.loss import check_scorable, cross_entropy, scored_bases, scored_windows
from sae_tracks.pretrain.markov import ORDER, MarkovModels
from sae_tracks.pretrain.windows import overlapping_chunks, stretches_outside
from sae_tracks.progress import track
from sae_tracks.records import MAYBE_TEXT, read_made
from sae_tracks.regions import GenomicRegion, intersect_regions, merge_regions
from sae_tracks.sae import SAE
from sae_tracks.train.measure import ROWS, THRESHOLD

MARKOV_BASES, PIECE = 1 << 27, 1 << 21  # counted at most, and in a piece


@dataclass(frozen=True, slots=True)
class Recovered:
    """An SAE inside its language model. Cross entropies are of the next base, in nats per base."""

    bases: int  # scored; the same ones for all four cross entropies
    nats_lm: float  # of the language model as it is
    nats_sae: float  # with the stream after the SAE's layer replaced by its reconstruction
    nats_zero: float  # by zero
    nats_mean: float  # by its mean over the scored bases
    l0: float  # mean number of features > 0 per scored base
    l0_at_threshold: float | None  # of features > `THRESHOLD` times their maximum; None without statistics of the SAE
    fvu: float | None  # squared error over squared distance from the mean, of the scored bases; None if all are equal
    markov: dict[str, Any] | None = None  # from `best_markov`

    @property
    def recovered_zero(self) -> float | None:
        """``(zero - sae) / (zero - lm)``; None if the model is no better than with zero."""
        return share(self.nats_zero - self.nats_sae, self.nats_zero - self.nats_lm)

    @property
    def recovered_mean(self) -> float | None:
        """``(mean - sae) / (mean - lm)``; None if the model is no better than with the mean."""
        return share(self.nats_mean - self.nats_sae, self.nats_mean - self.nats_lm)

    def record(self) -> dict[str, Any]:
        """Every number by its name."""
        shares = {"recovered_zero": self.recovered_zero, "recovered_mean": self.recovered_mean}
        return {**asdict(self), **shares, "threshold": THRESHOLD}

    def lines(self) -> list[str]:
        """Return a table for people."""
        rows = [f"{'language model':<18}{self.nats_lm:8.4f}", f"{'through the SAE':<18}{self.nats_sae:8.4f}"]
        for name, nats, part in (
            ("mean instead", self.nats_mean, self.recovered_mean),
            ("zero instead", self.nats_zero, self.recovered_zero),
        ):
            recovered = "the model is no better" if part is None else f"recovered {part:.3f}"
            rows.append(f"{name:<18}{nats:8.4f}   {recovered}")
        if self.markov:
            name = f"Markov order {self.markov['order']}"
            rows.append(f"{name:<18}{self.markov['nats']:8.4f}   the best of orders 0 to {ORDER}, counted on the rest")
        return [
            f"{self.bases:,} bases scored, next-base cross entropy in nats per base",
            *rows,
            sparsity_line(self.l0, self.l0_at_threshold, self.fvu),
        ]


def sparsity_line(l0: float, at_threshold: float | None, fvu: float | None) -> str:
    """Say how many features are active, and how much they leave unexplained."""
    features = "" if at_threshold is None else f", {at_threshold:.1f} above {THRESHOLD:g} of their maxima"
    return f"L0 {l0:.1f}{features}; FVU {'none' if fvu is None else f'{fvu:.4f}'}"


def share(part: float, whole: float) -> float | None:
    """``part / whole``; None if there is nothing to share."""
    return part / whole if whole > 0 else None


@torch.inference_mode()
def measure_recovered(lm: HyenaDNAReader, sae: SAE, genome: Genome, regions: Iterable[GenomicRegion]) -> Recovered:
    """Measure next-base cross entropy, forward strand, of a model as it is and with its residual stream replaced.

    Windows and scored bases are those of `NextBaseLM` in `cross_entropy`: the longest windows that the model takes,
    overlapping by half; each A, C, G, T once that has a letter before it between its region's start and the last long
    run of N. In memory are one window and `ROWS` rows of features. The regions are disjoint; neither model should have
    been trained on them.
    """
    regions = list(regions)
    check_scorable(genome, regions)
    windows = scored_windows(genome, regions, lm.max_length, lm.max_length // 2)
    sums = _Sums(lm, sae, max(len(window) for window, _ in windows))
    for window, known in track(windows, "evaluating", len(windows)):
        sequence = genome.sequence(window)
        targets, scored = base_tokens(sequence) - BASES[0], scored_bases(sequence, known)
        sums.add(lm.activations(sequence), torch.from_numpy(targets), torch.from_numpy(scored))
    return sums.result()


def best_markov(genome: Genome, regions: Iterable[GenomicRegion]) -> dict[str, Any] | None:
    """Score Markov models on the bases that `measure_recovered` scores, counted on the rest of the genome.

    Of a genome with more than `MARKOV_BASES`, this many are counted, in pieces spread evenly. Takes about 0.5 GB.

    Returns
    -------
    dict or None
        ``order`` of the best one, its ``nats`` per base, and ``trained_bases``; None if there is nothing to count on.
    """
    regions = list(regions)
    rest = [piece for one in stretches_outside(genome, regions) for piece in overlapping_chunks(one, PIECE, 0)]
    rest = rest[:: -(-sum(map(len, rest)) // MARKOV_BASES) or 1]
    if not rest:
        return None
    losses = cross_entropy(MarkovModels.trained(genome, rest), genome, regions)[0].tolist()
    best = min(range(len(losses)), key=losses.__getitem__)
    return {"order": best, "nats": losses[best], "trained_bases": sum(map(len, rest))}


def write_evaluation(
    path: Path,
    measured: dict[str, Any],
    lm: GeneLM,
    sae: SAE,
    genome: Genome,
    regions: list[GenomicRegion],
    trained: int | None,
) -> dict[str, Any]:
    """Write ``evaluation.json`` with how it was made, and return its content.

    `measured` is the record of what was measured, and `trained` is from `trained_bases`.
    """
    facts = {
        "format_version": EVALUATION_VERSION,
        **sae.facts,
        "lm": describe(lm),
        "genome": genome.record(region.contig for region in regions),
        "regions": [str(region) for region in regions],
        "read_strands": ["+"],  # unless others were measured
        "trained_bases": trained,
        **measured,
    }
    write_provenance(path.parent, file_name=path.name, **facts)
    return read_json(path)


class _Sums:
    """Sums over windows; `positions` are those of the longest one."""

    def __init__(self, lm: HyenaDNAReader, sae: SAE, positions: int) -> None:
        self.predict, self.device = lm.next_base, lm.model.device
        self.rebuild = Rebuilder(sae, self.device)
        self.counts = torch.zeros(positions, len(BASES), dtype=torch.int64)  # bases by predicting position
        self.nats_lm = self.nats_sae = 0.0

    def add(self, x: torch.Tensor, bases: torch.Tensor, scored: torch.Tensor) -> None:
        """Add a window: (n, d_model) stream, (n,) bases, 0 to 3 if scored, and which are scored (never the first)."""
        x, at = x.to(self.device), scored.nonzero().squeeze(1)
        targets = at - 1, bases[at]  # the position before a base predicts it
        self.nats_lm += _nats(self.predict(x), targets)
        self.nats_sae += _nats(self.predict(self.rebuild(x, scored.to(x.device))), targets)
        self.counts.index_put_(targets, torch.ones_like(at), accumulate=True)

    def result(self) -> Recovered:
        """Return means over all scored bases."""
        bases, mean = self.rebuild.rows, self.rebuild.mean
        return Recovered(
            bases=bases,
            nats_lm=self.nats_lm / bases,
            nats_sae=self.nats_sae / bases,
            nats_zero=self._constant(torch.zeros_like(mean)) / bases,
            nats_mean=self._constant(mean) / bases,
            l0=self.rebuild.l0,
            l0_at_threshold=self.rebuild.l0_at_threshold,
            fvu=self.rebuild.fvu,
        )

    def _constant(self, vector: torch.Tensor) -> float:
        """Return nats, summed over all scored bases, if every row of the stream is the same."""
        predicted = self.predict(vector.float().expand(len(self.counts), -1))
        return -(predicted.double() * self.counts).sum().item()


class Rebuilder:
    """An SAE's reconstruction of activations, and sums over those that are scored."""

    def __init__(self, sae: SAE, device: torch.device | str) -> None:
        self.sae, self.rows = sae.to(device), 0
        self._cutoffs = None
        if sae.stats is not None:
            self._cutoffs = torch.from_numpy(sae.cutoffs(THRESHOLD, "max")).to(device)
        self._total = torch.zeros(sae.d_in, dtype=torch.float64, device=device)
        self._squares = self._error = 0.0
        self._active = self._active_at_threshold = 0

    def __call__(self, x: torch.Tensor, scored: torch.Tensor) -> torch.Tensor:
        """Return the reconstruction of (n, d_in) activations; the sums are over the scored ones, (n,) bool."""
        parts = zip(x.split(ROWS), scored.split(ROWS), strict=True)
        return torch.cat([self._rebuild(rows, kept) for rows, kept in parts])

    def _rebuild(self, x: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        f = self.sae.encode(x)
        self._active += int((f > 0).sum(1)[kept].sum())
        if self._cutoffs is not None:
            self._active_at_threshold += int((f > self._cutoffs).sum(1)[kept].sum())
        rebuilt, rows = self.sae.decode(f), x[kept].double()
        self._error += (rebuilt[kept] - rows).square().sum().item()
        self._squares += rows.square().sum().item()
        self._total += rows.sum(0)
        self.rows += len(rows)
        return rebuilt

    @property
    def mean(self) -> torch.Tensor:
        """(d_in,) float64: the mean of the scored activations."""
        return self._total / self.rows

    @property
    def l0(self) -> float:
        """Mean number of features > 0."""
        return self._active / self.rows

    @property
    def l0_at_threshold(self) -> float | None:
        """Mean number of features > `THRESHOLD` times their maximum; None without statistics of the SAE."""
        return None if self._cutoffs is None else self._active_at_threshold / self.rows

    @property
    def fvu(self) -> float | None:
        """Squared error over squared distance from the mean; None if all activations are equal."""
        return share(self._error, self._squares - self.rows * self.mean.square().sum().item())


def _nats(predicted: torch.Tensor, targets: tuple[torch.Tensor, torch.Tensor]) -> float:
    return -predicted[targets].sum(dtype=torch.float64).item()


def trained_bases(sae: SAE, folder: Path, genome: Genome, regions: Iterable[GenomicRegion]) -> int | None:
    """Count the bases of disjoint regions that lie in the windows of the training rows; None if that is not known.

    Contigs are compared by their sequence, not by their names. The windows are read from the shards that
    ``provenance.json`` in the SAE's `folder` names, if they are still there.
    """
    regions = list(regions)
    trained = {contig["M5"]: name for name, contig in sae.metadata.get("genome", {}).items()}
    if not trained:
        return None
    known_as = {contig: trained.get(genome.m5(contig)) for contig in dict.fromkeys(r.contig for r in regions)}
    renamed = [GenomicRegion(name, r.start, r.end) for r in regions if (name := known_as[r.contig])]
    if not renamed:
        return 0
    bed = _windows_file(sae, folder)
    return None if bed is None else _covered_bases(bed, renamed)


def seen_text(trained: int | None) -> str:
    """Say what `trained_bases` found."""
    if trained is None:
        return "whether the SAE was trained on these regions is not known"
    return f"the SAE was trained on {f'{trained:,}' if trained else 'none'} of these bases"


def _windows_file(sae: SAE, folder: Path) -> Path | None:
    """Return ``windows.bed`` of the shards trained on, if both it and their manifest are unchanged."""
    provenance = folder / PROVENANCE
    data = Path(read_made(provenance).get("data") or "") if provenance.is_file() else folder
    manifest, bed = data / MANIFEST, data / WINDOWS
    if not (manifest.is_file() and bed.is_file()):
        return None
    same = sha256(manifest) == sae.metadata.get("training", {}).get("data_sha256")
    if not same:
        return None
    expected = read_json(manifest, {"windows_sha256?": MAYBE_TEXT}).get("windows_sha256")
    return bed if sha256(bed) == expected else None


def _covered_bases(bed: Path, regions: list[GenomicRegion]) -> int:
    """Count the bases of regions that lie in any interval of a BED file."""
    rows = (line.split("\t")[:3] for line in bed.read_text().splitlines())
    windows = [GenomicRegion(contig, int(start), int(end)) for contig, start, end in rows]
    merged = merge_regions(windows, dict.fromkeys(window.contig for window in windows))
    return sum(len(shared) for shared in intersect_regions(regions, merged))
