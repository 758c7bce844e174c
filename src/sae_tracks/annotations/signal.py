"""Quantities along a genome, such as ATAC or conservation, from bigWig and bedGraph: a value per base, or none."""

import gzip
import logging
import re
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.annotations.alias import Contigs
from sae_tracks.annotations.bed import BED_NUMBER
from sae_tracks.annotations.sites import intervals
from sae_tracks.annotations.text import Rows, Text, read_text
from sae_tracks.bbi import BIGWIG, open_bbi, read_summary
from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import ContigLengths
from sae_tracks.names import counted
from sae_tracks.regions import GenomicRegion

_MAGIC = BIGWIG.to_bytes(4, "little"), BIGWIG.to_bytes(4, "big")
_ENDINGS = r"\.(?:bw|bigwig|bg|bdg|bedgraph|wig|txt)$"
_DECLARED = re.compile(rb"\ntrack[ \t][^\n]*type=[\"']?bedGraph", re.IGNORECASE)
_MISSING = ("nan", "na", ".", "inf", "-inf", "+inf", "infinity", "-infinity")
_HEAD = 1 << 16  # bytes in which the first row of a bedGraph lies
log = logging.getLogger(__name__)
Pieces = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]  # starts, ends and values, ascending


class Signal:
    """A quantity along a genome: one number per base, or none.

    A bigWig is read by region. A bedGraph, which has no index of its own, is held in memory, 20 bytes per row.

    Parameters
    ----------
    path : path
        A bigWig or a bedGraph (plain, gzip or bgzip), recognised by its content.
    genome : ContigLengths
        The FASTA.
    alias : str or path, optional
        Other names of contigs; see `Contigs`.

    Attributes
    ----------
    name : str
        The file's name without its ending.
    infinite : int
        Number of infinities so far in the answers of `values`.

    Raises
    ------
    SaeTracksError
        The file is damaged or has no value, a row is malformed or overlaps another one (the line is named), no contig
        is one of the genome's, or a contig has another length there.
    """

    def __init__(self, path: str | Path, genome: ContigLengths, *, alias: str | Path | None = None) -> None:
        self.path, self.infinite = Path(path), 0
        contigs = Contigs(genome, alias)
        self._theirs: dict[str, str] = {}  # the contigs of a bigWig by the genome's names
        self._pieces: dict[str, Pieces] = {}  # of a bedGraph
        if is_bigwig(self.path):
            self._theirs = _bigwig_contigs(self.path, contigs)
            self.name = re.sub(_ENDINGS, "", self.path.name, flags=re.IGNORECASE)
        else:
            text = read_text(self.path)
            self._pieces = _bedgraph(text.columns(), contigs)
            self.name = re.sub(_ENDINGS, "", text.plain.name, flags=re.IGNORECASE)

    def __repr__(self) -> str:
        return f"Signal({self.name}, {'bigWig' if self._theirs else 'bedGraph'})"

    def values(self, region: GenomicRegion) -> NDArray[np.float32]:
        """The values of a region.

        Parameters
        ----------
        region : GenomicRegion
            n bases of a contig of the genome.

        Returns
        -------
        (n,) float32
            NaN on a base without a value, or with an infinite one.
        """
        found = self._from_bigwig(region) if self._theirs else self._from_pieces(region)
        infinite = np.isinf(found)
        self.infinite += int(infinite.sum())
        found[infinite] = np.nan
        return found

    def _from_bigwig(self, region: GenomicRegion) -> NDArray[np.float32]:
        theirs = self._theirs.get(region.contig)
        if theirs is None:
            return np.full(len(region), np.nan, np.float32)
        with open_bbi(self.path) as file:
            return np.array(file.values(theirs, region.start, region.end, numpy=True), np.float32)

    def _from_pieces(self, region: GenomicRegion) -> NDArray[np.float32]:
        found = np.full(len(region), np.nan, np.float32)
        if region.contig in self._pieces:
            start, end, value = self._pieces[region.contig]
            there = slice(np.searchsorted(end, region.start, side="right"), np.searchsorted(start, region.end))
            first = np.maximum(start[there], region.start) - region.start
            width = np.minimum(end[there], region.end) - region.start - first
            base = np.repeat(first - np.cumsum(width) + width, width) + np.arange(width.sum())
            found[base] = np.repeat(value[there], width)
        return found


