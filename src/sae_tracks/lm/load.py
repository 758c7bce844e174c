"""Load a gene language model and read it at one layer."""

import re
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import bundled
from sae_tracks.lm.auto import AutoReader
from sae_tracks.lm.hyenadna import HyenaDNAForCausalLM
from sae_tracks.lm.pretrained import (
    Pretrained,
    check_complete,
    find_pretrained,
    open_any_model,
    open_config,
    open_model,
    open_tokenizer,
    quiet_transformers,
)
from sae_tracks.lm.protocol import GeneLM
from sae_tracks.lm.reader import SPECIAL_TOKENS, HyenaDNAReader
from sae_tracks.lm.registry import load_plugin
from sae_tracks.lm.tokens import HyenaDNATokenizer

__all__ = ["DEMO", "load_causal_lm", "load_lm", "quiet_transformers", "resolve_device"]
DEMO = "demo"
DEFAULT_LAYER = 3


def resolve_device(device: str) -> torch.device:
    """``auto`` is CUDA where there is one, else the CPU."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise SaeTracksError(f"--device {device}: it is auto, cpu or cuda")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise SaeTracksError("--device cuda: torch sees no CUDA device here; use --device cpu")
    return torch.device(device)


def load_lm(
    model: str | Path,
    layer: int | None = None,
    *,
    hook: str | None = None,
    revision: str | None = None,
    device: str = "auto",
    trust_remote_code: bool = False,
) -> GeneLM:
    """Load a gene language model, fp32, to be read at one layer. No pickle is opened.

    Parameters
    ----------
    model : str or path
        A hub id such as ``LongSafari/hyenadna-small-32k-seqlen-hf``, with ``@revision`` behind it or not; a folder with
        config.json and safetensors; a HyenaDNA checkpoint of Lightning; ``NAME:ARG`` of an installed plug-in; or
        ``demo``, the small model that comes with sae-tracks.
    layer : int, optional
        1-based: the residual stream after that block = transformers' ``hidden_states[layer]``. Default 3, where no
        `hook` is given.
    hook : str, optional
        Instead of a layer, the path of the module whose output is read.
    revision : str, optional
        Branch, tag or commit on the hub, where the id does not say it. Default: the commit that is pinned for a known
        model (`sae_tracks.lm.pretrained.PINNED`), else ``main``.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    trust_remote_code : bool
        Run Python code that the model's repository brings, of the commit that the revision stands for. A model that
        sae-tracks or transformers has needs none.

    Returns
    -------
    GeneLM
        In evaluation mode, with frozen weights.

    Raises
    ------
    SaeTracksError
        The model is not there, has no such layer, does not read DNA, needs code of its own, or its weights do not fit.
    """
    if layer is not None and hook is not None:
        raise SaeTracksError("--layer and --hook both say where to read: give one of them")
    layer = DEFAULT_LAYER if layer is None and hook is None else layer
    name = str(model)
    is_path = name != DEMO and Path(name).exists()
    if ":" in name and not is_path:
        return load_plugin(name, layer, hook=hook, revision=revision, device=device)
    on = resolve_device(device)
    if "@" in name and not is_path:
        name, _, revision = name.partition("@")
    model_id = str(Path(name).absolute()) if is_path else name
    source = str(bundled("demo-lm")) if name == DEMO else name
    found = None if _is_lightning(source) else find_pretrained(source, revision, trust_remote_code)
    if found and not found.is_hyenadna:
        return AutoReader(open_any_model(found).to(on), open_tokenizer(found), layer, hook, model_id, found.commit)
    loaded, commit = (_open_hyenadna(found), found.commit) if found else load_causal_lm(source)
    if hook is None:
        return HyenaDNAReader(loaded.to(on), layer, model_id, commit)
    bases_and_sep = loaded.config.max_seq_len - SPECIAL_TOKENS + 1
    tokenizer = HyenaDNATokenizer(model_max_length=bases_and_sep)  # the window is then that of a layer
    return AutoReader(loaded.to(on), tokenizer, None, hook, model_id, commit)


def load_causal_lm(source: str, revision: str | None = None) -> tuple[HyenaDNAForCausalLM, str | None]:
    """A whole HyenaDNA with its head, fp32, on the CPU, and the commit it came from; no remote code is run."""
    if _is_lightning(source):
        from sae_tracks.lm.lightning import load_lightning

        return load_lightning(Path(source)), None
    found = find_pretrained(source, revision)
    if not found.is_hyenadna:
        raise SaeTracksError(f"{source} is a {found.model_type!r} model; a 'hyenadna' one is needed")
    return _open_hyenadna(found), found.commit


def _open_hyenadna(found: Pretrained) -> HyenaDNAForCausalLM:
    loaded, report = open_model(found, open_config(found), AutoModelForCausalLM)
    check_complete(found, loaded, report)
    return loaded


def _is_lightning(source: str) -> bool:
    """A Lightning checkpoint, or a folder that holds one and no safetensors."""
    path = Path(source)
    if path.is_file():
        return path.suffix == ".ckpt"
    return (path / "weights.ckpt").is_file() and not any(path.glob("*.safetensors"))
