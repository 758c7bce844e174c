"""dictionary_learning and InterPLM, which began as a copy of it: ``ae.pt`` with a configuration beside it.

dictionary_learning has ``config.json``, as its `load_dictionary` opens it. InterPLM has ``config.yaml`` and may have
``ae_normalized.pt``, whose features are divided by their maxima.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import atomic, write_json
from sae_tracks.json_file import read_json
from sae_tracks.sae.directory import whole_k
from sae_tracks.sae.interop.tensors import (
    Tensors,
    decoder_norms,
    jumprelu,
    scale_features,
    ungate,
    with_pre_bias,
    without_fraction,
    without_pre_bias,
)
from sae_tracks.sae.model import SAE

FILE, CONFIG = "ae.pt", "config.json"
NORMALIZED, YAML = "ae_normalized.pt", "config.yaml"
FACTORS, ROW_NORM = "activation_rescale_factor", "normalize_to_sqrt_d"  # tensors of InterPLM alone
TRAINERS = {"TopKTrainer": "AutoEncoderTopK", "BatchTopKTrainer": "BatchTopKSAE"}


def _linear(tensors: Tensors, pre_bias: str) -> SAE:
    """Read two ``nn.Linear``, whose weights are stored (out, in); the decoder's bias has a name of its own."""
    encoder = tensors.take_matrix("encoder.weight")
    d_sae, d_in = encoder.shape
    b_enc = tensors.take("encoder.bias", d_sae) if "encoder.bias" in tensors.names else torch.zeros(d_sae)
    decoder = tensors.take("decoder.weight", d_in, d_sae)
    return SAE(encoder.T, b_enc, decoder.T, tensors.take(pre_bias, d_in))


def _matrices(tensors: Tensors) -> SAE:
    W_enc = tensors.take_matrix("W_enc")
    d_in, d_sae = W_enc.shape
    return SAE(W_enc, tensors.take("b_enc", d_sae), tensors.take("W_dec", d_sae, d_in), tensors.take("b_dec", d_in))


def _jump_relu(tensors: Tensors, sae: SAE) -> SAE:
    return with_pre_bias(jumprelu(sae, tensors.take("threshold", sae.d_sae)))


def _top_k(tensors: Tensors) -> SAE:
    """Their `encode` takes the k largest of a row by default and not what exceeds the threshold."""
    sae = _linear(tensors, "b_dec")
    tensors.drop("threshold")
    return replace(sae, k=whole_k(tensors.path, without_fraction(tensors.take_number("k")), sae.d_sae))


def _batch_top_k(tensors: Tensors, sae: SAE) -> SAE:
    """Their `encode` keeps what exceeds the threshold. k is for training, and so are groups, all in use once loaded."""
    tensors.drop("k", "group_sizes")
    return jumprelu(sae, tensors.take_number("threshold"))


def _gated(tensors: Tensors) -> SAE:
    sae = _linear(tensors, "decoder_bias")
    return ungate(sae, *(tensors.take(name, sae.d_sae) for name in ("r_mag", "gate_bias", "mag_bias")))


LINEAR = {"encoder.weight", "encoder.bias", "decoder.weight"}
TOP_K = LINEAR | {"b_dec", "k", "threshold"}
MATRICES = {"W_enc", "b_enc", "W_dec", "b_dec", "threshold"}
GATED = {"encoder.weight", "decoder.weight", "decoder_bias", "r_mag", "gate_bias", "mag_bias"}
Reader = Callable[[Tensors], SAE]
CLASSES: dict[str, tuple[set[str], Reader]] = {  # names of the tensors, and a function that reads them
    "AutoEncoder": (LINEAR | {"bias"}, lambda t: _linear(t, "bias")),
    "AutoEncoderNew": (LINEAR | {"decoder.bias"}, lambda t: with_pre_bias(_linear(t, "decoder.bias"))),
    "AutoEncoderTopK": (TOP_K, _top_k),
    "BatchTopKSAE": (TOP_K, lambda t: _batch_top_k(t, _linear(t, "b_dec"))),
    "JumpReluAutoEncoder": (MATRICES, lambda t: _jump_relu(t, _matrices(t))),
    "MatryoshkaBatchTopKSAE": (MATRICES | {"k", "group_sizes"}, lambda t: _batch_top_k(t, _matrices(t))),
    "GatedAutoEncoder": (GATED, _gated),
    "JumpReLUSAE": (LINEAR | {"decoder.bias", "threshold"}, lambda t: _jump_relu(t, _linear(t, "decoder.bias"))),
}


