"""From the feature stream to a `Sample`: a sink that keeps some bins."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array

from sae_tracks.controls.sample import REPORT, SELECT, Columns, Sample, bins_of, spread
from sae_tracks.features import FeatureBlock
from sae_tracks.genome import Genome
from sae_tracks.metrics import Evaluation, Halves
from sae_tracks.reading.reader import Reading
from sae_tracks.reading.windows import ReadStrand
from sae_tracks.regions import GenomicRegion
from sae_tracks.sae import SAE
from sae_tracks.sae.encoder import SparseEncoder
from sae_tracks.source import Source

Entries = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]  # bases, features, values
BASES = 1_000_000  # kept of each half, unless one bin is longer


def choose_bins(
    genome: Genome, regions: Sequence[GenomicRegion], halves: Halves, most: int = BASES
) -> tuple[list[GenomicRegion], list[int]]:
    """Bins spread evenly over each half, in the order of the genome, and the half of each; none lies in a run of N.

    Parameters
    ----------
    regions : sequence of GenomicRegion
        What is streamed, disjoint, in FASTA order.
    most : int
        Bases of each half.
    """
    order = {name: i for i, name in enumerate(genome.lengths)}
    tiles = [pair for region in regions for pair in halves.tiles(region)]
    bins = {half: bins_of(tile for tile, h in tiles if h == half) for half in (SELECT, REPORT)}
    bins = {half: [one for one in found if _is_read(genome, one)] for half, found in bins.items()}
    kept = [(one, half) for half, found in bins.items() for one in spread(found, most)]
    kept.sort(key=lambda pair: (order[pair[0].contig], pair[0].start))
    return [one for one, _ in kept], [half for _, half in kept]


def _is_read(genome: Genome, region: GenomicRegion) -> bool:
    """Whether a window covers some of a region."""
    return any(region.overlap(stretch) for stretch in genome.stretches(region.contig))


class Sampler:
    """Keeps letters, activations and features of some bins.

    Parameters
    ----------
    genome : Genome
        Where letters are looked up.
    bins : sequence of GenomicRegion
        Disjoint, ascending in the order of the FASTA; see `choose_bins`.
    half : sequence of int
        Of each bin.
    d_model, d_sae : int
    read_strand : "+" or "-"
        Readings and blocks of the other one are passed over.
    """

    def __init__(
        self,
        genome: Genome,
        bins: Sequence[GenomicRegion],
        half: Sequence[int] | NDArray[np.int8],
        d_model: int,
        d_sae: int,
        read_strand: ReadStrand = "+",
    ) -> None:
        self.bins, self.half = list(bins), np.asarray(half, np.int8)
        self.offset = np.cumsum([0, *map(len, self.bins)])
        self.read_strand, self.d_sae = read_strand, d_sae
        n = int(self.offset[-1])
        self._genome, self._readable = genome, np.zeros(n, bool)
        self._activations = np.zeros((n, d_model), np.float16)
        self._parts: list[Entries] = []
        self._on = {region.contig: [] for region in self.bins}
        for number, region in enumerate(self.bins):
            self._on[region.contig].append(number)

    def look(self, reading: Reading) -> None:
        """Keep the activations of a reading's bases."""
        if reading.read_strand != self.read_strand:
            return
        for there, here in self._shared(reading.region):
            self._activations[here] = reading.activations[there].numpy()
            self._readable[here] = reading.readable[there]

    def add(self, block: FeatureBlock) -> None:
        """Keep the features of a block's bases."""
        if block.read_strand != self.read_strand:
            return
        for there, here in self._shared(block.region):
            entries = slice(block.indptr[there.start], block.indptr[there.stop])
            width = np.diff(block.indptr[there.start : there.stop + 1])
            base = np.repeat(np.arange(here.start, here.stop, dtype=np.int32), width)
            self._parts.append((base, block.feature[entries].copy(), block.value[entries].copy()))

    def sample(self) -> Sample:
        """What was kept."""
        letters = b"".join(self._genome.sequence(region) for region in self.bins)
        parts, self._parts = self._parts, []
        return Sample(
            read_strand=self.read_strand,
            bins=self.bins,
            half=self.half,
            offset=self.offset,
            readable=self._readable,
            letters=np.frombuffer(letters, np.uint8),
            activations=self._activations,
            features=_by_column(parts, int(self.offset[-1]), self.d_sae),
        )

    def _shared(self, region: GenomicRegion):
        """What a region and each bin share: as bases of the region, and as bases of the sample."""
        for i in self._on.get(region.contig, ()):
            both = region.overlap(self.bins[i])
            if both:
                shift = int(self.offset[i]) - self.bins[i].start
                there = slice(both.start - region.start, both.end - region.start)
                yield there, slice(both.start + shift, both.end + shift)


def samplers_of(source: Source, evaluation: Evaluation, most: int = BASES) -> list[Sampler]:
    """A sampler for each read strand of a source, on the same bins."""
    bins, half = choose_bins(source.genome, evaluation.regions, evaluation.halves, most)
    sizes = source.lm.d_model, source.sae.d_sae
    return [Sampler(source.genome, bins, half, *sizes, strand) for strand in source.read_strands]


def seen_through(sample: Sample, sae: SAE) -> Columns:
    """The features of another SAE of the same layer, from the activations that the sample keeps (float16)."""
    encoder, parts = SparseEncoder.of(sae), []
    for start, stop in zip(sample.offset.tolist(), sample.offset[1:].tolist()):
        rows = torch.from_numpy(sample.activations[start:stop])
        indptr, feature, value = encoder.encode(rows, sample.readable[start:stop])
        base = np.repeat(np.arange(start, stop, dtype=np.int32), np.diff(indptr))
        parts.append((base, feature, value))
    return _by_column(parts, len(sample), sae.d_sae)


def _by_column(parts: list[Entries], n: int, d_sae: int) -> Columns:
    """Entries that ascend by base as a matrix by feature."""
    base, feature, value = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    indptr = np.concatenate(([0], np.cumsum(np.bincount(base, minlength=n))))
    columns = csr_array((value, feature, indptr), shape=(n, d_sae)).tocsc()
    return Columns(columns.indptr.astype(np.int64), columns.indices.astype(np.int32), columns.data)
