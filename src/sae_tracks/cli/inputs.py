"""What options stand for: features, regions, threads, and the source that a verb reads."""

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING

from sae_tracks.cli.options import ReadingOptions
from sae_tracks.errors import SaeTracksError

if TYPE_CHECKING:
    from sae_tracks.genome import Genome
    from sae_tracks.regions import GenomicRegion
    from sae_tracks.source import Source


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
    """The features of ``-f`` or of ``--top N --from TABLE``; None, which is all of them, for ``--all``."""
    from sae_tracks.metrics import top_features

    if sum((features is not None, top is not None, everything)) != 1 or (top is None) != (scores is None):
        raise SaeTracksError("name features with one of -f 357,12, --top 50 --from metrics.parquet, --all")
    if features is not None:
        return parse_features(features)
    return top_features(scores, top) if scores is not None and top is not None else None


def parse_regions(genome: "Genome", texts: list[str] | None, bed: Path | None) -> "list[GenomicRegion] | None":
    """The regions of ``-r`` and ``--regions``; None if neither is given."""
    from sae_tracks.annotations import read_regions

    if not texts and bed is None:
        return None
    return [genome.region(text) for text in texts or []] + (read_regions(bed, genome) if bed else [])


def parse_black_list(genome: "Genome", bed: Path | None) -> "list[GenomicRegion]":
    """The regions of ``-bl``; those on contigs that the genome does not have are skipped."""
    from sae_tracks.annotations import read_regions

    return read_regions(bed, genome, skip_unknown=True) if bed else []


def use_threads(threads: int | None) -> int:
    """Let torch use this number of threads, by default all CPUs that the scheduler or the affinity mask grants."""
    import torch

    from sae_tracks.threads import granted_cpus

    threads = threads or granted_cpus()
    torch.set_num_threads(threads)
    return threads


def use_share_of_threads(threads: int | None) -> None:
    """The same for a verb that torchrun may run as several processes: they share the CPUs, and only the first logs."""
    from sae_tracks.train.parallel import is_first, share_threads

    granted = use_threads(threads)
    if threads is None:
        share_threads(granted)
    if not is_first():
        logging.getLogger("sae_tracks").setLevel(logging.ERROR)


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
