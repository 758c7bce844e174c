"""Files that are whole or absent, text as a file or on stdout, checksums, and the record of how an output was made."""

import hashlib
import json
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sae_tracks.errors import SaeTracksError

CHUNK = 1 << 22
STDOUT = "-"
LONGEST_TBI = 1 << 29  # bases; longer contigs take a .csi
Write = Callable[[str], object]
PROVENANCE = "provenance.json"
NAMES = {"lm": ("weights_sha256", ("model", "revision")), "genome": ("contigs", ("path",))}  # known by, other names
FOLDERS = re.compile(r"(^|=)(?:/|~|\.\.?/).*/(?=.)")  # those of a path, or of --option=path


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its name when the block ends without an error, and vanishes otherwise.

    Safe with several writers of the same file: each has a temporary of its own and the last rename wins.
    """
    path = Path(path)
    if path.is_dir():
        raise SaeTracksError(f"{path} is a folder; name a file")
    make_folder(path.parent)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    except OSError as error:
        raise unwritable(path, error) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def remove_parts(path: Path) -> None:
    """Remove what killed writers of a file left of it; none may be at work."""
    mine = re.compile(rf"\.{re.escape(path.name)}\.[^.]+\.part")
    for part in path.parent.iterdir():
        if mine.fullmatch(part.name):
            part.unlink(missing_ok=True)


def make_folder(path: Path) -> Path:
    """Create a folder and its parents, with an error that names it where that cannot be done."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error
    return path


def unwritable(path: Path, error: OSError) -> SaeTracksError:
    """The error for an output that cannot be written: the disk is full, the folder is read-only, ..."""
    return SaeTracksError(f"cannot write {path}: {error.strerror or error}")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes, read in chunks."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def check_end(path: Path) -> None:
    """Refuse a bigWig or bigBed that is cut short: they end with the number that they begin with."""
    with path.open("rb") as file:
        head = file.read(4)
        file.seek(-4, os.SEEK_END)
        if file.read() != head:
            raise SaeTracksError(f"{path} is cut short: its last 4 bytes are not its first")


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON with a final newline, atomically."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON; a missing or malformed file is an error that names it."""
    try:
        return json.loads(Path(path).read_text())
    except FileNotFoundError as error:
        raise SaeTracksError(f"no file {path}") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise SaeTracksError(f"cannot read {path} as JSON: {error}") from error


def bundled(name: str) -> Path:
    """A folder of ``data/``, which lies in the installed package or, in a checkout, beside ``src``."""
    packaged = Path(__file__).parent / "data" / name
    return packaged if packaged.exists() else Path(__file__).parents[2] / "data" / name


def write_provenance(folder: Path, *, file_name: str = PROVENANCE, **facts: Any) -> None:
    """Write ``provenance.json``: version, command line and the facts given, such as model and genome."""
    from sae_tracks import __version__

    record = {"sae_tracks": __version__, "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]), **facts}
    write_json(folder / file_name, record)


def values_differ(one: Mapping[str, Any], other: Mapping[str, Any], ignore: Iterable[str] = ()) -> str | None:
    """The first key by which two records of provenance describe different values; None if there is none.

    Names and paths do not count: a model is known by the checksum of its weights, a genome by the M5 of its contigs.
    """
    ignored = set(ignore)
    ours, theirs = without_names(one), without_names(other)
    return next((key for key in ours | theirs if key not in ignored and ours.get(key) != theirs.get(key)), None)


def without_names(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record as JSON gives it back, without the names by which a model and a FASTA were found."""
    record = json.loads(json.dumps(dict(record)))
    for key, (known_by, names) in NAMES.items():
        if isinstance(record.get(key), dict) and record[key].get(known_by):
            record[key] = {name: value for name, value in record[key].items() if name not in names}
    return record


def digest(lines: Iterable[str]) -> str:
    """Hexadecimal SHA-256 of lines of text."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def without_folders(value: Any) -> Any:
    """A record, or a part of it, as a page may show it: of paths of this machine only the names of the files."""
    if isinstance(value, dict):
        public = {without_folders(key): without_folders(inner) for key, inner in value.items()}
        return public | ({"command": _command_without_folders(value["command"])} if "command" in value else {})
    if isinstance(value, list):
        return [without_folders(inner) for inner in value]
    return FOLDERS.sub(r"\1", value) if isinstance(value, str) else value


def _command_without_folders(command: Any) -> str:
    try:
        words = shlex.split(str(command))
    except ValueError:  # not a command line as `write_provenance` writes it
        words = str(command).split()
    return shlex.join(without_folders(words))


@contextmanager
def opened(out: str | Path, longest: int) -> Iterator[Write]:
    """What writes BED-like text; a file is whole or absent, and so is its index.

    Parameters
    ----------
    out : path
        ``.gz`` is bgzip, with ``.tbi`` beside it; ``-`` is stdout.
    longest : int
        Bases of the longest contig: from 2^29 on the index is ``.csi``.
    """
    if str(out) == STDOUT:
        yield sys.stdout.write
        sys.stdout.flush()
    elif Path(out).suffix == ".gz":
        with _indexed(Path(out), csi=longest >= LONGEST_TBI) as write:
            yield write
    else:
        with atomic(Path(out)) as temporary, temporary.open("w") as file:
            yield file.write


@contextmanager
def _indexed(out: Path, *, csi: bool) -> Iterator[Write]:
    import pysam

    index, other = (Path(f"{out}.{ending}") for ending in (("csi", "tbi") if csi else ("tbi", "csi")))
    with atomic(index) as temporary_index, atomic(out) as temporary:
        with pysam.BGZFile(str(temporary), "wb") as file:
            yield lambda text: file.write(text.encode())
        pysam.tabix_index(str(temporary), preset="bed", index=str(temporary_index), force=True, csi=csi)
        for old in (index, other):  # no index is better than that of another file
            old.unlink(missing_ok=True)
