"""Load a gene language model, of this package or of a plug-in, and read it at one layer."""

import logging
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, cast

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig

from sae_tracks.errors import SaeTracksError, UsageError, first_line
from sae_tracks.files import bundled
from sae_tracks.lm.auto import AutoReader
from sae_tracks.lm.device import resolve_device
from sae_tracks.lm.inference import HyenaDNAReader
from sae_tracks.lm.lightning import load_lightning
from sae_tracks.lm.plugin import check_plugin
from sae_tracks.lm.pretrained import (
    Pretrained,
    check_complete,
    find_pretrained,
    is_on_disk,
    open_any_model,
    open_config,
    open_model,
    open_tokenizer,
)
from sae_tracks.lm.protocol import GeneLM, check_one_place
from sae_tracks.lm.registered import HyenaDNAForCausalLM, HyenaDNAModel, HyenaDNATokenizer
from sae_tracks.lm.tokens import SPECIAL_TOKENS
from sae_tracks.names import BUNDLED, counted

DEFAULT_LAYER = 3
PLUGINS = "sae_tracks.models"  # the entry point group of other packages' models
HEAD, BODY = "lm_head.weight", ("hyena.", "backbone.")
log = logging.getLogger(__name__)


def load_lm(
    model: str | Path,
    layer: int | None = None,
    *,
    hook: str | None = None,
    revision: str | None = None,
    device: str = "auto",
    trust_remote_code: bool = False,
) -> GeneLM:
    """Load a gene language model in fp32, to be read at one layer. No pickle is opened.

    Parameters
    ----------
    model : str or path
        A hub id such as ``LongSafari/hyenadna-small-32k-seqlen-hf``, with or without ``@revision`` behind it; a folder
        with config.json and safetensors; a HyenaDNA checkpoint of Lightning; ``NAME:ARG`` of an installed plug-in; or
        ``demo`` or ``yeast``, the small models that come with sae-tracks.
    layer : int, optional
        1-based: the residual stream after that block = transformers' ``hidden_states[layer]``. Default 3, or the last
        of a model with fewer blocks, unless a `hook` is given.
    hook : str, optional
        Instead of a layer, the path of the module whose output is read.
    revision : str, optional
        Branch, tag or commit on the hub, if the id does not name one. Default: the pinned commit of a known model
        (`sae_tracks.names.PINNED`), else ``main``.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    trust_remote_code : bool
        Run Python code that the model's repository brings, at the commit of the revision. A model whose code is in
        sae-tracks or transformers needs none.

    Returns
    -------
    GeneLM
        In evaluation mode, with frozen weights.

    Raises
    ------
    UsageError
        `layer` and `hook` are both given, or the id names another revision than `revision`.
    SaeTracksError
        The model is not there, has no such layer, does not read DNA, needs code of its own, or its weights do not fit.
    """
    check_one_place(layer, hook)
    name = str(model)
    is_path = name not in BUNDLED and is_on_disk(name)
    if ":" in name and not is_path:
        layer = DEFAULT_LAYER if layer is None and hook is None else layer
        return _load_plugin(name, layer, hook=hook, revision=revision, device=device)
    if "@" in name and not is_path:
        name, revision = _split_revision(name, revision)
    on = resolve_device(device)
    source = str(bundled(BUNDLED[name])) if name in BUNDLED else name
    found = None if _is_lightning(source) else find_pretrained(source, revision, trust_remote_code)
    model_id = str(Path(name).absolute()) if is_path else name
    return _reader_of(found, source, layer, hook, model_id, on)


