"""A set of regions, such as peaks: the rows of a file, in the order of the genome."""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.annotations import read_genes, read_rows
from sae_tracks.annotations.genes import first_bases, promoters
from sae_tracks.annotations.sites import only
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import without_endings
from sae_tracks.genome import ContigLengths
from sae_tracks.intervals import NO_SPANS
from sae_tracks.names import counted
from sae_tracks.regions import GenomicRegion, spans_by_contig

COLUMNS = ("Chromosome", "Start", "End", "Name", "Strand", "Row")  # of every set; one of genes has more
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, repr=False)
class RegionSet:
    """Regions of a genome, which may overlap each other.

    Attributes
    ----------
    table : DataFrame
        One row per region in pyranges' columns, by contig in the order of the FASTA, then by ``Start`` and ``End``;
        equal regions stay in the order of the file. ``Chromosome`` (categorical), ``Start``, ``End`` (int64, 0-based
        half-open), ``Name`` ("" if the file gives none), ``Strand`` (+, - or .) and ``Row``, the number of the row in
        the file, from 0.
    source : str
        Where they come from, for messages.
    """

    table: pd.DataFrame
    source: str

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        return f"RegionSet({len(self):,} regions of {self.source})"

    @property
    def name(self) -> str:
        """The source without the endings of a file."""
        return without_endings(self.source)

    def regions(self) -> list[GenomicRegion]:
        """Return the regions, in the order of the table."""
        rows = self.table[["Chromosome", "Start", "End"]].itertuples(index=False, name=None)
        return [GenomicRegion(*row) for row in rows]

    def distinct(self) -> "RegionSet":
        """Return the set without regions that equal an earlier one; a warning counts them."""
        again = self.table.duplicated(["Chromosome", "Start", "End"]).to_numpy()
        if not again.any():
            return self
        twice = counted(again.sum(), f"region of {self.source} is", f"regions of {self.source} are")
        log.warning("%s there twice or more: each counts once", twice)
        return replace(self, table=only(self.table, ~again).reset_index(drop=True))

    def inside(self, regions: Iterable[GenomicRegion]) -> "RegionSet":
        """Return the regions that lie whole in one of others, which are disjoint and ascending.

        A warning counts the others. It is an error if none is left.
        """
        kept = whole_in(self.table, regions)
        if not kept.any():
            raise SaeTracksError(f"no region of {self.source} lies whole in the regions that are read")
        if not kept.all():
            left = counted((~kept).sum(), f"region of {self.source} is", f"regions of {self.source} are")
            log.warning("%s left out: not whole in the regions that are read", left)
        return replace(self, table=only(self.table, kept).reset_index(drop=True))


def region_set(table: pd.DataFrame, genome: ContigLengths, source: str) -> RegionSet:
    """Put the rows of a table, with the columns of `RegionSet`, in the order of a genome.

    Returns
    -------
    RegionSet
        Every row once.
    """
    named = set(table["Chromosome"].unique())
    known = [name for name in genome.lengths if name in named]
    contig = pd.Categorical(table["Chromosome"], known)
    table = table.assign(Chromosome=contig).sort_values(["Chromosome", "Start", "End"], kind="stable")
    return RegionSet(table.reset_index(drop=True), source)


def read_region_set(path: str | Path, genome: ContigLengths, *, alias: str | Path | None = None) -> RegionSet:
    """Read regions from BED or a relative: peaks, UCSC's tables, bigBed; plain, gzip or bgzip.

    Parameters
    ----------
    path : path
        The file. Rows on contigs that the genome does not have are left out and counted in the log.
    genome : ContigLengths
        The FASTA.
    alias : str or path, optional
        Other names of contigs; see `Contigs`.

    Returns
    -------
    RegionSet
        Every other row of the file once; rows may overlap and be equal. A warning says if most are single bases.

    Raises
    ------
    SaeTracksError
        A row is malformed, empty or reaches past its contig (the line is named). The file has no row, no contig in
        common with the genome, or is a table of genes.
    """
    rows, name = read_rows(path, genome, alias=alias), Path(path).name
    single = int((rows["End"].to_numpy() - rows["Start"].to_numpy() == 1).sum())
    if 2 * single > len(rows):
        log.warning(
            "%s: %s of one base, and only this base is measured; to widen a BED: bedtools slop -i %s -g %s -b 100",
            *(name, counted(single, "region"), quote(str(path)), quote(f"{genome.path}.fai")),
        )
    return region_set(rows, genome, name)


