"""Saturation mutagenesis in the model: every single-base change of a region, and what it does to features."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sae_tracks.dna import LETTERS, NUCLEOTIDES, OTHER, codes
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import atomic, make_folder, write_provenance, write_tsv
from sae_tracks.insight.edits import MOST_ROWS, FeatureReader, Frame, open_frame, with_context
from sae_tracks.lm.protocol import OffersEdits
from sae_tracks.names import counted, feature_label, feature_name
from sae_tracks.progress import track
from sae_tracks.regions import GenomicRegion, ReadStrand
from sae_tracks.source import Source
from sae_tracks.tracks.bbi.bigwig import write_bigwig
from sae_tracks.tracks.bbi.runs import make_runs
from sae_tracks.tracks.export import nonempty
from sae_tracks.tracks.folder import track_name

if TYPE_CHECKING:
    import pandas as pd

FORMAT_VERSION = 1
LONGEST = 2_000  # bases of a region
MOST_MAPS = 1 << 30  # bytes of all dependency maps
ARRAYS, TABLE = "saturate.npz", "saturate.tsv"
BLOCK = 32  # neighbouring bases whose copies are read together, from the first of these bases on


@dataclass(frozen=True, slots=True, eq=False)
class Saturation:
    """What every single-base change of a region does to k features, in r read strands.

    All positions and letters are of the forward strand, also those of the read strand ``-``. NaN stands on bases that
    are not A, C, G or T: they are not changed, and their activations are not used.

    Attributes
    ----------
    region : GenomicRegion
        The w bases that are changed.
    sequence : bytes
        Their letters, upper case.
    features : list of int
    read_strands : list of "+" and "-"
    activations : (r, k, w) float32
        Features on the region as it stands.
    peaks : (r, k) int64
        0-based position at which changes are measured.
    changes : (r, k, w, 4) float32
        Activation at the peak if this base becomes A, C, G or T, less that of the region as it stands: 0 for the letter
        that stands there.
    dependency : (r, k, w, w) float32
        ``[..., i, j]`` is the largest absolute change of the activation at base j over the three changes of base i.
    """

    region: GenomicRegion
    sequence: bytes
    features: list[int]
    read_strands: list[ReadStrand]
    activations: NDArray[np.float32]
    peaks: NDArray[np.int64]
    changes: NDArray[np.float32]
    dependency: NDArray[np.float32]

    @property
    def contributions(self) -> NDArray[np.float32]:
        """(r, k, w) float32: minus the mean of the three changes of a base.

        Positive if the letter that stands there raises the activation at the peak.
        """
        return 0 - self.changes.sum(axis=-1) / np.float32(3)

    @property
    def heights(self) -> NDArray[np.float32]:
        """(r, k) float32: activations at the peaks."""
        return np.take_along_axis(self.activations, self.peaks[..., None] - self.region.start, axis=2)[..., 0]

    def tracks(self) -> list[tuple[int, int, str]]:
        """List read strand and feature (as indices into the arrays) and ``f357.plus``, the name in files."""
        pairs = product(enumerate(self.read_strands), enumerate(self.features))
        return [(s, f, track_name(feature, strand, self.read_strands)) for (s, strand), (f, feature) in pairs]

    def table(self) -> "pd.DataFrame":
        """Return one row per change, as ``saturate.tsv`` has them; see docs/formats.md."""
        import pandas as pd

        reference = codes(self.sequence)
        at, alt = np.nonzero((reference[:, None] != OTHER) & (reference[:, None] != np.arange(4)))
        start = self.region.start + at
        change = {"contig": self.region.contig, "start": start, "end": start + 1}
        change |= {"ref": _letters(reference[at]), "alt": _letters(alt)}
        parts = [
            pd.DataFrame(
                {
                    **change,
                    "feature": feature_name(self.features[f]),
                    "read_strand": self.read_strands[s],
                    "peak": self.peaks[s, f],
                    "activation": self.heights[s, f],
                    "change": self.changes[s, f, at, alt],
                }
            )
            for s, f, _ in self.tracks()
        ]
        return pd.concat(parts, ignore_index=True)

    def remarks(self) -> list[str]:
        """Say of each feature and read strand where it was measured and what moves it most, one line each."""
        return [self._remark(s, f) for s, f, _ in self.tracks()]

    def _remark(self, s: int, f: int) -> str:
        name = f"{feature_label(feature_name(self.features[f]))}, read strand {self.read_strands[s]}"
        contig, start = self.region.contig, self.region.start
        at_peak = f"{self.heights[s, f]:.3g} at {contig}:{self.peaks[s, f] + 1:,}"
        silent = not np.nanmax(self.activations[s, f]) > 0
        if silent:
            i, j = np.unravel_index(np.nanargmax(self.dependency[s, f]), self.dependency.shape[2:])
            rise = self.dependency[s, f, i, j]
            most = f"a change of base {start + i + 1:,} raises it to {rise:.3g} at {contig}:{start + j + 1:,} (--at)"
            most = most if rise > 0 else "no change raises it"
            return f"{name}: silent in {self.region}, so changes can only raise it; {most}"
        i, letter = np.unravel_index(np.nanargmax(np.abs(self.changes[s, f])), self.changes.shape[2:])
        ref, alt = chr(self.sequence[i]), NUCLEOTIDES[letter]
        change = float(self.changes[s, f, i, letter])
        most = f"{contig}:{start + i + 1:,} {ref}>{alt} changes it most, by {change:+.3g}"
        return f"{name}: {at_peak}; {most if change else 'no change moves it'}"


def saturate(source: Source, region: GenomicRegion, features: Iterable[int], *, at: int | None = None) -> Saturation:
    """Change every base of a region into each of the three others, and measure features on each changed copy.

    The region is read once with its context (see `open_frame`). A model that offers it (HyenaDNA) then reads each copy
    from the changed base on. Of other models, every copy is read whole.

    Parameters
    ----------
    source : Source
        Model, SAE, genome and read strands. Its regions and black list are not used.
    region : GenomicRegion
        1 to 2,000 bases without a long run of N. Bases that are not A, C, G or T are not changed.
    features : iterable of int
        Feature ids, in the order wanted.
    at : int, optional
        0-based position at which changes are measured. Default: for each feature and read strand the base with the
        highest activation (the first on the forward strand); for a feature that is silent in the region, the last base
        that the model reads.

    Returns
    -------
    Saturation
        Its dependency maps take ``4 k r w^2`` bytes. Beside them, memory holds the activations of 32,768 bases.

    Raises
    ------
    SaeTracksError
        The region is too long, holds no A, C, G or T or reaches into a long run of N; the maps of so many features
        would take more than 1 GB; a feature is not in the SAE; or `at` is not an A, C, G or T of the region.

    Examples
    --------
    >>> region = source.genome.region("chrXVI:314,001-314,200")
    >>> saturate(source, region, [357, 12]).contributions.shape
    (1, 2, 200)
    """
    ids = _ids(source, features)
    _check_size(source, region, ids)
    sequence = source.genome.sequence(region)
    _check_peak(region, sequence, at)
    reader = FeatureReader(source.encoder(ids), ids)
    strands = [_one_strand(source, region, strand, reader, at) for strand in source.read_strands]
    arrays = (np.stack(of_all) for of_all in zip(*strands))
    return Saturation(region, sequence, ids, list(source.read_strands), *arrays)


def estimate(source: Source, region: GenomicRegion, features: Sequence[int], *, at: int | None = None) -> str:
    """Say what `saturate` would read, and how much memory the maps take; inputs are checked as `saturate` does."""
    ids = _ids(source, features)
    size = _check_size(source, region, ids)
    sequence = source.genome.sequence(region)
    _check_peak(region, sequence, at)
    copies = 3 * int((codes(sequence) != OTHER).sum())
    fed = max(len(with_context(source, region, strand)) for strand in source.read_strands)
    how = "from the changed base on" if isinstance(source.lm, OffersEdits) else f"whole, {fed:,} bases"
    return (
        f"{copies:,} changed copies of {region} per read strand, each read {how}; {counted(len(ids), 'feature')}, "
        f"read {' and '.join(source.read_strands)}; dependency maps of {size / 1e6:,.1f} MB"
    )


def _ids(source: Source, features: Iterable[int]) -> list[int]:
    """The features, each once, in the order wanted."""
    ids = list(dict.fromkeys(features))
    source.sae.check_features(ids)
    return ids


def _check_size(source: Source, region: GenomicRegion, ids: Sequence[int]) -> int:
    """The bytes of all dependency maps."""
    if len(region) > LONGEST:
        raise SaeTracksError(
            f"{region} has {len(region):,} bases; saturate changes at most {LONGEST:,}: name a shorter region, "
            "such as 200 bases around a peak"
        )
    size = 4 * len(ids) * len(source.read_strands) * len(region) ** 2
    if size > MOST_MAPS:
        raise SaeTracksError(
            f"the dependency maps of {counted(len(ids), 'feature')} over {len(region):,} bases take "
            f"{size / 1e9:.1f} GB, more than {MOST_MAPS / 1e9:.1f} GB: name fewer features or a shorter region"
        )
    return size


def _check_peak(region: GenomicRegion, sequence: bytes, at: int | None) -> None:
    readable = codes(sequence) != OTHER
    if not readable.any():
        raise SaeTracksError(f"{region} holds no A, C, G or T: there is nothing to change")
    if at is None:
        return
    where = f"{region.contig}:{at + 1:,}"
    if not region.start <= at < region.end:
        raise SaeTracksError(f"--at {where} lies outside of {region}: name a base of the region")
    if not readable[at - region.start]:
        raise SaeTracksError(f"--at {where} is {chr(sequence[at - region.start])}: name an A, C, G or T")


def _one_strand(
    source: Source, region: GenomicRegion, strand: ReadStrand, reader: FeatureReader, at: int | None
) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """Activations, peaks, changes and dependency of one read strand, as `Saturation` has them."""
    frame = open_frame(source, region, strand)
    first = int(frame.offsets(np.array([region.start, region.end - 1])).min())
    scan = _Scan(frame, slice(first, first + len(region)), reader, from_change=isinstance(source.lm, OffersEdits))
    given = None if at is None else int(frame.offsets(np.array([at]))[0]) - first
    peaks = scan.peaks(given, last=strand == "-")
    changes, dependency = scan.run(peaks, f"changing bases, read {strand}")
    positions, activations = frame.positions(first + peaks), scan.activations
    if strand == "+":
        return activations, positions, changes, dependency
    return activations[:, ::-1], positions, changes[:, ::-1, ::-1], dependency[:, ::-1, ::-1]


class _Scan:
    """All changes of a part of a frame, in the direction of reading."""

    def __init__(self, frame: Frame, part: slice, reader: FeatureReader, *, from_change: bool) -> None:
        self._frame, self._part, self._reader, self._from_change = frame, part, reader, from_change
        self._letters = frame.letters[part]
        self._codes = codes(self._letters.tobytes())
        self.readable = self._codes != OTHER
        found = reader.values(frame.edits.activations[part]).T
        self.activations = np.where(self.readable, found, np.float32(np.nan))

    def peaks(self, at: int | None, *, last: bool) -> NDArray[np.int64]:
        """(k,) offset of the highest base of each feature: of equals the first, or the last."""
        k, w = self.activations.shape
        if at is not None:
            return np.full(k, at)
        known = np.nan_to_num(self.activations, nan=-1)
        highest = w - 1 - known[:, ::-1].argmax(axis=1) if last else known.argmax(axis=1)
        return np.where(known.max(axis=1) > 0, highest, np.flatnonzero(self.readable)[-1])

    def run(self, peaks: NDArray[np.int64], doing: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(k, w, 4) changes at the peaks, and (k, w, w) dependency."""
        k, w = self.activations.shape
        changes = np.full((k, w, 4), np.nan, np.float32)
        changes[:, self.readable] = 0
        dependency = np.full((k, w, w), np.nan, np.float32)
        dependency[:, self.readable] = 0
        size = BLOCK if self._from_change else max(MOST_ROWS // (3 * len(self._frame.letters)), 1)
        blocks = np.split(np.arange(w), np.arange(size, w, size))
        for block in track(blocks, doing, len(blocks)):
            changed = block[self.readable[block]]
            if not len(changed):
                continue
            first = int(changed[0]) if self._from_change else 0
            moved, alt = self._moved(changed, first)
            dependency[:, changed, first:] = np.abs(moved).max(axis=1).transpose(2, 0, 1)
            for f in np.flatnonzero(peaks >= first):
                changes[f, changed[:, None], alt] = moved[:, :, peaks[f] - first, f]
        dependency[:, :, ~self.readable] = np.nan
        return changes, dependency

    def _moved(self, changed: NDArray[np.int64], first: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """(b, 3, s, k) changes of activations from base `first` on if b bases are changed, and (b, 3) letters."""
        alt = (self._codes[changed, None].astype(np.int64) + np.arange(1, 4)) % 4
        copies = np.repeat(self._letters[None, first:], alt.size, axis=0)
        copies[np.arange(alt.size), np.repeat(changed - first, 3)] = LETTERS[alt.ravel()]
        start, edits = self._part.start + first, self._frame.edits
        # encoded like the copies' unchanged bases, so that their changes are exactly 0
        original = self._reader.values(edits.activations[start : self._part.stop])
        found = self._reader.copies(edits, np.full(alt.size, start), copies)
        found -= original
        return found.reshape(*alt.shape, *original.shape), alt


def _letters(digits: NDArray) -> NDArray[np.str_]:
    return np.array(list(NUCLEOTIDES))[digits]


def write_saturation(found: Saturation, source: Source, folder: str | Path) -> list[Path]:
    """Write bigWigs of the contributions, all arrays, the table of changes, and how they were made.

    Parameters
    ----------
    found : Saturation
        What `saturate` found.
    source : Source
        The source that it was called with.
    folder : path
        Gets ``f357.contributions.bw`` per feature (``f357.plus.contributions.bw`` and ``f357.minus.contributions.bw``
        if both strands were read), ``saturate.npz``, ``saturate.tsv`` and ``provenance.json``; see docs/formats.md.

    Returns
    -------
    list of Path
        The bigWigs.

    Examples
    --------
    >>> write_saturation(saturate(source, region, [357]), source, "out")
    [PosixPath('out/f357.contributions.bw')]
    """
    folder = make_folder(Path(folder))
    lengths, contributions = nonempty(source.genome.lengths), found.contributions
    paths = []
    for s, f, name in found.tracks():
        paths.append(folder / f"{name}.contributions.bw")
        _write_track(paths[-1], lengths, found.region, contributions[s, f])
    with atomic(folder / ARRAYS) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **_arrays(found))
    write_tsv(found.table(), folder / TABLE)
    facts = replace(source, regions=[found.region], black_list=[], min_context=0).identity()
    write_provenance(folder, **facts, features=found.features, peaks=found.peaks.tolist())
    return paths


def _write_track(path: Path, lengths: dict[str, int], region: GenomicRegion, values: NDArray[np.float32]) -> None:
    at = np.flatnonzero(~np.isnan(values))
    start = region.start + at
    write_bigwig(path, lengths, [(region.contig, make_runs(start, start + 1, values[at]))])


def _arrays(found: Saturation) -> dict[str, Any]:
    """The arrays of ``saturate.npz``."""
    return {
        "format_version": np.array(FORMAT_VERSION),
        "contig": np.array(found.region.contig),
        "start": np.array(found.region.start),
        "end": np.array(found.region.end),
        "sequence": np.array(found.sequence.decode()),
        "feature": np.array(found.features),
        "read_strand": np.array(found.read_strands),
        "activation": found.activations,
        "peak": found.peaks,
        "change": found.changes,
        "contribution": found.contributions,
        "dependency": found.dependency,
    }
