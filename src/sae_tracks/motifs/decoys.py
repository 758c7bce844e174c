"""Decoys: column-shuffled matrices, with as many sites in a genome as the real ones.

The columns of a decoy are those of a motif in another order, so it has the same width, bases and information, and its
scores have the same p-values. What matches a decoy as well as its motif matches by chance or by composition.
"""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.annotations import Annotation
from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome
from sae_tracks.motifs.matrix import Motif
from sae_tracks.motifs.scanner import Hits, Scanner, join_hits, no_hits
from sae_tracks.motifs.sites import CHUNK, SiteColumns, annotation_of, genome_chunks
from sae_tracks.progress import track
from sae_tracks.regions import GenomicRegion

TRIES = 200  # draws per decoy
LAX = 1e-3  # the highest p-value of a decoy's site
SPARE = 1000  # sites held beyond those wanted before the worse ones are dropped


def decoys(motif: Motif, n: int = 5, seed: int = 0) -> list[Motif]:
    """Return n column-shuffled matrices, called ``MA0139.1#1`` and so on.

    None equals the motif, its reverse complement, or another decoy or its reverse complement. They depend on the matrix
    ID, its counts and the seed alone. A motif with too few orders of its columns is an error.
    """
    rng = np.random.default_rng([seed, zlib.crc32(motif.matrix_id.encode())])
    taken, found = [motif.counts], []
    for _ in range(TRIES * n):
        counts = motif.counts[rng.permutation(motif.width)]
        if any(np.array_equal(counts, old) or np.array_equal(counts, old[::-1, ::-1]) for old in taken):
            continue
        taken.append(counts)
        found.append(replace(motif, matrix_id=f"{motif.matrix_id}#{len(found) + 1}", counts=counts))
        if len(found) == n:
            return found
    raise SaeTracksError(
        f"{motif.matrix_id} has only {len(found)} other orders of its columns; {n} decoys were asked for"
    )


@dataclass(frozen=True, slots=True)
class Decoys:
    """Sites of decoys, and how many are missing."""

    annotation: Annotation  # names are MA0139.1#1 to #n
    missing: dict[tuple[str, str], int]  # by decoy and strand, how many fewer sites it has than its motif, if it has


def matched_sites(hits: Hits, n: int) -> Hits:
    """Return the n best-scoring hits (all, if there are fewer), by start.

    Ties go by a hash of the start: no place is preferred, and the best of the best of subsets are the best of all.
    """
    if len(hits) <= n:
        return hits
    best = np.lexsort((_hashed(hits.start), -hits.minus_log10_p))[:n]
    return hits.take(np.sort(best))


def _hashed(numbers: NDArray[np.int64]) -> NDArray[np.uint64]:
    """SplitMix64's hash (Steele et al. 2014)."""
    x = numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def decoy_annotation(
    genome: Genome,
    decoys_of: Mapping[str, Sequence[Motif]],
    target_sites: pd.DataFrame,
    regions: Iterable[GenomicRegion] | None = None,
    *,
    threads: int | None = None,
) -> Decoys:
    """Return sites of the decoys of motifs: per motif and strand as many as the motif has, the best-scoring ones.

    They are the best at p <= 1e-3, whatever their relative score. If the motif's own cut-off leaves a decoy enough
    sites, they are among those.

    `decoys_of` is from `decoys`, by the motif's matrix ID. `target_sites` are the sites of the motifs within the
    regions, as in `Annotation`: ``Name`` is the matrix ID. Motifs without a site among them are skipped.
    """
    counted = target_sites.groupby(["Name", "Strand"], observed=True).size().to_dict()
    wanted: dict[str, tuple[int, int]] = {}
    made: list[Motif] = []
    for name, shuffled in decoys_of.items():
        sites = counted.get((name, "+"), 0), counted.get((name, "-"), 0)
        if any(sites):
            made += shuffled
            wanted |= dict.fromkeys((decoy.matrix_id for decoy in shuffled), sites)
    if not made:
        raise SaeTracksError("none of the motifs has a site to match: do the names of the sites hold matrix IDs?")
    scanner = Scanner(made, p=LAX, relative=0, threads=threads)
    columns = SiteColumns(genome, made)
    best = _best(genome, scanner, columns, [wanted[motif.matrix_id] for motif in made], regions)
    sites = columns.table(best)
    return Decoys(annotation_of(sites, f"{len(made)} decoys"), _missing(sites, wanted))


def _best(
    genome: Genome,
    scanner: Scanner,
    columns: SiteColumns,
    wanted: Sequence[tuple[int, int]],
    regions: Iterable[GenomicRegion] | None,
) -> Hits:
    """Return each motif's best hits, as many per strand as are wanted; starts are on the line of `SiteColumns`."""
    chunks = list(genome_chunks(genome, regions, scanner.widest, CHUNK))
    held: dict[int, Hits] = {}
    for region, starts in track(chunks, "scanning decoys", len(chunks)):
        for hits in scanner.scan_each(genome.sequence(region), starts):
            if not len(hits):
                continue
            i = int(hits.motif[0])
            hits = hits.shift(columns.line(region))
            held[i] = join_hits([held[i], hits]) if i in held else hits
            if len(held[i]) > sum(wanted[i]) + SPARE:
                held[i] = _best_of_strands(held[i], wanted[i])
    return join_hits([no_hits(), *(_best_of_strands(hits, wanted[i]) for i, hits in held.items())])


def _best_of_strands(hits: Hits, wanted: tuple[int, int]) -> Hits:
    strands = zip((1, -1), wanted)
    return join_hits([matched_sites(hits.take(hits.strand == strand), n) for strand, n in strands])


def _missing(sites: pd.DataFrame, wanted: dict[str, tuple[int, int]]) -> dict[tuple[str, str], int]:
    there = sites.groupby(["Name", "Strand"], observed=True).size().to_dict()
    short = {(name, s): n - there.get((name, s), 0) for name, pair in wanted.items() for s, n in zip("+-", pair)}
    return {key: n for key, n in short.items() if n > 0}
