"""From a file to the annotated sites of a genome."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow.compute as pc
from numpy.typing import NDArray

from sae_tracks.annotations.bed import BedText, read_text
from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome
from sae_tracks.regions import GenomicRegion, unknown_contig

STRANDS = ("+", "-", ".")
COLUMNS = ("Chromosome", "Start", "End", "Name", "Score", "Strand", "TF")
_MATRIX_ID = re.compile(r"(?:MA|UN)\d{4}\.\d+")
log = logging.getLogger(__name__)


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
    """

    sites: pd.DataFrame
    source: str

    def __len__(self) -> int:
        return len(self.sites)


class Layout(NamedTuple):
    """Which column holds what, counted from 0; None where the file has no such column."""

    name: int | None = None
    score: int | None = None
    strand: int | None = None
    tf: int | None = None


def layout_of(first: Sequence[str]) -> Layout:
    """The layout of a BED file, told from the fields of its first row.

    BED3 to BED12, UCSC's JASPAR tracks (BED6, from 2022 on with the TF's name as a seventh column) and JASPAR's TSV
    per motif (contig, start, end, TF, relative score x 1000, -log10(p) x 100, strand).
    """
    width = len(first)
    if width == 7 and first[5] not in STRANDS and first[6] in STRANDS:
        return Layout(name=3, score=5, strand=6, tf=3)
    named_tf = width == 7 and not first[6].isdecimal()
    return Layout(*(column if column < width else None for column in (3, 4, 5)), tf=6 if named_tf else None)


def read_annotation(path: str | Path, genome: Genome) -> Annotation:
    """Read a BED file or one of its relatives (see `layout_of`), plain, gzip or bgzip.

    A file without names is one concept, called by the file's name. JASPAR's TSV of one motif is called by the matrix
    ID that its file name begins with, else by its TF. Rows on contigs that the genome does not have are left out, and
    counted in the log.

    Raises
    ------
    SaeTracksError
        A row is malformed (the line is named), the file has no row, or no contig in common with the genome.
    """
    bed = read_text(Path(path))
    layout = layout_of(bed.first())
    intervals = _intervals(bed, genome.lengths)
    name = _names(bed, layout)
    score = np.full(len(name), np.nan) if layout.score is None else _scores(bed, layout.score)
    strand = _constant(".", len(name)) if layout.strand is None else _strands(bed, layout.strand)
    tf = _constant("", len(name)) if layout.tf is None else _categories(bed, layout.tf)
    sites = intervals.assign(Name=name, Score=score, Strand=strand, TF=tf)
    return Annotation(_on_known_contigs(sites, bed.path, genome), bed.path.name)


def read_annotations(paths: Sequence[str | Path], genome: Genome) -> Annotation:
    """Several files as one annotation; see `read_annotation`."""
    parts = [read_annotation(path, genome) for path in paths]
    if len(parts) == 1:
        return parts[0]
    text = ["Chromosome", "Name", "Strand", "TF"]
    sites = pd.concat([part.sites.astype(dict.fromkeys(text, object)) for part in parts], ignore_index=True)
    return Annotation(sites.astype(dict.fromkeys(text, "category")), ", ".join(part.source for part in parts))


def read_regions(path: str | Path, genome: Genome, *, skip_unknown: bool = False) -> list[GenomicRegion]:
    """Read the regions of a BED file of three columns or more, in the order of the file.

    Parameters
    ----------
    skip_unknown : bool
        Pass over contigs that the genome does not have, instead of refusing them.

    Raises
    ------
    SaeTracksError
        A row is malformed or on an unknown contig (the line is named), or the file has no row.
    """
    bed = read_text(Path(path))
    intervals = _intervals(bed, genome.lengths)
    unknown = ~intervals["Chromosome"].isin(genome.lengths).to_numpy()
    if not skip_unknown:
        contig = bed.columns[0]
        bed.refuse_any(unknown, lambda row: str(unknown_contig(contig[row].as_py(), genome.lengths, genome.path.name)))
    elif unknown.all():
        log.warning("no contig of %s is in %s: it leaves nothing out", bed.path.name, genome.path.name)
    return [GenomicRegion(*row) for row in intervals[~unknown].itertuples(index=False, name=None)]


