"""What is known of an SAE directory, as a record and as lines to read, and whether it is ready to interpret."""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import SafetensorError

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import PROVENANCE, read_json
from sae_tracks.sae.directory import CONFIG, load_sae
from sae_tracks.sae.model import SAE
from sae_tracks.train.checkpoint import FOLDER, checkpoints, is_whole, run_of, step_of
from sae_tracks.train.log import LOG

EVALUATION = "evaluation.json"
EVALUATION_VERSION = 1
BAR = 40  # characters of the longest one
# Whether an SAE is fit to have its features looked at; docs/methods.md says why these numbers.
MOST_DEAD = 0.1  # less than this share of the features
MOST_FVU = 0.5  # less
MOST_L0 = 0.5  # of d_in, at most
LEAST_RECOVERED = 0.8  # of the cross entropy, against the mean, at least
LEAST_ROWS = 100  # trained on, a feature, at least
Record = dict[str, Any]
NOT_SETTINGS = {"d_sae", "rows", "data_rows", "data_sha256", "gamma"}  # of what the metadata says of the training


def sae_record(path: str | Path) -> Record:
    """Everything that an SAE directory says of itself, and whether it is ready to interpret.

    Parameters
    ----------
    path : path or str
        As for `load_sae`; or a folder in which training is under way or was interrupted.

    Returns
    -------
    dict
        What is not known is None. ``l0`` and ``fvu`` are those of ``evaluation`` where there is one, else of the
        training rows; ``reasons`` is what speaks against it.
    """
    folder = Path(path)
    log, made = _last_line(folder / LOG), _if_there(folder / PROVENANCE) or {}
    record: Record = {"sae": str(path), "complete": True, "log": log}
    record |= {"sae_tracks": made.get("sae_tracks"), "command": made.get("command")}
    if not (folder / CONFIG).is_file() and ((folder / FOLDER).is_dir() or log):
        record |= {"complete": False, **_checkpoint(folder)}
    else:
        sae = load_sae(path)
        record |= _of_sae(sae) | _measured(sae, _evaluation(folder, sae))
    reasons = reasons_against(record)
    return record | {"ready": not reasons, "reasons": reasons}


def _if_there(path: Path) -> Record | None:
    return read_json(path) if path.is_file() else None


def _last_line(path: Path) -> Record | None:
    """The last whole line of a log, which may be being written."""
    for line in reversed(path.read_bytes().splitlines() if path.is_file() else []):
        try:
            return json.loads(line)
        except ValueError:
            continue
    return None


def _checkpoint(folder: Path) -> Record:
    """Steps done and settings of the newest checkpoint that can be read."""
    for path in filter(is_whole, checkpoints(folder)):
        with suppress(SafetensorError, OSError, ValueError, LookupError, TypeError):
            settings = run_of(path)["settings"]
            return {"steps_done": step_of(path), "settings": settings}
    return {"steps_done": 0, "settings": {}}


def _of_sae(sae: SAE) -> Record:
    known, training = sae.metadata, sae.metadata.get("training", {})
    named = {"model": known.get("model_name"), "hook_name": known.get("hook_name")}  # all that SAELens writes
    data = ("read_strands", "genome", "windows", "window", "context")
    return {
        "architecture": sae.architecture,
        "k": sae.k,
        "d_in": sae.d_in,
        "d_sae": sae.d_sae,
        "checksum": sae.checksum,
        "lm": known.get("lm", named),
        **{name: known.get(name) for name in data},
        **{name: training.get(name) for name in ("rows", "data_rows", "gamma")},
        "settings": {name: value for name, value in training.items() if name not in NOT_SETTINGS},
    }


def _measured(sae: SAE, evaluation: Record | None) -> Record:
    on_training = sae.metadata.get("maxima")
    best = evaluation or on_training or {}
    stats = sae.stats
    return {
        "maxima": on_training,
        "evaluation": evaluation,
        "l0": best.get("l0"),
        "fvu": best.get("fvu"),
        "dead": None if stats is None else float(stats["dead"].to_numpy(bool).mean()),
        "density": None if stats is None else density_histogram(stats),
    }


def _evaluation(folder: Path, sae: SAE) -> Record | None:
    """What ``evaluate`` wrote into the directory, unless it is of other weights."""
    found = _if_there(folder / EVALUATION)
    if found is None or found.get("sae_sha256") != sae.checksum:
        return None
    if found.get("format_version") != EVALUATION_VERSION:
        version = f"format_version {found.get('format_version')!r}; this sae-tracks reads {EVALUATION_VERSION}"
        raise SaeTracksError(f"{folder / EVALUATION}: {version}: run sae-tracks evaluate again")
    return found


