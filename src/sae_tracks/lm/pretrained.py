"""Configurations, weights and tokenizers from a folder or the hub, and what is refused of them."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub import errors as hub_errors
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
from transformers.utils import logging as hf_logging
from transformers.utils.hub import extract_commit_hash

from sae_tracks.errors import SaeTracksError, first_line
from sae_tracks.json_file import read_json
from sae_tracks.lm.sizes import (
    Tensor,
    check_hyenadna,
    check_parameters,
    check_sizes,
    check_weights,
    read_shapes,
)
from sae_tracks.names import PINNED

FILES = (".ckpt", ".safetensors", ".bin", ".pt", ".json", ".fa", ".fasta", ".fna", ".gz", ".bgz")
WRAPPERS = r"^(?:module\.|_orig_mod\.)+"  # of names, by DistributedDataParallel and torch.compile
PATIENCE = 5.0  # seconds to wait for the hub's first answer, unless HF_HUB_ETAG_TIMEOUT says otherwise
_TOKENIZERS = "AutoTokenizer"
WEIGHTS = "model.safetensors"
FETCHING = ("mra", "rwkv", "yoso")  # model types whose code asks the hub for native code
Report = dict[str, Any]  # transformers' `output_loading_info`


@dataclass(frozen=True, slots=True)
class Pretrained:
    """A model's folder or hub repository at one commit, with its configuration."""

    source: str  # folder or hub id
    revision: str | None  # asked for
    commit: str | None  # of that revision; None for a folder
    settings: dict[str, Any]  # the content of config.json
    trust_remote_code: bool  # whether Python code that the repository brings may be run
    offline: bool = False  # the hub did not answer: only files of its cache on this machine are used

    @property
    def model_type(self) -> str:
        return str(self.settings.get("model_type"))

    @property
    def is_hyenadna(self) -> bool:
        return self.model_type == "hyenadna"

    @property
    def own_classes(self) -> dict[str, Any]:
        """The configuration and model classes that the repository brings, by Auto class; none for most models."""
        auto_map = self.settings.get("auto_map")
        return {k: v for k, v in auto_map.items() if k != _TOKENIZERS} if isinstance(auto_map, dict) else {}

    @property
    def where(self) -> dict[str, Any]:
        """Arguments of ``from_pretrained`` that pin files, and code if it may run, to the commit."""
        where = {"revision": self.commit or self.revision, "trust_remote_code": self.trust_remote_code}
        where |= {"local_files_only": True} if self.offline else {}
        return where | ({"code_revision": self.commit} if self.trust_remote_code and self.commit else {})


def is_on_disk(name: str) -> bool:
    """Whether a name is the path of a file or folder. A name that is too long for a path is not."""
    try:
        return Path(name).exists()
    except OSError:
        return False


def find_pretrained(source: str, revision: str | None = None, trust_remote_code: bool = False) -> Pretrained:
    """Read config.json and find the commit: without a revision the pinned one, else that of the hub's ``main``.

    A repository that asks for code of its own is refused if the code is not trusted or lies in another repository.
    HyenaDNA needs no such code.
    """
    _refuse_what_is_no_model(source)
    is_folder = is_on_disk(source)
    revision = revision or (None if is_folder else PINNED.get(source))
    file, offline = find_file(source, "config.json", revision)
    if file is None:
        raise _cannot_load(source, "no config.json is there")
    commit = None if is_folder else extract_commit_hash(str(file), None)
    settings = read_json(file)
    _refuse_fetched_code(source, settings)
    found = Pretrained(source, revision, commit, settings, trust_remote_code, offline)
    if found.is_hyenadna:
        return replace(found, trust_remote_code=False)  # our class replaces the repository's code
    _check_own_code(found)
    return found


