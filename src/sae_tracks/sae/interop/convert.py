"""From a file or folder of another program to an SAE directory, and back.

Two formats of single programs are read here. **sparsify** (EleutherAI): ``cfg.json`` with ``sae.safetensors``, a TopK
on ``x - b_dec``. **Evo 2**: one matrix for both ways, trained by BatchTopK. The notebook that came with it computes
``relu(x W + b_enc)`` without subtracting b_dec, keeps the ``k n`` largest of the n rows it is given together, and
decodes by ``f W^T + b_dec``. What one row keeps thus depends on the others, which no function of a row can express. The
k largest of each row are as many.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import make_folder, sha256, write_provenance
from sae_tracks.json_file import read_json
from sae_tracks.lm.protocol import check_one_place
from sae_tracks.lm.torchfile import read_tensors
from sae_tracks.names import BUNDLED
from sae_tracks.sae.directory import CONFIG, STATS, WEIGHTS, save_sae, whole_k
from sae_tracks.sae.interop import dictionary_learning
from sae_tracks.sae.interop.saelens import read_saelens
from sae_tracks.sae.interop.tensors import Tensors, open_safetensors, with_pre_bias
from sae_tracks.sae.model import SAE

Target = Literal["saelens", "dictionary_learning"]
PREFIXES = re.compile(r"_orig_mod\.|module\.")  # of torch.compile and of data-parallel training
SPARSIFY = "sae.safetensors"
EVO2_NAMES = frozenset({"W", "b_enc", "b_dec"})
EVO2_NOTE = "made for the k largest of all rows of a batch together; imported as the k largest of each row"
READABLE = (
    f"SAELens ({CONFIG} with {WEIGHTS}), sparsify ({CONFIG} with {SPARSIFY}), dictionary_learning or InterPLM "
    f"({dictionary_learning.FILE}), or Evo 2's release (.pt)"
)


@dataclass(frozen=True, slots=True)
class Imported:
    """An imported SAE."""

    sae: SAE
    format: str
    """The program that wrote it."""
    file: Path
    """The file of its weights."""
    note: str = ""
    """How the imported SAE differs from the original; empty if it does not."""


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
    _check_free(out)
    lm = _place_facts(model, layer, hook)
    found = _read(source, k)
    sae = found.sae
    for name, tensor in sae.tensors().items():
        if not torch.isfinite(tensor).all():
            raise SaeTracksError(f"{found.file}: {name} overflows float32 once its factors are folded in")
    if lm:
        names = {"model_name": lm.get("model"), "hook_name": lm.get("hook_name")}
        sae.metadata |= names | {"lm": lm | {"d_model": sae.d_in}}
    facts = {"format": found.format, "file": str(found.file.absolute()), "sha256": sha256(found.file)}
    sae.metadata["imported_from"] = facts
    save_sae(sae, out)
    write_provenance(out, imported_from=facts, lm=sae.metadata.get("lm"))
    return found


def export_sae(sae: SAE, out: Path, target: Target) -> str:
    """Write an SAE so that another program opens it and computes the same features; returns the class it has there.

    The folder must hold no SAE yet. It gets ``cfg.json`` and ``sae_weights.safetensors`` for SAELens, or ``ae.pt`` and
    ``config.json`` for dictionary_learning. Statistics have no place in either format and are left out.
    """
    _check_free(out)
    make_folder(out)
    if target == "dictionary_learning":
        name = dictionary_learning.write_dictionary(sae, out)
    else:
        save_sae(replace(sae, stats=None), out)
        name = sae.architecture
    write_provenance(out, sae_sha256=sae.checksum, written_for=target)
    return name


def _check_free(folder: Path) -> None:
    """Refuse a folder that holds an SAE, because files that stay would look like files of the new one."""
    for name in (CONFIG, WEIGHTS, STATS, dictionary_learning.FILE, dictionary_learning.CONFIG):
        if (folder / name).exists():
            raise SaeTracksError(f"{folder} holds {name} already: name another folder or delete it")


@torch.inference_mode()
def _read(source: Path, k: int | None) -> Imported:
    file = _weights_file(source)
    if file.suffix == ".safetensors" and file.name not in (WEIGHTS, SPARSIFY):
        raise SaeTracksError(f"{file} is of no format that is read: {READABLE}")
    tensors = _unprefixed(file, read_tensors(file)) if file.suffix != ".safetensors" else None
    if tensors and tensors.names == EVO2_NAMES:
        return Imported(read_evo2(tensors, k), "Evo 2", file, EVO2_NOTE)
    if k is not None:
        raise SaeTracksError("--k is for Evo 2's release alone: other files say it themselves")
    if file.name == WEIGHTS:
        sae, note = read_saelens(file.parent)
        return Imported(sae, "SAELens", file, note)
    if not tensors:
        return Imported(read_sparsify(open_safetensors(file)), "sparsify", file)
    if trainer := dictionary_learning.trainer_config(file.parent):
        return Imported(dictionary_learning.read_dictionary(tensors, trainer), "dictionary_learning", file)
    if dictionary_learning.is_interplm(tensors):
        return Imported(dictionary_learning.read_interplm(tensors), "InterPLM", file)
    return Imported(dictionary_learning.read_unmarked(tensors), "dictionary_learning or InterPLM", file)


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
    for name in (dictionary_learning.NORMALIZED, dictionary_learning.FILE):
        if (source / name).is_file():
            return source / name
    files = sorted(path.name for path in source.glob("*.pt"))
    if len(files) == 1:
        return source / files[0]
    what = f"several .pt files ({', '.join(files[:3])}): name one" if files else f"no SAE; readable are {READABLE}"
    raise SaeTracksError(f"{source} holds {what}")


def _unprefixed(file: Path, tensors: dict[str, torch.Tensor]) -> Tensors:
    plain: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        short = PREFIXES.sub("", name)
        if short in plain:
            raise SaeTracksError(f"{file} holds {short} twice, with and without a prefix")
        plain[short] = tensor
    return Tensors(file, plain)


def read_evo2(tensors: Tensors, k: int | None) -> SAE:
    """Read Evo 2's SAE, W (d_in, d_sae), b_enc and b_dec, as a ``topk``.

    The tensors do not say k. By default it is what the file's name says (``...-k_64.pt``).
    """
    if k is None:
        named = re.search(r"k_0*([1-9]\d*)", tensors.path.stem)
        if not named:
            raise SaeTracksError(f"{tensors.path} does not say how many features a row has: give --k (of Evo 2's: 64)")
        k = int(named[1])
    W = tensors.take_matrix("W")
    d_in, d_sae = W.shape
    k = whole_k(tensors.path, k, d_sae)
    return with_pre_bias(SAE(W, tensors.take("b_enc", d_sae), W.T, tensors.take("b_dec", d_in), k=k))


def read_sparsify(tensors: Tensors) -> SAE:
    """Read an SAE of sparsify as a ``topk``; transcoders, skip connections and other activations are refused."""
    path = tensors.path.with_name(CONFIG)
    config = read_json(path)
    for key in ("transcode", "skip_connection", "signed"):
        if config.get(key):
            raise SaeTracksError(f"{path}: {key} is set; only an SAE that is a TopK of its input can be imported")
    if (activation := config.get("activation", "topk")) != "topk":
        raise SaeTracksError(f"{path}: activation {activation!r} cannot be imported; topk can")
    encoder = tensors.take_matrix("encoder.weight")
    d_sae, d_in = encoder.shape
    k, b_enc = whole_k(path, config.get("k"), d_sae), tensors.take("encoder.bias", d_sae)
    sae = SAE(encoder.T, b_enc, tensors.take("W_dec", d_sae, d_in), tensors.take("b_dec", d_in), k=k)
    tensors.finish()
    return sae


def _place_facts(model: str | None, layer: int | None, hook: str | None) -> dict[str, str | int | None]:
    """The metadata under ``lm`` of a model that is not loaded: the keys of `describe` but d_model, None if unknown.

    There is no ``model`` if none is named, and nothing at all if no parameter is given.
    """
    check_one_place(layer, hook)
    if model is None and layer is None and hook is None:
        return {}
    if layer is None and hook is None:
        raise SaeTracksError("--model does not say where the SAE reads it: add --layer N or --hook MODULE")
    unknown = {"revision": None, "weights_sha256": None, "architecture": None}
    return unknown | (_named(model) if model else {}) | {"layer": layer, "hook_name": hook}


def _named(model: str) -> dict[str, str | int | None]:
    """A model as `load_lm` would call it: the absolute path of a folder, or a hub id apart from its revision."""
    if model not in BUNDLED and Path(model).exists():
        return {"model": str(Path(model).absolute()), "revision": None}
    name, _, revision = (model, "", "") if ":" in model else model.partition("@")
    return {"model": name, "revision": revision or None}
