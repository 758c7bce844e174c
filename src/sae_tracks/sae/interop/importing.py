"""From a file or folder of another program to an SAE directory."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import sha256, write_provenance
from sae_tracks.lm.torchfile import read_tensors
from sae_tracks.sae.directory import CONFIG, NAMES, WEIGHTS, save_sae
from sae_tracks.sae.interop.dictionary_learning import (
    FILE,
    NORMALIZED,
    is_interplm,
    read_dictionary,
    read_interplm,
    read_unmarked,
    trainer_config,
)
from sae_tracks.sae.interop.exporting import check_free
from sae_tracks.sae.interop.releases import EVO2_NAMES, EVO2_NOTE, SPARSIFY, read_evo2, read_sparsify
from sae_tracks.sae.interop.saelens import read_saelens
from sae_tracks.sae.interop.weights import Stored, open_safetensors
from sae_tracks.sae.model import SAE

PREFIXES = ("_orig_mod.", "module.")  # of torch.compile and of data-parallel training
READABLE = (
    f"SAELens ({CONFIG} with {WEIGHTS}), sparsify ({CONFIG} with {SPARSIFY}), dictionary_learning or InterPLM "
    f"({FILE}), or Evo 2's release (.pt)"
)


@dataclass(frozen=True, slots=True)
class Imported:
    """What was imported.

    Attributes
    ----------
    sae : SAE
    format : str
        Whose it was.
    file : path
        The file of its weights.
    note : str
        How the imported SAE differs from the original; empty if it does not.
    """

    sae: SAE
    format: str
    file: Path
    note: str = ""


def import_sae(
    source: Path,
    out: Path,
    *,
    model: str | None = None,
    layer: int | None = None,
    hook: str | None = None,
    k: int | None = None,
) -> Imported:
    """Read an SAE of another program and write an SAE directory that computes the same features.

    Parameters
    ----------
    source : path
        A file of weights, or the folder that holds it. The content decides which program wrote it.
    out : path
        A folder that holds no SAE yet.
    model, layer, hook
        The language model and where the SAE reads it, as for `sae_tracks.lm.load_lm`; kept in the metadata under
        ``lm``. Default: what the metadata says already, for an SAE that sae-tracks made.
    k : int, optional
        Active features per row; only for Evo 2's release.

    Returns
    -------
    Imported
        The SAE, its format, the file of its weights, and a note on any difference from the original.

    Raises
    ------
    SaeTracksError
        Nothing readable is there, it cannot be expressed as an SAE of ours, or `out` holds an SAE already.
    """
    check_free(out)
    lm = place_facts(model, layer, hook)
    found = _read(source, k)
    sae = found.sae
    _check_finite(sae, found.file)
    if lm:
        sae.metadata |= {"lm": lm | {"d_model": sae.d_in}}
        sae.metadata |= {"model_name": lm.get("model"), "hook_name": lm.get("hook_name")}
    sae.metadata["imported_from"] = facts = {
        "format": found.format,
        "file": str(found.file.absolute()),
        "sha256": sha256(found.file),
    }
    save_sae(sae, out)
    write_provenance(out, imported_from=facts, lm=sae.metadata.get("lm"))
    return found


@torch.inference_mode()
def _read(source: Path, k: int | None) -> Imported:
    file = _weights_file(source)
    if file.name == WEIGHTS:
        _no_k(k)
        sae, note = read_saelens(file.parent)
        return Imported(sae, "SAELens", file, note)
    if file.name == SPARSIFY:
        _no_k(k)
        return Imported(read_sparsify(open_safetensors(file)), "sparsify", file)
    if file.suffix == ".safetensors":
        raise SaeTracksError(f"{file} is of no format that is read: {READABLE}")
    stored = Stored(file, _unprefixed(file, read_tensors(file)))
    if stored.names == EVO2_NAMES:
        return Imported(read_evo2(stored, k), "Evo 2", file, EVO2_NOTE)
    _no_k(k)
    if trainer := trainer_config(file.parent):
        return Imported(read_dictionary(stored, trainer), "dictionary_learning", file)
    if is_interplm(stored):
        return Imported(read_interplm(stored), "InterPLM", file)
    return Imported(read_unmarked(stored), "dictionary_learning or InterPLM", file)


def _weights_file(source: Path) -> Path:
    """The file of weights that a path stands for."""
    if source.is_file() and source.name != CONFIG:
        return source
    folder = source.parent if source.is_file() else source
    if not folder.is_dir():
        raise SaeTracksError(f"no file or folder {source}: name an SAE that lies on this machine")
    if (folder / SPARSIFY).is_file() and not (folder / WEIGHTS).is_file():
        return folder / SPARSIFY
    if (folder / CONFIG).is_file() or (folder / WEIGHTS).is_file():
        return folder / WEIGHTS
    for name in (NORMALIZED, FILE):
        if (source / name).is_file():
            return source / name
    files = sorted(path.name for path in source.glob("*.pt"))
    if len(files) == 1:
        return source / files[0]
    what = f"several .pt files ({', '.join(files[:3])}): name one" if files else f"no SAE; readable are {READABLE}"
    raise SaeTracksError(f"{source} holds {what}")


def _unprefixed(file: Path, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    plain: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        short = name
        for prefix in PREFIXES:
            short = short.replace(prefix, "")
        if short in plain:
            raise SaeTracksError(f"{file} holds {short} twice, with and without a prefix")
        plain[short] = tensor
    return plain


def _no_k(k: int | None) -> None:
    if k is not None:
        raise SaeTracksError("--k is for Evo 2's release alone: other files say it themselves")


def _check_finite(sae: SAE, file: Path) -> None:
    """Refuse an SAE whose numbers overflow once factors are folded in."""
    tensors: dict[str, Any] = {name: getattr(sae, name) for name in NAMES} | {"threshold": sae.threshold}
    for name, tensor in tensors.items():
        if tensor is not None and not torch.isfinite(tensor).all():
            raise SaeTracksError(f"{file}: {name} overflows float32 once its factors are folded in")


def place_facts(model: str | None, layer: int | None, hook: str | None) -> dict[str, str | int | None]:
    """What an SAE's metadata keep as ``lm`` of a model that is not loaded; its checksum stays unknown.

    Parameters
    ----------
    model : str, optional
        As `sae_tracks.lm.load_lm` takes it.
    layer : int, optional
        1-based; or `hook`, the path of a module.

    Returns
    -------
    dict
        The keys of `sae_tracks.lm.describe` without d_model, None if unknown; no ``model`` if none was named, and
        empty if nothing was said.
    """
    if layer is not None and hook is not None:
        raise SaeTracksError("--layer and --hook both say where to read: give one of them")
    if model is None and layer is None and hook is None:
        return {}
    if layer is None and hook is None:
        raise SaeTracksError("--model does not say where the SAE reads it: add --layer N or --hook MODULE")
    unknown = {"revision": None, "weights_sha256": None, "architecture": None}
    return unknown | (_named(model) if model else {}) | {"layer": layer, "hook_name": hook}


def _named(model: str) -> dict[str, str | int | None]:
    """A model as `load_lm` would call it: the absolute path of a folder, a hub id and its revision apart."""
    if model != "demo" and Path(model).exists():
        return {"model": str(Path(model).absolute()), "revision": None}
    name, _, revision = (model, "", "") if ":" in model else model.partition("@")
    return {"model": name, "revision": revision or None}