def density_histogram(stats: pd.DataFrame) -> Record:
    """How many features fire how often.

    Parameters
    ----------
    stats : DataFrame
        See `SAE.stats`.

    Returns
    -------
    dict
        ``log10``, k + 1 edges of half a decade that end at 0, density 1; ``features``, k counts of bins with their
        lower edge (the last with both), k >= 1 and the first not 0 unless all are dead; ``dead``, those of density 0.
    """
    density = stats["density"].to_numpy(np.float64)
    logs = np.log10(density[density > 0])
    lowest = min(int(np.floor(2 * logs.min(initial=0.0))), -1)
    edges = np.arange(lowest, 1) / 2
    counts = np.histogram(logs, edges)[0]
    return {"log10": edges.tolist(), "features": counts.tolist(), "dead": len(density) - len(logs)}


def report_lines(record: Record) -> Iterator[str]:
    """What a person needs to know, the verdict last."""
    if record["complete"]:
        yield f"{record['sae']}: {_size(record)}"
        yield from _origin(record)
        yield from _quality(record)
    else:
        yield from _under_way(record)
    if record["log"]:
        yield _row("last step", _pairs(record["log"]))
    if record["command"]:
        yield _row("made by", f"sae-tracks {record['sae_tracks']}: {record['command']}")
    yield "ready to interpret: " + ("yes" if record["ready"] else f"no ({'; '.join(record['reasons'])})")


def _under_way(record: Record) -> Iterator[str]:
    of = f" of {record['settings']['steps']:,}" if "steps" in record["settings"] else ""
    yield (
        f"{record['sae']}: training is not complete; the same command goes on from the last checkpoint, "
        f"{record['steps_done']:,}{of} steps"
    )
    if record["settings"]:
        yield _row("settings", _pairs(record["settings"]))


def _row(name: str, text: str) -> str:
    return f"{name:<16}{text}"


def _pairs(values: Record) -> str:
    return ", ".join(f"{name} {_number(value)}" for name, value in values.items())


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _size(record: Record) -> str:
    k = f", k {record['k']}" if record["k"] is not None else ""
    return f"{record['architecture']} SAE, {record['d_in']:,} channels to {record['d_sae']:,} features{k}"


def _origin(record: Record) -> Iterator[str]:
    lm = record["lm"]
    if lm.get("model") is not None:
        at = f"@{lm['revision']}" if lm.get("revision") else ""
        yield _row("language model", f"{lm['model']}{at}")
    if lm.get("hook_name") is not None or lm.get("layer") is not None:
        yield _row("read at", _place(lm))
    if record["rows"] is not None:
        yield _row("trained on", _rows(record))
    if record["genome"]:
        yield _row("genome", _genome(record))
    if record["settings"]:
        yield _row("settings", _pairs(record["settings"]))
    yield _row("SHA-256", record["checksum"])


def _place(lm: Record) -> str:
    """By every name that a layer goes by, as `sae_tracks.lm.protocol.place` has it."""
    hook, layer = lm.get("hook_name"), lm.get("layer")
    if layer is None:
        return f"the output of {hook}"
    state = f"hidden_states[{layer}]"
    return f"layer {layer}: {state}" + (f", the output of {hook}" if hook not in (None, state) else "")


def _rows(record: Record) -> str:
    text = f"{record['rows']:,} rows, {record['rows'] / record['d_sae']:,.0f} a feature"
    if record["data_rows"] and record["data_rows"] < record["rows"]:
        text += f" ({record['data_rows']:,} rows {record['rows'] / record['data_rows']:.1f} times)"
    return text


def _genome(record: Record) -> str:
    contigs = list(record["genome"])
    more = f" and {len(contigs) - 8} more" if len(contigs) > 8 else ""
    text = ", ".join(contigs[:8]) + more
    if record["windows"] is not None:
        text += f"; {record['windows']:,} windows of {record['window']:,} bases, {record['context']:,} of them context"
    return text + f"; read strand {' '.join(record['read_strands'] or ['unknown'])}"


