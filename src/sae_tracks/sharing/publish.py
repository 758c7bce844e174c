"""A folder in the layout of the Hugging Face hub: an SAE, what was measured of it, and its model card."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sae_tracks.browsers.check import check_hub
from sae_tracks.browsers.stanzas import HUB
from sae_tracks.controls.methods import METHODS, methods_paragraph
from sae_tracks.controls.verdict import TEXTS
from sae_tracks.errors import SaeTracksError, UsageError
from sae_tracks.evaluate.info import EVALUATION, sae_record
from sae_tracks.files import (
    PROVENANCE,
    atomic,
    make_folder,
    provenance_record,
    replace_folder,
    scratch_folder,
    sha256,
    without_folders,
    write_json,
)
from sae_tracks.json_file import read_json
from sae_tracks.metrics.scores import BEST_SCORES, OFFSETS, SCORES, read_table
from sae_tracks.names import SIGNAL_PROFILES, SIGNALS, counted
from sae_tracks.report import write_report
from sae_tracks.sae.directory import CONFIG, STATS, WEIGHTS, load_sae, save_sae
from sae_tracks.sae.hub import HUB_ID, locate
from sae_tracks.sae.model import SAE
from sae_tracks.sharing.card import FILES, PLACEHOLDER, model_card
from sae_tracks.sharing.upload import upload_folder

CARD, SUMS, REPORT = "README.md", "SHA256SUMS", "report"
TABLES = (BEST_SCORES, SCORES, OFFSETS, SIGNALS, "signals.parquet", SIGNAL_PROFILES)
HUB_FILES = (".txt", ".html", ".bw", ".bb", ".2bit")  # what a browser reads; sessions and BED files stay


@dataclass(frozen=True, slots=True)
class Published:
    """A folder that was published, or that is ready for it.

    Attributes
    ----------
    folder : path
    files : int
        Number of files.
    size : int
        In bytes.
    warnings : list of str
        What UCSC's rules say of the hub.
    command : str
        What uploads the folder.
    uploaded : str, optional
        ``hf:owner/name@commit``, after an upload.
    """

    folder: Path
    files: int
    size: int
    warnings: list[str]
    command: str
    uploaded: str | None


def publish(
    sae: str | Path,
    out: str | Path,
    *,
    scores: str | Path | None = None,
    hub: str | Path | None = None,
    to: str | None = None,
    upload: bool = False,
    license: str | None = None,
) -> Published:
    """Write an SAE, what was measured of it and a model card into a folder that the Hugging Face hub takes as it is.

    The folder is whole or absent, and is checked before it gets its name: the SAE is loaded again, all checksums are
    computed again, the hub of tracks is checked by UCSC's rules, and no record holds a path of this machine.

    Parameters
    ----------
    sae : path or str
        As for `load_sae`.
    out : path
        A new folder. One that this function wrote, and that nobody changed, is replaced.
    scores : path, optional
        What `score` wrote for this SAE: its tables and a page of them are published.
    hub : path, optional
        A folder of tracks of this SAE with a hub.txt.
    to : str, optional
        ``owner/name`` of the repository.
    upload : bool
        Make the repository if there is none, and upload the folder. The token is the one of ``hf auth login``.
    license : str, optional
        The hub's name of a licence, such as ``mit``. Without it the card names none.

    Returns
    -------
    Published
        What was written, and the command that uploads it.

    Raises
    ------
    UsageError
        `upload` without `to`, or `to` is no id of a repository.
    SaeTracksError
        The SAE, scores or hub cannot be read or are not of one SAE; `out` holds other files; the upload fails.
    """
    out = Path(out)
    if to is not None and not HUB_ID.fullmatch(to):
        raise UsageError(f"--to {to}: name the repository as owner/name")
    if upload and to is None:
        raise UsageError("--upload needs the repository: --to owner/name")
    record = sae_record(sae, scores)
    if not record["complete"]:
        raise SaeTracksError(f"{sae}: its training is not complete, so there is nothing to publish")
    loaded = load_sae(sae)
    with _new_folder(out) as folder:
        _write_sae(loaded, locate(sae, CONFIG, WEIGHTS, (PROVENANCE,)).folder, record, folder)
        table, facts = None, {}
        if scores is not None:
            _copy_scores(Path(scores), folder / "metrics")
            table, facts = (
                read_table(folder / "metrics" / BEST_SCORES, TEXTS),
                read_json(folder / "metrics" / PROVENANCE),
            )
            write_report(folder / "metrics", folder / REPORT)
        if hub is not None:
            _copy_hub(Path(hub), loaded, folder / "hub")
        there = [name for name in FILES if name == SUMS or (folder / name.split(",")[0]).exists()]
        with atomic(folder / CARD) as temporary:
            public = without_folders(record)
            temporary.write_text(model_card(public, table, facts, to=to, license_id=license, files=there))
        _write_sums(folder)
        warnings = _check(folder, loaded)
    files = [path for path in out.rglob("*") if path.is_file()]
    sent = upload_folder(out, str(to)) if upload else None
    command = f"hf upload {to or PLACEHOLDER} {out}"
    return Published(out, len(files), sum(path.stat().st_size for path in files), warnings, command, sent)


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """Yield a folder beside `out` that takes its place if the block ends without an error."""
    if out.exists() and not out.is_dir():
        raise SaeTracksError(f"cannot write {out}: it is a file; name a folder")
    if out.is_dir() and any(out.iterdir()) and not _is_publication(out):
        raise SaeTracksError(f"{out} holds other files than `publish` wrote: name a new folder")
    parent = make_folder(out.absolute().parent)
    with scratch_folder(out.name, parent) as temporary:
        made = make_folder(temporary / out.name)
        yield made
        replace_folder(made, out)


def _is_publication(folder: Path) -> bool:
    """Whether a folder holds exactly what an earlier call wrote."""
    return (folder / SUMS).is_file() and (folder / SUMS).read_text() == _sums(folder)


def _write_sae(sae: SAE, source: Path, record: dict[str, Any], folder: Path) -> None:
    """Write the SAE directory without any path of this machine; the weights keep their bytes."""
    save_sae(replace(sae, metadata=without_folders(sae.metadata)), folder)
    if record["evaluation"] is not None:
        write_json(folder / EVALUATION, without_folders(record["evaluation"]))
    made = read_json(source / PROVENANCE) if (source / PROVENANCE).is_file() else {}
    write_json(folder / PROVENANCE, without_folders({**made, "published": provenance_record(**sae.facts)}))


def _copy_scores(scores: Path, folder: Path) -> None:
    make_folder(folder)
    for name in TABLES:
        if (scores / name).is_file():
            shutil.copyfile(scores / name, folder / name)
    facts = without_folders(read_json(scores / PROVENANCE))
    write_json(folder / PROVENANCE, facts)
    if (scores / METHODS).is_file():  # that paragraph may name a model by its folder
        with atomic(folder / METHODS) as temporary:
            temporary.write_text(methods_paragraph(facts) + "\n")


def _copy_hub(hub: Path, sae: SAE, folder: Path) -> None:
    """Copy what a genome browser reads."""
    if not (hub / HUB).is_file():
        raise SaeTracksError(f"{hub} has no {HUB}: make it with sae-tracks hub {hub}")
    made = read_json(hub / PROVENANCE) if (hub / PROVENANCE).is_file() else {}
    if made.get("sae_sha256") != sae.checksum:
        raise SaeTracksError(f"{hub} has tracks of another SAE, or does not say of which: name those of this one")
    for path in sorted(hub.rglob("*")):
        place = path.relative_to(hub)
        if path.is_file() and path.suffix in HUB_FILES and not any(part.startswith(".") for part in place.parts):
            make_folder((folder / place).parent)
            shutil.copyfile(path, folder / place)
    write_json(folder / PROVENANCE, without_folders(made))


def _sums(folder: Path) -> str:
    """SHA-256 of all other files, in the form of ``sha256sum``."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / SUMS)
    return "".join(f"{sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in paths)


def _write_sums(folder: Path) -> None:
    text = _sums(folder)  # before the file, or its temporary one, lies in the folder
    with atomic(folder / SUMS) as temporary:
        temporary.write_text(text)


def _check(folder: Path, sae: SAE) -> list[str]:
    """Raise an error if the folder is not what it should be; return the warnings about its hub."""
    if not _is_publication(folder):
        raise SaeTracksError(f"{folder.name}: files changed while they were written: publish again")
    if load_sae(folder).checksum != sae.checksum or (folder / STATS).is_file() != (sae.stats is not None):
        raise SaeTracksError(f"{folder.name}: the SAE that was written is another than the one that was read")
    for path in folder.rglob("*.json"):
        if (found := read_json(path, object)) != without_folders(found):
            raise SaeTracksError(f"{path.relative_to(folder)} holds a path of this machine, and would make it public")
    if not (folder / "hub").is_dir():
        return []
    findings = [one._replace(path=one.path.relative_to(folder)) for one in check_hub(folder / "hub")]
    if errors := [str(one) for one in findings if one.error]:
        raise SaeTracksError(f"{errors[0]} ({counted(len(errors), 'error')}; sae-tracks check-hub lists all)")
    return [str(one) for one in findings]
