"""Arguments and options of the verbs, so that a word means the same everywhere."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from typer import Argument, Option

from sae_tracks.files import STDOUT, check_file, check_folder

if TYPE_CHECKING:
    from sae_tracks.controls.opened import ControlSettings
    from sae_tracks.genome import Genome
    from sae_tracks.metrics import Evaluation
    from sae_tracks.regions import GenomicRegion, ReadStrand
    from sae_tracks.signals.score import SignalTask
    from sae_tracks.source import Source


def out_file(help: str) -> Any:
    """The option ``-o`` of a verb that writes one file; a place where none can be written is an error at once."""
    return Option("--out", "-o", callback=_checked(check_file), help=help)


def out_folder(help: str) -> Any:
    """The option ``-o`` of a verb that writes a folder, in the same way."""
    return Option("--out", "-o", callback=_checked(check_folder), help=help)


def _checked(check: Callable[[Path], None]) -> Callable:
    def checked(out):
        if out is not None and str(out) != STDOUT:
            check(Path(out))
        return out

    return checked


RELEASE = "JASPAR2024"  # the default of `MatricesOption`
ACTIVE = "A feature is active if its value is strictly greater."
LOCUS = "chr14:87,049,332-87,049,831 (1-based inclusive)"
MODEL_HELP = "Hub id, id@revision, folder, weights.ckpt, plug-in NAME:ARG, or demo or yeast (bundled models)"

Scale = Literal["max", "raw"]
SAE_HELP = "SAE directory, or hf:owner/name or hf:owner/name@revision of the hub"
SaePath = Annotated[str, Argument(metavar="SAE", help=f"{SAE_HELP}.")]
GenomePath = Annotated[Path, Argument(metavar="GENOME", help="FASTA, plain or bgzip.")]
LayerOption = Annotated[
    int | None,
    Option(
        min=1,
        help="Read the output of this block; 3, the default, is hidden_states[3], the output of layers.2. The default "
        "of a model with fewer blocks is the last.",
    ),
]
HookOption = Annotated[
    str | None,
    Option(metavar="MODULE", help="Read the output of a module, such as encoder.layer.11, instead of a layer."),
]
WindowsOption = Annotated[
    int | None,
    Option("--n-windows", "-n", min=1, help="Number of windows to sample per read strand (default: all windows)."),
]
_MOTIFS = Option(
    "--motifs",
    metavar="FILE|RELEASE",
    help="Motif matrices: a file (JASPAR, PFM, MEME, HOMER), or a release of JASPAR's vertebrate CORE, such as "
    "JASPAR2024 (needs the package pyjaspar).",
)
MotifsOption = Annotated[str | None, _MOTIFS]
MatricesOption = Annotated[str, _MOTIFS]  # for verbs that cannot do without
ShownAnnotationsOption = Annotated[
    list[Path] | None,
    Option("--annotation", help="Genes, sites, ... to show: BED, GTF, GFF3, bigBed, peaks; repeatable."),
]
SomeFeaturesOption = Annotated[
    str | None, Option("--features", "-f", help="Feature ids: 357,12 or 0-9, or @FILE that lists them (default: all).")
]
AliasOption = Annotated[
    str | None,
    Option(metavar="ucsc|FILE", help="Other names of contigs: ucsc (chr14, 14, NC_000014.9) or a file; see metrics."),
]
RepeatsOption = Annotated[
    str | None, Option(metavar="FILE|softmask|alu", help="Match the share of bases in repeats as well; see metrics.")
]
ThresholdOption = Annotated[float, Option("--threshold", "-t", min=0, help=ACTIVE)]
ScaleOption = Annotated[
    Scale, Option("--scale", help="Unit of the threshold: max, fractions of the feature's maximum; raw, activations.")
]
DeviceOption = Annotated[str, Option("--device", help="Device that computes: auto, cpu or cuda.")]
ThreadsOption = Annotated[
    int | None,
    Option(
        "--threads",
        "-p",
        "--numberOfProcessors",
        min=1,
        help="Number of threads (default: all CPUs that the scheduler grants).",
    ),
]
DryRunOption = Annotated[
    bool, Option("--dry-run", help="Print what would be read and written, and how long it takes. Write nothing.")
]
SeedOption = Annotated[int, Option("--seed", min=0, help="Seed of all random choices.")]
ShardOption = Annotated[
    str | None,
    Option("--shard", help="Read only part i of n of the windows; written i/n, such as $SLURM_ARRAY_TASK_ID/16."),
]
InsightShardOption = Annotated[
    str | None,
    Option(
        "--shard",
        help="Read only part i of n, such as $SLURM_ARRAY_TASK_ID/16, into the folder -o, for merge-shards. What is "
        "complete there is not read again.",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionOptions:
    """Which regions of a genome a verb reads."""

    HEADING: ClassVar[str] = "Regions"
    region: Annotated[
        list[str] | None,
        Option("--region", "-r", help=f"Region to read: chr14 or {LOCUS}; repeatable (default: the whole genome)."),
    ] = None
    regions: Annotated[Path | None, Option("--regions", help="BED file of regions to read.")] = None

    def regions_in(self, genome: "Genome") -> "list[GenomicRegion] | None":
        """Return the regions of ``-r`` and ``--regions``, or None if neither is given."""
        from sae_tracks.annotations import read_regions

        if not self.region and self.regions is None:
            return None
        return [*map(genome.region, self.region or ()), *(read_regions(self.regions, genome) if self.regions else ())]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingOptions(RegionOptions):
    """How a verb reads a genome through a language model."""

    HEADING: ClassVar[str] = "How the genome is read"
    black_list: Annotated[
        Path | None,
        Option("--black-list", "-bl", "--blackListFileName", "--blackList", help="BED file of regions to leave out."),
    ] = None
    read_strand: Annotated[
        Literal["+", "-", "both"],
        Option("--read-strand", help="+ reads the genome as given, - reads its reverse complement."),
    ] = "+"
    model: Annotated[str | None, Option("--model", "-m", help=f"{MODEL_HELP} (default: the SAE's model).")] = None
    window_size: Annotated[
        int | None, Option("--window-size", min=1, help="Number of bases per window (default: the model's longest).")
    ] = None
    context: Annotated[
        int | None,
        Option(
            "--context", min=0, help="Bases of a window that are context only (default: half of it, at most 8,192)."
        ),
    ] = None
    min_context: Annotated[
        int,
        Option(
            "--min-context", min=0, help="Leave out bases with less context, near ends of contigs and long runs of N."
        ),
    ] = 0
    device: DeviceOption = "auto"
    threads: ThreadsOption = None
    allow_mismatch: Annotated[bool, Option("--allow-mismatch", help="Accept an SAE of another model or layer.")] = False
    trust_remote_code: Annotated[
        bool, Option("--trust-remote-code", help="Run Python code of the model's repository. Read that code first.")
    ] = False

    @property
    def read_strands(self) -> "list[ReadStrand]":
        """The read strands, ``+`` first."""
        return ["+", "-"] if self.read_strand == "both" else [self.read_strand]

    def black_list_in(self, genome: "Genome") -> "list[GenomicRegion]":
        """Return the regions of ``-bl``, without those on contigs that the genome does not have."""
        from sae_tracks.annotations import read_regions

        return read_regions(self.black_list, genome, skip_unknown=True) if self.black_list else []


# the options that would do nothing if no language model is read; how the machine is used is no statement
_USED_ANYWAY = ("region", "regions", "black_list", "device", "threads")
READING = tuple(field.name for field in fields(ReadingOptions) if field.name not in _USED_ANYWAY)


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterOptions:
    """Which concepts `metrics` scores, and on which bases."""

    HEADING: ClassVar[str] = "Concepts and bases that are scored"
    min_instances: Annotated[
        int, Option(min=1, help="Leave out concepts with fewer sites per strand within the regions.")
    ] = 10
    min_score: Annotated[
        float | None,
        Option(help="Leave out sites with a lower score, in the file's units (UCSC's JASPAR: 400 is p = 1e-4)."),
    ] = None
    max_coverage: Annotated[
        float | None, Option(min=0, max=1, help="Leave out concepts that cover a larger share of the regions' bases.")
    ] = None
    alias: Annotated[
        str | None,
        Option(
            metavar="ucsc|FILE",
            help="Other names of contigs in annotations: ucsc (chr14, 14, NC_000014.9) or a file like chromAlias.txt.",
        ),
    ] = None
    select_on: Annotated[
        list[str] | None,
        Option(metavar="REGION|BED", help="Choose features and thresholds on these contigs or regions; repeatable."),
    ] = None
    report_on: Annotated[
        list[str] | None,
        Option(
            metavar="REGION|BED", help="Report scores on these; repeatable. If one of the two is not given: the rest."
        ),
    ] = None
    no_split: Annotated[bool, Option("--no-split", help="Choose and report on all bases, not on alternate blocks.")] = (
        False
    )

    def evaluation(
        self,
        genome: "Genome",
        annotations: list[str],
        regions: "list[GenomicRegion] | None",
        black_list: "list[GenomicRegion]",
    ) -> "Evaluation":
        """Read the annotations, and split the regions into halves."""
        from sae_tracks import evaluate_on

        return evaluate_on(
            genome,
            annotations,
            regions,
            black_list=black_list,
            min_score=self.min_score,
            min_instances=self.min_instances,
            max_coverage=self.max_coverage,
            alias=self.alias,
            split=not self.no_split,
            select=self.select_on or (),
            report=self.report_on or (),
        )

    def signal_task(
        self,
        source: "Source",
        signals: list[str],
        out: Path,
        features: list[int] | None,
        bin_size: int,
        shard: str | None,
    ) -> "SignalTask":
        """Open signals, and split the regions of the source into halves."""
        from sae_tracks.metrics import halves_on
        from sae_tracks.signals.score import SignalTask

        halves = halves_on(
            source.genome,
            source.regions or [],
            split=not self.no_split,
            select=self.select_on or (),
            report=self.report_on or (),
        )
        alias = self.alias
        return SignalTask(source, signals, halves, out, features=features, bin_size=bin_size, alias=alias, shard=shard)


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlOptions:
    """What `metrics` compares the best matches with."""

    HEADING: ClassVar[str] = "Control tests of the best matches"
    controls: Annotated[
        Literal["standard", "untrained", "none"],
        Option("--controls", help="Control tests: standard; untrained, also with untrained models (long); or none."),
    ] = "standard"
    motifs: MotifsOption = None
    decoys: Annotated[
        int | None,
        Option(min=1, help="Decoys wanted per motif, with --motifs (default: 5 to 199, more for few motifs)."),
    ] = None
    repeats: Annotated[
        str | None,
        Option(metavar="FILE|softmask|alu", help="Repeats: rmsk table, RepeatMasker .out, BED; lower case; or Alu."),
    ] = None
    seeds: Annotated[
        list[str] | None, Option(metavar="SAE", help=f"{SAE_HELP}, of another seed to compare with; repeatable.")
    ] = None
    trained_on: Annotated[
        str | None,
        Option(
            metavar="FOLDER|BED|REGION",
            help="For --controls untrained: activations that the SAE was trained on (default: as it records), or "
            "regions to train the SAEs of untrained models on.",
        ),
    ] = None

    def settings(self, sae: str) -> "ControlSettings | None":
        """Return the settings for `score`, or None for ``--controls none``."""
        from sae_tracks.controls.opened import ControlSettings
        from sae_tracks.controls.untrained import recorded_activations

        if self.controls == "none":
            return None
        return ControlSettings(
            motifs=self.motifs,
            decoys=self.decoys,
            repeats=self.repeats,
            seeds=self.seeds or (),
            trained_on=(self.trained_on or recorded_activations(sae)) if self.controls == "untrained" else None,
        )
