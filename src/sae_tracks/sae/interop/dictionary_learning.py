"""dictionary_learning and InterPLM, which began as a copy of it: ``ae.pt`` with a configuration beside it.

dictionary_learning has ``config.json``, as its `load_dictionary` opens it. InterPLM has ``config.yaml`` and may have
``ae_normalized.pt``, whose features are divided by their maxima.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import read_json
from sae_tracks.sae.interop.weights import (
    Stored,
    decoder_norms,
    jumprelu,
    scale_features,
    ungate,
    with_pre_bias,
)
from sae_tracks.sae.model import SAE

FILE, CONFIG = "ae.pt", "config.json"
NORMALIZED, YAML = "ae_normalized.pt", "config.yaml"
FACTORS, ROW_NORM = "activation_rescale_factor", "normalize_to_sqrt_d"
TRAINERS = {"TopKTrainer": "AutoEncoderTopK", "BatchTopKTrainer": "BatchTopKSAE"}


@dataclass(frozen=True, slots=True)
class SavedClass:
    """A class of these programs: the names of its tensors, and a function that makes an SAE of them."""

    names: frozenset[str]
    read: Callable[[Stored], SAE]


def _linear(stored: Stored, pre_bias: str) -> SAE:
    """Two ``nn.Linear``, whose weights are stored (out, in); the decoder's bias has a name of its own."""
    encoder = stored.take_matrix("encoder.weight")
    d_sae, d_in = encoder.shape
    b_enc = stored.take("encoder.bias", d_sae) if "encoder.bias" in stored.names else torch.zeros(d_sae)
    decoder = stored.take("decoder.weight", d_in, d_sae)
    return SAE(encoder.T, b_enc, decoder.T, stored.take(pre_bias, d_in))


def _matrices(stored: Stored) -> SAE:
    W_enc = stored.take_matrix("W_enc")
    d_in, d_sae = W_enc.shape
    return SAE(W_enc, stored.take("b_enc", d_sae), stored.take("W_dec", d_sae, d_in), stored.take("b_dec", d_in))


def _with_thresholds(sae: SAE, stored: Stored) -> SAE:
    return with_pre_bias(jumprelu(sae, stored.take("threshold", sae.d_sae)))


def _top_k(stored: Stored) -> SAE:
    """Their `encode` takes the k largest of a row by default and not what exceeds the threshold."""
    sae = _linear(stored, "b_dec")
    sae.k = round(stored.take_number("k"))
    stored.left.pop("threshold", None)
    return sae


def _batch_top_k(stored: Stored) -> SAE:
    """Their `encode` keeps what exceeds the threshold; k is how it was trained."""
    stored.left.pop("k", None)
    return jumprelu(_linear(stored, "b_dec"), stored.take_number("threshold"))


def _matryoshka(stored: Stored) -> SAE:
    """All groups are in use once it is loaded, so they do not matter."""
    for name in ("k", "group_sizes"):
        stored.left.pop(name, None)
    return jumprelu(_matrices(stored), stored.take_number("threshold"))


def _gated(stored: Stored) -> SAE:
    sae = _linear(stored, "decoder_bias")
    return ungate(sae, *(stored.take(name, sae.d_sae) for name in ("r_mag", "gate_bias", "mag_bias")))


LINEAR = frozenset({"encoder.weight", "encoder.bias", "decoder.weight"})
MATRICES = frozenset({"W_enc", "b_enc", "W_dec", "b_dec"})
CLASSES = {
    "AutoEncoder": SavedClass(LINEAR | {"bias"}, lambda stored: _linear(stored, "bias")),
    "AutoEncoderNew": SavedClass(
        LINEAR | {"decoder.bias"}, lambda stored: with_pre_bias(_linear(stored, "decoder.bias"))
    ),
    "AutoEncoderTopK": SavedClass(LINEAR | {"b_dec", "k", "threshold"}, _top_k),
    "BatchTopKSAE": SavedClass(LINEAR | {"b_dec", "k", "threshold"}, _batch_top_k),
    "JumpReluAutoEncoder": SavedClass(MATRICES | {"threshold"}, lambda s: _with_thresholds(_matrices(s), s)),
    "MatryoshkaBatchTopKSAE": SavedClass(MATRICES | {"k", "threshold", "group_sizes"}, _matryoshka),
    "GatedAutoEncoder": SavedClass(
        frozenset({"encoder.weight", "decoder.weight", "decoder_bias", "r_mag", "gate_bias", "mag_bias"}), _gated
    ),
    "JumpReLUSAE": SavedClass(
        LINEAR | {"decoder.bias", "threshold"}, lambda s: _with_thresholds(_linear(s, "decoder.bias"), s)
    ),
}


def classes_of(names: frozenset[str]) -> list[str]:
    """The classes whose tensors have these names: one, or two that differ in what they compute."""
    return [name for name, saved in CLASSES.items() if saved.names == names]


def trainer_config(folder: Path) -> dict[str, Any] | None:
    """What ``config.json`` says of the trainer; None if there is none or it is another program's."""
    if not (folder / CONFIG).is_file():
        return None
    config = read_json(folder / CONFIG)
    trainer = config.get("trainer") if isinstance(config, dict) else None
    return trainer if isinstance(trainer, dict) and "dict_class" in trainer else None


