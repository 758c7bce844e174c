"""What a benchmark measures of one SAE: scores with all control tests, reconstruction, and the cost of the encoder."""

import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from sae_tracks import __version__
from sae_tracks.controls.opened import ControlSettings
from sae_tracks.controls.score import score
from sae_tracks.controls.untrained import untrained_sources
from sae_tracks.controls.verdict import LEAST_INSTANCES, SUPPORTED
from sae_tracks.dna import NUCLEOTIDES
from sae_tracks.errors import SaeTracksError
from sae_tracks.evaluate.info import yield_of
from sae_tracks.evaluate.outputs import measure_outputs
from sae_tracks.evaluate.recovered import Rebuilder, measure_recovered, trained_bases
from sae_tracks.features import encode_reading
from sae_tracks.genome import Genome
from sae_tracks.lm import GeneLM
from sae_tracks.lm.outputs import OffersOutputs
from sae_tracks.lm.rest import next_base_reader
from sae_tracks.lm.untrained import Kind, OffersUntrained
from sae_tracks.metrics import evaluate_on
from sae_tracks.reading import Reading, read_windows
from sae_tracks.regions import GenomicRegion
from sae_tracks.sae import SAE
from sae_tracks.sae.encoder import SparseEncoder
from sae_tracks.sharing.definition import Benchmark
from sae_tracks.sharing.rows import Row
from sae_tracks.source import Source, sae_language_model

SCORES = "scores"
TIMED_BASES = 50_000  # at least, if the regions have so many
MEGA = 1e6
log = logging.getLogger(__name__)


def measure(
    name: str,
    sae: SAE,
    definition: Benchmark,
    genome: Genome,
    work: Path,
    *,
    device: str = "auto",
    trust_remote_code: bool = False,
) -> Row:
    """Measure one SAE on the bases of a benchmark.

    Parameters
    ----------
    name : str
        What the row calls the SAE.
    sae : SAE
        It says which language model it reads.
    definition : Benchmark
        The benchmark.
    genome : Genome
        As `Benchmark.open` returned it; the other files lie beside it.
    work : path
        Folder for the scores and for the SAEs of untrained models, which are used again.
    device : str
        As for `load_lm`.
    trust_remote_code : bool
        As for `load_lm`.

    Returns
    -------
    dict
        The values of `rows.COLUMNS` but for the replication; ``supported_concepts``; and ``inputs``, the checksums of
        what was read. A number that is not defined is None.

    Raises
    ------
    SaeTracksError
        The SAE does not name its model, or one of its inputs cannot be read.
    """
    lm = sae_language_model(sae, device=device, trust_remote_code=trust_remote_code)
    source = Source(lm, sae, genome, _regions(genome, definition.scored), context=definition.context)
    table = _scores(source, definition, work)
    found = yield_of(work / SCORES, {"checksum": sae.checksum, "d_sae": sae.d_sae, "complete": True})
    supported = found["supported"] if isinstance(lm, OffersUntrained) else None  # else a test was not run
    predicted = replace(source, regions=_regions(genome, definition.predicted))
    return {
        "name": name,
        "model": lm.model_id + (f"@{lm.revision}" if lm.revision else ""),
        "layer": str(lm.hook_name if lm.layer is None else lm.layer),
        "d_sae": sae.d_sae,
        **mean_precision(table),
        "supported": None if supported is None else len(supported),
        "per_thousand": None if supported is None else found["per_thousand"][SUPPORTED],
        **_reconstruction(predicted),
        "mflop": 2 * sae.d_in * sae.d_sae / MEGA,
        "cpu_seconds": _encoder_seconds(predicted),
        "trained_bases": trained_bases(sae, sae.folder or Path(), genome, source.regions or []),
        "sae_sha256": sae.checksum,
        "sae_tracks": __version__,
        "supported_concepts": supported,
        "lm_sha256": lm.checksum,
        "inputs": {"genome": genome.identity(definition.contigs), **definition.files},
    }


