"""dictionary_learning: ``ae.pt`` with ``config.json`` beside, as its `load_dictionary` opens it; in and out."""

from pathlib import Path
from typing import Any

import torch

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import atomic, read_json, write_json
from sae_tracks.sae.interop import fold
from sae_tracks.sae.interop.classes import LAYOUTS
from sae_tracks.sae.interop.stored import Stored
from sae_tracks.sae.model import SAE

FILE, CONFIG = "ae.pt", "config.json"


def trainer_config(folder: Path) -> dict[str, Any] | None:
    """What ``config.json`` says of the trainer; None where there is none, or another program's."""
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
    if name not in LAYOUTS:
        raise SaeTracksError(f"{path}: dict_class {name!r} cannot be imported; {', '.join(LAYOUTS)} can")
    if name == "AutoEncoderTopK":
        _settle_k(stored, trainer.get("k"))
    sae = LAYOUTS[name].read(stored)
    stored.finish()
    return unit_decoder(sae) if name == "AutoEncoder" else sae


def _settle_k(stored: Stored, k: Any) -> None:
    """The configuration's k where the file, of an early version, holds none; two must agree."""
    if k is None:
        return
    if type(k) is not int:
        raise SaeTracksError(f"{stored.path.parent / CONFIG}: k is {k!r}; it must be a whole number")
    held = stored.left.setdefault("k", torch.tensor(k))
    if held.numel() != 1 or held.item() != k:
        raise SaeTracksError(f"{stored.path} has k = {held.tolist()}; its {CONFIG} says {k}")


def unit_decoder(sae: SAE) -> SAE:
    """With directions of length 1, as `AutoEncoder.from_pretrained` makes it; features change by the lengths."""
    return sae if has_unit_decoder(sae) else fold.scale_features(sae, fold.decoder_norms(sae))


def has_unit_decoder(sae: SAE) -> bool:
    """Whether every direction has length 1, to the tolerance of `AutoEncoder.normalize_decoder`."""
    norms = sae.W_dec.norm(dim=1)
    return torch.allclose(norms, torch.ones_like(norms))


def write_dictionary(sae: SAE, folder: Path) -> str:
    """Write ``ae.pt`` and ``config.json``, the latter last, so that `load_dictionary` computes the same features.

    Returns
    -------
    str
        The class: ``AutoEncoderTopK``, ``JumpReluAutoEncoder``, ``AutoEncoder`` or, where directions are not of length
        1, which loading an ``AutoEncoder`` would make them, ``AutoEncoderNew``.
    """
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
    """The class that computes the same, and its tensors but for k."""
    matrices = {"encoder.weight": sae.W_enc.T, "encoder.bias": sae.b_enc, "decoder.weight": sae.W_dec.T}
    if sae.k is not None:
        return "AutoEncoderTopK", matrices | {"b_dec": sae.b_dec, "threshold": torch.tensor(-1.0)}
    plain = fold.without_pre_bias(sae)
    if sae.threshold is not None:
        weights = {name: getattr(plain, name) for name in ("W_enc", "b_enc", "W_dec", "b_dec")}
        return "JumpReluAutoEncoder", weights | {"threshold": sae.threshold}
    if has_unit_decoder(sae):
        return "AutoEncoder", matrices | {"bias": sae.b_dec}
    return "AutoEncoderNew", matrices | {"encoder.bias": plain.b_enc, "decoder.bias": sae.b_dec}