def read_gene_set(
    path: str | Path,
    genome: ContigLengths,
    *,
    over: Literal["body", "promoter"] = "body",
    upstream: int = 1000,
    downstream: int = 200,
    alias: str | Path | None = None,
) -> RegionSet:
    """Read the genes of a GTF or GFF3 as regions.

    Parameters
    ----------
    path : path
        The file; see `sae_tracks.annotations.gtf.gene_spans` for what is a gene.
    genome : ContigLengths
        The FASTA.
    over : "body" or "promoter"
        A gene from its first base to its last, or the bases around its start (the 5' end of the gene as a whole).
        Genes without a strand have no promoter: they are left out, and a warning counts them.
    upstream, downstream : int
        Bases of a promoter before the start, and from the start on. It is cut at the end of a contig.
    alias : str or path, optional
        Other names of contigs; see `Contigs`.

    Returns
    -------
    RegionSet
        ``Name`` is the id of the gene, which is numbered if it stands on several contigs or strands; the table also
        has ``gene_name``.

    Raises
    ------
    SaeTracksError
        As `read_region_set`; or the file names no gene, or a promoter has no base.
    """
    name, table = Path(path).name, read_genes(path, genome, alias=alias)
    if over == "promoter":
        if min(upstream, downstream) < 0 or upstream + downstream == 0:
            raise SaeTracksError(f"a promoter of {upstream} bases upstream and {downstream} downstream holds no base")
        first = first_bases(table)
        if len(first) < len(table):
            left = counted(len(table) - len(first), "gene without a strand is", "genes without a strand are")
            log.warning("%s: %s left out", name, left)
        table = promoters(first, upstream, downstream)
        lengths = np.array([genome.lengths[contig] for contig in table["Chromosome"]], np.int64)
        table = table.assign(Start=np.maximum(table["Start"], 0), End=np.minimum(table["End"], lengths))
        table = only(table, table["Start"].to_numpy() < table["End"].to_numpy())
    found = region_set(table, genome, name)
    return replace(found, table=found.table.assign(Name=unique_names(found.table["Name"].tolist())))


def unique_names(names: Sequence[str]) -> list[str]:
    """The names, where one that was there before gets ``-1``, ``-2``, ... at its end, as in AnnData."""
    theirs, given, times, found = set(names), set[str](), Counter[str](), list[str]()
    for name in names:
        new = name
        while new in given or (new != name and new in theirs):
            times[name] += 1
            new = f"{name}-{times[name]}"
        given.add(new)
        found.append(new)
    return found


def whole_in(table: pd.DataFrame, regions: Iterable[GenomicRegion]) -> NDArray[np.bool_]:
    """(n,) bool: which rows of a table lie whole in one of regions, which are disjoint and ascending."""
    theirs, kept = spans_by_contig(regions), np.zeros(len(table), np.bool_)
    for contig, rows in table.groupby("Chromosome", observed=True).indices.items():
        spans = theirs.get(str(contig), NO_SPANS)
        start, end = (table[name].to_numpy(np.int64)[rows] for name in ("Start", "End"))
        held = np.searchsorted(spans[:, 0], start, side="right") - 1
        ends = np.concatenate([spans[:, 1], [-1]])  # of no span, for -1
        kept[rows] = end <= ends[held]
    return kept
