"""Load a gene language model and read it at one layer."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils import logging as hf_logging
from transformers.utils.hub import cached_file, extract_commit_hash

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import bundled
from sae_tracks.lm.hyenadna import HyenaDNAForCausalLM
from sae_tracks.lm.protocol import GeneLM
from sae_tracks.lm.reader import HyenaDNAReader

DEMO = "demo"


def resolve_device(device: str) -> torch.device:
    """``auto`` is CUDA where there is one, else the CPU."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise SaeTracksError(f"--device {device}: it is auto, cpu or cuda")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise SaeTracksError("--device cuda: torch sees no CUDA device here; use --device cpu")
    return torch.device(device)


def load_lm(model: str | Path, layer: int = 3, *, revision: str | None = None, device: str = "auto") -> GeneLM:
    """Load a gene language model, fp32, to be read at one layer. No remote code is run, no pickle is opened.

    Parameters
    ----------
    model : str or path
        A hub id such as ``LongSafari/hyenadna-small-32k-seqlen-hf``, with ``@revision`` behind it or not; a folder with
        config.json and safetensors; or ``demo``, the small model that comes with sae-tracks.
    layer : int
        1-based: the residual stream after that block = transformers' ``hidden_states[layer]``.
    revision : str, optional
        Branch, tag or commit on the hub, where the id does not say it.
    device : str
        ``auto``, ``cpu`` or ``cuda``.

    Raises
    ------
    SaeTracksError
        The model is not there, is of another kind, has no such layer, or its weights do not fit.
    """
    name = str(model)
    if "@" in name and not Path(name).exists():
        name, _, revision = name.partition("@")
    loaded, commit = load_causal_lm(str(bundled("demo-lm")) if name == DEMO else name, revision)
    return HyenaDNAReader(loaded.to(resolve_device(device)), layer, name, commit)


def load_causal_lm(source: str, revision: str | None = None) -> tuple[HyenaDNAForCausalLM, str | None]:
    """The whole model with its head, fp32, on the CPU, and the commit it came from."""
    try:
        config_file = cached_file(source, "config.json", revision=revision)
        commit = None if Path(source).is_dir() else extract_commit_hash(config_file, None)
        where = {"revision": commit or revision, "trust_remote_code": False}
        config = AutoConfig.from_pretrained(source, **where)
    except (OSError, ValueError) as error:
        raise SaeTracksError(f"cannot load a language model from {source}: {_first_line(error)}") from error
    if config.model_type != "hyenadna":
        raise SaeTracksError(f"{source} is a {config.model_type!r} model; sae-tracks reads 'hyenadna'")
    how = {"config": config, "use_safetensors": True, "dtype": torch.float32, "output_loading_info": True}
    try:
        with quiet_transformers():
            loaded, info = AutoModelForCausalLM.from_pretrained(source, **where, **how)
    except (OSError, ValueError, RuntimeError) as error:
        raise SaeTracksError(
            f"cannot load the weights of {source} (safetensors only, a pickle is never run): {_first_line(error)}"
        ) from error
    _check_complete(source, loaded, info)
    return loaded, commit


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Without transformers' progress bars and warnings; what it warns of when loading, we refuse."""
    level, bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        hf_logging.set_verbosity(level)
        if bars:
            hf_logging.enable_progress_bar()


def _check_complete(source: str, model: torch.nn.Module, info: dict) -> None:
    for problem in ("missing_keys", "mismatched_keys", "unexpected_keys"):
        if info.get(problem):
            names = sorted(str(key) for key in info[problem])
            what = problem.removesuffix("_keys")
            raise SaeTracksError(f"{source}: {len(names)} {what} weights, such as {names[0]}")
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise SaeTracksError(f"{source}: {name} holds NaN or infinity")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
