"""Text that goes to a file, plain or bgzip with its index, or to stdout."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sae_tracks.files import atomic

STDOUT = "-"
LONGEST_TBI = 1 << 29  # bases; longer contigs take a .csi

Write = Callable[[str], object]


@contextmanager
def opened(out: str | Path, longest: int) -> Iterator[Write]:
    """What writes BED-like text; a file is whole or absent, and so is its index.

    Parameters
    ----------
    out : path
        ``.gz`` is bgzip, with ``.tbi`` beside it; ``-`` is stdout.
    longest : int
        Bases of the longest contig: from 2^29 on the index is ``.csi``.
    """
    if str(out) == STDOUT:
        yield sys.stdout.write
        sys.stdout.flush()
    elif Path(out).suffix == ".gz":
        with _indexed(Path(out), csi=longest >= LONGEST_TBI) as write:
            yield write
    else:
        with atomic(Path(out)) as temporary, temporary.open("w") as file:
            yield file.write


@contextmanager
def _indexed(out: Path, *, csi: bool) -> Iterator[Write]:
    import pysam

    index, other = (Path(f"{out}.{ending}") for ending in (("csi", "tbi") if csi else ("tbi", "csi")))
    with atomic(index) as temporary_index, atomic(out) as temporary:
        with pysam.BGZFile(str(temporary), "wb") as file:
            yield lambda text: file.write(text.encode())
        pysam.tabix_index(str(temporary), preset="bed", index=str(temporary_index), force=True, csi=csi)
        for old in (index, other):  # no index is better than that of another file
            old.unlink(missing_ok=True)
