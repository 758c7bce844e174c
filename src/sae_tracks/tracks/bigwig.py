"""bigWig: a value on every readable base, nothing elsewhere.

What pyBigWig does not do is done here: it hangs or aborts on a full disk, so the space is reserved first; its header's
maximum leaves out the first value of a file, so the summary is written again; it does not report a cut file, so every
file is opened again before it takes its name.
"""

import errno
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import atomic, make_folder, write_provenance
from sae_tracks.progress import track
from sae_tracks.tracks.folder import BIGWIG, SUMMARY, SUMMARY_OFFSET, Summary, read_summary, track_name
from sae_tracks.tracks.spool import TrackSpool

if TYPE_CHECKING:
    from sae_tracks.source import Source

ZOOMS = 10  # levels at most; IGV needs them
ENTRY_BYTES = 24  # at most, with its share of the zoom levels and of the index
CONTIG_BYTES = 64  # at most, beside its name
MOST_BASES = 2**32 - 1  # coordinates are 32 bit


def write_bigwigs(source: "Source", features: Iterable[int], folder: str | Path) -> list[Path]:
    """Write one bigWig a feature and read strand, in one pass over the genome.

    Parameters
    ----------
    source : Source
        Model, SAE, genome and regions.
    features : iterable of int
        Feature ids.
    folder : path
        Gets ``f357.bw`` (``f357.plus.bw`` and ``f357.minus.bw`` where both strands are read) and ``provenance.json``.

    Returns
    -------
    list of Path
        The files, read strand by read strand, features ascending.

    Raises
    ------
    SaeTracksError
        A feature is not in the SAE, no base of the regions is readable, or a file cannot be written.

    Examples
    --------
    >>> from sae_tracks import Genome, load_lm, load_sae, write_bigwigs
    >>> from sae_tracks.source import Source
    >>> genome = Genome("hg38.fa")
    >>> source = Source(load_lm("demo"), load_sae("sae/"), genome, [genome.region("chr14:87,049,332-87,049,831")])
    >>> write_bigwigs(source, [357], "tracks")
    [PosixPath('tracks/f357.bw')]
    """
    ids = source.sae.check_features(features).tolist()
    lengths = {name: length for name, length in source.genome.lengths.items() if length}
    folder = make_folder(Path(folder))
    with TrackSpool(lengths, folder) as spool:
        for block in source.blocks(ids):
            spool.add(block)
        wanted = [(feature, strand) for strand in source.read_strands for feature in ids]
        paths = []
        for feature, strand in track(wanted, "writing", len(wanted)):
            paths.append(folder / f"{track_name(feature, strand, source.read_strands)}.bw")
            pieces = (piece for runs in spool.value_runs(feature, strand) for piece in spool.line.split(runs))
            write_bigwig(paths[-1], lengths, pieces, spool.most_value_runs(feature, strand))
    write_provenance(folder, **source.provenance(), features=ids)
    return paths


def write_bigwig(path: Path, lengths: Mapping[str, int], pieces: Iterable[tuple[str, NDArray]], most: int) -> None:
    """Write one bigWig; it is there and right, or not there.

    Parameters
    ----------
    path : Path
    lengths : mapping of str to int
        Contig lengths, > 0, in the order wanted.
    pieces : iterable of (str, (k,) RUN)
        Contig and runs on it, ascending, contigs in order; values finite.
    most : int
        The number of runs, or an upper bound.
    """
    too_long = [name for name, length in lengths.items() if length > MOST_BASES]
    if too_long:
        raise SaeTracksError(f"contig {too_long[0]!r} has more than {MOST_BASES:,} bases, which a bigWig cannot hold")
    with atomic(path) as temporary:
        contigs = sum(len(name) + CONTIG_BYTES for name in lengths)
        reserve(temporary, most * ENTRY_BYTES + contigs + (1 << 16))
        tally = Tally()
        try:
            _write(temporary, lengths, tally.watch(pieces))
        except RuntimeError as error:
            raise SaeTracksError(f"cannot write {path}: {error}") from error
        if not tally.bases:  # readers refuse a bigWig without values
            raise SaeTracksError(f"nothing to write into {path.name}: the regions hold no readable base")
        _check(temporary, lengths, tally)
        _write_summary(temporary, tally.summary())


class Tally:
    """Counts what goes into a file."""

    def __init__(self) -> None:
        self.bases, self.total, self.squares = 0, 0.0, 0.0
        self.minimum, self.maximum = math.inf, -math.inf
        self.first: tuple[str, NDArray] | None = None
        self.last: tuple[str, NDArray] | None = None

    def watch(self, pieces: Iterable[tuple[str, NDArray]]) -> Iterator[tuple[str, NDArray]]:
        """Hand the pieces on."""
        for contig, runs in pieces:
            values, widths = runs["value"].astype(np.float64), runs["end"] - runs["start"]
            self.bases += int(widths.sum())
            self.total += float(values @ widths)
            self.squares += float(values**2 @ widths)
            self.minimum = min(self.minimum, float(values.min()))
            self.maximum = max(self.maximum, float(values.max()))
            self.first = self.first or (contig, runs[0])
            self.last = (contig, runs[-1])
            yield contig, runs

    def summary(self) -> Summary:
        return Summary(self.bases, self.minimum, self.maximum, self.total, self.squares)


def reserve(path: Path, size: int) -> None:
    """Raise OSError where `size` bytes do not fit on the disk or into the quota; the file is as empty as before."""
    if not hasattr(os, "posix_fallocate"):  # macOS
        return
    with path.open("wb") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # the file system cannot tell
                raise
        file.truncate(0)


def _write(path: Path, lengths: Mapping[str, int], pieces: Iterable[tuple[str, NDArray]]) -> None:
    import pyBigWig

    bigwig = pyBigWig.open(str(path), "w")
    bigwig.addHeader(list(lengths.items()), maxZooms=ZOOMS)
    for contig, runs in pieces:
        starts, ends = (np.ascontiguousarray(runs[column], np.uint32) for column in ("start", "end"))
        values = np.ascontiguousarray(runs["value"], np.float64)
        bigwig.addEntries([contig] * len(runs), starts, ends=ends, values=values, validate=False)
    bigwig.close()


def _check(path: Path, lengths: Mapping[str, int], tally: Tally) -> None:
    """Read back what tells a whole file from a damaged one."""
    import pyBigWig

    with path.open("rb") as file:
        file.seek(-4, os.SEEK_END)
        whole = file.read(4) == BIGWIG.to_bytes(4, "little")
    found = read_summary(path)
    whole &= found.bases == tally.bases and math.isclose(found.total, tally.total, rel_tol=1e-6)
    if whole:
        with pyBigWig.open(str(path)) as bigwig:
            whole = bigwig.chroms() == dict(lengths)
            for contig, run in filter(None, (tally.first, tally.last)):
                start, end, value = run.tolist()
                whole &= bigwig.intervals(contig, start, end) == ((start, end, value),)
    if not whole:
        raise SaeTracksError(f"{path.name} is not what was written: is the disk full or failing?")


def _write_summary(path: Path, summary: Summary) -> None:
    """Write the exact summary over pyBigWig's, whose maximum leaves out the first value."""
    with path.open("r+b") as file:
        file.seek(SUMMARY_OFFSET)
        file.seek(int.from_bytes(file.read(8), "little"))
        file.write(SUMMARY.pack(summary.bases, summary.minimum, summary.maximum, summary.total, summary.squares))
