"""What a benchmark is made of: fixed regions, annotations and controls, all known by checksums."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from sae_tracks.bootstrap import DRAWS
from sae_tracks.controls.items import BLOCKS, PIECE
from sae_tracks.controls.verdict import LEAST_INSTANCES, MOST_Q, TESTS
from sae_tracks.demo import yeast
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import digest, sha256
from sae_tracks.genome import Genome
from sae_tracks.lm.untrained import Kind
from sae_tracks.metrics import THRESHOLDS

# What the program itself decides: other values would be another benchmark
RULES = {
    "draws": DRAWS,
    "blocks": BLOCKS,
    "piece": PIECE,
    "least_instances": LEAST_INSTANCES,
    "most_q": MOST_Q,
    "tests": [test.name for test in TESTS],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """A benchmark. Two with equal `checksum` measure the same on the same bases.

    Attributes
    ----------
    name, version : str, int
        The version changes with anything that changes a number.
    about : str
        One sentence for people.
    genome : str
        Name of the FASTA among the files that `write` writes.
    contigs : mapping
        M5 of each contig that is read.
    scored, predicted : sequence of str
        Regions of the scores; and those of the cross entropy, FVU and L0. 1-based inclusive, as on the command line.
    annotations, motifs, repeats : mapping
        SHA-256 of each file; motifs and repeats have one each.
    decoys : int
        Decoys wanted per motif.
    untrained : sequence of (kind, seed)
        Models that have learned nothing.
    untrained_on : sequence of str
        Regions on which their SAEs are trained.
    thresholds : sequence of float
        Shares of each feature's maximum.
    context : int, optional
        Bases of a window that are only context; None: half of the model's longest window, at most 8,192.
    write : function
        Writes the files into a folder.
    """

    name: str
    version: int
    about: str
    genome: str
    contigs: Mapping[str, str]
    scored: Sequence[str]
    predicted: Sequence[str]
    annotations: Mapping[str, str]
    motifs: Mapping[str, str]
    repeats: Mapping[str, str]
    decoys: int
    untrained: Sequence[tuple[Kind, int]]
    untrained_on: Sequence[str]
    thresholds: Sequence[float] = THRESHOLDS
    context: int | None = None
    write: Callable[[Path], object]

    def record(self) -> dict[str, Any]:
        """Everything that the numbers depend on, as JSON."""
        named = {
            field.name: getattr(self, field.name) for field in fields(self) if field.name not in ("about", "write")
        }
        return json.loads(json.dumps(named | {"rules": RULES}))

    @property
    def checksum(self) -> str:
        """SHA-256 of the record."""
        return digest([json.dumps(self.record(), sort_keys=True)])

    @property
    def files(self) -> dict[str, str]:
        """SHA-256 of all files besides the genome."""
        return {**self.annotations, **self.motifs, **self.repeats}

    def open(self, folder: Path) -> Genome:
        """Write the files into a folder and check them; return the genome.

        Raises
        ------
        SaeTracksError
            A contig or a file is not the one of the definition.
        """
        self.write(folder)
        genome = Genome(folder / self.genome)
        for contig, m5 in self.contigs.items():
            found = genome.m5(contig) if contig in genome.lengths else "no such contig"
            if found != m5:
                raise SaeTracksError(f"benchmark {self.name}: {contig} of {genome.path} has M5 {found}, expected {m5}")
        for name, expected in self.files.items():
            if (found := sha256(folder / name)) != expected:
                raise SaeTracksError(
                    f"benchmark {self.name}: {folder / name} has SHA-256 {found:.12}..., expected {expected:.12}...: "
                    "it is another file, so the results would not be comparable"
                )
        return genome


YEAST = Benchmark(
    name="yeast",
    version=1,
    about="Genes, elements and motif sites of baker's yeast on chromosome XVI, with all control tests.",
    genome="yeast.fa.gz",
    contigs={"chrXIII": "073f9ff1c599c1a6867de2c7e4355394", "chrXVI": "232475e9a61a5e07f9cb2df4a2dad757"},
    scored=("chrXVI",),
    predicted=("chrXVI:300,001-500,000",),
    annotations={
        "genes.gtf.gz": "46eb16a0197b339554933376066f3fd61a91d28ea37c201cad2c64fee85233b6",
        "elements.bed": "c2ff8fb9f75e81d093438750b286d4919ffa95469c00e2a12f0a4a1fabea0d41",
        "sites.bed": "f73edc830a57abcd942315b1fb31194f44dd5fd13bbcfc82fc44082e4464319a",
    },
    motifs={"motifs.jaspar": "7e5aa4a50fc0b217ebcb8001955e747a9cb9f011fb9ad98b58ba08be433f8c2b"},
    repeats={"repeats.bed": "fa7939772f9f12a24999631b5fb1566e39428938ee29df723a31bbe50017bd95"},
    decoys=yeast.DECOYS,
    untrained=(("random", 0), ("permuted", 0)),
    untrained_on=("chrXIII:300,001-600,000",),
    write=yeast.prepare,
)
BENCHMARKS = {YEAST.name: YEAST}


def named_benchmark(name: str) -> Benchmark:
    """Return the benchmark of a name, or an error that lists the names."""
    if name not in BENCHMARKS:
        raise SaeTracksError(f"no benchmark {name!r}: there are {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]
