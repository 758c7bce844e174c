"""Configurations, weights and tokenizers from a folder or the hub, and what is refused of them."""

from collections.abc import Iterator, Sequence
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

# The commits meant where none is named; the losses of `check-model` were measured on this one.
PINNED = {"LongSafari/hyenadna-small-32k-seqlen-hf": "8fe770c78eb13fe33bf81501612faeddf4d6f331"}
TELLING = (OSError, ValueError, RuntimeError, ImportError)  # errors whose text says what they are
FILES = (".ckpt", ".safetensors", ".bin", ".pt", ".json", ".fa", ".fasta", ".fna", ".gz", ".bgz")


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


def find_pretrained(source: str, revision: str | None = None, trust_remote_code: bool = False) -> Pretrained:
    """Read config.json, and settle which commit is meant: without a revision the pinned one, else the hub's ``main``.

    Raises
    ------
    SaeTracksError
        There is no model, or its code lies in another repository than its weights.
    """
    _refuse_what_is_no_model(source)
    is_folder = Path(source).is_dir()
    revision = revision or (None if is_folder else PINNED.get(source))
    settings, file = _settings(source, "config.json", revision)
    if file is None:
        raise SaeTracksError(f"cannot load a language model from {source}: no config.json is there")
    commit = None if is_folder else extract_commit_hash(file, None)
    found = Pretrained(source, revision, commit, settings, trust_remote_code)
    if found.is_hyenadna:
        return replace(found, trust_remote_code=False)  # ours is read in place of the repository's code
    if trust_remote_code:
        _refuse_code_elsewhere(found)
    return found


def open_config(found: Pretrained) -> PreTrainedConfig:
    """The configuration as transformers' object."""
    if not found.trust_remote_code and found.own_code and found.model_type not in CONFIG_MAPPING:
        raise SaeTracksError(_needs_code(found))
    try:
        return AutoConfig.from_pretrained(found.source, **found.where)
    except Exception as error:  # whatever the file, or code beside it, leads to
        raise SaeTracksError(f"cannot load a language model from {found.source}: {first_line(error)}") from error


def open_model(found: Pretrained, config: PreTrainedConfig, kind: Any) -> tuple[PreTrainedModel, dict[str, Any]]:
    """The weights as a model of an Auto class, fp32, on the CPU, without a pooler; and transformers' report."""
    how = {"config": config, "use_safetensors": True, "dtype": torch.float32, "output_loading_info": True}
    how["ignore_mismatched_sizes"] = True  # the report then names them, and `check_complete` refuses them
    try:
        with quiet_transformers():
            try:
                return kind.from_pretrained(found.source, **found.where, **how, add_pooling_layer=False)
            except TypeError as error:
                if "add_pooling_layer" not in str(error):
                    raise
            return kind.from_pretrained(found.source, **found.where, **how)
    except Exception as error:  # as above; safetensors' own error among them
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
    except Exception as error:  # as above
        if "trust_remote_code" in str(error):
            raise SaeTracksError(_needs_code(found)) from error
        raise SaeTracksError(f"cannot load the tokenizer of {found.source}: {first_line(error)}") from error


def check_complete(found: Pretrained, model: torch.nn.Module, report: dict[str, Any]) -> None:
    """Refuse a model of which weights are missing, left over, of another shape or not finite."""
    for problem in ("mismatched_keys", "missing_keys", "unexpected_keys"):
        if report.get(problem):
            names = sorted(key if isinstance(key, str) else _shapes(*key) for key in report[problem])
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
    line, *_ = str(error).strip().splitlines() or [""]
    if line and isinstance(error, TELLING):
        return line
    return f"{type(error).__name__}: {line}" if line else type(error).__name__


def _refuse_what_is_no_model(source: str) -> None:
    """Say what is wrong with a path, of which the hub would say that it is no id."""
    path = Path(source)
    if path.is_file():
        raise SaeTracksError(f"cannot load a language model from {source}: it is a file; name its folder")
    looks_like_a_path = source.startswith((".", "/", "~")) or path.suffix in FILES or source.count("/") > 1
    if looks_like_a_path and not path.exists():
        raise SaeTracksError(f"cannot load a language model from {source}: no such file or folder")


def _settings(source: str, name: str, revision: str | None) -> tuple[dict[str, Any], str | None]:
    """A JSON file of a model and where it lies; empty and None where there is none."""
    try:
        file = cached_file(source, name, revision=revision, _raise_exceptions_for_missing_entries=False)
    except Exception as error:  # the hub client's errors share no base class
        raise SaeTracksError(f"cannot load a language model from {source}: {first_line(error)}") from error
    settings = {} if file is None else read_json(Path(file))
    if not isinstance(settings, dict):
        raise SaeTracksError(f"{source}: {name} is a {type(settings).__name__}; an object with the settings is needed")
    return settings, file


def _refuse_code_elsewhere(found: Pretrained) -> None:
    """Refuse classes of other repositories, in config.json and in tokenizer_config.json."""
    if "configuration_files" in found.settings:  # transformers would read one of them, with classes of its own
        raise SaeTracksError(f"{found.source}: its config.json names other configurations, whose code is not run")
    tokenizer, _ = _settings(found.source, "tokenizer_config.json", found.commit or found.revision)
    for name in _classes([found.own_code, tokenizer.get("auto_map")]):
        if "--" in name and name.split("--")[0] != found.source:
            raise SaeTracksError(f"{found.source} takes its code from {name}, which no revision pins: it is not run")


def _classes(auto_map: Any) -> list[str]:
    """The classes that an ``auto_map`` names, one by one or in lists."""
    if isinstance(auto_map, str):
        return [auto_map]
    parts = auto_map.values() if isinstance(auto_map, dict) else auto_map if isinstance(auto_map, list) else ()
    return [name for part in parts for name in _classes(part)]


def _shapes(name: str, stored: Sequence[int], expected: Sequence[int]) -> str:
    return f"{name}: {tuple(stored)} in the file, {tuple(expected)} by config.json"


def _needs_code(found: Pretrained) -> str:
    return (
        f"{found.source} brings Python code of its own, which is not run unless you ask for it: read it, then give "
        "--trust-remote-code"
    )


def _hint(found: Pretrained) -> str:
    if found.own_code and not found.trust_remote_code and not found.is_hyenadna:
        return "; the repository brings code of its own, which may fit: read it, then give --trust-remote-code"
    return ""
