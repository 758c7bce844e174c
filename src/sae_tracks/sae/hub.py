"""SAEs on the Hugging Face hub: how they are named, and their files in the hub's cache on this machine."""

import logging
import re
from dataclasses import dataclass
from pathlib import Path

from sae_tracks.errors import SaeTracksError

PREFIX = "hf:"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
REVISION = re.compile(r"\w[\w./-]*")  # a branch, tag or commit
EXAMPLE = "hf:owner/name or hf:owner/name@revision"
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HubId:
    """A repository of the hub at a revision (None: its main branch)."""

    repository: str
    revision: str | None

    def __str__(self) -> str:
        return f"{PREFIX}{self.repository}" + (f"@{self.revision}" if self.revision else "")


@dataclass(frozen=True, slots=True)
class Located:
    """Where the files of an SAE lie on this machine."""

    folder: Path
    origin: str | None  # ``hf:owner/name@commit`` of one from the hub; None: a local folder


def hub_id(path: str | Path) -> HubId | None:
    """Read ``owner/name`` or ``owner/name@revision``, with or without ``hf:`` before it; None for a path.

    A local folder of the name goes first, unless ``hf:`` says that the hub is meant. Nothing is downloaded.

    Raises
    ------
    SaeTracksError
        What stands behind ``hf:`` is no id of a repository.
    """
    text = str(path)
    name, at, revision = text.removeprefix(PREFIX).partition("@")
    valid = bool(HUB_ID.fullmatch(name)) and (not at or bool(REVISION.fullmatch(revision)))
    if text.startswith(PREFIX):
        if not valid:
            raise SaeTracksError(f"{text} is no id of a repository of the hub: write {EXAMPLE}")
        return HubId(name, revision or None)
    parent = Path(text).parent
    if not valid or Path(text).is_dir() or (parent.is_dir() and parent != Path()):
        return None
    return HubId(name, revision or None)


def locate(path: str | Path, config: str, wanted: str, also: tuple[str, ...] = ()) -> Located:
    """Find a local SAE directory, or bring one from the hub into its cache.

    Parameters
    ----------
    path : path or str
        A folder, or an id as for `hub_id`.
    config, wanted : str
        Names of the files without which there is no SAE.
    also : tuple of str
        Names of files that a repository need not have.

    Returns
    -------
    Located
        All files from the hub are of the one commit that the revision is at.

    Raises
    ------
    SaeTracksError
        There is no such folder, repository or revision, or the hub does not answer and the cache has no copy.
    """
    found = hub_id(path)
    if found is None:
        if not Path(path).is_dir():
            raise SaeTracksError(f"no folder {path} ({EXAMPLE} names an SAE on the hub)")
        return Located(Path(path), None)
    folder = _download(found, config, wanted, also)
    return Located(folder, str(HubId(found.repository, folder.name)))


def _download(named: HubId, config: str, wanted: str, also: tuple[str, ...]) -> Path:
    """Download what the cache does not have; return the folder of the commit."""
    from sae_tracks.lm.pretrained import find_file  # imports transformers

    first, offline = find_file(named.repository, config, named.revision, "an SAE", local=False)
    if first is None:
        raise SaeTracksError(f"cannot load an SAE from {named}: no {config} is there")
    folder = first.parent
    missing = [name for name in (wanted, *also) if not (folder / name).is_file()]
    if wanted in missing and offline:
        raise SaeTracksError(
            f"{named.repository}: the hub does not answer, and the cache has no {wanted} of it: try again later"
        )
    for name in () if offline else missing:
        try:
            find_file(named.repository, name, folder.name, f"{name} of an SAE", local=False)
        except SaeTracksError:
            if wanted in missing:
                raise
            log.warning("%s: the hub does not answer, so only what its cache has is used", named)
            break
    return folder
