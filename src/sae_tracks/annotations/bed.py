"""BED and its relatives: peaks, JASPAR's motif sites, UCSC's tables."""

import logging
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.annotations.alias import Contigs
from sae_tracks.annotations.sites import STRANDS, constant, intervals, relabelled, strands
from sae_tracks.annotations.text import COLUMN_NAMES, Rows, pc

log = logging.getLogger(__name__)
BED_NUMBER = re.compile(r"[-+]?(?:[0-9.]+(?:e[-+]?[0-9]+)?|inf|nan)", re.IGNORECASE)
MATRIX_ID = re.compile(r"(?:MA|UN)\d{4}\.\d+")  # JASPAR's
_FIELDS = COLUMN_NAMES | {
    "name": ("encodelabel", "name"),  # of an ENCODE cCRE, whose name is its own, the class
    "score": ("score",),
    "strand": ("strand",),
    "tf": ("tfname",),
}
_KNOWN = {word for words in _FIELDS.values() for word in words} | {
    *("thickstart", "thickend", "itemrgb", "reserved", "blockcount", "blocksizes", "chromstarts", "blockstarts"),
    *("signalvalue", "pvalue", "qvalue", "peak"),
}


class BedColumns(NamedTuple):
    """The columns of a BED file by what they hold, counted from 0. None: the file has no such column."""

    contig: int = 0
    start: int = 1
    end: int = 2
    name: int | None = None
    score: int | None = None
    strand: int | None = None
    tf: int | None = None
    one_based: bool = False


def bed_columns(first: Sequence[str], names: Sequence[str] = (), suffix: str = "") -> BedColumns:
    """Find what the columns of a BED file or a relative hold.

    The names of the columns (lower case) decide if there is one per column. They do not if contig, start and end are
    followed by a name of the user's own, such as ``gene``. Otherwise the fields of the file's first row decide between
    BED3 to BED12, with UCSC's ``bin`` or without; narrowPeak, broadPeak and gappedPeak; UCSC's JASPAR tracks (BED6,
    from 2022 on with the TF's name as a seventh column); and JASPAR's TSV of a motif (contig, start, end, TF, relative
    score x 1000, -log10(p) x 100, strand). The suffix of the file's name, such as ``.broadPeak``, decides only if the
    values of a peak could be those of a BED.
    """
    one_based = any("1-based" in name for name in names)
    if len(names) == len(first) and not _is_motif_table(first) and not _is_own(names):
        where = {field: next((names.index(w) for w in words if w in names), None) for field, words in _FIELDS.items()}
        if "signalvalue" in names:  # a peak's name is its own
            where["name"] = None
        return BedColumns(
            **{field: column for field, column in where.items() if column is not None}, one_based=one_based
        )
    skip = int(_has_bin(first))
    first = first[skip:]
    named, scored, stranded = (column if column < len(first) else None for column in (3, 4, 5))
    tf = 6 if len(first) == 7 and not first[6].isdecimal() else None
    if _is_motif_table(first):
        named, scored, stranded, tf = 3, 5, 6, 3
    elif _is_peak(first, suffix):
        named = None
    shifted = [None if column is None else column + skip for column in (named, scored, stranded, tf)]
    return BedColumns(skip, 1 + skip, 2 + skip, *shifted, one_based=one_based)


def bed_sites(rows: Rows, contigs: Contigs) -> pd.DataFrame:
    """The sites of a BED file or a relative, in the order of the file."""
    where = bed_columns(rows.text.first(), rows.text.names, rows.text.plain.suffix)
    if _has_blocks(rows.text.first()[where.contig :]):
        log.info("%s: a site is the whole row; its blocks are not read", rows.text.path.name)
    columns = where.contig, where.start, where.end
    sites = intervals(rows, columns, contigs, one_based=where.one_based)
    return sites.assign(
        Name=_names(rows, where),
        Score=np.nan if where.score is None else rows.numbers(where.score),
        Strand=constant(".", len(rows)) if where.strand is None else strands(rows, where.strand),
        TF=constant("", len(rows)) if where.tf is None else rows.categories(where.tf),
    )


def _names(rows: Rows, where: BedColumns) -> pd.Categorical:
    """The concept of each row; without names in the rows, the file's name or the matrix ID in it."""
    stem = rows.text.plain.stem
    matrix = MATRIX_ID.match(stem) if where.name == where.tf else None
    column = where.name
    if column is None or matrix:
        return constant(matrix[0] if matrix else stem, len(rows))
    rows.refuse_any(pc.equal(rows.columns[column], ""), lambda row: f"the name (column {column + 1}) is empty")
    names = rows.categories(column)
    return relabelled(names.codes, [stem if name == "." else name for name in names.categories])


def own_names(rows: Rows, where: BedColumns) -> NDArray[np.object_]:
    """(n,) str: the name of each row itself, also of a peak; "" for ``.`` and in a file without such a column."""
    names, first = rows.text.names, rows.text.first()
    column = where.contig + 3 if where.contig + 3 < len(first) else None
    if len(names) == len(first) and not _is_motif_table(first) and not _is_own(names):
        column = names.index("name") if "name" in names else None
    if column is None:
        return np.full(len(rows), "", object)
    found = rows.columns[column].to_numpy(zero_copy_only=False)
    return np.where(found == ".", "", found)


def _is_own(names: Sequence[str]) -> bool:
    """Whether contig, start and end come first, and then the only name, in a column such as ``gene``."""
    names = names[names[0] == "bin" :]
    places = all(name in _FIELDS[field] for name, field in zip(names, ("contig", "start", "end")))
    return places and names[3:4] != [] and names[3] not in _KNOWN and "name" not in names


def _has_bin(first: Sequence[str]) -> bool:
    """Whether UCSC's ``bin`` stands before the contig: a number, a name, two numbers."""
    return len(first) > 3 and [bool(re.fullmatch("[0-9]+", field)) for field in first[:4]] == [True, False, True, True]


def _is_motif_table(first: Sequence[str]) -> bool:
    return len(first) == 7 and first[5] not in STRANDS and first[6] in STRANDS


def _is_peak(first: Sequence[str], suffix: str) -> bool:
    """narrowPeak has 10 columns, as no BED has; broadPeak 9, all whole in a BED; gappedPeak BED12 and three more."""
    if suffix in (".narrowPeak", ".broadPeak", ".gappedPeak"):
        return True
    if len(first) == 15:
        return _has_blocks(first) and all(map(BED_NUMBER.fullmatch, first[12:]))
    values = first[6:]
    fractions = [value for value in values if not value.isdecimal()]
    return all(map(BED_NUMBER.fullmatch, values)) and (len(first) == 10 or (len(first) == 9 and fractions != []))


def _has_blocks(first: Sequence[str]) -> bool:
    """Whether a row, from its contig on, has the blocks of BED12: their number, sizes and starts."""
    lists = [field.strip(",").split(",") for field in first[10:12]]
    return len(first) >= 12 and first[9].isdecimal() and [len(one) for one in lists] == [int(first[9])] * 2