def is_signal(path: str | Path) -> bool:
    """Whether a file is a bigWig or a bedGraph, and so no annotation of intervals.

    A bedGraph has four columns, of which the fourth is a number. If the file's name ends in ``.bed``, it needs a line
    ``track type=bedGraph`` too, because the names of intervals may be numbers. A pipe is not read and is no signal.
    """
    path = Path(path)
    if not path.is_file():
        return False
    if is_bigwig(path):
        return True
    text = _beginning(path)
    if text is None or not text.rows:
        return False
    declared = bool(_DECLARED.search(text.lines))
    first = text.first()
    if len(first) != 4 or not (BED_NUMBER.fullmatch(first[3]) or first[3].lower() in _MISSING[:2]):
        return declared
    return declared or (text.plain.suffix != ".bed" and "name" not in text.names)


def _beginning(path: Path) -> Text | None:
    """The first whole lines of a text file; None if it is none."""
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path) if zipped else path.open("rb") as file:
            head = file.read(_HEAD)
    except (OSError, EOFError, zlib.error):
        return None
    if b"\0" in head:
        return None
    head = head[: head.rfind(b"\n") + 1] if len(head) == _HEAD else head
    return Text(path, b"\n" + head.replace(b"\r\n", b"\n"))


def is_bigwig(path: Path) -> bool:
    """Whether a file is a bigWig, by its first bytes."""
    if not path.is_file():
        raise SaeTracksError(f"no file {path}")
    with path.open("rb") as file:
        return file.read(4) in _MAGIC


def _bigwig_contigs(path: Path, contigs: Contigs) -> dict[str, str]:
    """The contigs of a bigWig by the genome's names for them."""
    if not read_summary(path).bases:
        raise SaeTracksError(f"{path} has no value: it is empty")
    with open_bbi(path) as file:
        sizes: dict[str, int] = file.chroms()
    contigs.check_common(list(sizes), path.name)
    found: dict[str, str] = {}
    for theirs, ours in zip(sizes, contigs.translate(list(sizes), path.name), strict=True):
        if ours in contigs.lengths:
            contigs.check_length(ours, sizes[theirs], path.name)
            if ours in found:
                raise SaeTracksError(f"{path.name} has {ours} twice, as {found[ours]!r} and {theirs!r}: keep one")
            found[ours] = theirs
    return found


def _bedgraph(rows: Rows, contigs: Contigs) -> dict[str, Pieces]:
    """The rows of a bedGraph by the genome's contigs, sorted."""
    name = rows.text.path.name
    if len(rows.columns) != 4:
        raise rows.text.refuse(0, f"{len(rows.columns)} columns; bedGraph has 4: contig, start, end, value")
    where = intervals(rows, (0, 1, 2), contigs)
    value = _numbers(rows)
    contigs.check_common(list(rows.categories(0).categories), name)
    codes, names = where["Chromosome"].cat.codes.to_numpy(), list(where["Chromosome"].cat.categories)
    start, end = where["Start"].to_numpy(np.int64), where["End"].to_numpy(np.int64)
    order = np.lexsort((start, codes))
    same = codes[order[1:]] == codes[order[:-1]]
    over = np.zeros(len(order), bool)
    over[order[1:]] = same & (start[order[1:]] < end[order[:-1]])
    rows.refuse_any(over, lambda row: f"start {start[row]:,} lies in another row: a base has one value; merge the rows")
    found, unknown = {}, [n for n in names if n not in contigs.lengths]
    for number, contig in enumerate(names):
        mine = order[slice(*np.searchsorted(codes[order], (number, number + 1)))]
        if contig in contigs.lengths:
            found[contig] = start[mine], end[mine], value[mine]
    if unknown:
        many = counted(len(unknown), "contig")
        log.info("%s: rows on %s that %s does not have are left out", name, many, contigs.genome)
    return found


def _numbers(rows: Rows) -> NDArray[np.float32]:
    """The values: finite, infinite, or NaN."""
    text = pd.Series(rows.columns[3].to_numpy(zero_copy_only=False), dtype=object)
    with np.errstate(over="ignore"):
        value = np.asarray(pd.to_numeric(text, errors="coerce"), np.float64).astype(np.float32)
    wrong = np.isnan(value) & ~text.str.lower().isin(_MISSING).to_numpy(bool)
    rows.refuse_any(wrong, lambda row: f"value {text[row]!r} (column 4) is not a number")
    return value
