"""Language models from the Hugging Face hub, into its own cache: configuration, tokenizer and safetensors only."""

import re
import sys
from pathlib import Path
from typing import Any

from sae_tracks.errors import SaeTracksError
from sae_tracks.json_file import read_json
from sae_tracks.names import PINNED

WANTED = [
    *("config.json", "generation_config.json", "*.safetensors", "*.safetensors.index.json"),
    *("tokenizer*.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt"),
]
FILES: dict[str, Any] = {"allow_patterns": WANTED, "ignore_patterns": ["*/*"]}
TIMEOUT = 15  # seconds
_COMMIT = re.compile(r"[0-9a-f]{40}")


def fetch_model(model: str, *, offline: bool = False) -> tuple[Path, str, str]:
    """Fetch a model into the hub's cache; return its folder, its id without a revision, and its commit.

    `model` is a hub id or ``id@revision`` (branch, tag or commit). The default is the pinned commit of a known model,
    else ``main``. Pickles and code of the repository are left out. `offline` only looks into the cache.
    """
    name, _, revision = model.partition("@")
    revision = revision or PINNED.get(name, "main")
    folder = _in_cache(name, revision) if offline or _COMMIT.fullmatch(revision) else None
    if folder is None and offline:
        raise SaeTracksError(f"{name}@{revision} is not, or not whole, in the hub's cache: run without --offline")
    folder = folder or _download(name, revision)
    if not _complete(folder):
        raise SaeTracksError(
            f"{name}@{revision} has no config.json with whole safetensors; a pickle (.bin, .pt) is never fetched"
        )
    return folder, name, folder.name


def _complete(folder: Path) -> bool:
    """Whether config.json is there, and the weights in one file or in all that their index names."""
    weights, index = {"model.safetensors"}, folder / "model.safetensors.index.json"
    if index.is_file() and not (folder / "model.safetensors").is_file():
        weights = set(read_json(index, {"weight_map": {str: str}})["weight_map"].values())
    return all((folder / name).is_file() for name in {"config.json", *weights})


def _in_cache(name: str, revision: str) -> Path | None:
    from huggingface_hub import errors, snapshot_download

    try:
        folder = Path(snapshot_download(name, revision=revision, **FILES, local_files_only=True))
    except errors.LocalEntryNotFoundError:
        return None
    except errors.HFValidationError as error:
        raise SaeTracksError(f"{name!r} is not a hub id: OWNER/NAME or OWNER/NAME@REVISION") from error
    return folder if _complete(folder) else None


def _download(name: str, revision: str) -> Path:
    from huggingface_hub import HfApi, constants, errors, snapshot_download, utils

    if not sys.stderr.isatty():
        utils.disable_progress_bars()
    try:
        HfApi().model_info(name, revision=revision, timeout=TIMEOUT)  # fails at once; snapshot_download would retry
        return Path(snapshot_download(name, revision=revision, **FILES))
    except errors.GatedRepoError as error:
        raise SaeTracksError(f"{name} asks for an agreement: accept it on its page, then `hf auth login`") from error
    except errors.RepositoryNotFoundError as error:
        raise SaeTracksError(f"the hub has no model {name}, or it is private (`hf auth login`)") from error
    except errors.RevisionNotFoundError as error:
        raise SaeTracksError(f"{name} has no revision {revision}") from error
    except errors.HFValidationError as error:
        raise SaeTracksError(f"{name!r} is not a hub id: OWNER/NAME or OWNER/NAME@REVISION") from error
    except (PermissionError, FileExistsError, NotADirectoryError) as error:
        raise SaeTracksError(f"cannot write the hub's cache ({error}): name another folder by HF_HOME") from error
    except Exception as error:  # the client's errors share no base class
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise SaeTracksError(
            f"cannot fetch {name}@{revision} from {constants.ENDPOINT}: {reason}; --offline takes what is in the cache"
        ) from error
