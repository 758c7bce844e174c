"""What is known of an SAE directory, as a record and as lines of text, and whether it is faithful to its model."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from safetensors import SafetensorError

from sae_tracks.bounded import read_arrays
from sae_tracks.controls.verdict import OUTCOMES, SUPPORTED, TEXTS
from sae_tracks.dna import NUCLEOTIDES
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import PROVENANCE
from sae_tracks.json_file import COUNT, check, parse_json
from sae_tracks.lm.protocol import place
from sae_tracks.metrics.scores import BEST_SCORES, COUNTS, read_table
from sae_tracks.names import counted
from sae_tracks.records import read_made
from sae_tracks.sae.directory import CONFIG, STATS, WEIGHTS, load_sae
from sae_tracks.sae.hub import hub_id, locate
from sae_tracks.sae.model import SAE
from sae_tracks.train.checkpoint import FOLDER, checkpoints, is_whole, run_of, step_of
from sae_tracks.train.log import LOG

EVALUATION = "evaluation.json"
EVALUATION_VERSION = 1
EVALUATED = {
    **{"format_version": EVALUATION_VERSION, "regions": [str], "bases": COUNT, "trained_bases": (COUNT, None)},
    **{"l0": float, "threshold?": float, "nats_lm?": float, "nats_sae?": float, "kl_sae?": float},
    **dict.fromkeys(("l0_at_threshold?", "fvu?", "recovered_mean", "recovered_zero"), (float, None)),
}
BAR = 40  # characters of the longest one
# Whether the features of an SAE are worth looking at; docs/methods.md says why these numbers.
MOST_DEAD = 0.1  # less than this share of the features
MOST_FVU = 0.5  # less
MOST_L0 = 0.5  # of d_in, at most
LEAST_RECOVERED = 0.8  # of the cross entropy, against the mean, at least
LEAST_ROWS = 100  # trained on, per feature, at least
PER = 1000  # features, of the yield
Reason = tuple[str, bool]  # not to call an SAE faithful, and whether that was measured
Record = dict[str, Any]
Rows = Iterator[tuple[str, str]]  # name and text
DATA = ("read_strands", "genome", "windows", "window", "context")  # of the metadata, for the record
ROW_COUNTS = ("rows", "data_rows", "gamma")  # of the training in the metadata, for the record
NOT_SETTINGS = {"d_sae", "data_sha256", *ROW_COUNTS}


def sae_record(path: str | Path, scores: str | Path | None = None) -> Record:
    """Return everything that an SAE directory says of itself, and whether it is faithful to its language model.

    The path is as for `load_sae`, or a local folder in which training is under way or was interrupted. Unknown values
    are None. ``l0`` and ``fvu`` are those of ``evaluation`` if there is one, else of the training rows. ``reasons``
    speak against calling the SAE faithful. ``yield`` is that of `yield_of`, if a folder of its scores is given.

    Raises
    ------
    SaeTracksError
        There is no such SAE, or the scores cannot be read or are of another SAE.
    """
    folder = Path(path)
    if hub_id(path):
        folder = locate(path, CONFIG, WEIGHTS, (STATS, EVALUATION, PROVENANCE)).folder
    log, made = _last_line(folder / LOG), _made(folder)
    record: Record = {"sae": str(path), "complete": True, "log": log}
    record |= {"sae_tracks": made.get("sae_tracks"), "command": made.get("command")}
    if not (folder / CONFIG).is_file() and ((folder / FOLDER).is_dir() or log):
        record |= {"complete": False, **_checkpoint(folder)}
    else:
        sae = load_sae(path)
        record |= _of_sae(sae)
        record |= _measured(sae, _evaluation(folder, record["checksum"]))
    reasons = reasons_against(record)
    found = None if scores is None else yield_of(Path(scores), record)
    return record | {"faithful": not reasons, "reasons": reasons, "yield": found}


def yield_of(scores: Path, record: Mapping[str, Any]) -> Record:
    """Count what an SAE gave in a run of `metrics`: concepts by the verdict of their best match.

    A concept on two site strands counts once, with the stronger verdict. A, C, G and T do not count.

    Parameters
    ----------
    scores : Path
        The folder that `metrics` wrote.
    record : mapping
        ``checksum`` and ``d_sae`` of the SAE.

    Returns
    -------
    dict
        ``scores``: the folder; ``concepts``: their number; ``features``: how many were scored; ``verdicts``: the number
        of concepts with each verdict, the strongest first; ``per_thousand``: the same per 1,000 features scored;
        ``supported``: names of the concepts with this verdict.

    Raises
    ------
    SaeTracksError
        There is no table of scores, or it is of another SAE or an SAE whose training is not complete.
    """
    if not record["complete"]:
        raise SaeTracksError("--scores: the training of this SAE is not complete, so it has no scores")
    table = read_table(scores / BEST_SCORES, TEXTS)
    if missing := [name for name in ("concept", "tf", "verdict") if name not in table]:
        raise SaeTracksError(f"{scores / BEST_SCORES} is no table of `metrics`: it has no column {missing[0]!r}")
    facts = _made(scores)
    if facts.get("sae_sha256") != record["checksum"]:
        raise SaeTracksError(f"{scores} has the scores of another SAE, or does not say of which: name its own")
    table = cast(pd.DataFrame, table[~(table["concept"].isin([*NUCLEOTIDES]) & (table["tf"] == ""))])
    rank = {name: i for i, name in enumerate(OUTCOMES)}
    if unknown := sorted(set(table["verdict"]) - set(rank)):
        raise SaeTracksError(f"{scores / BEST_SCORES}: {unknown[0]!r} is no verdict")
    strongest: dict[str, str] = {}
    for concept, found in zip(table["concept"], table["verdict"]):
        strongest[concept] = min(found, strongest.get(concept, found), key=rank.__getitem__)
    counts = {name: list(strongest.values()).count(name) for name in rank}
    features = _features_scored(scores) or record["d_sae"]
    shares = {name: PER * count / features for name, count in counts.items()}
    named = {"scores": str(scores), "concepts": len(strongest), "features": features}
    supported = sorted(concept for concept, found in strongest.items() if found == SUPPORTED)
    return named | {"verdicts": counts, "per_thousand": shares, "supported": supported}


def _features_scored(scores: Path) -> int:
    """How many features were scored; 0 if the counts are gone."""
    if not (scores / COUNTS).is_file():
        return 0
    return len(read_arrays(scores / COUNTS, ["feature"])["feature"])


def _made(folder: Path) -> Record:
    return read_made(folder / PROVENANCE) if (folder / PROVENANCE).is_file() else {}


def _last_line(path: Path) -> Record | None:
    """Return the last whole line of a log that may still be written to."""
    for line in reversed(path.read_bytes().splitlines() if path.is_file() else []):
        with suppress(ValueError):
            return parse_json(line, path.name)
    return None


def _checkpoint(folder: Path) -> Record:
    """Return steps done and settings of the newest checkpoint that can be read."""
    for path in filter(is_whole, checkpoints(folder)):
        with suppress(SafetensorError, OSError, ValueError, LookupError, TypeError):
            settings = run_of(path)["settings"]
            return {"steps_done": step_of(path), "settings": settings}
    return {"steps_done": 0, "settings": {}}


def _of_sae(sae: SAE) -> Record:
    known, training = sae.metadata, sae.metadata.get("training", {})
    named = {"model": known.get("model_name"), "hook_name": known.get("hook_name")}  # all that SAELens writes
    return {
        **{name: getattr(sae, name) for name in ("origin", "architecture", "k", "d_in", "d_sae", "checksum")},
        "lm": known.get("lm", named),
        **{name: known.get(name) for name in DATA},
        **{name: training.get(name) for name in ROW_COUNTS},
        "settings": {name: value for name, value in training.items() if name not in NOT_SETTINGS},
    }


def _measured(sae: SAE, evaluation: Record | None) -> Record:
    on_training, stats = sae.metadata.get("maxima"), sae.stats
    best = evaluation or on_training or {}
    return {
        "maxima": on_training,
        "evaluation": evaluation,
        "l0": best.get("l0"),
        "fvu": best.get("fvu"),
        "dead": None if stats is None else float(stats["dead"].to_numpy(bool).mean()),
        "density": None if stats is None else density_histogram(stats),
    }


def _evaluation(folder: Path, checksum: str) -> Record | None:
    """Return what ``evaluate`` wrote into the directory, unless it is of other weights."""
    path = folder / EVALUATION
    found = read_made(path) if path.is_file() else {}
    if found.get("sae_sha256") != checksum:
        return None
    return check(found, str(path), EVALUATED, "run sae-tracks evaluate again")


def density_histogram(stats: pd.DataFrame) -> Record:
    """Count how many features of `SAE.stats` fire how often.

    ``log10`` are k + 1 >= 2 edges of half a decade that end at 0, density 1. ``features`` are the k counts of the bins
    with their lower edge (the last with both); the first is not 0 unless all features are dead. ``dead`` counts the
    features of density 0.
    """
    density = stats["density"].to_numpy(np.float64)
    logs = np.log10(density[density > 0])
    lowest = min(int(np.floor(2 * logs.min(initial=0.0))), -1)
    edges = np.arange(lowest, 1) / 2
    counts = np.histogram(logs, edges)[0]
    return {"log10": edges.tolist(), "features": counts.tolist(), "dead": len(density) - len(logs)}


def report_lines(record: Record) -> Iterator[str]:
    """Yield lines of text about an SAE; the last two judge the SAE and its language model."""
    if record["complete"]:
        k = f", k {record['k']}" if record["k"] is not None else ""
        size = f"{record['d_in']:,} dimensions to {record['d_sae']:,} features{k}"
        yield f"{record['sae']}: {record['architecture']} SAE, {size}"
    else:
        of = f" of {record['settings']['steps']:,}" if "steps" in record["settings"] else ""
        yield (
            f"{record['sae']}: training is not complete; the same command goes on from the last checkpoint, "
            f"{record['steps_done']:,}{of} steps"
        )
    yield from (f"{name:<16}{text}" for name, text in _rows(record))
    if record["complete"]:
        yield f"{'yield':<16}{_yield(record)}"
    reasons = f" ({'; '.join(record['reasons'])})" if record["reasons"] else ""
    yield f"SAE faithful to its language model: {faithful_in_a_word(record)}{reasons}"
    yield f"language model better than Markov models: {_beyond_markov(record.get('evaluation') or {})}"


def faithful_in_a_word(record: Mapping[str, Any]) -> str:
    """``yes``; ``no``; or ``not known``, if all that speaks against it is that something was not measured."""
    measured = [measured for _, measured in _reasons(record)]
    return "no" if any(measured) else "not known" if measured else "yes"


def _beyond_markov(evaluation: Record) -> str:
    """Whether the model has learned more than short words; an SAE can be faithful to one that has not."""
    if "kl_sae" in evaluation:
        return "not asked (it has outputs of its own)"
    if not evaluation.get("markov"):
        return "not measured (`evaluate` does, if the FASTA has more than the regions)"
    best, nats = evaluation["markov"], evaluation["nats_lm"]
    answer = "yes" if nats < best["nats"] else "no"
    return f"{answer} ({nats:.4f} nats per base against {best['nats']:.4f} of the best, order {best['order']})"


def _yield(record: Record) -> str:
    """What was found with the features, which a good reconstruction does not promise."""
    found = record.get("yield")
    if found is None:
        return f"not known here: sae-tracks info {record['sae']} --scores FOLDER, which metrics wrote"
    shares = [
        f"{name} {found['per_thousand'][name]:.3g} ({count:,})" for name, count in found["verdicts"].items() if count
    ]
    what = f"of {found['concepts']:,} concepts, per {PER:,} of {found['features']:,} features"
    return f"{', '.join(shares) or 'no concept'} ({what})"


def _rows(record: Record) -> Rows:
    if record["complete"]:
        yield from _origin(record)
    if record["settings"]:
        yield "settings", _pairs(record["settings"])
    if record["complete"]:
        yield "SHA-256", record["checksum"]
        if record["origin"]:
            yield "commit", record["origin"]
        yield from _quality(record)
    if record["log"]:
        yield "last step", _pairs(record["log"])
    if record["command"]:
        yield "made by", f"sae-tracks {record['sae_tracks']}: {record['command']}"


def _pairs(values: Record) -> str:
    return ", ".join(f"{name} {_number(value)}" for name, value in values.items())


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _origin(record: Record) -> Rows:
    lm = record["lm"]
    if lm.get("model") is not None:
        yield "language model", lm["model"] + (f"@{lm['revision']}" if lm.get("revision") else "")
    if lm.get("hook_name") is not None or lm.get("layer") is not None:
        yield "read at", place(lm.get("layer"), lm.get("hook_name"))
    if (rows := record["rows"]) is not None:
        text = f"{rows:,} rows, {rows / record['d_sae']:,.0f} per feature"
        if record["data_rows"] and record["data_rows"] < rows:
            text += f" ({record['data_rows']:,} rows {rows / record['data_rows']:.1f} times)"
        yield "trained on", text
    if record["genome"]:
        yield "genome", _genome(record)


def _genome(record: Record) -> str:
    contigs = list(record["genome"])
    more = f" and {len(contigs) - 8} more" if len(contigs) > 8 else ""
    text = ", ".join(contigs[:8]) + more
    if record["windows"] is not None:
        text += f"; {counted(record['windows'], 'window')} of {record['window']:,} bases"
        text += f", {record['context']:,} of them context"
    return text + f"; read strand {' '.join(record['read_strands'] or ['unknown'])}"


def _quality(record: Record) -> Rows:
    maxima = record["maxima"]
    if maxima and maxima.get("l0") is not None:
        yield "training rows", f"{_sparsity(maxima)} (on {maxima['rows']:,})"
    if evaluation := record["evaluation"]:
        regions = evaluation["regions"]
        where = regions[0] if len(regions) == 1 else counted(len(regions), "region")
        yield "evaluated", f"{_sparsity(evaluation)} (on {evaluation['bases']:,} bases of {where})"
        yield "recovered", _recovered(evaluation)
    else:
        yield "recovered", f"not measured: sae-tracks evaluate {record['sae']} GENOME -r REGION"
    if record["density"]:
        yield from _bars(record["density"], record["d_sae"])


def _sparsity(measured: Record) -> str:
    text = f"L0 {measured['l0']:.1f}"
    if measured.get("l0_at_threshold") is not None:
        text += f", {measured['l0_at_threshold']:.1f} above {measured['threshold']:g} of their maxima"
    return text + (f"; FVU {measured['fvu']:.4f}" if measured.get("fvu") is not None else "")


def _recovered(evaluation: Record) -> str:
    """The shares that the SAE recovers: of the next-base cross entropy, or of the model's own outputs."""
    next_base = "nats_lm" in evaluation
    measure, digits = ("nats", ".4f") if next_base else ("kl", ".4g")
    shares = [
        f"{evaluation[f'recovered_{name}']:.3f} against {text} ({evaluation[f'{measure}_{name}']:{digits}})"
        for name, text in (("mean", "the mean"), ("zero", "zero"))
        if evaluation[f"recovered_{name}"] is not None
    ]
    through = f"{evaluation[f'{measure}_sae']:{digits}} through the SAE"
    if next_base:
        through = f"{evaluation['nats_lm']:.4f} nats per base, {through}"
    else:
        through += ", in nats per base from the outputs of the model"
    return f"{', '.join(shares) or 'nothing to recover'}; {through}"


