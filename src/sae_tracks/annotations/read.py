"""From a file to the annotated sites of a genome."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from sae_tracks.annotations import tabix
from sae_tracks.annotations.alias import Contigs
from sae_tracks.annotations.bed import bed_sites
from sae_tracks.annotations.bigbed import is_bigbed, read_bigbed
from sae_tracks.annotations.gtf import gff_sites, is_gff
from sae_tracks.annotations.repeats import is_out, out_sites, rmsk_names, rmsk_sites, soft_mask
from sae_tracks.annotations.sites import COLUMNS, Annotation, intervals, joined
from sae_tracks.annotations.text import Text, read_text
from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import ContigLengths, Genome
from sae_tracks.regions import GenomicRegion, unknown_contig

SOFT_MASK = "softmask"  # the annotation that is the FASTA's own lower case
log = logging.getLogger(__name__)


def read_annotation(
    path: str | Path,
    genome: ContigLengths,
    regions: Iterable[GenomicRegion] | None = None,
    *,
    alias: str | Path | None = None,
) -> Annotation:
    """Read an annotation of any format of ``docs/formats.md``, told by its content; plain, gzip, bgzip or bigBed.

    Rows on contigs that the genome does not have are left out, and counted in the log.

    Parameters
    ----------
    path : path
        The file, or ``softmask`` for the lower case of the FASTA.
    genome : ContigLengths
        Which contigs there are, and how long.
    regions : iterable of GenomicRegion, optional
        Sites that overlap none of these need not be read: by index from a bigBed or a bgzip file with .tbi or .csi.
        Sites that overlap them are the same as without.
    alias : str or path, optional
        Other names of contigs; see `Contigs`.

    Raises
    ------
    SaeTracksError
        A row is malformed (the line is named), the file has no row, is cut short or of another assembly, or has no
        contig in common with the genome.
    """
    contigs = Contigs(genome, alias)
    wanted = None if regions is None else genome.merged(regions)
    if wanted == genome.whole:
        wanted = None
    if str(path) == SOFT_MASK:
        if not isinstance(genome, Genome):
            raise SaeTracksError("the soft-mask is in the FASTA: name it by --genome in place of --assembly")
        return Annotation(soft_mask(genome, wanted)[[*COLUMNS]], f"{genome.path.name}'s soft-mask")
    path = Path(path)
    text = _text(path, contigs, wanted)
    if text.place and not text.rows:
        return Annotation(_none(), path.name)
    return Annotation(_on_known_contigs(_sites(text, contigs)[[*COLUMNS]], path.name, contigs), path.name)


def read_annotations(
    paths: Sequence[str | Path],
    genome: Genome,
    regions: Iterable[GenomicRegion] | None = None,
    *,
    alias: str | Path | None = None,
) -> Annotation:
    """Several files as one annotation; see `read_annotation`."""
    regions = None if regions is None else list(regions)
    parts = [read_annotation(path, genome, regions, alias=alias) for path in paths]
    if len(parts) == 1:
        return parts[0]
    return Annotation(joined([part.sites for part in parts]), ", ".join(part.source for part in parts))


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
    rows = read_text(Path(path)).columns()
    found = intervals(rows, (0, 1, 2), Contigs(genome))
    unknown = ~found["Chromosome"].isin(genome.lengths).to_numpy()
    if not skip_unknown:
        contig = rows.columns[0]
        rows.refuse_any(unknown, lambda row: str(unknown_contig(contig[row].as_py(), genome.lengths, genome.path.name)))
    elif unknown.all():
        log.warning("no contig of %s is in %s: it leaves nothing out", Path(path).name, genome.path.name)
    return [GenomicRegion(*row) for row in found[~unknown].itertuples(index=False, name=None)]


def _text(path: Path, contigs: Contigs, wanted: Sequence[GenomicRegion] | None) -> Text:
    """All of a file, or what its index gives for the regions wanted."""
    if is_bigbed(path):
        return read_bigbed(path, contigs, wanted)
    index = tabix.index_of(path) if wanted is not None else None
    return read_text(path) if index is None or wanted is None else tabix.fetch(path, index, contigs, wanted)


def _sites(text: Text, contigs: Contigs) -> pd.DataFrame:
    """The sites of a file in the format that its content shows."""
    if is_out(text):
        return out_sites(text, contigs)
    rows = text.columns()
    if is_gff(text):
        return gff_sites(rows, contigs)
    if names := rmsk_names(text.names, text.first()):
        return rmsk_sites(rows, names, contigs)
    return bed_sites(rows, contigs)


def _none() -> pd.DataFrame:
    """No sites."""
    types = {"Start": np.int64, "End": np.int64, "Score": np.float64}
    return pd.DataFrame({column: pd.Series(dtype=types.get(column, "category")) for column in COLUMNS})


def _on_known_contigs(sites: pd.DataFrame, source: str, contigs: Contigs) -> pd.DataFrame:
    """The rows on contigs of the genome; none at all is an error."""
    known = sites["Chromosome"].isin(contigs.lengths)
    if not known.any():
        contigs.check_common(list(sites["Chromosome"].cat.categories), source)
    if not known.all():
        unknown = sites.loc[~known, "Chromosome"].nunique()
        log.info("%s: %d rows on %d contigs that %s does not have are left out", source, (~known).sum(), unknown,
                 contigs.genome)  # fmt: skip
        sites = sites[known].reset_index(drop=True)
        sites["Chromosome"] = sites["Chromosome"].cat.remove_unused_categories()
    return sites