def _reader_of(
    found: Pretrained | None, source: str, layer: int | None, hook: str | None, model_id: str, device: torch.device
) -> GeneLM:
    """Open the weights that were found, or the Lightning checkpoint `source`, as a reader on a device."""
    commit = found.commit if found else None
    if found and not found.is_hyenadna:
        body = open_any_model(found)
        torch.nn.Module.to(body, device)  # the `to` of transformers' models has no type
        layer = _layer_of(body.config, layer, hook)
        return AutoReader(body, open_tokenizer(found), layer, hook, model_id, commit)
    hyenadna = _open_hyenadna(found) if found else load_lightning(source, need_head=False)
    torch.nn.Module.to(hyenadna, device)
    layer = _layer_of(hyenadna.config, layer, hook)
    if layer is None:
        tokenizer = HyenaDNATokenizer(
            model_max_length=hyenadna.config.max_seq_len - SPECIAL_TOKENS + 1
        )  # bases and [SEP]
        return AutoReader(hyenadna, tokenizer, None, hook, model_id, commit)  # its window is that of a layer
    return HyenaDNAReader(hyenadna, layer, model_id, commit)


def _layer_of(config: PreTrainedConfig, layer: int | None, hook: str | None) -> int | None:
    """The layer to read; None if a module was named."""
    if layer is not None or hook is not None:
        return layer
    blocks = getattr(config, "num_hidden_layers", DEFAULT_LAYER)
    if blocks < DEFAULT_LAYER:
        log.info("the model has %s: layer %d is read", counted(blocks, "block"), blocks)
    return min(DEFAULT_LAYER, blocks)


def _split_revision(name: str, revision: str | None) -> tuple[str, str]:
    """Split ``id@revision``; another revision beside it is an error."""
    model, _, named = name.partition("@")
    if revision not in (None, named):
        raise UsageError(f"{name} names the revision {named!r}, and the revision {revision!r} is given: give one")
    return model, named


def load_causal_lm(source: str) -> HyenaDNAForCausalLM:
    """Load a whole HyenaDNA with its head, fp32, on the CPU. No remote code is run."""
    if _is_lightning(source):
        return cast(HyenaDNAForCausalLM, load_lightning(source, need_head=True))
    found = find_pretrained(source)
    if not found.is_hyenadna:
        raise SaeTracksError(f"{source} is a {found.model_type!r} model; a 'hyenadna' one is needed")
    model, report = open_model(found, open_config(found), AutoModelForCausalLM)
    check_complete(found, model, report)
    return cast(HyenaDNAForCausalLM, model)


def _open_hyenadna(found: Pretrained) -> HyenaDNAForCausalLM | HyenaDNAModel:
    """Open a HyenaDNA with its next-base head, or without one if the file has none; other heads are left out."""
    opened, report = open_model(found, open_config(found), AutoModelForCausalLM)
    model = cast(HyenaDNAForCausalLM, opened)
    missing = [name for name in report["missing_keys"] if name != HEAD]
    unexpected = [name for name in report["unexpected_keys"] if name.startswith(BODY)]
    check_complete(found, model, {**report, "missing_keys": missing, "unexpected_keys": unexpected})
    return model if HEAD not in report["missing_keys"] else model.hyena


def _is_lightning(source: str) -> bool:
    """Whether this is a Lightning checkpoint, or a folder that holds one and no safetensors."""
    path = Path(source)
    if not is_on_disk(source) or path.is_file():
        return is_on_disk(source) and path.suffix == ".ckpt"
    return (path / "weights.ckpt").is_file() and not any(path.glob("*.safetensors"))


def _load_plugin(model: str, layer: int | None, **options: Any) -> GeneLM:
    """Load ``NAME:ARG``: the entry point NAME is called as ``load(ARG, layer, hook=, revision=, device=)``."""
    name, _, argument = model.partition(":")
    registered = {point.name: point for point in entry_points(group=PLUGINS)}
    if name not in registered:
        installed = ", ".join(sorted(registered)) or "none"
        raise SaeTracksError(f"no model plug-in {name!r} for {model}; installed ({PLUGINS}): {installed}")
    try:
        lm = registered[name].load()(argument, layer, **options)
    except SaeTracksError:
        raise
    except Exception as error:  # code that is not ours
        why = first_line(error)
        raise SaeTracksError(f"the model plug-in {name!r} ({registered[name].value}) does not load: {why}") from error
    lm = check_plugin(name, lm)
    if lm.model_id != model:
        raise SaeTracksError(
            f"the model plug-in {name!r} calls its model {lm.model_id!r}; the model_id must be {model!r}, so that an "
            "SAE finds the model again"
        )
    return lm
