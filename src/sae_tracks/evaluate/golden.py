"""Whether a HyenaDNA is the model it should be: its next-base losses against those measured elsewhere."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sae_tracks.dna import readable_bases
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import bundled
from sae_tracks.genome import Genome
from sae_tracks.json_file import COUNT, read_json
from sae_tracks.lm import HyenaDNAForCausalLM
from sae_tracks.pretrain.loss import NextBaseLM
from sae_tracks.regions import GenomicRegion

FORMAT_VERSION = 1
SMALL_32K = "next-base-loss/hyenadna-small-32k.json"
GOLDEN = {
    **{"format_version": int, "model": str, "assembly": str, "contig_lengths?": {str: COUNT}},
    "regions": [{"contig": str, "start": COUNT, "end": COUNT, "nats_per_base": float}],
}
TOLERANCE = 1e-3  # nats per base; two GPUs differ by 1e-5 in a logit, a wrong weight by far more


@dataclass(frozen=True, slots=True)
class Golden:
    """Next-base losses of one model, measured elsewhere."""

    model: str  # such as a hub id
    assembly: str  # the genome of the regions
    contig_lengths: dict[str, int]  # of that genome, in bases, as far as known
    # mean cross entropy of each region in nats per base, softmax over A, C, G, T; the first base is not scored
    losses: dict[GenomicRegion, float]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One region's loss in nats per base, measured elsewhere and here."""

    region: GenomicRegion
    expected: float
    found: float

    @property
    def difference(self) -> float:
        return self.found - self.expected

    @property
    def ok(self) -> bool:
        return abs(self.difference) <= TOLERANCE


def read_golden(path: Path | None = None) -> Golden:
    """Read a JSON file of losses; by default the bundled ones of HyenaDNA small-32k on eight regions of hg38."""
    path = bundled(SMALL_32K) if path is None else path
    record = read_json(path, GOLDEN)
    if record["format_version"] != FORMAT_VERSION:
        raise SaeTracksError(f"{path} has format_version {record['format_version']}; expected {FORMAT_VERSION}")
    losses = {
        GenomicRegion(row["contig"], row["start"], row["end"]): float(row["nats_per_base"]) for row in record["regions"]
    }
    golden = Golden(record["model"], record["assembly"], record.get("contig_lengths", {}), losses)
    if not losses:
        raise SaeTracksError(f"{path} holds no region")
    return golden


def check_model(model: HyenaDNAForCausalLM, genome: Genome, golden: Golden) -> list[Comparison]:
    """Measure every region of `golden`, each read alone, from its first base on the forward strand."""
    sequences = [_sequence(genome, region, golden) for region in golden.losses]  # fails before anything is measured
    found = [next_base_loss(model, sequence) for sequence in sequences]
    return [Comparison(*known, loss) for known, loss in zip(golden.losses.items(), found, strict=True)]


def next_base_loss(model: HyenaDNAForCausalLM, sequence: bytes) -> float:
    """Return the mean cross entropy of bases 1..n-1 given those before, in nats per base, softmax over A, C, G, T."""
    if not 2 <= len(sequence) <= model.config.max_seq_len:
        raise SaeTracksError(f"{len(sequence):,} bases to score; this model scores 2 to {model.config.max_seq_len:,}")
    return float(NextBaseLM(model).losses(sequence)[1:].mean(dtype=np.float64))


def assembly_hint(genome: Genome, golden: Golden) -> str:
    """Return the end of an error message if contigs are not as long as the assembly's, else an empty string."""
    for contig, length in golden.contig_lengths.items():
        found = genome.lengths.get(contig, length)
        if found != length:
            name = genome.path.name
            return f" ({contig} has {found:,} bases in {name} and {length:,} in {golden.assembly}: another assembly?)"
    return ""


def _sequence(genome: Genome, region: GenomicRegion, golden: Golden) -> bytes:
    try:
        sequence = genome.sequence(region)
    except SaeTracksError as error:
        raise SaeTracksError(f"{error}{assembly_hint(genome, golden)}") from error
    if other := int((~readable_bases(sequence)).sum()):
        raise SaeTracksError(
            f"{region} of {genome.path.name}: {other:,} of {len(sequence):,} letters are not A, C, G, T;"
            f" take {golden.assembly} with repeats in lower case, not as N{assembly_hint(genome, golden)}"
        )
    return sequence


def verdict(compared: list[Comparison], genome: Genome, golden: Golden) -> None:
    """Raise an error that names the worst region if any differs by more than `TOLERANCE`."""
    failed = [one for one in compared if not one.ok]
    if failed:
        worst = max(failed, key=lambda one: abs(one.difference))
        raise SaeTracksError(
            f"this is not {golden.model}: {len(failed)} of {len(compared)} regions differ by more than {TOLERANCE} nats"
            f" per base, most {worst.region} with {worst.found:.4f}; expected {worst.expected:.4f}"
            f"{assembly_hint(genome, golden)}"
        )
