"""What options stand for: features, threads, and the source that a verb reads."""

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING

from sae_tracks.bounded import read_text
from sae_tracks.cli.options import ReadingOptions
from sae_tracks.errors import SaeTracksError, UsageError

if TYPE_CHECKING:
    from sae_tracks.activations.extract import Extraction
    from sae_tracks.source import Source
log = logging.getLogger(__name__)


def parse_features(text: str) -> list[int]:
    """Read ``357,12``, ``0-9`` or ``@file`` (whitespace or commas between ids; ``f357`` is fine too)."""
    if text.startswith("@"):
        try:
            text = read_text(Path(text[1:])).decode()
        except UnicodeDecodeError as error:
            raise SaeTracksError(f"cannot read the feature list {text[1:]}: {error}") from error
    ids: list[int] = []
    for word in text.replace(",", " ").split():
        match = re.fullmatch(r"f?(\d{1,7})(?:-(\d{1,7}))?", word)
        if not match or int(match[2] or match[1]) < int(match[1]):
            raise SaeTracksError(f"cannot read feature {word!r}: write ids as 357,12 or 0-9")
        ids += range(int(match[1]), int(match[2] or match[1]) + 1)
    if not ids:
        raise SaeTracksError("no feature asked for: write ids as 357,12 or 0-9")
    return list(dict.fromkeys(ids))


def choose_features(features: str | None, top: int | None, scores: Path | None, everything: bool) -> list[int] | None:
    """Return the features of ``-f`` or of ``--top N --from TABLE``; None, which is all of them, for ``--all``."""
    from sae_tracks.metrics import top_features

    if sum((features is not None, top is not None, everything)) != 1 or (top is None) != (scores is None):
        raise UsageError("name features with one of -f 357,12, --top 50 --from metrics.parquet, --all")
    if features is not None:
        return parse_features(features)
    return top_features(scores, top) if scores is not None and top is not None else None


def use_threads(threads: int | None) -> int:
    """Let torch use this number of threads, by default all CPUs that the scheduler or the affinity mask grants."""
    import torch

    from sae_tracks.threads import granted_cpus

    threads = threads or granted_cpus()
    torch.set_num_threads(threads)
    return threads


def use_share_of_threads(threads: int | None) -> None:
    """Do the same for a verb that torchrun may run as several processes, which share the CPUs. Only the first logs."""
    from sae_tracks.train.parallel import is_first, share_threads

    granted = use_threads(threads)
    if threads is None:
        share_threads(granted)
    if not is_first():
        logging.getLogger("sae_tracks").setLevel(logging.ERROR)


def open_source(sae: str, genome: Path, reading: ReadingOptions) -> "Source":
    """Set the number of threads, and open the language model, the SAE and the genome of a verb."""
    from sae_tracks import Genome, Source, load_sae
    from sae_tracks.source import sae_language_model

    use_threads(reading.threads)
    fasta = Genome(genome)
    regions, masked = reading.regions_in(fasta), reading.black_list_in(fasta)
    loaded = load_sae(sae)
    return Source(
        sae_language_model(loaded, reading.model, reading.device, reading.trust_remote_code),
        loaded,
        fasta,
        regions,
        reading.read_strands,
        window=reading.window_size,
        context=reading.context,
        black_list=masked,
        min_context=reading.min_context,
        allow_mismatch=reading.allow_mismatch,
    )


def open_extraction(
    model: str,
    genome: Path,
    reading: ReadingOptions,
    *,
    layer: int | None,
    hook: str | None,
    sample: int | None,
    seed: int,
) -> "Extraction":
    """Open a language model and a genome, and choose the windows whose activations are wanted."""
    from sae_tracks import Genome, load_lm, plan_extraction
    from sae_tracks.lm.protocol import place

    fasta = Genome(genome)
    lm = load_lm(model, layer, hook=hook, device=reading.device, trust_remote_code=reading.trust_remote_code)
    log.info("%s, %s", model, place(lm.layer, lm.hook_name))
    return plan_extraction(
        lm,
        fasta,
        reading.regions_in(fasta),
        read_strands=reading.read_strands,
        window=reading.window_size,
        context=reading.context,
        min_context=reading.min_context,
        sample=sample,
        seed=seed,
        black_list=reading.black_list_in(fasta),
    )