def mean_precision(table: pd.DataFrame) -> dict[str, Any]:
    """Average the precision of the best matches.

    Parameters
    ----------
    table : DataFrame
        The rows of ``metrics.tsv``.

    Returns
    -------
    dict
        ``concepts``: how many concepts, by strand, have enough sites on the report half, without A, C, G and T;
        ``site_ap``: the mean of their `site_average_precision`, None without a concept.
    """
    letters = table["concept"].isin([*NUCLEOTIDES]) & (table["tf"] == "")
    enough = ~letters & (table["instances"] >= LEAST_INSTANCES)
    values = table["site_average_precision"].to_numpy(np.float64)[enough.to_numpy(bool)]
    values = values[~np.isnan(values)]
    return {"site_ap": float(values.mean()) if len(values) else None, "concepts": len(values)}


def _regions(genome: Genome, texts: Iterable[str]) -> list[GenomicRegion]:
    return genome.merged([genome.region(text) for text in texts])


def _scores(source: Source, definition: Benchmark, work: Path) -> pd.DataFrame:
    """Score the features with all control tests; return the best match of every concept."""
    files = source.genome.path.parent
    untrained: list[tuple[Kind, Source]] = []
    if isinstance(source.lm, OffersUntrained):
        on, kept = _regions(source.genome, definition.untrained_on), work / "untrained"
        made = untrained_sources(source, on, kept, kept, definition.untrained)
        untrained = [(kind, other) for kind, _, other in made]
    else:
        log.info("%s offers no untrained(), so no verdict can be supported", source.lm.model_id)
    controls = ControlSettings(
        motifs=str(files / _only(definition.motifs)),
        decoys=definition.decoys,
        repeats=str(files / _only(definition.repeats)),
        untrained=untrained,
    )
    annotations = evaluate_on(source.genome, [files / name for name in definition.annotations], source.regions)
    return score(source, annotations, work / SCORES, thresholds=definition.thresholds, controls=controls).table


def _only(files: Iterable[str]) -> str:
    (name,) = files
    return name


def _reconstruction(source: Source) -> dict[str, float | None]:
    """How much of the prediction survives the SAE, and its FVU and L0.

    Of a model whose predictions are not known, FVU and L0 are of the same bases, read as for the scores.
    """
    lm, sae, regions = source.lm, source.sae, source.regions or []
    if isinstance(lm, OffersOutputs):
        found = measure_outputs(lm, sae, source.genome, regions, source.layout, source.read_strands)
    elif _predicts(lm):
        found = measure_recovered(next_base_reader(lm), sae, source.genome, regions)
    else:
        rebuild = Rebuilder(sae, "cpu")
        for reading in _readings(source):
            rebuild(reading.activations, torch.from_numpy(reading.readable))
        return {"ce_recovered": None, "fvu": rebuild.fvu, "l0": rebuild.l0}
    return {"ce_recovered": found.recovered_mean, "fvu": found.fvu, "l0": found.l0}


def _predicts(lm: GeneLM) -> bool:
    """Whether a model has a next-base head."""
    try:
        return bool(next_base_reader(lm).causal_lm)
    except SaeTracksError:
        return False


def _encoder_seconds(source: Source) -> float | None:
    """CPU seconds of the encoder per million bases; None if the regions have only one window."""
    encoder, seconds, bases = SparseEncoder.of(source.sae), 0.0, 0
    for number, reading in enumerate(_readings(source)):
        started = time.process_time()
        for _ in encode_reading(encoder, reading):
            pass
        if number:  # the first window compiles
            seconds, bases = seconds + time.process_time() - started, bases + len(reading.region)
        if bases >= TIMED_BASES:
            break
    return seconds * MEGA / bases if bases else None


def _readings(source: Source) -> Iterator[Reading]:
    return read_windows(source.lm, source.genome, source.windows("+"))