def _intervals(bed: BedText, lengths: Mapping[str, int]) -> pd.DataFrame:
    """Chromosome, Start and End of every row, checked against the contigs that the genome has."""
    contig = _categories(bed, 0)
    start, end = bed.whole_numbers(1, "start"), bed.whole_numbers(2, "end")
    bed.refuse_any(start >= end, lambda row: f"start {start[row]:,} is not before end {end[row]:,}")
    known = np.array([lengths.get(name, np.iinfo(np.int64).max) for name in contig.categories], np.int64)
    bed.refuse_any(
        end > known[contig.codes],
        lambda row: f"end {end[row]:,} is past {contig[row]}, which has {lengths[contig[row]]:,} bases",
    )
    return pd.DataFrame({"Chromosome": contig, "Start": start, "End": end})


def _categories(bed: BedText, column: int) -> pd.Categorical:
    """A text column as a categorical, whose categories are the values that occur."""
    encoded = pc.dictionary_encode(bed.columns[column]).combine_chunks()
    names = np.array(encoded.dictionary.to_pylist(), object)
    return pd.Categorical.from_codes(encoded.indices.to_numpy(), names)


def _constant(text: str, n: int) -> pd.Categorical:
    return pd.Categorical.from_codes(np.zeros(n, np.int8), [text])


def _names(bed: BedText, layout: Layout) -> pd.Categorical:
    """The concept of every row."""
    stem = Path(bed.path.name.removesuffix(".gz").removesuffix(".bgz")).stem
    matrix = _MATRIX_ID.match(stem) if layout.name == layout.tf else None
    if layout.name is None or matrix:
        return _constant(matrix[0] if matrix else stem, len(bed.columns[0]))
    text = bed.columns[layout.name]
    bed.refuse_any(pc.equal(text, ""), lambda row: "the name (column 4) is empty")
    return _categories(bed, layout.name)


def _scores(bed: BedText, column: int) -> NDArray[np.float64]:
    """(n,) float64, NaN where the file has ``.``"""
    text = pd.Series(bed.columns[column].to_numpy(zero_copy_only=False), dtype=object)
    scores = pd.to_numeric(text, errors="coerce").to_numpy(np.float64)
    wrong = ~np.isfinite(scores) & (text != ".").to_numpy()
    bed.refuse_any(wrong, lambda row: f"score {text[row]!r} (column {column + 1}) is not a number")
    return scores


def _strands(bed: BedText, column: int) -> pd.Categorical:
    strands = _categories(bed, column)
    wrong = ~np.isin(strands.categories, STRANDS)[strands.codes]
    bed.refuse_any(wrong, lambda row: f"strand {strands[row]!r} (column {column + 1}) is none of + - .")
    return strands


def _on_known_contigs(sites: pd.DataFrame, path: Path, genome: Genome) -> pd.DataFrame:
    """The rows on contigs of the genome; none at all is an error."""
    known = sites["Chromosome"].isin(genome.lengths)
    if not known.any():
        raise _no_contig_in_common(list(sites["Chromosome"].cat.categories), path, genome)
    if not known.all():
        contigs = sites.loc[~known, "Chromosome"].nunique()
        log.info("%s: %d rows on %d contigs that %s does not have are left out", path.name, (~known).sum(), contigs,
                 genome.path.name)  # fmt: skip
        sites = sites[known].reset_index(drop=True)
        sites["Chromosome"] = sites["Chromosome"].cat.remove_unused_categories()
    return sites


def _no_contig_in_common(theirs: list[str], path: Path, genome: Genome) -> SaeTracksError:
    ours = list(genome.lengths)
    add = {f"chr{name}" for name in theirs} & set(ours)
    drop = {name.removeprefix("chr") for name in theirs} & set(ours)
    rename = "s/^/chr/" if add else "s/^chr//" if drop else ""
    advice = f"rename them: sed {rename} {path.name}" if rename else "is it of another assembly?"
    return SaeTracksError(
        f"no contig of {path.name} is in {genome.path.name}: it has {_some(theirs)}; "
        f"the genome has {_some(ours)} ({advice})"
    )


def _some(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names[:2]) + " ..." * (len(names) > 2)