def _refuse_fetched_code(source: str, settings: Mapping[str, Any]) -> None:
    """Refuse settings by which transformers would fetch native code from the hub, and weights that are quantized."""
    for name, value in settings.items():
        inner = value if isinstance(value, dict) else {name: value}
        if name == "quantization_config" and value:
            raise SaeTracksError(
                f"{source}: its weights are quantized; weights in float32 or half precision are needed"
            )
        if "implementation" in name and any("/" in str(one) or ":" in str(one) for one in inner.values()):
            raise SaeTracksError(f"{source}: config.json takes {name} from {value!r}, code that is not run")
        if isinstance(value, dict):
            _refuse_fetched_code(source, value)
    if settings.get("model_type") in FETCHING:
        raise SaeTracksError(f"{source}: transformers fetches native code for a {settings['model_type']!r} model")


def weight_shapes(found: Pretrained) -> dict[str, Tensor]:
    """The tensors in the safetensors files of a model, by their headers; none if it has no such file."""

    def file(name: str) -> Path | None:
        if found.offline:
            return _cached(found.source, name, found.commit or found.revision)
        return find_file(found.source, name, found.commit or found.revision)[0]

    if whole := file(WEIGHTS):
        return read_shapes(whole)
    index = file(f"{WEIGHTS}.index.json")
    names = set(read_json(index, {"weight_map": {str: str}})["weight_map"].values()) if index else set()
    parts = [part for name in sorted(names) if (part := file(name))]
    return {name: tensor for part in parts for name, tensor in read_shapes(part).items()}


def _check_own_code(found: Pretrained) -> None:
    """Refuse code of the repository that is not trusted, and code of other repositories.

    Without its own class a repository would load as the class that transformers has for its ``model_type``. That may
    fit its weights by name and shape and still compute something else.
    """
    tokenizer_map = _tokenizer_settings(found).get("auto_map")
    if not found.trust_remote_code:
        names = [f"{kind}: {name}" for kind, name in found.own_classes.items()]
        names += [f"{_TOKENIZERS}: {name}" for name in _own_tokenizers(found.settings.get("auto_map"), tokenizer_map)]
        if names:
            raise SaeTracksError(
                f"{found.source} brings Python code of its own ({', '.join(names)}), which is not run unless you ask "
                "for it, and activations without it may be wrong: read the code, then give --trust-remote-code"
            )
        return
    if "configuration_files" in found.settings:  # transformers would read one of them, with classes of its own
        raise SaeTracksError(f"{found.source}: its config.json names other configurations, whose code is not run")
    for name in _classes([found.settings.get("auto_map"), tokenizer_map]):
        if "--" in name and name.split("--")[0] != found.source:
            raise SaeTracksError(f"{found.source} takes its code from {name}, which no revision pins: it is not run")


def _tokenizer_settings(found: Pretrained) -> dict[str, Any]:
    """Read tokenizer_config.json, which a repository need not have."""
    name, revision = "tokenizer_config.json", found.commit or found.revision
    if found.offline:
        file = _cached(found.source, name, revision)
    else:
        file, _ = find_file(found.source, name, revision)
    return read_json(file) if file else {}


def _own_tokenizers(model_map: Any, tokenizer_map: Any) -> list[str]:
    """List a repository's own tokenizer classes, by ``auto_map`` in config.json and tokenizer_config.json."""
    maps = [value.get(_TOKENIZERS) if isinstance(value, dict) else None for value in (model_map, tokenizer_map)]
    return _classes([*maps, tokenizer_map if not isinstance(tokenizer_map, dict) else None])


def open_config(found: Pretrained) -> PreTrainedConfig:
    """Open the configuration as transformers' object; of a HyenaDNA, its sizes are those of the weights."""
    if found.is_hyenadna:
        tensors = weight_shapes(found)
        if tensors:  # else the weights are missing, or a pickle
            check_weights(found.source, tensors)
            check_hyenadna(found.source, found.settings, tensors)
    try:
        return AutoConfig.from_pretrained(found.source, **found.where)
    except Exception as error:  # whatever the file, or code beside it, leads to
        raise _cannot_load(found.source, first_line(error)) from error