def _bars(density: Record, features: int) -> Rows:
    yield "log10 density", "features"
    edges, counts = density["log10"], density["features"]
    for low, high, count in zip(edges, edges[1:], counts, strict=False):
        bar = "#" * -(-count * BAR // max(*counts, 1))
        yield f"{low:.1f} to {high:.1f}", f"{count:>7,} {bar}".rstrip()
    yield "dead", f"{density['dead']:>7,} of {features:,}"


def reasons_against(record: Mapping[str, Any]) -> list[str]:
    """Return the reasons not to call an SAE faithful, each with its number and the bound.

    The record needs ``complete``, ``d_in``, ``d_sae``, ``rows`` (trained on), ``dead`` (share), ``fvu``, ``l0`` and
    ``evaluation`` with ``recovered_mean`` and ``trained_bases``. An unknown value (None) is a reason.
    """
    return [reason for reason, _ in _reasons(record)]


def _reasons(record: Mapping[str, Any]) -> Iterator[Reason]:
    if not record["complete"]:
        yield "training is not complete", True
        return
    yield from _of_statistics(record)
    yield from _of_training(record)
    yield from _of_evaluation(record["evaluation"])


def _of_statistics(record: Mapping[str, Any]) -> Iterator[Reason]:
    dead, fvu, l0, most = record["dead"], record["fvu"], record["l0"], MOST_L0 * record["d_in"]
    if dead is None:
        yield "statistics not measured", False
    elif not dead < MOST_DEAD:
        yield f"dead {dead:.1%}, wanted less than {MOST_DEAD:.0%}", True
    if fvu is None or l0 is None:
        yield "FVU and L0 not measured", False
        return
    if not fvu < MOST_FVU:
        yield f"FVU {fvu:.4g}, wanted less than {MOST_FVU:g}", True
    if not l0 <= most:
        yield f"L0 {l0:.4g}, wanted at most {most:g} (half of the {record['d_in']:,} inputs)", True


def _of_training(record: Mapping[str, Any]) -> Iterator[Reason]:
    if record["rows"] is None:
        yield "rows trained on not known", False
    elif not record["rows"] >= LEAST_ROWS * record["d_sae"]:
        wanted = f"{LEAST_ROWS * record['d_sae']:,} ({LEAST_ROWS} per feature)"
        yield f"trained on {counted(record['rows'], 'row')}, wanted at least {wanted}", True


def _of_evaluation(evaluation: Mapping[str, Any] | None) -> Iterator[Reason]:
    if evaluation is None:
        yield "cross entropy recovered not measured", False
        return
    recovered, trained = evaluation["recovered_mean"], evaluation["trained_bases"]
    if recovered is None:
        yield "the language model predicts no better than without its activations", True
    elif not recovered >= LEAST_RECOVERED:
        yield f"cross entropy recovered {recovered:.4g} against the mean, wanted at least {LEAST_RECOVERED:g}", True
    if trained is None:
        yield "not known whether the regions evaluated were trained on", False
    elif trained:
        yield f"{trained:,} of the bases evaluated lie where it was trained, wanted none", True
