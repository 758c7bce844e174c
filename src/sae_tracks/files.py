"""Output files that are either whole or absent, checksums, and the record of how an output was made."""

import errno
import fcntl
import hashlib
import json
import logging
import math
import os
import re
import secrets
import shlex
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sae_tracks.errors import SaeTracksError

if TYPE_CHECKING:
    import pandas as pd

CHUNK = 1 << 22
STDOUT = "-"
TOP_SCORE = 1000  # the largest score of a BED file
LONGEST_TBI = 1 << 29  # bases; longer contigs need a .csi index
Write = Callable[[str], object]
PROVENANCE = "provenance.json"
NAMES = {  # by what a model and a genome are known, and their other names
    "lm": ("weights_sha256", ("model", "revision")),
    "genome": ("contigs", ("path", "refget")),
}
ORIGIN = "sae_origin"  # where on the hub an SAE was found, beside ``sae_sha256``, by which it is known
FOLDERS = re.compile(r"(^|=)(?:/|~|\.\.?/).*/(?=.)")  # the folders of a path, also in --option=path
TEMPORARY = re.compile(r"\..+\.([0-9a-f]{8})-(\d+)-[0-9a-f]{6}\.part")  # name, and machine and process of its writer
ABANDONED = 7 * 86400.0  # seconds until a temporary file of another machine, whose processes we cannot see, is removed
FAILED_WRITES = {errno.EBADF, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}
CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
FORMULA = re.compile(r"^'*(?:[=@]|[+-](?![\d.,;:eE+\- ]*$))")  # of a spreadsheet; + and - alone are strands

log = logging.getLogger(__name__)


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which is renamed if the block ends without an error and else removed.

    Several writers of one file are safe: each has its own temporary file, and the last rename wins. The content is on
    the disk before the name is, so a power cut leaves no half file either. The file has the mode that the umask gives
    any new file. Errors are those of `writing`. What killed writers left in the folder is removed.
    """
    path = Path(path)
    check_file(path)
    make_folder(path.parent)
    remove_left_overs(path.parent.absolute())
    temporary = _temporary(path)
    try:
        with writing(path, temporary):
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            yield temporary
            move(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def scratch_folder(name: str, parent: Path | None = None) -> Iterator[Path]:
    """Yield a hidden temporary folder, which is removed with the block; one of a killed process by the next `atomic`.

    It lies in `parent`, by default in ``$TMPDIR``, else in the system's folder for temporary files.
    """
    parent = Path(tempfile.gettempdir() if parent is None else parent)
    remove_left_overs(parent.absolute())
    folder = make_folder(_temporary(parent / name))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{_machine()}-{os.getpid()}-{secrets.token_hex(3)}.part")


@cache
def _machine() -> str:
    """Where a process id means something: this machine and, on Linux, this container."""
    namespace = Path("/proc/self/ns/pid")
    return digest([socket.gethostname(), str(namespace.readlink()) if namespace.exists() else ""])[:8]


def move(written: Path, path: Path) -> None:
    """Give a file its final name, once its content is on the disk."""
    _to_disk(written)
    written.replace(path)


def replace_folder(written: Path, path: Path) -> None:
    """Give a folder its final name. One that is there goes, also if another process puts its own there meanwhile."""
    with scratch_folder(path.name, path.parent) as old:
        while True:
            with suppress(FileNotFoundError):
                path.replace(old / secrets.token_hex(3))
            try:
                written.replace(path)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
            else:
                return


def _to_disk(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


@cache  # once per process: a folder may hold thousands of tracks
def remove_left_overs(folder: Path) -> None:
    """Remove the temporary files and folders whose writers were killed; those of running processes stay."""
    with suppress(OSError):
        for path in folder.iterdir():
            if (match := TEMPORARY.fullmatch(path.name)) and _is_dead(path, match[1], int(match[2])):
                log.debug("%s is of a killed process and is removed", path)
                remove(path)


def _is_dead(path: Path, machine: str, process: int) -> bool:
    """Whether the writer of a temporary file has ended."""
    if machine != _machine():
        return time.time() - path.stat().st_mtime > ABANDONED
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:  # a process of another user
        return False
    return False


def remove(path: Path) -> None:
    """Remove a file or a folder with all that it holds, if it is there and can be removed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