def open_model(found: Pretrained, config: PreTrainedConfig, kind: Any) -> tuple[PreTrainedModel, Report]:
    """Open the weights as a model of an Auto class, fp32, on the CPU, without a pooler, with transformers' report.

    Prefixes that DistributedDataParallel and torch.compile put in front of names are removed.
    """
    try:
        with quiet_transformers():
            model, report = _from_pretrained(found, config, kind)
            if any(re.match(WRAPPERS, name) for name in report["unexpected_keys"]):
                model, report = _from_pretrained(found, config, kind, key_mapping={WRAPPERS: ""})
            return model, report
    except Exception as error:  # as above; safetensors' own error among them
        raise SaeTracksError(
            f"cannot load the weights of {found.source} (safetensors only, a pickle is never run): {first_line(error)}"
        ) from error


def _from_pretrained(
    found: Pretrained, config: PreTrainedConfig, kind: Any, **more: Any
) -> tuple[PreTrainedModel, Report]:
    options = {"config": config, "use_safetensors": True, "dtype": torch.float32, "output_loading_info": True, **more}
    options["ignore_mismatched_sizes"] = True  # the report then names them, and `check_complete` refuses them
    try:
        return kind.from_pretrained(found.source, **found.where, **options, add_pooling_layer=False)
    except TypeError as error:
        if "add_pooling_layer" not in str(error):
            raise
    return kind.from_pretrained(found.source, **found.where, **options)


def open_any_model(found: Pretrained) -> PreTrainedModel:
    """Open the model without its head, if its code has a class for that. All its weights come from the file."""
    tensors = weight_shapes(found)
    if tensors:
        check_weights(found.source, tensors)
        check_sizes(found.source, found.settings, tensors)
    config = open_config(found)
    kinds = (AutoModel, AutoModelForMaskedLM, AutoModelForCausalLM)
    known = [k for k in kinds if k.__name__ in found.own_classes]
    if not known and any(name.startswith("AutoModel") for name in found.own_classes):
        raise SaeTracksError(
            f"{found.source} brings {', '.join(found.own_classes)}, and none of {', '.join(k.__name__ for k in kinds)}:"
            " a model of this kind needs a plug-in (docs/models.md)"
        )
    known = known or [k for k in kinds if type(config) in k._model_mapping]
    if not known:
        raise SaeTracksError(f"{found.source}: transformers has no model for {found.model_type!r}")
    if tensors and not found.own_classes:  # else its code may do anything
        with torch.device("meta"):
            check_parameters(found.source, _empty_model(found.source, config, known[0]), tensors)
    model, report = open_model(found, config, known[0])
    inside = {name for name, _ in model.named_children()} | {model.base_model_prefix}
    heads = [key.removeprefix(f"{model.base_model_prefix}.").split(".")[0] for key in report["unexpected_keys"]]
    kept = [key for key, head in zip(report["unexpected_keys"], heads) if head in inside - {"pooler"}]
    check_complete(found, model, {**report, "unexpected_keys": kept})
    return model


def _empty_model(source: str, config: PreTrainedConfig, kind: Any) -> PreTrainedModel:
    """The model without weights, and without the memory for them where the device is ``meta``."""
    try:
        with quiet_transformers():
            return kind.from_config(config)
    except Exception as error:  # as above
        raise _cannot_load(source, first_line(error)) from error


def open_tokenizer(found: Pretrained) -> PreTrainedTokenizerBase:
    """Open the tokenizer of a model."""
    try:
        with quiet_transformers():
            return cast(PreTrainedTokenizerBase, AutoTokenizer.from_pretrained(found.source, **found.where))
    except Exception as error:  # as above
        raise SaeTracksError(f"cannot load the tokenizer of {found.source}: {first_line(error)}") from error


def check_complete(found: Pretrained, model: torch.nn.Module, report: Report) -> None:
    """Refuse a model with weights that are missing, left over, of another shape or not finite."""
    for problem in ("mismatched_keys", "missing_keys", "unexpected_keys"):
        if report.get(problem):
            names = sorted(key if isinstance(key, str) else _with_shapes(*key) for key in report[problem])
            what = problem.removesuffix("_keys")
            raise SaeTracksError(f"{found.source}: {len(names)} {what} weights, such as {names[0]}")
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise SaeTracksError(f"{found.source}: {name} holds NaN or infinity")


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Hide transformers' progress bars and warnings: loading problems are errors here."""
    level, bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        hf_logging.set_verbosity(level)
        if bars:
            hf_logging.enable_progress_bar()