def read_dictionary(stored: Stored, trainer: dict[str, Any]) -> SAE:
    """An autoencoder of dictionary_learning.

    Parameters
    ----------
    stored : Stored
        Of ``ae.pt``.
    trainer : dict
        See `trainer_config`.

    Raises
    ------
    SaeTracksError
        The class is another, its tensors are not those of the file, or k is not the one of the file.
    """
    name, path = trainer["dict_class"], stored.path
    if name not in CLASSES:
        raise SaeTracksError(f"{path}: dict_class {name!r} cannot be imported; {', '.join(CLASSES)} can")
    if name == "AutoEncoderTopK":
        _settle_k(stored, trainer.get("k"))
    sae = CLASSES[name].read(stored)
    stored.finish()
    return unit_decoder(sae) if name == "AutoEncoder" else sae


def _settle_k(stored: Stored, k: Any) -> None:
    """Use the configuration's k if the file, of an early version, holds none; if both have one they must agree."""
    if k is None:
        return
    if type(k) is not int:
        raise SaeTracksError(f"{stored.path.parent / CONFIG}: k is {k!r}; it must be a whole number")
    held = stored.left.setdefault("k", torch.tensor(k))
    if held.numel() != 1 or held.item() != k:
        raise SaeTracksError(f"{stored.path} has k = {held.tolist()}; its {CONFIG} says {k}")


def unit_decoder(sae: SAE) -> SAE:
    """With directions of length 1, as `AutoEncoder.from_pretrained` makes it; features change by the lengths."""
    return sae if has_unit_decoder(sae) else scale_features(sae, decoder_norms(sae))


def has_unit_decoder(sae: SAE) -> bool:
    """Whether every direction has length 1, to the tolerance of `AutoEncoder.normalize_decoder`."""
    norms = sae.W_dec.norm(dim=1)
    return torch.allclose(norms, torch.ones_like(norms))


def is_interplm(stored: Stored) -> bool:
    """Whether the file's tensors, its name or the configuration beside it are InterPLM's."""
    marks = {FACTORS, ROW_NORM} & stored.names
    return bool(marks) or re.fullmatch(r"ae_(un)?normalized\.pt", stored.path.name) is not None or _config(stored) != ""


def read_interplm(stored: Stored) -> SAE:
    """An autoencoder of InterPLM; its features are divided by the maxima that the file brings.

    Those maxima are then 1 and become the SAE's statistics. A feature that InterPLM never saw active keeps its weights
    and has a maximum of 0. Of a TopK the features stay as they are, since scaling them would change which are the k
    largest; its maxima are the statistics.

    Parameters
    ----------
    stored : Stored
        Of the file; one from before InterPLM 1.0 that is called ``ae_normalized.pt`` has the maxima folded in already.

    Raises
    ------
    SaeTracksError
        The tensors are of no class known, the file reads rows scaled to one norm, or a maximum is below 0.
    """
    path = stored.path
    if ROW_NORM in stored.names and stored.take_number(ROW_NORM):
        raise SaeTracksError(f"{path}: {ROW_NORM} treats each row by its own norm, which no weights can do")
    factors = stored.left.pop(FACTORS, None)
    sae = CLASSES[_class(stored)].read(stored)
    stored.finish()
    if factors is None:
        folded = path.name == NORMALIZED
        return replace(sae, stats=_stats((sae.W_enc != 0).any(0).float())) if folded else sae
    maxima = Stored(path, {FACTORS: factors}).take(FACTORS, sae.d_sae)
    if (maxima < 0).any():
        raise SaeTracksError(f"{path}: {FACTORS} is negative; it holds the features' maxima")
    if torch.allclose(maxima, torch.ones_like(maxima)):  # what InterPLM starts from
        return sae
    if sae.k is not None:
        return replace(sae, stats=_stats(maxima))
    seen = maxima > 0
    sae = scale_features(sae, torch.where(seen, maxima, 1).reciprocal())
    return replace(sae, stats=_stats(seen.float()))


def read_unmarked(stored: Stored) -> SAE:
    """A file that may be of either program, provided that both would compute the same."""
    name = _class(stored)
    sae = CLASSES[name].read(stored)
    stored.finish()
    if name == "AutoEncoder" and not has_unit_decoder(sae):
        raise SaeTracksError(
            f"{stored.path}: its directions are not of length 1, and dictionary_learning makes them so where InterPLM "
            "does not: put its config.json or config.yaml beside it"
        )
    return sae


def _class(stored: Stored) -> str:
    """The one class that the tensors are of; the trainer tells TopK from BatchTopK."""
    found = classes_of(stored.names)
    if not found:
        there = ", ".join(sorted(stored.names)) or "nothing"
        raise SaeTracksError(f"{stored.path} is of no autoencoder known here; it holds {there}")
    trainer = re.search(r"^\s*trainer_name:\s*['\"]?(\w+)", _config(stored), re.MULTILINE)
    named = TRAINERS.get(trainer[1]) if trainer else None
    if len(found) > 1 and named not in found:
        raise SaeTracksError(
            f"{stored.path} is a TopK or a BatchTopK, which its tensors do not tell: put its config.json "
            "(dictionary_learning) or config.yaml (InterPLM) beside it"
        )
    return named if named in found else found[0]


def _config(stored: Stored) -> str:
    """The text of ``config.yaml``; it is searched, not loaded, since YAML can run code as a pickle can."""
    path: Path = stored.path.with_name(YAML)
    return path.read_text(errors="replace") if path.is_file() else ""


def _stats(maxima: torch.Tensor) -> pd.DataFrame:
    """Statistics of which only the maxima are known."""
    columns = {"max": maxima.numpy(), "mean": np.float32("nan"), "density": np.float32("nan")}
    stats = pd.DataFrame({"feature": np.arange(len(maxima), dtype=np.int32), **columns})
    return stats.assign(dead=stats["max"] == 0)