@contextmanager
def writing(output: Path, *places: Path) -> Iterator[None]:
    """Turn errors of writing in the block into one that names the output. Other errors pass unchanged.

    The block writes `places`: these files, and all below these folders. An error that names another file is about an
    input.
    """
    try:
        yield
    except OSError as error:
        named = [Path(os.fsdecode(name)) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
        # `write` names no file. numpy and pysam give no number either when they cannot write
        unnamed = error.errno in FAILED_WRITES or (error.errno is None and type(error) is OSError)
        if any(name.is_relative_to(place) for name in named for place in places) if named else unnamed:
            raise unwritable(output, error) from error
        raise


def lock_of(path: Path) -> Path:
    """The file beside `path` that `locked` locks."""
    return path.with_name(f"{path.name}.lock")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process at a time make `path`. If the file system knows no locks, nobody waits."""
    with lock_of(path).open("w") as file:
        _lock(file.fileno(), path)
        yield


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Let one process at a time change what a folder says of itself. The folder itself is locked, without a file."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _lock(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.info("waiting for another process that writes %s", path)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:
        log.debug("no locks in %s", path.parent)


def check_folder(path: Path) -> None:
    """Refuse a place where no folder can be written: a file is there, or the folder above cannot be changed."""
    if path.exists() and not path.is_dir():
        raise SaeTracksError(f"cannot write {path}: it is a file; name a folder")
    _check_writable(path, path)


def check_file(path: Path) -> None:
    """Refuse a place where no file can be written: a folder or a device is there, or its folder cannot be changed."""
    if path.is_dir():
        raise SaeTracksError(f"{path} is a folder; name a file")
    if path.exists() and not path.is_file():
        raise SaeTracksError(f"{path} is a device or a pipe, which a file would replace; name a file, or - for stdout")
    _check_writable(path, path.parent)


def _check_writable(output: Path, folder: Path) -> None:
    """Refuse an output if the nearest folder above it that exists is a file, or may not be changed."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise SaeTracksError(f"cannot write {output}: {folder} is a file")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SaeTracksError(f"cannot write {output}: the folder {folder} is read-only")


def without_endings(path: str | Path) -> str:
    """The name of a file without ``.gz`` and the ending before it."""
    return Path(Path(path).name.removesuffix(".gz")).stem


def make_folder(path: Path) -> Path:
    """Create a folder and its parents if they are missing; an error names the folder."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error
    return path


def unwritable(path: Path, error: OSError) -> SaeTracksError:
    """The error for an output that cannot be written, for example because the disk is full."""
    return SaeTracksError(f"cannot write {path}: {error.strerror or error}")


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes, read in chunks."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_end(path: Path) -> None:
    """Refuse a bigWig or bigBed that is cut short: its last four bytes must equal its first four."""
    with path.open("rb") as file:
        head = file.read(4)
        file.seek(-4, os.SEEK_END)
        if file.read() != head:
            raise SaeTracksError(f"{path} is cut short: its last 4 bytes are not its first")


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON with a final newline, atomically. NaN and infinities, which JSON lacks, become null.

    The names of the folder are then on the disk: a manifest or provenance says that the files before it are there.
    """
    try:
        text = json.dumps(value, indent=1, allow_nan=False)
    except ValueError:
        text = json.dumps(_without_nan(value), indent=1)
    with atomic(path) as temporary:
        temporary.write_text(text + "\n")
    with suppress(OSError):  # some file systems cannot do this for a folder
        _to_disk(path.parent)


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_tsv(table: "pd.DataFrame", path: Path) -> None:
    """Write a table for people and spreadsheets, atomically: tabs, one line of names, six digits per number.

    A text that a spreadsheet would take for a formula gets a quote in front (`without_quotes` takes it away), and tabs
    and line breaks in a text become blanks.
    """
    table = _texts_replaced(table, {CONTROLS: " ", FORMULA: r"'\g<0>"})
    with atomic(path) as temporary:
        table.to_csv(temporary, sep="\t", index=False, float_format="%.6g")


def without_quotes(table: "pd.DataFrame") -> "pd.DataFrame":
    """A table that was read from a file of `write_tsv`, with its texts as they were."""
    return _texts_replaced(table, {re.compile(rf"^'(?={FORMULA.pattern[1:]})"): ""})


def _texts_replaced(table: "pd.DataFrame", changes: Mapping[re.Pattern, str]) -> "pd.DataFrame":
    changed = table.copy(deep=False)
    for name, column in table.items():
        if column.dtype.kind == "O":
            column = column.astype(object)
            texts = (one for one in column if isinstance(one, str))
            # each once, and without a search if it is plain: a table may have millions of cells
            suspect = {one for one in texts if not one.isprintable() or one.startswith(("'", "=", "@", "+", "-"))}
            new = {one: text for one in suspect if (text := _replaced(one, changes)) != one}
            if new:
                column[:] = [new.get(one, one) if isinstance(one, str) else one for one in column]
                changed[name] = column
    return changed


def _replaced(text: str, changes: Mapping[re.Pattern, str]) -> str:
    for pattern, new in changes.items():
        text = pattern.sub(new, text)
    return text


def bundled(name: str) -> Path:
    """Return a folder of ``data/``: inside the installed package or, in a checkout, beside ``src``."""
    packaged = Path(__file__).parent / "data" / name
    return packaged if packaged.exists() else Path(__file__).parents[2] / "data" / name


def write_provenance(folder: Path, *, file_name: str = PROVENANCE, public: bool = False, **facts: Any) -> None:
    """Write ``provenance.json``: the version, the command line, and the given facts, such as model and genome.

    A public record, for a folder that is served, holds no folders of this machine (see `without_folders`).
    """
    record = provenance_record(**facts)
    write_json(folder / file_name, without_folders(record) if public else record)


def provenance_record(**facts: Any) -> dict[str, Any]:
    """What `write_provenance` writes, for files that hold their own record."""
    from sae_tracks import __version__

    return {"sae_tracks": __version__, "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]), **facts}


def values_differ(one: Mapping[str, Any], other: Mapping[str, Any], ignore: Iterable[str] = ()) -> str | None:
    """The first key by which two records of provenance describe different values; None if there is none.

    Names and paths do not count: a model is known by the checksum of its weights, a genome by the M5 of its contigs.
    The order of keys counts, because contigs stand in the order of their FASTA.
    """
    ours, theirs = without_names(one), without_names(other)
    keys = (key for key in ours | theirs if key not in set(ignore))
    return next((key for key in keys if json.dumps(ours.get(key)) != json.dumps(theirs.get(key))), None)


def without_names(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record as JSON gives it back, without the names by which a model, an SAE and a FASTA were found."""
    kept: dict[str, Any] = json.loads(json.dumps(dict(record)))
    kept.pop(ORIGIN, None)
    for key, (known_by, names) in NAMES.items():
        if isinstance(kept.get(key), dict) and kept[key].get(known_by):
            kept[key] = {name: value for name, value in kept[key].items() if name not in names}
    return kept


def whole_path(name: str | Path) -> str:
    """The whole path, if it is a file; else the name, such as ``softmask``."""
    return str(Path(name).absolute()) if Path(name).is_file() else str(name)


def digest(lines: Iterable[str]) -> str:
    """Hexadecimal SHA-256 of lines of text."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def without_folders(value: Any) -> Any:
    """Return a record (or any part of one) in which every path of this machine is only its file name, for a page."""
    if isinstance(value, dict):
        public = {without_folders(key): without_folders(inner) for key, inner in value.items()}
        return public | ({"command": _command_without_folders(value["command"])} if "command" in value else {})
    if isinstance(value, list):
        return [without_folders(inner) for inner in value]
    return FOLDERS.sub(r"\1", value) if isinstance(value, str) else value


def _command_without_folders(command: Any) -> str:
    try:
        words = shlex.split(str(command))
    except ValueError:  # not written by `write_provenance`
        words = str(command).split()
    return shlex.join(without_folders(words))


@contextmanager
def text_output(out: str | Path, longest: int) -> Iterator[Write]:
    """Open an output for BED-like text and yield the function that writes it. File and index are whole or absent.

    ``-`` is stdout. A name that ends in ``.gz`` gives bgzip with an index beside it: a ``.tbi``, or a ``.csi`` if the
    longest contig has 2^29 bases or more.
    """
    if str(out) == STDOUT:
        with writing(Path("stdout")):
            yield sys.stdout.write
            sys.stdout.flush()
    elif Path(out).suffix == ".gz":
        import pysam

        csi = longest >= LONGEST_TBI
        with atomic(Path(f"{out}.{'csi' if csi else 'tbi'}")) as index, atomic(Path(out)) as temporary:
            with pysam.BGZFile(str(temporary), "wb", None) as file:
                yield lambda text: file.write(text.encode())
            pysam.tabix_index(str(temporary), preset="bed", index=str(index), force=True, csi=csi)
            for ending in ("tbi", "csi"):  # an old index would not fit the new file
                Path(f"{out}.{ending}").unlink(missing_ok=True)
    else:
        with atomic(Path(out)) as temporary, temporary.open("w") as file:
            yield file.write
