"""Arguments and options that several verbs share, so that a word means the same everywhere."""

import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from sae_tracks.errors import SaeTracksError

if TYPE_CHECKING:
    from sae_tracks.genome import Genome
    from sae_tracks.reading.windows import ReadStrand
    from sae_tracks.regions import GenomicRegion
    from sae_tracks.source import Source


class Scale(StrEnum):
    """What a threshold is measured against."""

    max = "max"
    raw = "raw"


class ReadStrands(StrEnum):
    """In which direction the model reads."""

    forward = "+"
    reverse = "-"
    both = "both"

    @property
    def each(self) -> "list[ReadStrand]":
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
    str | None, typer.Option(metavar="MODULE", help="Read a module's output, such as encoder.layer.11, not a layer's.")
]
TrustRemoteCodeOption = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run Python code that the model's repository brings: read it first.")
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
RELEASE = "JASPAR2024"  # where a verb cannot do without matrices
MotifsOption = Annotated[
    str | None,
    typer.Option(
        "--motifs",
        metavar="FILE|RELEASE",
        help="Matrices: a file (JASPAR, PFM, MEME), or a release, vertebrate CORE, such as JASPAR2024 from pyjaspar.",
    ),
]
MaxCoverageOption = Annotated[
    float | None,
    typer.Option(
        "--max-coverage", min=0, max=1, help="Leave out concepts that cover a larger share of the regions' bases."
    ),
]
ReadStrandsOption = Annotated[
    ReadStrands, typer.Option("--read-strand", help="+ reads the genome as given, - its reverse complement.")
]
WindowOption = Annotated[
    int | None, typer.Option("--window-size", min=1, help="Bases read at once (default: the model's longest).")
]
ContextOption = Annotated[
    int | None,
    typer.Option("--context", min=0, help="Bases of a window that are only context (default: half, at most 8,192)."),
]
MinContextOption = Annotated[
    int, typer.Option(min=0, help="Leave out bases with less context: near the ends of contigs and runs of N.")
]
FeaturesOption = Annotated[str, typer.Option("--features", "-f", help="Feature ids: 357,12 or 0-9, or @file.")]
ChosenFeaturesOption = Annotated[
    str | None, typer.Option("--features", "-f", help="Feature ids: 357,12 or 0-9, or @file with one a line.")
]
TopOption = Annotated[
    int | None, typer.Option("--top", min=1, help="The features of the N best matches by F1 of the table of --from.")
]
ScoresOption = Annotated[
    Path | None, typer.Option("--from", metavar="TABLE", help="metrics.parquet or metrics.tsv, for --top.")
]
AllFeaturesOption = Annotated[bool, typer.Option("--all", help="Every feature of the SAE.")]
SomeFeaturesOption = Annotated[
    str | None, typer.Option("--features", "-f", help="Feature ids: 357,12 or 0-9, or @file (default: all).")
]
ThresholdOption = Annotated[float, typer.Option("--threshold", "-t", min=0, help="Active means strictly greater.")]
ScaleOption = Annotated[Scale, typer.Option(help="Threshold as a fraction of the feature's maximum, or raw.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
ThreadsOption = Annotated[
    int | None,
    typer.Option("--threads", "-p", "--numberOfProcessors", min=1, help="Threads (default: the CPUs granted)."),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say what would be read, written and how long it takes.")]
MismatchOption = Annotated[bool, typer.Option("--allow-mismatch", help="Accept an SAE of another model or layer.")]
SeedOption = Annotated[int, typer.Option(min=0, help="Seed of every random choice.")]
ShardOption = Annotated[str | None, typer.Option(help="Do part i of n: i/n, such as $SLURM_ARRAY_TASK_ID/16.")]


def parse_features(text: str) -> list[int]:
    """Read ``357,12``, ``0-9`` or ``@file`` (whitespace or commas between ids; ``f357`` is fine too)."""
    if text.startswith("@"):
        try:
            text = Path(text[1:]).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise SaeTracksError(f"cannot read the feature list {text[1:]}: {error}") from error
    ids: list[int] = []
    for word in text.replace(",", " ").split():
        match = re.fullmatch(r"f?(\d{1,7})(?:-(\d{1,7}))?", word)
        if not match or int(match[2] or match[1]) < int(match[1]):
            raise SaeTracksError(f"cannot read feature {word!r}: write ids as 357,12 or 0-9")
        ids += range(int(match[1]), int(match[2] or match[1]) + 1)
    if not ids:
        raise SaeTracksError("no feature asked for: write ids as 357,12 or 0-9")
    return ids


def choose_features(features: str | None, top: int | None, scores: Path | None, everything: bool) -> list[int] | None:
    """The features of ``-f`` or of ``--top N --from TABLE``; None, all of them, with ``--all``."""
    from sae_tracks.tracks.export import top_features

    if sum((features is not None, top is not None, everything)) != 1 or (top is None) != (scores is None):
        raise SaeTracksError("name features with one of -f 357,12, --top 50 --from metrics.parquet, --all")
    if features is not None:
        return parse_features(features)
    return top_features(scores, top) if scores is not None and top is not None else None


def parse_regions(genome: "Genome", texts: list[str] | None, bed: Path | None) -> "list[GenomicRegion] | None":
    """The regions of ``-r`` and ``--regions``; None where neither is given."""
    from sae_tracks.annotations import read_regions

    if not texts and bed is None:
        return None
    return [genome.region(text) for text in texts or []] + (read_regions(bed, genome) if bed else [])


def parse_black_list(genome: "Genome", bed: Path | None) -> "list[GenomicRegion]":
    """The regions of ``-bl``; contigs that the genome does not have are passed over."""
    from sae_tracks.annotations import read_regions

    return read_regions(bed, genome, skip_unknown=True) if bed else []


def use_threads(threads: int | None) -> int:
    """Give torch `threads` threads; by default those the scheduler or the affinity mask grants."""
    import torch

    from sae_tracks.threads import granted_cpus

    threads = threads or granted_cpus()
    torch.set_num_threads(threads)
    return threads


def use_share_of_threads(threads: int | None) -> None:
    """The same where torchrun may have started several processes: they share the machine, and the first one speaks."""
    from sae_tracks.train.parallel import is_first, share_threads

    granted = use_threads(threads)
    if threads is None:
        share_threads(granted)
    if not is_first():
        logging.getLogger("sae_tracks").setLevel(logging.ERROR)


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


def open_source(sae: str, genome: Path, reading: ReadingOptions) -> "Source":
    """The language model, SAE and genome of a verb, after setting the number of threads."""
    from sae_tracks.genome import Genome
    from sae_tracks.sae import load_sae
    from sae_tracks.source import Source, sae_language_model

    use_threads(reading.threads)
    fasta = Genome(genome)
    regions = parse_regions(fasta, reading.region, reading.regions)
    masked = parse_black_list(fasta, reading.black_list)
    loaded = load_sae(sae)
    return Source(
        sae_language_model(loaded, reading.model, reading.device, reading.trust_remote_code),
        loaded,
        fasta,
        regions,
        reading.read_strand.each,
        window=reading.window_size,
        context=reading.context,
        black_list=masked,
        min_context=reading.min_context,
        allow_mismatch=reading.allow_mismatch,
    )


def with_options(without: Iterable[str] = ()) -> Callable[[Callable], Callable]:
    """A decorator for verbs that take their options as one object, such as `ReadingOptions`.

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
