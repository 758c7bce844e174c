"""The SAE directory, which is an SAELens directory with our metadata and feature statistics."""

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import torch
from pyarrow import parquet
from safetensors import SafetensorError
from safetensors.torch import load_file

from sae_tracks.bounded import DAMAGED
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import atomic, make_folder, write_json
from sae_tracks.json_file import COUNT, SIZE, check, read_json
from sae_tracks.lm.protocol import GeneLM, describe
from sae_tracks.records import CONTIGS, LM, MAYBE_TEXT, READ_STRANDS
from sae_tracks.sae.hub import locate
from sae_tracks.sae.model import SAE, Architecture

WEIGHTS, CONFIG, STATS = "sae_weights.safetensors", "cfg.json", "feature_stats.parquet"
COLUMNS = ("feature", "max", "mean", "density", "dead")
FORMAT_VERSION = 1
# SAELens' settings that change what is computed (None: no entry): ours, and those that import-sae can turn into them.
SETTINGS = {
    "architecture": (get_args(Architecture), ("gated", "batchtopk", "matryoshka_batchtopk", None)),
    "normalize_activations": (("none",), ("expected_average_only_in", None, False)),
    "apply_b_dec_to_input": ((True,), (False, None)),
    "rescale_acts_by_decoder_norm": ((False, None), (True,)),
    "activation_fn": (("relu", None), ("topk",)),
    "activation_fn_str": (("relu", None), ("topk",)),
}
CONFIGURED = {
    "d_in": SIZE,
    "d_sae": SIZE,
    "metadata?": {
        **{"model_name?": MAYBE_TEXT, "hook_name?": MAYBE_TEXT, "lm?": LM, "genome?": CONTIGS},
        **{"read_strands?": (READ_STRANDS, None), "windows?": (COUNT, None), "window?": (SIZE, None)},
        "context?": (COUNT, None),
        "maxima?": ({"rows": COUNT, "l0": float, "fvu": (float, None)}, None),
        "training?": {"data_sha256?": MAYBE_TEXT, "rows?": COUNT, "data_rows?": COUNT, "gamma?": (float, None)},
    },
}


def save_sae(sae: SAE, folder: Path) -> None:
    """Write an SAE directory.

    ``cfg.json`` is written last, so a folder that has it is complete.

    Parameters
    ----------
    sae : SAE
        What to write. A threshold below 0 is written as 0, which computes the same.
    folder : path
        Made if it is not there; an SAE in it is replaced.
    """
    make_folder(folder)
    for stale in (CONFIG, STATS):
        (folder / stale).unlink(missing_ok=True)
    with atomic(folder / WEIGHTS) as temporary:
        temporary.write_bytes(sae.file_content())
    if sae.stats is not None:
        with atomic(folder / STATS) as temporary:
            sae.stats.to_parquet(temporary, index=False)
    write_json(folder / CONFIG, _config(sae))


def _config(sae: SAE) -> dict[str, Any]:
    """SAELens' configuration; its loader drops all metadata if ``sae_lens_version`` is below 6."""
    topk = {} if sae.k is None else {"k": min(sae.k, sae.d_sae), "rescale_acts_by_decoder_norm": False}
    return {
        "architecture": sae.architecture,
        "d_in": sae.d_in,
        "d_sae": sae.d_sae,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        **topk,
        "metadata": {"sae_lens_version": "6.0.0", "sae_tracks_format": FORMAT_VERSION, **sae.metadata},
    }


def load_sae(path: str | Path) -> SAE:
    """Load an SAE directory, local or on the hub.

    Parameters
    ----------
    path : path or str
        A folder, or a repository of the hub: ``hf:owner/name`` or ``hf:owner/name@revision`` (a branch, tag or commit;
        default ``main``). The ``hf:`` may be left out if no local folder has this name.

    Returns
    -------
    SAE
        float32, on the CPU. Its ``origin`` names the commit of one from the hub.

    Raises
    ------
    SaeTracksError
        A file is missing or damaged, the SAE computes its features in another way, shapes do not fit, or a weight is
        not finite.
    """
    found = locate(path, CONFIG, WEIGHTS, (STATS,))
    folder = found.folder
    config = read_json(folder / CONFIG)
    _check_settings(folder, config)
    check(config, str(folder / CONFIG), CONFIGURED)
    weights = _weights(folder / WEIGHTS, config)
    threshold = weights.pop("threshold", None)
    sae = SAE(*weights.values(), metadata=config.get("metadata", {}), threshold=threshold)
    sae.origin = found.origin
    sae.folder = None if found.origin else folder  # the hub's cache is not ours
    if config["architecture"] == "topk":
        sae.k = whole_k(folder / CONFIG, config.get("k"), sae.d_sae)
    if (folder / STATS).is_file():
        sae.stats = _stats(folder / STATS, sae.d_sae)
    return sae


