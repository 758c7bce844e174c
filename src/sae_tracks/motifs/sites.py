"""Motif sites of a genome: chunk by chunk, and as a BED file."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import PROVENANCE, STDOUT, TOP_SCORE, text_output, write_provenance
from sae_tracks.genome import Genome
from sae_tracks.genome_line import GenomeLine
from sae_tracks.motifs.matrix import Motif
from sae_tracks.motifs.scanner import Hits, Scanner
from sae_tracks.progress import track
from sae_tracks.regions import GenomicRegion

CHUNK = 1 << 20  # bases scanned at once


def scan_genome(
    genome: Genome, scanner: Scanner, regions: Iterable[GenomicRegion] | None = None, *, chunk: int = CHUNK
) -> Iterator[pd.DataFrame]:
    """Yield motif sites in genome order, one table per chunk; all tables together do not depend on `chunk`.

    Regions that overlap or touch are merged; a site lies within one of them. Default: all contigs.

    Yields
    ------
    DataFrame
        `Annotation`'s columns: ``Chromosome``, ``Start``, ``End``, ``Name`` (matrix ID), ``Score`` (-log10 p x 100,
        rounded down as in the JASPAR tracks, at most 1000), ``Strand``, ``TF``; ascending by start, end, name, strand.
        Categories are the same in all tables.
    """
    chunks = list(genome_chunks(genome, regions, scanner.widest, chunk))
    columns = SiteColumns(genome, scanner.motifs)
    for region, starts in track(chunks, "scanning", len(chunks)):
        yield columns.table(scanner.scan(genome.sequence(region), starts).shift(columns.line.place(region)))


def genome_chunks(
    genome: Genome, regions: Iterable[GenomicRegion] | None, widest: int, chunk: int = CHUNK
) -> Iterator[tuple[GenomicRegion, int]]:
    """Yield regions to scan, and in how many of their first bases a site may start; each start comes once."""
    for region in genome.merged(regions):
        for start in range(region.start, region.end, chunk):
            end = min(start + chunk, region.end)
            yield GenomicRegion(region.contig, start, min(end + widest - 1, region.end)), end - start


def write_sites(
    genome: Genome,
    scanner: Scanner,
    out: str | Path,
    regions: Iterable[GenomicRegion] | None = None,
    facts: Mapping[str, object] | None = None,
) -> int:
    """Write motif sites as sorted BED6+1, laid out as JASPAR's tracks at UCSC; return the number of sites.

    Columns: contig, start, end (0-based half-open), matrix ID, score, strand, TF name. Rows ascend by contig (in the
    order of the FASTA), start, end, matrix ID, strand. `out` is bgzip with a tabix index if it ends in ``.gz``, and
    stdout if it is ``-``. A file gets ``NAME.provenance.json`` beside it, with the `facts`, if given.
    """
    regions = genome.merged(regions)
    count = 0
    with text_output(out, max(genome.lengths.values())) as write:
        for table in scan_genome(genome, scanner, regions):
            write(table.astype({"Score": np.int64}).to_csv(sep="\t", header=False, index=False))
            count += len(table)
    if str(out) == STDOUT:
        return count
    out = Path(out)
    record = {
        "genome": genome.record(region.contig for region in regions),
        "regions": [str(region) for region in regions],
        "motifs": [motif.matrix_id for motif in scanner.motifs],
        "sites": count,
    }
    write_provenance(out.parent, file_name=f"{out.name}.{PROVENANCE}", **(facts or {}), **record)
    return count


def bed_scores(minus_log10_p: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) float64, whole numbers: -log10 p x 100, rounded down, at most 1000: 400 or more is p <= 1e-4."""
    return np.minimum(np.floor(100 * minus_log10_p + 1e-9), TOP_SCORE)


class SiteColumns:
    """Hits as rows of an annotation, whose categories are those of the genome and the motifs.

    Starts of hits are positions on `line`.
    """

    def __init__(self, genome: Genome, motifs: Sequence[Motif]) -> None:
        self.line = GenomeLine(genome.lengths)
        self._names, self._tfs = _encoded(motif.matrix_id for motif in motifs), _encoded(motif.tf for motif in motifs)
        self._widths = np.array([motif.width for motif in motifs])
        if len(self._names.categories) < len(motifs):
            raise SaeTracksError("two motifs have one matrix ID: give each of them once")

    def table(self, hits: Hits) -> pd.DataFrame:
        """Return the rows, sorted by contig (in the order of the genome), start, end, name and strand."""
        end = hits.start + self._widths[hits.motif]
        order = np.lexsort((-hits.strand, self._names.codes[hits.motif], end, hits.start))
        hits, end = hits.take(order), end[order]
        contig = self.line.contigs(hits.start)
        first = self.line.offsets[contig]
        return pd.DataFrame(
            {
                "Chromosome": pd.Categorical.from_codes(contig, self.line.names),
                "Start": hits.start - first,
                "End": end - first,
                "Name": self._names[hits.motif],
                "Score": bed_scores(hits.minus_log10_p),
                "Strand": pd.Categorical.from_codes((hits.strand < 0).astype(np.int8), ["+", "-"]),
                "TF": self._tfs[hits.motif],
            }
        )


def _encoded(names: Iterable[str]) -> pd.Categorical:
    return pd.Categorical(np.array(list(names), object))
