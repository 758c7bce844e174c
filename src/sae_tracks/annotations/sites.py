"""Annotated intervals of a genome, and the checks that every format's rows go through."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import union_categoricals

from sae_tracks.annotations.alias import Contigs
from sae_tracks.annotations.text import Rows

STRANDS = ("+", "-", ".")
COLUMNS = ("Chromosome", "Start", "End", "Name", "Score", "Strand", "TF")
TEXT = ("Chromosome", "Name", "Strand", "TF")


@dataclass(frozen=True, slots=True)
class Removal:
    """What one filter left out.

    Attributes
    ----------
    filter : str
        The filter with its setting, such as ``--min-score 400``.
    sites, concepts : int
        How many it left out; a concept counts where no site of its name is left.
    left : int
        Sites that remain.
    """

    filter: str
    sites: int
    concepts: int
    left: int


@dataclass(frozen=True, slots=True)
class Annotation:
    """Annotated intervals of a genome.

    Attributes
    ----------
    sites : DataFrame
        One row an instance, in pyranges' columns: ``Chromosome``, ``Start``, ``End`` (0-based half-open, forward),
        ``Name`` (the concept: matrix ID, exon, ...), ``Score`` (float, NaN where there is none), ``Strand``
        (+, - or .: the site strand) and ``TF`` (name of the transcription factor, or empty).
    source : str
        The file names, for messages.
    removed : tuple of Removal
        What the filters left out, in their order.
    """

    sites: pd.DataFrame
    source: str
    removed: tuple[Removal, ...] = ()

    def __len__(self) -> int:
        return len(self.sites)


def constant(text: str, n: int) -> pd.Categorical:
    """A text column of n times the same."""
    return pd.Categorical.from_codes(np.zeros(n, np.int8), [text])


def relabelled(codes: NDArray[np.integer], labels: Sequence[str]) -> pd.Categorical:
    """``labels[codes]`` as a categorical; labels may occur more than once."""
    place = {label: i for i, label in enumerate(dict.fromkeys(labels))}
    index = np.array([place[label] for label in labels], np.int64)
    return pd.Categorical.from_codes(index[codes], list(place))


def intervals(rows: Rows, columns: tuple[int, int, int], contigs: Contigs, *, one_based: bool = False) -> pd.DataFrame:
    """Chromosome (the genome's name for it), Start and End of every row, 0-based half-open.

    Parameters
    ----------
    columns : (contig, start, end)
        Counted from 0.
    one_based : bool
        Whether the file's positions count from 1 and include the end.

    Raises
    ------
    SaeTracksError
        A coordinate is malformed, the start not before the end, the end past its contig, or rows that came by an
        index are not in order; the line is named.
    """
    contig, start, end = columns
    theirs = rows.categories(contig)
    start, end = rows.whole_numbers(start, "start"), rows.whole_numbers(end, "end")
    if one_based:
        rows.refuse_any(start == 0, lambda row: "start 0, where positions count from 1")
        rows.refuse_any(start > end, lambda row: f"start {start[row]:,} is after end {end[row]:,}")
        start = start - 1
    rows.refuse_any(start >= end, lambda row: f"start {start[row]:,} is not before end {end[row]:,}")
    ours = contigs.translate(list(theirs.categories), rows.text.path.name)
    limit = np.array([contigs.lengths.get(name, np.iinfo(np.int64).max) for name in ours], np.int64)
    rows.refuse_any(
        end > limit[theirs.codes],
        lambda row: f"end {end[row]:,} is past {contigs.past(theirs[row], ours[theirs.codes[row]])}",
    )
    if rows.text.place:
        early = np.concatenate(([False], (start[1:] < start[:-1]) & (theirs.codes[1:] == theirs.codes[:-1])))
        rows.refuse_any(early, lambda row: f"start {start[row]:,} comes after {start[row - 1]:,}: sort and index it")
    return pd.DataFrame({"Chromosome": relabelled(theirs.codes, ours), "Start": start, "End": end})


def strands(rows: Rows, column: int, words: dict[str, str] | None = None) -> pd.Categorical:
    """The site strand of every row; `words` are what a format writes for + - and . besides these."""
    theirs = rows.categories(column)
    words = {strand: strand for strand in STRANDS} | (words or {})
    wrong = np.array([name not in words for name in theirs.categories], bool)[theirs.codes]
    rows.refuse_any(wrong, lambda row: f"strand {theirs[row]!r} (column {column + 1}) is none of {' '.join(words)}")
    return relabelled(theirs.codes, [words[name] for name in theirs.categories])


def joined(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Frames of the same columns one after the other, text as categoricals of what occurs in any."""
    frames = [frame for frame in frames if len(frame)] or list(frames[:1])
    columns = {
        name: union_categoricals([frame[name] for frame in frames])
        if name in TEXT
        else np.concatenate([frame[name] for frame in frames])
        for name in frames[0].columns
    }
    return pd.DataFrame(columns)
