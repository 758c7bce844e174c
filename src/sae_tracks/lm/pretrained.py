"""Configurations, weights and tokenizers from a folder or the hub, and what is refused of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.utils import logging as hf_logging
from transformers.utils.hub import cached_file, extract_commit_hash

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import read_json

LOADING = (OSError, ValueError, RuntimeError, ImportError)


@dataclass(frozen=True, slots=True)
class Pretrained:
    """A model's folder or hub repository at one commit, of which the configuration was read.

    Attributes
    ----------
    source : str
        Folder or hub id.
    revision, commit : str or None
        What was asked for, and the commit that it stands for (None for a folder).
    settings : dict
        config.json as it is.
    trust_remote_code : bool
        Whether Python code that the repository brings may be run.
    """

    source: str
    revision: str | None
    commit: str | None
    settings: dict[str, Any]
    trust_remote_code: bool

    @property
    def model_type(self) -> str:
        return str(self.settings.get("model_type"))

    @property
    def is_hyenadna(self) -> bool:
        return self.model_type == "hyenadna"

    @property
    def own_code(self) -> dict[str, Any]:
        """The classes that the repository brings; none for models that sae-tracks or transformers have."""
        return self.settings.get("auto_map") or {}

    @property
    def where(self) -> dict[str, Any]:
        """Arguments of ``from_pretrained`` that pin files, and code where it is run, to the commit."""
        where = {"revision": self.commit or self.revision, "trust_remote_code": self.trust_remote_code}
        return where | ({"code_revision": self.commit} if self.trust_remote_code and self.commit else {})

    def errors(self) -> tuple[type[Exception], ...]:
        """What loading may raise: of code that is not ours, anything."""
        return (Exception,) if self.trust_remote_code else LOADING


def find_pretrained(source: str, revision: str | None = None, trust_remote_code: bool = False) -> Pretrained:
    """Read config.json, and settle which commit is meant.

    Raises
    ------
    SaeTracksError
        There is no model, or its code lies in another repository than its weights.
    """
    try:
        config_file = cached_file(source, "config.json", revision=revision)
    except LOADING as error:
        raise SaeTracksError(f"cannot load a language model from {source}: {first_line(error)}") from error
    if config_file is None:
        raise SaeTracksError(f"cannot load a language model from {source}: no config.json is there")
    commit = None if Path(source).is_dir() else extract_commit_hash(config_file, None)
    found = Pretrained(source, revision, commit, read_json(Path(config_file)), trust_remote_code)
    if found.is_hyenadna:
        return replace(found, trust_remote_code=False)  # ours is read in place of the repository's code
    elsewhere = [c for c in found.own_code.values() if isinstance(c, str) and "--" in c and c.split("--")[0] != source]
    if trust_remote_code and elsewhere:
        raise SaeTracksError(f"{source} takes its code from {elsewhere[0]}, which no revision pins: it is not run")
    return found


def open_config(found: Pretrained) -> PreTrainedConfig:
    """The configuration as transformers' object."""
    if not found.trust_remote_code and found.own_code and found.model_type not in CONFIG_MAPPING:
        raise SaeTracksError(_needs_code(found))
    try:
        return AutoConfig.from_pretrained(found.source, **found.where)
    except found.errors() as error:
        raise SaeTracksError(f"cannot load a language model from {found.source}: {first_line(error)}") from error


def open_model(found: Pretrained, config: PreTrainedConfig, kind: Any) -> tuple[PreTrainedModel, dict[str, Any]]:
    """The weights as a model of an Auto class, fp32, on the CPU, without a pooler; and transformers' report."""
    how = {"config": config, "use_safetensors": True, "dtype": torch.float32, "output_loading_info": True}
    try:
        with quiet_transformers():
            try:
                return kind.from_pretrained(found.source, **found.where, **how, add_pooling_layer=False)
            except TypeError as error:
                if "add_pooling_layer" not in str(error):
                    raise
            return kind.from_pretrained(found.source, **found.where, **how)
    except found.errors() as error:
        raise SaeTracksError(
            f"cannot load the weights of {found.source} (safetensors only, a pickle is never run): "
            f"{first_line(error)}{_hint(found)}"
        ) from error


def open_any_model(found: Pretrained) -> PreTrainedModel:
    """The model without its head, where its code has a class for that; every weight in it comes from the file."""
    config = open_config(found)
    kinds = (AutoModel, AutoModelForMaskedLM, AutoModelForCausalLM)
    own = found.own_code if found.trust_remote_code else {}
    known = [k for k in kinds if k.__name__ in own] or [k for k in kinds if type(config) in k._model_mapping]
    if not known:
        raise SaeTracksError(f"{found.source}: transformers has no model for {found.model_type!r}{_hint(found)}")
    model, report = open_model(found, config, known[0])
    inside = {name for name, _ in model.named_children()} | {model.base_model_prefix}
    parts = [key.removeprefix(f"{model.base_model_prefix}.").split(".")[0] for key in report["unexpected_keys"]]
    kept = [key for key, part in zip(report["unexpected_keys"], parts) if part in inside - {"pooler"}]
    check_complete(found, model, {**report, "unexpected_keys": kept})
    return model


def open_tokenizer(found: Pretrained) -> PreTrainedTokenizerBase:
    """The tokenizer of a model."""
    try:
        with quiet_transformers():
            return AutoTokenizer.from_pretrained(found.source, **found.where)
    except found.errors() as error:
        if "trust_remote_code" in str(error):
            raise SaeTracksError(_needs_code(found)) from error
        raise SaeTracksError(f"cannot load the tokenizer of {found.source}: {first_line(error)}") from error


def check_complete(found: Pretrained, model: torch.nn.Module, report: dict[str, Any]) -> None:
    """Refuse a model of which weights are missing, left over, of another shape or not finite."""
    for problem in ("missing_keys", "mismatched_keys", "unexpected_keys"):
        if report.get(problem):
            names = sorted(str(key) for key in report[problem])
            what = problem.removesuffix("_keys")
            raise SaeTracksError(f"{found.source}: {len(names)} {what} weights, such as {names[0]}{_hint(found)}")
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise SaeTracksError(f"{found.source}: {name} holds NaN or infinity")


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


def first_line(error: Exception) -> str:
    """An error of another library in one line."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _needs_code(found: Pretrained) -> str:
    return (
        f"{found.source} brings Python code of its own, which is not run unless you ask for it: read it, then give "
        "--trust-remote-code"
    )


def _hint(found: Pretrained) -> str:
    if found.own_code and not found.trust_remote_code and not found.is_hyenadna:
        return "; the repository brings code of its own, which may fit: read it, then give --trust-remote-code"
    return ""
