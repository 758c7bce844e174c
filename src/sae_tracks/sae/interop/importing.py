"""From a file or folder of another program to an SAE directory."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import sha256, write_provenance
from sae_tracks.lm.torchfile import read_tensors
from sae_tracks.sae.directory import CONFIG, NAMES, WEIGHTS, save_sae
from sae_tracks.sae.interop import evo2
from sae_tracks.sae.interop.dictionary_learning import FILE, read_dictionary, trainer_config
from sae_tracks.sae.interop.free import check_free
from sae_tracks.sae.interop.interplm import NORMALIZED, is_interplm, read_interplm, read_unmarked
from sae_tracks.sae.interop.place import place_facts
from sae_tracks.sae.interop.saelens import read_saelens
from sae_tracks.sae.interop.stored import Stored
from sae_tracks.sae.model import SAE

PREFIXES = ("_orig_mod.", "module.")  # of torch.compile and of data-parallel training
READABLE = f"SAELens ({CONFIG} with {WEIGHTS}), dictionary_learning or InterPLM ({FILE}), or Evo 2's release (.pt)"


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
        In what it differs from what it was; empty where in nothing.
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
        A file of weights or the folder that holds it; whose it is, its content tells.
    out : path
        A folder that holds no SAE yet.
    model, layer, hook
        The language model and where the SAE reads it, as `sae_tracks.lm.load_lm` takes them; kept as the metadata's
        ``lm``. Default: what the metadata says already, of an SAE that sae-tracks made.
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
        return Imported(read_saelens(file.parent), "SAELens", file)
    stored = Stored(file, _unprefixed(file, read_tensors(file)))
    if stored.names == evo2.NAMES:
        return Imported(evo2.read_evo2(stored, k), "Evo 2", file, evo2.NOTE)
    _no_k(k)
    if trainer := trainer_config(file.parent):
        return Imported(read_dictionary(stored, trainer), "dictionary_learning", file)
    if is_interplm(stored):
        return Imported(read_interplm(stored), "InterPLM", file)
    return Imported(read_unmarked(stored), "dictionary_learning or InterPLM", file)


def _weights_file(source: Path) -> Path:
    """The file of weights that a path stands for."""
    if source.is_file():
        return source.with_name(WEIGHTS) if source.name == CONFIG else source
    if not source.is_dir():
        raise SaeTracksError(f"no file or folder {source}: name an SAE that lies on this machine")
    if (source / CONFIG).is_file() or (source / WEIGHTS).is_file():
        return source / WEIGHTS
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
    """Refuse what overflows where factors are folded in."""
    tensors: dict[str, Any] = {name: getattr(sae, name) for name in NAMES} | {"threshold": sae.threshold}
    for name, tensor in tensors.items():
        if tensor is not None and not torch.isfinite(tensor).all():
            raise SaeTracksError(f"{file}: {name} overflows float32 once its factors are folded in")
