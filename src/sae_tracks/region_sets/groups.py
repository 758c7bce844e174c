"""Groups of regions to draw, one per file or concept: peaks, genes, sites."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from sae_tracks.annotations import read_annotation, read_transcripts
from sae_tracks.annotations.sites import Annotation, joined, only, series
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import without_endings
from sae_tracks.genome import ContigLengths
from sae_tracks.intervals import NO_SPANS, as_spans, overlapping_pairs
from sae_tracks.regions import GenomicRegion, spans_by_contig


def read_groups(
    paths: Sequence[str | Path],
    genome: ContigLengths,
    concepts: Sequence[str] = (),
    *,
    regions: Sequence[GenomicRegion] | None = None,
    alias: str | Path | None = None,
) -> pd.DataFrame:
    """Read regions of any format of ``docs/formats.md`` in groups.

    Parameters
    ----------
    paths : sequence of path
        Without `concepts`, each file is a group. Of a GTF or GFF3 these are its transcripts.
    genome : ContigLengths
        Rows on other contigs are left out and counted in the log.
    concepts : sequence of str
        Names, such as ``splice_donor``: each one of each file that has it is a group.
    regions : sequence of GenomicRegion, optional
        Sites that overlap none of these are left out.
    alias : str or path, optional
        Other names of contigs; see `Contigs`.

    Returns
    -------
    DataFrame
        The columns of `Annotation`, and ``Group``, a categorical in the order of the arguments. Within a group, the
        order is that of the file.

    Raises
    ------
    SaeTracksError
        A file cannot be read, no file has a concept, or no site lies in the regions.
    """
    files = [(without_endings(path), _read(path, genome, concepts, alias).sites) for path in paths]
    groups = files if not concepts else _named(files, concepts)
    kept = [(label, inside) for label, sites in groups if len(inside := _inside(sites, regions))]
    if not kept:
        raise SaeTracksError("no site lies in the regions")
    labels, tables = zip(*kept)
    number = np.repeat(np.arange(len(kept)), [len(table) for table in tables])
    return joined(tables).assign(Group=pd.Categorical.from_codes(number, distinct(labels)))


def distinct(labels: Sequence[str]) -> list[str]:
    """Return labels of which each one is there once: those that occur more often get a number."""
    count = Counter(labels)
    return [f"{label} {labels[:i].count(label) + 1}" if count[label] > 1 else label for i, label in enumerate(labels)]


def _read(path: str | Path, genome: ContigLengths, concepts: Sequence[str], alias: str | Path | None) -> Annotation:
    whole = None if concepts else read_transcripts(path, genome, alias=alias)
    per_base = any(name == "intergenic" or name.startswith("CDS:") for name in concepts)
    return whole or read_annotation(path, genome, alias=alias, per_base=per_base)


def _named(files: Sequence[tuple[str, pd.DataFrame]], concepts: Sequence[str]) -> list[tuple[str, pd.DataFrame]]:
    """The sites of each concept in each file that has it."""
    groups = []
    for concept in concepts:
        having = [(name, sites) for name, sites in files if concept in sites["Name"].cat.categories]
        if not having:
            known = ", ".join(sorted({str(name) for _, sites in files for name in sites["Name"].cat.categories})[:20])
            raise SaeTracksError(f"no site is called {concept!r}; there are {known}")
        label = f"{concept} ({{}})" if len(files) > 1 else concept
        groups += [(label.format(name), only(sites, series(sites, "Name") == concept)) for name, sites in having]
    return groups


def _inside(sites: pd.DataFrame, regions: Sequence[GenomicRegion] | None) -> pd.DataFrame:
    """The sites that overlap at least one of the regions."""
    if regions is None:
        return sites
    keep, spans = np.zeros(len(sites), bool), spans_by_contig(regions)
    for contig, rows in sites.groupby("Chromosome", observed=True).indices.items():
        here = as_spans(sites[["Start", "End"]].to_numpy()[rows])
        keep[rows[overlapping_pairs(here, spans.get(str(contig), NO_SPANS))[0]]] = True
    return only(sites, keep)