def trainer_config(folder: Path) -> dict[str, Any] | None:
    """The trainer's settings in ``config.json``; None if there are none or the file is another program's."""
    if not (folder / CONFIG).is_file():
        return None
    trainer = read_json(folder / CONFIG).get("trainer")
    return trainer if isinstance(trainer, dict) and isinstance(trainer.get("dict_class"), str) else None


def read_dictionary(tensors: Tensors, trainer: dict[str, Any]) -> SAE:
    """Read an autoencoder of dictionary_learning, of the class that its `trainer_config` names."""
    name = trainer["dict_class"]
    if name not in CLASSES:
        raise SaeTracksError(f"{tensors.path}: dict_class {name!r} cannot be imported; {', '.join(CLASSES)} can")
    if name == "AutoEncoderTopK":
        _settle_k(tensors, trainer.get("k"))
    sae = CLASSES[name][1](tensors)
    tensors.finish()
    if name == "AutoEncoder" and not has_unit_decoder(sae):
        return scale_features(sae, decoder_norms(sae))  # as `AutoEncoder.from_pretrained` does
    return sae


def _settle_k(tensors: Tensors, k: Any) -> None:
    """Use the configuration's k if the file, of an early version, holds none; if both have one they must agree."""
    if k is None:
        return
    if type(k) is not int:
        raise SaeTracksError(f"{tensors.path.parent / CONFIG}: k is {k!r}; it must be a whole number")
    held = tensors.left.setdefault("k", torch.tensor(k))
    if held.numel() != 1 or held.item() != k:
        raise SaeTracksError(f"{tensors.path} has k = {held.tolist()}; its {CONFIG} says {k}")


def has_unit_decoder(sae: SAE) -> bool:
    """Whether every direction has length 1, to the tolerance of `AutoEncoder.normalize_decoder`."""
    norms = sae.W_dec.norm(dim=1)
    return torch.allclose(norms, torch.ones_like(norms))


def is_interplm(tensors: Tensors) -> bool:
    """Whether the file's tensors, its name or the configuration beside it are InterPLM's."""
    named = re.fullmatch(r"ae_(un)?normalized\.pt", tensors.path.name)
    return bool({FACTORS, ROW_NORM} & tensors.names or named or _yaml(tensors))


def read_interplm(tensors: Tensors) -> SAE:
    """Read an autoencoder of InterPLM, and divide its features by the maxima in the file.

    The maxima of the divided features are 1 and become the SAE's statistics. A feature that InterPLM never saw active
    keeps its weights and has a maximum of 0. The features of a TopK stay as they are, since scaling would change which
    are the k largest; the file's maxima are the statistics. A file from before InterPLM 1.0 that is called
    ``ae_normalized.pt`` has divided features. Rows scaled to one norm are refused.
    """
    path = tensors.path
    if ROW_NORM in tensors.names and tensors.take_number(ROW_NORM):
        raise SaeTracksError(f"{path}: {ROW_NORM} treats each row by its own norm, which no weights can do")
    sae = CLASSES[_class(tensors)][1](tensors)
    maxima = tensors.take(FACTORS, sae.d_sae) if FACTORS in tensors.names else None
    tensors.finish()
    if maxima is None:
        divided = path.name == NORMALIZED
        return replace(sae, stats=_stats((sae.W_enc != 0).any(0).float())) if divided else sae
    if (maxima < 0).any():
        raise SaeTracksError(f"{path}: {FACTORS} is negative; it holds the features' maxima")
    if torch.allclose(maxima, torch.ones_like(maxima)):  # what InterPLM starts from
        return sae
    if sae.k is not None:
        return replace(sae, stats=_stats(maxima))
    seen = maxima > 0
    sae = scale_features(sae, torch.where(seen, maxima, 1).reciprocal())
    return replace(sae, stats=_stats(seen.float()))