def _check_settings(folder: Path, config: dict[str, Any]) -> None:
    for key, (known, convertible) in SETTINGS.items():
        if (value := config.get(key)) not in known:
            only = ", ".join(repr(each) for each in known if each is not None)
            hint = "; `sae-tracks import-sae` converts it" if value in convertible else ""
            raise SaeTracksError(f"{folder}: {key} {value!r} is not supported, only {only}{hint}")


def whole_k(path: Path, k: Any, most: int) -> int:
    """Return k, the number of features per row that a file gives, if it is a whole number from 1 to `most`."""
    if type(k) is not int or not 1 <= k <= most:
        raise SaeTracksError(
            f"{path}: k is {k!r}; a topk needs a whole number from 1 to {most}, the number of features"
        )
    return k


def _stats(path: Path, d_sae: int) -> pd.DataFrame:
    """Read the statistics of features, a row each in any order; they come back in the order of the features."""
    try:
        file = parquet.ParquetFile(path)
        if missing := set(COLUMNS) - set(file.schema_arrow.names):
            raise SaeTracksError(f"{path} has no column {min(missing)!r}")
        if file.metadata.num_rows != d_sae:
            raise SaeTracksError(f"{path} has {file.metadata.num_rows:,} rows; the SAE has {d_sae} features")
        stats = file.read(columns=[*COLUMNS]).to_pandas(ignore_metadata=True)  # which has names of its own
    except SaeTracksError:
        raise
    except DAMAGED as error:  # pyarrow's errors are among these
        raise SaeTracksError(f"{path} is damaged: {error}") from error
    for name in COLUMNS:
        if stats[name].dtype.kind not in ("b" if name == "dead" else "iu" if name == "feature" else "f"):
            raise SaeTracksError(f"{path}: column {name!r} is of type {stats[name].dtype}; it was changed")
    stats = stats.sort_values("feature", ignore_index=True)
    if (stats["feature"] != np.arange(d_sae)).any():
        raise SaeTracksError(f"{path}: the column 'feature' must have each of 0 to {d_sae - 1} once")
    for name in ("max", "mean", "density"):
        known = np.isfinite(stats[name]) | (stats[name].isna() & (name != "max"))  # imported SAEs have maxima alone
        wrong = (~known | (stats[name] < 0)).to_numpy()
        if wrong.any():
            at = int(wrong.argmax())
            raise SaeTracksError(f"{path}: {name} of feature {at} is {stats[name][at]:g}; expected 0 or more")
    return stats


def _weights(path: Path, config: dict[str, Any]) -> dict[str, torch.Tensor]:
    if not path.is_file():
        pickles = [p.name for pattern in ("*.pt", "*.pth") for p in path.parent.glob(pattern)]
        hint = f"; {pickles[0]} is a pickle, which is never run: convert it to safetensors" if pickles else ""
        raise SaeTracksError(f"no file {path}{hint}")
    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise SaeTracksError(f"{path} is not a safetensors file (a pickle is never run): {error}") from error
    d_in, d_sae = config.get("d_in"), config.get("d_sae")
    shapes = {"W_enc": (d_in, d_sae), "b_enc": (d_sae,), "W_dec": (d_sae, d_in), "b_dec": (d_in,)}
    shapes |= {"threshold": (d_sae,)} if config["architecture"] == "jumprelu" else {}
    for name, shape in shapes.items():
        if name not in weights:
            raise SaeTracksError(f"{path} has no tensor {name}")
        if tuple(weights[name].shape) != shape:
            raise SaeTracksError(f"{path}: {name} is {tuple(weights[name].shape)}; {CONFIG} says {shape}")
        if not weights[name].is_floating_point():
            raise SaeTracksError(f"{path}: {name} is of type {weights[name].dtype}; weights are floating-point numbers")
        if not torch.isfinite(weights[name]).all():
            raise SaeTracksError(f"{path}: {name} holds NaN or infinity")
    if "threshold" in shapes and (weights["threshold"] < 0).any():
        raise SaeTracksError(f"{path}: threshold holds a negative value; expected 0 or more")
    return {name: weights[name].float() for name in shapes}


def check_match(sae: SAE, lm: GeneLM, *, allow_mismatch: bool = False) -> None:
    """Refuse an SAE on another model, layer or width than it was trained on.

    If the SAE names a checksum of the weights, that decides: a model keeps it when its folder is renamed.
    """
    if sae.d_in != lm.d_model:
        raise SaeTracksError(f"the SAE reads {sae.d_in} dimensions; {lm.model_id} has {lm.d_model}")
    trained = sae.metadata.get("lm", {})
    where = "layer" if trained.get("layer") is not None else "hook_name"  # a module that was named has no layer
    for key, name in {where: where.removesuffix("_name"), "weights_sha256": "weights"}.items():
        theirs, ours = trained.get(key), describe(lm)[key]
        if theirs is not None and theirs != ours and not allow_mismatch:
            was = f"{trained.get('model')} ({json.dumps(theirs)[:40]})"
            raise SaeTracksError(
                f"the SAE was trained on another {name}: {was}; this is {lm.model_id} ({json.dumps(ours)[:40]}); "
                "--allow-mismatch overrides"
            )
