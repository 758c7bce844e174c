"""From an SAE directory to the formats of other programs."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import atomic, make_folder, write_json, write_provenance
from sae_tracks.sae.directory import CONFIG, STATS, WEIGHTS, save_sae
from sae_tracks.sae.interop import dictionary_learning
from sae_tracks.sae.interop.weights import without_pre_bias
from sae_tracks.sae.model import SAE

Target = Literal["saelens", "dictionary_learning"]
NAMES = (CONFIG, WEIGHTS, STATS, dictionary_learning.FILE, dictionary_learning.CONFIG)


def check_free(folder: Path) -> None:
    """Refuse a folder that holds an SAE: what is left of that one would pass for the new one's."""
    held = [name for name in NAMES if (folder / name).exists()]
    if held:
        raise SaeTracksError(f"{folder} holds {held[0]} already: name another folder or delete it")


def export_sae(sae: SAE, out: Path, target: Target) -> str:
    """Write an SAE so that another program opens it and computes the same features.

    Parameters
    ----------
    sae : SAE
        Its statistics have no place in either format and are left out.
    out : path
        A folder that holds no SAE yet.
    target : str
        ``saelens``, for ``cfg.json`` and ``sae_weights.safetensors``, or ``dictionary_learning``, for ``ae.pt`` and
        ``config.json``.

    Returns
    -------
    str
        The architecture or class that it has there.
    """
    check_free(out)
    make_folder(out)
    if target == "dictionary_learning":
        name = write_dictionary(sae, out)
    else:
        save_sae(replace(sae, stats=None), out)
        name = sae.architecture
    write_provenance(out, sae_sha256=sae.checksum, written_for=target)
    return name


def write_dictionary(sae: SAE, folder: Path) -> str:
    """Write ``ae.pt`` and ``config.json``, the latter last, so that `load_dictionary` computes the same features.

    Returns
    -------
    str
        The class: ``AutoEncoderTopK``, ``JumpReluAutoEncoder``, ``AutoEncoder`` or, if directions are not of length
        1, which loading an ``AutoEncoder`` would make them, ``AutoEncoderNew``.
    """
    k = {"k": min(sae.k, sae.d_sae)} if sae.k is not None else {}
    name, tensors = _tensors(sae)
    tensors |= {key: torch.tensor(value, dtype=torch.int32) for key, value in k.items()}
    with atomic(folder / dictionary_learning.FILE) as temporary:
        torch.save({key: tensor.contiguous() for key, tensor in tensors.items()}, temporary)
    lm = sae.metadata.get("lm", {})
    facts = {"lm_name": lm.get("model"), "submodule_name": lm.get("hook_name")}
    sizes = {"activation_dim": sae.d_in, "dict_size": sae.d_sae}
    write_json(folder / dictionary_learning.CONFIG, {"trainer": {"dict_class": name, **sizes, **k, **facts}})
    return name


def _tensors(sae: SAE) -> tuple[str, dict[str, torch.Tensor]]:
    """The class that computes the same, and its tensors but for k."""
    matrices = {"encoder.weight": sae.W_enc.T, "encoder.bias": sae.b_enc, "decoder.weight": sae.W_dec.T}
    if sae.k is not None:
        return "AutoEncoderTopK", matrices | {"b_dec": sae.b_dec, "threshold": torch.tensor(-1.0)}
    plain = without_pre_bias(sae)
    if sae.threshold is not None:
        weights = {name: getattr(plain, name) for name in ("W_enc", "b_enc", "W_dec", "b_dec")}
        return "JumpReluAutoEncoder", weights | {"threshold": sae.threshold}
    if dictionary_learning.has_unit_decoder(sae):
        return "AutoEncoder", matrices | {"bias": sae.b_dec}
    return "AutoEncoderNew", matrices | {"encoder.bias": plain.b_enc, "decoder.bias": sae.b_dec}
