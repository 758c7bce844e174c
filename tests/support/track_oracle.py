"""Drawn genomes, and what their tracks must hold, base by base."""

import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pybigtools
from hypothesis import strategies as st
from toy import OneHotLM, identity_sae, write_fasta

from sae_tracks.dna import reverse_complement
from sae_tracks.genome import Genome
from sae_tracks.regions import GenomicRegion
from sae_tracks.source import Source

WINDOW, CONTEXT = 24, 6
FEATURES = range(6)  # of `OneHotLM`: A, C, G, T, bases read before, C before


def contigs():
    """Sequences with runs of equal bases, short and long N runs, other IUPAC letters and lower case."""
    bases = st.text("ACGTacgt", min_size=1, max_size=30)
    repeats = st.builds(str.__mul__, st.sampled_from("ACGT"), st.integers(1, 40))
    unknown = st.builds(str.__mul__, st.sampled_from("NR"), st.sampled_from([1, 2, 99, 100, 101]))
    return st.lists(bases | repeats | unknown, min_size=1, max_size=4).map("".join)


def genomes():
    """One to three contigs."""
    return st.lists(contigs(), min_size=1, max_size=3).map(lambda found: {f"c{i}": s for i, s in enumerate(found)})


def spans():
    """Where regions lie, as fractions of a contig: (contig number, start, length), or None for the whole genome."""
    part = st.tuples(st.integers(0, 2), st.floats(0, 1), st.floats(0, 1))
    return st.none() | st.lists(part, min_size=1, max_size=3)


def regions_of(records, drawn):
    """The regions of drawn `spans`."""
    if drawn is None:
        return None
    regions, names = [], list(records)
    for number, at, share in drawn:
        name = names[number % len(names)]
        start = int(at * (len(records[name]) - 1))
        regions.append(GenomicRegion(name, start, start + 1 + int(share * (len(records[name]) - start - 1))))
    return regions


def any_readable(records, regions):
    """Whether a base of the regions, or of the genome, is A, C, G or T."""
    parts = records.values() if regions is None else [records[r.contig][r.start : r.end] for r in regions]
    return any(letter in "ACGTacgt" for part in parts for letter in part)


@contextmanager
def toy_source(records, regions=None, strands=("+",), **settings):
    """A source over the genome in a temporary folder, and that folder."""
    with tempfile.TemporaryDirectory() as folder:
        genome = Genome(write_fasta(Path(folder) / "toy.fa", **records))
        sizes = {"window": WINDOW, "context": CONTEXT, **settings}
        yield Source(OneHotLM(64), identity_sae(), genome, regions, strands, **sizes), Path(folder)


def mirrored(records):
    """The reverse complement of every contig."""
    return {name: reverse_complement(sequence.encode()).decode() for name, sequence in records.items()}


def activations(source):
    """{(feature, strand): {contig: (length,) float64}}: what the stream says, NaN on bases that are not readable."""
    lengths = source.genome.lengths
    empty = {(f, s): {c: np.full(n, np.nan) for c, n in lengths.items()} for f in FEATURES for s in source.read_strands}
    for block in source.blocks(FEATURES):
        row = np.repeat(np.arange(len(block.region)), np.diff(block.indptr))
        for feature in FEATURES:
            part = empty[feature, block.read_strand][block.region.contig][block.region.start : block.region.end]
            part[block.readable] = 0
            part[row[block.feature == feature]] = block.value[block.feature == feature]
    return empty


def read_back(path, contig):
    """(length,) float64: a bigWig's values, NaN where there is none."""
    with pybigtools.open(str(path)) as file:
        return file.values(contig, fillna=None)


def recut(blocks, pieces):
    """The same stream in blocks of at most `pieces` bases."""
    for block in blocks:
        for start in range(0, len(block.region), pieces):
            end = min(start + pieces, len(block.region))
            first, last = block.indptr[start], block.indptr[end]
            place = GenomicRegion(block.region.contig, block.region.start + start, block.region.start + end)
            yield replace(
                block,
                region=place,
                readable=block.readable[start:end],
                indptr=block.indptr[start : end + 1] - first,
                feature=block.feature[first:last],
                value=block.value[first:last],
            )


def walk(values, cutoff):
    """Maximal runs of bases above a cutoff, one base after the other: (start, end, maximum)."""
    runs, opened, best = [], None, 0.0
    for i, value in enumerate([*values, np.nan]):
        if value > cutoff:
            opened, best = (i, value) if opened is None else (opened, max(best, value))
        elif opened is not None:
            runs.append((opened, i, best))
            opened = None
    return runs