def _quality(record: Record) -> Iterator[str]:
    maxima = record["maxima"]
    if maxima and maxima.get("l0") is not None:
        yield _row("training rows", f"{_sparsity(maxima)} (on {maxima['rows']:,})")
    if evaluation := record["evaluation"]:
        yield _row("evaluated", f"{_sparsity(evaluation)} (on {evaluation['bases']:,} bases of {_where(evaluation)})")
        yield _row("recovered", _recovered(evaluation))
    else:
        yield _row("recovered", f"not measured: sae-tracks evaluate {record['sae']} GENOME -r REGION")
    if record["density"]:
        yield from _bars(record["density"], record["d_sae"])


def _sparsity(measured: Record) -> str:
    text = f"L0 {measured['l0']:.1f}"
    if measured.get("l0_at_threshold") is not None:
        text += f", {measured['l0_at_threshold']:.1f} above {measured['threshold']:g} of their maxima"
    return text + (f"; FVU {measured['fvu']:.4f}" if measured.get("fvu") is not None else "")


def _where(evaluation: Record) -> str:
    regions = evaluation["regions"]
    return regions[0] if len(regions) == 1 else f"{len(regions):,} regions"


def _recovered(evaluation: Record) -> str:
    """Cross entropy through the SAE, and the shares that it recovers."""
    shares = [
        f"{evaluation[f'recovered_{name}']:.3f} against {text} ({evaluation[f'nats_{name}']:.4f})"
        for name, text in (("mean", "the mean"), ("zero", "zero"))
        if evaluation[f"recovered_{name}"] is not None
    ]
    nats = f"{evaluation['nats_lm']:.4f} nats a base, {evaluation['nats_sae']:.4f} through the SAE"
    return f"{', '.join(shares) or 'nothing to recover'}; {nats}"


def _bars(density: Record, features: int) -> Iterator[str]:
    yield "log10 density   features"
    edges, counts = density["log10"], density["features"]
    for low, high, count in zip(edges, edges[1:], counts, strict=False):
        bar = "#" * -(-count * BAR // max(*counts, 1))
        yield _row(f"{low:.1f} to {high:.1f}", f"{count:>7,} {bar}".rstrip())
    yield _row("dead", f"{density['dead']:>7,} of {features:,}")


def reasons_against(record: Mapping[str, Any]) -> list[str]:
    """What speaks against interpreting an SAE: each reason with its number and what is wanted; none where it is ready.

    Parameters
    ----------
    record : mapping
        ``complete``, ``d_in``, ``d_sae``, ``rows`` (trained on), ``dead`` (share), ``fvu``, ``l0``, and ``evaluation``,
        of which ``recovered_mean`` and ``trained_bases`` count. What is None is not known, and a reason.
    """
    if not record["complete"]:
        return ["training is not complete"]
    return [*_of_statistics(record), *_of_training(record), *_of_evaluation(record["evaluation"])]


def _of_statistics(record: Mapping[str, Any]) -> Iterator[str]:
    dead, fvu, l0, most = record["dead"], record["fvu"], record["l0"], MOST_L0 * record["d_in"]
    if dead is None:
        yield "statistics not measured"
    elif not dead < MOST_DEAD:
        yield f"dead {dead:.1%}, wanted less than {MOST_DEAD:.0%}"
    if fvu is None or l0 is None:
        yield "FVU and L0 not measured"
        return
    if not fvu < MOST_FVU:
        yield f"FVU {fvu:.4g}, wanted less than {MOST_FVU:g}"
    if not l0 <= most:
        yield f"L0 {l0:.4g}, wanted at most {most:g} (half of the {record['d_in']:,} inputs)"


def _of_training(record: Mapping[str, Any]) -> Iterator[str]:
    if record["rows"] is None:
        yield "rows trained on not known"
    elif not record["rows"] >= LEAST_ROWS * record["d_sae"]:
        wanted = f"{LEAST_ROWS * record['d_sae']:,} ({LEAST_ROWS} a feature)"
        yield f"trained on {record['rows']:,} rows, wanted at least {wanted}"


def _of_evaluation(evaluation: Mapping[str, Any] | None) -> Iterator[str]:
    if evaluation is None:
        yield "cross entropy recovered not measured"
        return
    recovered, trained = evaluation["recovered_mean"], evaluation["trained_bases"]
    if recovered is None:
        yield "the language model predicts no better than without its activations"
    elif not recovered >= LEAST_RECOVERED:
        yield f"cross entropy recovered {recovered:.4g} against the mean, wanted at least {LEAST_RECOVERED:g}"
    if trained is None:
        yield "not known whether the regions evaluated were trained on"
    elif trained:
        yield f"{trained:,} of the bases evaluated lie where it was trained, wanted none"
