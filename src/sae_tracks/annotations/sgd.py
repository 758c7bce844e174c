"""The feature table of the Saccharomyces Genome Database (``SGD_features.tab``)."""

import logging
import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from sae_tracks.annotations import genes
from sae_tracks.annotations.alias import Contigs
from sae_tracks.annotations.sites import constant, intervals, joined, only, series, strands
from sae_tracks.annotations.text import Rows, Text, pc
from sae_tracks.errors import SaeTracksError
from sae_tracks.names import counted
from sae_tracks.regions import GenomicRegion

log = logging.getLogger(__name__)
SGD_COLUMNS = (8, 9, 10)  # chromosome, start, stop
_TYPE, _PARENT, _STRAND = 1, 6, 11
_WIDTH = 16
_SGDID = re.compile("[SL][0-9]{9}")


def is_sgd(text: Text) -> bool:
    """Whether a file is SGD's table of features: 16 columns, an SGDID first, and W, C or nothing as the strand."""
    first = text.first()
    return len(first) == _WIDTH and bool(_SGDID.fullmatch(first[0])) and first[_STRAND] in ("W", "C", "")


def sgd_sites(
    rows: Rows, contigs: Contigs, regions: Sequence[GenomicRegion] | None = None, *, per_base: bool = True
) -> pd.DataFrame:
    """The features of SGD's table, each a site of its type; those with equal type and place are one site.

    ``CDS:1`` to ``CDS:3`` are the bases of coding sequence by position in the codon. The first CDS row of a parent
    begins with a whole codon. Features without a place are left out and counted in the log.

    Parameters
    ----------
    regions, per_base
        See `gff_sites`.

    Raises
    ------
    SaeTracksError
        A row is malformed (the line is named), or no row has a place.
    """
    placed = np.logical_and.reduce([pc.not_equal(rows.columns[i], "").to_numpy() for i in SGD_COLUMNS])
    if not placed.any():
        raise SaeTracksError(f"{rows.text.path.name} has no feature with chromosome, start and stop")
    if not placed.all():
        left = counted((~placed).sum(), "feature without a place is", "features without a place are")
        log.info("%s: %s left out", rows.text.path.name, left)
    rows = _forward(rows.only(placed))
    frame = intervals(rows, SGD_COLUMNS, contigs, one_based=True)
    frame = frame.assign(Name=rows.categories(_TYPE), Strand=strands(rows, _STRAND, {"W": "+", "C": "-", "": "."}))
    sites = [frame.drop_duplicates()]
    if per_base:
        sites.append(genes.codon_positions(_coding(frame, rows), genes.Landmarks(contigs.lengths), regions))
    table = joined(sites)
    return table.assign(Score=np.nan, TF=constant("", len(table)))


def _forward(rows: Rows) -> Rows:
    """The rows with start before stop; on strand C, a file has them the other way round."""
    _, first, last = SGD_COLUMNS
    crick = pc.equal(rows.columns[_STRAND], "C")
    columns = list(rows.columns)
    columns[first] = pc.if_else(crick, rows.columns[last], rows.columns[first])
    columns[last] = pc.if_else(crick, rows.columns[first], rows.columns[last])
    return Rows(rows.text, columns, rows.number)


def _coding(frame: pd.DataFrame, rows: Rows) -> pd.DataFrame:
    """Coding rows that name a parent, with phases; see `genes.with_phases`."""
    parent = rows.categories(_PARENT)
    coding = (series(frame, "Name") == "CDS").to_numpy() & np.asarray(parent != "", bool)
    transcript = genes.numbered(parent.codes.astype(np.int64), frame)
    return genes.with_phases(only(frame.assign(transcript=transcript, phase=-1), coding))