def read_unmarked(tensors: Tensors) -> SAE:
    """Read a file that may be of either program, provided that both would compute the same."""
    name = _class(tensors)
    sae = CLASSES[name][1](tensors)
    tensors.finish()
    if name == "AutoEncoder" and not has_unit_decoder(sae):
        raise SaeTracksError(
            f"{tensors.path}: its directions are not of length 1. dictionary_learning would change that, and InterPLM "
            "would not: put its config.json or config.yaml beside it"
        )
    return sae


def _class(tensors: Tensors) -> str:
    """The class that has these tensors; TopK and BatchTopK have the same, and ``config.yaml`` names the trainer."""
    names = tensors.names - {FACTORS, ROW_NORM}
    found = [name for name, (of_class, _) in CLASSES.items() if of_class == names]
    if not found:
        raise SaeTracksError(
            f"{tensors.path} is of no autoencoder known here; it holds {', '.join(sorted(names)) or 'nothing'}"
        )
    trainer = re.search(r"^\s*trainer_name:\s*['\"]?(\w+)", _yaml(tensors), re.MULTILINE)
    named = TRAINERS.get(trainer[1]) if trainer else None
    if named in found:
        return named
    if len(found) > 1:
        raise SaeTracksError(
            f"{tensors.path} is a TopK or a BatchTopK, which have the same tensors: put its config.json "
            "(dictionary_learning) or config.yaml (InterPLM) beside it"
        )
    return found[0]


def _yaml(tensors: Tensors) -> str:
    """The text of ``config.yaml``; it is searched, not loaded, since YAML can run code as a pickle can."""
    path = tensors.path.with_name(YAML)
    return path.read_text(errors="replace") if path.is_file() else ""


def _stats(maxima: torch.Tensor) -> pd.DataFrame:
    """Statistics with maxima alone."""
    columns = {"max": maxima.numpy(), "mean": np.float32("nan"), "density": np.float32("nan")}
    stats = pd.DataFrame({"feature": np.arange(len(maxima), dtype=np.int32), **columns})
    return stats.assign(dead=stats["max"] == 0)


def write_dictionary(sae: SAE, folder: Path) -> str:
    """Write ``ae.pt`` and then ``config.json``, with which `load_dictionary` computes the same; returns the class."""
    k = {"k": min(sae.k, sae.d_sae)} if sae.k is not None else {}
    name, tensors = _tensors(sae)
    tensors |= {key: torch.tensor(value, dtype=torch.int32) for key, value in k.items()}
    with atomic(folder / FILE) as temporary:
        torch.save({key: tensor.contiguous() for key, tensor in tensors.items()}, temporary)
    lm = sae.metadata.get("lm", {})
    facts = {"lm_name": lm.get("model"), "submodule_name": lm.get("hook_name")}
    sizes = {"activation_dim": sae.d_in, "dict_size": sae.d_sae}
    write_json(folder / CONFIG, {"trainer": {"dict_class": name, **sizes, **k, **facts}})
    return name


def _tensors(sae: SAE) -> tuple[str, dict[str, torch.Tensor]]:
    """The class that computes the same, and its tensors but for k; loading an ``AutoEncoder`` scales its directions."""
    linear = {"encoder.weight": sae.W_enc.T, "encoder.bias": sae.b_enc, "decoder.weight": sae.W_dec.T}
    if sae.k is not None:
        return "AutoEncoderTopK", linear | {"b_dec": sae.b_dec, "threshold": torch.tensor(-1.0)}
    if sae.threshold is not None:
        return "JumpReluAutoEncoder", without_pre_bias(sae).tensors()
    if has_unit_decoder(sae):
        return "AutoEncoder", linear | {"bias": sae.b_dec}
    return "AutoEncoderNew", linear | {"encoder.bias": without_pre_bias(sae).b_enc, "decoder.bias": sae.b_dec}
