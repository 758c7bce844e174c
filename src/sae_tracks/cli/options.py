"""Arguments and options that several verbs share, so that a word means the same everywhere."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

if TYPE_CHECKING:
    from sae_tracks.regions import ReadStrand

RELEASE = "JASPAR2024"  # the default of `MatricesOption`


class Scale(StrEnum):
    """The unit of a threshold: fractions of the feature's maximum, or activations."""

    max = "max"
    raw = "raw"


class ReadStrands(StrEnum):
    """The directions in which the model reads."""

    forward = "+"
    reverse = "-"
    both = "both"

    @property
    def each(self) -> "list[ReadStrand]":
        """The read strands, ``+`` first."""
        if self is ReadStrands.both:
            return ["+", "-"]
        return ["+"] if self is ReadStrands.forward else ["-"]


SaePath = Annotated[str, typer.Argument(metavar="SAE", help="SAE directory, or a hub id.")]
GenomePath = Annotated[Path, typer.Argument(metavar="GENOME", help="FASTA, plain or bgzip.")]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", "-m", help="Hub id, id@revision, folder, plug-in NAME:ARG, demo (default: the SAE's own)."),
]
LayerOption = Annotated[
    int | None,
    typer.Option(min=1, help="Read after this block: 3, the default, is hidden_states[3], the output of layers.2."),
]
HookOption = Annotated[
    str | None,
    typer.Option(metavar="MODULE", help="Read the output of a module, such as encoder.layer.11, instead of a layer."),
]
TrustRemoteCodeOption = Annotated[
    bool,
    typer.Option("--trust-remote-code", help="Run Python code of the model's repository; read that code first."),
]
RegionOption = Annotated[
    list[str] | None,
    typer.Option("--region", "-r", help="chr14 or chr14:87,049,332-87,049,831 (1-based inclusive); repeatable."),
]
RegionsOption = Annotated[Path | None, typer.Option("--regions", help="BED file of regions to read.")]
BlackListOption = Annotated[
    Path | None,
    typer.Option("--black-list", "-bl", "--blackListFileName", "--blackList", help="BED file of regions to leave out."),
]
AliasOption = Annotated[
    str | None,
    typer.Option(
        "--alias",
        metavar="ucsc|FILE",
        help="Other names of contigs in annotations: ucsc (chr14, 14, NC_000014.9) or a file like chromAlias.txt.",
    ),
]
_MOTIFS = typer.Option(
    "--motifs",
    metavar="FILE|RELEASE",
    help="Matrices: a file (JASPAR, PFM, MEME, HOMER), or a release (vertebrate CORE) of pyjaspar, such as JASPAR2024.",
)
MotifsOption = Annotated[str | None, _MOTIFS]
MatricesOption = Annotated[str, _MOTIFS]  # for verbs that cannot do without
MaxCoverageOption = Annotated[
    float | None,
    typer.Option(
        "--max-coverage", min=0, max=1, help="Leave out concepts that cover a larger share of the regions' bases."
    ),
]
ShownAnnotationsOption = Annotated[
    list[Path] | None,
    typer.Option("--annotation", help="Genes, sites, ... to show: BED, GTF, GFF3, bigBed, peaks; repeatable."),
]
ReadStrandsOption = Annotated[
    ReadStrands,
    typer.Option("--read-strand", help="+ reads the genome as given, - its reverse complement."),
]
WindowOption = Annotated[
    int | None, typer.Option("--window-size", min=1, help="Bases read at once (default: the model's longest).")
]
ContextOption = Annotated[
    int | None,
    typer.Option(
        "--context", min=0, help="Bases of a window that are only context (default: half of it, at most 8,192)."
    ),
]
MinContextOption = Annotated[
    int,
    typer.Option(min=0, help="Leave out bases with less context, near the ends of contigs and of long runs of N."),
]
FeaturesOption = Annotated[str, typer.Option("--features", "-f", help="Feature ids: 357,12 or 0-9, or @file.")]
ChosenFeaturesOption = Annotated[
    str | None, typer.Option("--features", "-f", help="Feature ids: 357,12 or 0-9, or @file with one per line.")
]
TopOption = Annotated[
    int | None, typer.Option("--top", min=1, help="Features of the N best matches by F1 in the table of --from.")
]
ScoresOption = Annotated[
    Path | None, typer.Option("--from", metavar="TABLE", help="metrics.parquet or metrics.tsv, for --top.")
]
AllFeaturesOption = Annotated[bool, typer.Option("--all", help="Every feature of the SAE.")]
SomeFeaturesOption = Annotated[
    str | None, typer.Option("--features", "-f", help="Feature ids: 357,12 or 0-9, or @file (default: all).")
]
ThresholdOption = Annotated[
    float, typer.Option("--threshold", "-t", min=0, help="A feature is active if its value is strictly greater.")
]
ScaleOption = Annotated[
    Scale, typer.Option(help="Unit of the threshold: max, fractions of the feature's maximum; raw, activations.")
]
DeviceOption = Annotated[str, typer.Option(help="Where the model runs: auto, cpu or cuda.")]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        "--threads", "-p", "--numberOfProcessors", min=1, help="Number of threads (default: all CPUs granted)."
    ),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Print what would be read and written and how long it takes; write nothing.")
]
MismatchOption = Annotated[bool, typer.Option("--allow-mismatch", help="Accept an SAE of another model or layer.")]
SeedOption = Annotated[int, typer.Option(min=0, help="Seed of every random choice.")]
ShardOption = Annotated[
    str | None, typer.Option(help="Do only shard i of n, written i/n, such as $SLURM_ARRAY_TASK_ID/16.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingOptions:
    """The options of every verb that reads a genome through a language model; see `with_options`."""

    region: RegionOption = None
    regions: RegionsOption = None
    black_list: BlackListOption = None
    read_strand: ReadStrandsOption = ReadStrands.forward
    model: ModelOption = None
    window_size: WindowOption = None
    context: ContextOption = None
    min_context: MinContextOption = 0
    device: DeviceOption = "auto"
    threads: ThreadsOption = None
    allow_mismatch: MismatchOption = False
    trust_remote_code: TrustRemoteCodeOption = False


def with_options(without: Iterable[str] = ()) -> Callable[[Callable], Callable]:
    """A decorator for verbs that take options as one object, such as `ReadingOptions`.

    For Typer, a parameter whose type is a dataclass of options stands for the fields of that dataclass.

    Parameters
    ----------
    without : iterable of str
        Fields that the verb does not offer; they keep their defaults.
    """
    left_out = set(without)

    def decorate(verb: Callable) -> Callable:
        flat, groups = [], {}
        for parameter in signature(verb, eval_str=True).parameters.values():
            if is_dataclass(parameter.annotation):
                hints = get_type_hints(parameter.annotation, include_extras=True)
                offered = [field for field in fields(parameter.annotation) if field.name not in left_out]
                groups[parameter.name] = parameter.annotation, [field.name for field in offered]
                flat += [
                    Parameter(field.name, Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name])
                    for field in offered
                ]
            else:
                flat.append(parameter.replace(kind=Parameter.KEYWORD_ONLY))

        def call(**given: Any) -> Any:
            for name, (group, offered) in groups.items():
                given[name] = group(**{field: given.pop(field) for field in offered})
            return verb(**given)

        call.__name__, call.__doc__, call.__module__ = verb.__name__, verb.__doc__, verb.__module__
        call.__dict__["__signature__"] = Signature(flat)
        return call

    return decorate