def _cannot_load(source: str, reason: str) -> SaeTracksError:
    return SaeTracksError(f"cannot load a language model from {source}: {reason}")


def _refuse_what_is_no_model(source: str) -> None:
    """Refuse a path to a file or to nothing, which the hub would only call a malformed id."""
    on_disk = is_on_disk(source)
    if on_disk and Path(source).is_file():
        raise _cannot_load(source, "it is a file; name its folder")
    looks_like_a_path = source.startswith((".", "/", "~")) or Path(source).suffix in FILES or source.count("/") > 1
    if looks_like_a_path and not on_disk:
        raise _cannot_load(source, "no such file or folder")


def find_file(
    source: str, name: str, revision: str | None, what: str = "a language model", *, local: bool = True
) -> tuple[Path | None, bool]:
    """Return a file's path on this machine, None if the repository has no such file; and whether the hub was silent.

    The hub is asked once. Its own client tries six times in 23 s before it reports that there is no network. Unless
    `local` is False, a folder of the name goes first.
    """
    if local and is_on_disk(source):
        return (file if (file := Path(source) / name).is_file() else None), False
    try:
        if re.fullmatch("[0-9a-f]{40}", revision or ""):  # a commit, whose files never change
            cached = _cached(source, name, revision)
            if cached and any(cached.parent.glob("*.safe*")):
                return cached, False
        patience = float(os.environ.get("HF_HUB_ETAG_TIMEOUT") or PATIENCE)
        get_hf_file_metadata(hf_hub_url(source, name, revision=revision), timeout=patience)
        return Path(hf_hub_download(source, name, revision=revision)), False
    except hub_errors.EntryNotFoundError:
        return None, False
    except Exception as error:  # the hub client's errors share no base class
        no_answer = not isinstance(error, hub_errors.HfHubHTTPError | hub_errors.HFValidationError)
        if no_answer and (cached := _cached(source, name, revision)):
            return cached, True
        reason = _why_not_from_the_hub(source, revision, error)
        raise SaeTracksError(f"cannot load {what} from {source}: {reason}") from error


def _cached(source: str, name: str, revision: str | None) -> Path | None:
    """Return a file of the hub's cache on this machine."""
    try:
        return Path(hf_hub_download(source, name, revision=revision, local_files_only=True))
    except hub_errors.LocalEntryNotFoundError:
        return None


def _why_not_from_the_hub(source: str, revision: str | None, error: Exception) -> str:
    """Say in one line why a repository cannot be read, and what to do."""
    if isinstance(error, hub_errors.GatedRepoError):
        return f"access to it is restricted: accept its terms at {constants.ENDPOINT}/{source}, then `hf auth login`"
    if isinstance(error, hub_errors.RevisionNotFoundError):
        return f"it has no revision {revision!r}"
    if isinstance(error, hub_errors.RepositoryNotFoundError):
        login = "a private one needs `hf auth login`"
        return f"no folder has this name, and {constants.ENDPOINT} has no such repository ({login})"
    if isinstance(error, hub_errors.HfHubHTTPError | hub_errors.HFValidationError):
        return first_line(error)
    return (
        f"no folder has this name, {constants.ENDPOINT} does not answer ({first_line(error)}), and the cache "
        f"{constants.HF_HUB_CACHE} has no copy: connect, or give the path of a downloaded folder"
    )


def _classes(auto_map: Any) -> list[str]:
    """List the classes that an ``auto_map`` names, one by one or in lists."""
    if isinstance(auto_map, str):
        return [auto_map]
    inner = auto_map.values() if isinstance(auto_map, dict) else auto_map if isinstance(auto_map, list) else ()
    return [name for part in inner for name in _classes(part)]


def _with_shapes(name: str, stored: Sequence[int], expected: Sequence[int]) -> str:
    return f"{name}: {tuple(stored)} in the file, {tuple(expected)} by config.json"
