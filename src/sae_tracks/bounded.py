"""Bytes, text and arrays from files that may be torn or made to harm: their size is known before memory is taken."""

import gzip
import io
import math
import os
import stat
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from sae_tracks.errors import SaeTracksError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_TEXT = "SAE_TRACKS_MOST_TEXT"  # the variable that raises `most_text`
SMALL, MOST_RATIO = 1 << 28, 100  # more bytes than that, and so many times the packed ones, are no text of a genome
LONGEST_LINE = 1 << 20
CHUNK = 1 << 22
SHELL_PIPES = ("/dev/fd/", "/dev/stdin", "/proc/")  # where a shell puts its pipes
GZIP, LAST_BLOCK = b"\x1f\x8b", bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
DAMAGED = (  # what zipfile and numpy raise
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError),
    *(ValueError, TypeError, LookupError, RuntimeError, OverflowError),
)


def most_text() -> int:
    """The most bytes of a text that is read into memory: 4 GiB, or what SAE_TRACKS_MOST_TEXT says."""
    said = os.environ.get(MOST_TEXT, "")
    if said and not said.isdecimal():
        raise SaeTracksError(f"{MOST_TEXT}={said}: it is a number of bytes")
    return int(said or 1 << 32)


@contextmanager
def opened(path: Path) -> "Iterator[BinaryIO]":
    """Open a file to be read once.

    A named pipe, a device or a folder is refused, because reading it may never end. The pipe of ``<(...)`` or
    ``/dev/stdin`` is read.
    """
    try:
        mode = path.stat().st_mode
        named = stat.S_ISFIFO(mode) and not str(path.absolute()).startswith(SHELL_PIPES)
        if stat.S_ISDIR(mode):
            raise SaeTracksError(f"{path} is a folder; name a file")
        if named or not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
            raise SaeTracksError(f"{path} is a {'named pipe' if named else 'device'}; name a file, or <(command)")
        with path.open("rb") as file:
            yield file
    except FileNotFoundError as error:
        raise SaeTracksError(f"no file {path}") from error
    except OSError as error:
        raise SaeTracksError(f"cannot read {path}: {error.strerror or error}") from error


def read_bytes(path: Path, most: int) -> bytes:
    """All bytes of a file; more than `most` are an error."""
    data = _read(path, most)
    if len(data) > most:
        raise SaeTracksError(f"{path} has more than {most:,} bytes, which no such file has")
    return data


def _read(path: Path, most: int) -> bytes:
    """All bytes of a file, or more than `most` of them; memory is taken for what is there, not for what may be."""
    with opened(path) as file:
        if size := os.fstat(file.fileno()).st_size:
            return file.read(min(size, most) + 1)
        pieces, done = list[bytes](), 0  # of a pipe
        while done <= most and (piece := file.read(CHUNK)):
            pieces.append(piece)
            done += len(piece)
        return b"".join(pieces)


def read_text(path: Path) -> bytes:
    """All bytes of a text, unpacked if it is gzip or bgzip.

    Raises
    ------
    SaeTracksError
        The file cannot be read, is cut short, or holds more than `most_text` bytes or a line of more than 1 MiB; or it
        unpacks to more than 256 MiB and a hundred times its size, as no text of a genome does.
    """
    most = most_text()
    data = _read(path, most)
    if data[:2] == GZIP:
        if is_bgzip(data):
            check_last_block(path, data)
        data = b"".join(_not_a_bomb(path, data, most))
    elif len(data) > most:
        raise _too_large(path, most)
    check_lines(path, data)
    return data


def _not_a_bomb(path: Path, data: bytes, most: int) -> Iterator[bytes]:
    """Yield the pieces of a text, unless it is one line or unpacks to more than a text of a genome does."""
    done = 0
    for piece in unpacked(path, data, most):
        if not done:
            check_lines(path, piece)
        done += len(piece)
        if done > max(SMALL, MOST_RATIO * len(data)):
            raise SaeTracksError(
                f"{path} unpacks to more than {MOST_RATIO} times its size: if that is right, gunzip it"
            )
        yield piece


def unpacked(path: Path, data: bytes, most: int) -> Iterator[bytes]:
    """Yield the content of gzip in pieces, up to `most` bytes; more are an error, and so is a damaged file."""
    done = 0
    try:
        with gzip.open(io.BytesIO(data)) as file:
            while piece := file.read(CHUNK):
                done += len(piece)
                if done > most:
                    raise _too_large(path, most)
                yield piece
    except (OSError, EOFError, zlib.error) as error:
        raise SaeTracksError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error


def is_bgzip(head: bytes) -> bool:
    """Whether a file that begins so was compressed in blocks, as bgzip does it."""
    return head[:2] == GZIP and head[12:14] == b"BC"


def check_last_block(path: Path, end: bytes) -> None:
    """Refuse a bgzip file without its last, empty block: htslib would read it as if it were whole."""
    if not end.endswith(LAST_BLOCK):
        raise SaeTracksError(f"cannot read {path}: it is cut short, bgzip's last block is not there: fetch it anew")


def _too_large(path: Path, most: int) -> SaeTracksError:
    return SaeTracksError(f"{path} holds more than {most:,} bytes of text: split it, or raise {MOST_TEXT}")


def check_lines(path: Path, data: bytes) -> None:
    """Refuse a text with a line of more than 1 MiB. The sequences at the end of a GFF3 may be one line each."""
    start, longest = 0, LONGEST_LINE
    while len(data) - start > longest:
        end = max(data.rfind(b"\n", start, start + longest + 1), data.rfind(b"\r", start, start + longest + 1))
        if end < 0 and data.startswith(b">", data.rfind(b"\n", 0, max(start - 1, 0)) + 1):
            return
        if end < 0:
            raise SaeTracksError(
                f"{path} has a line of more than {longest:,} bytes: it is not the text that is expected"
            )
        start = end + 1


def read_arrays(path: Path, only: Iterable[str] | None = None) -> "dict[str, NDArray]":
    """The arrays of an ``.npz`` that sae-tracks wrote, or some of them; never a pickle.

    No array is larger than the file, because sae-tracks does not compress them and sizes are checked first.

    Raises
    ------
    SaeTracksError
        The file is missing, is no such archive, or one of its checksums or sizes is wrong.
    """
    with opened(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                names = {name.removesuffix(".npy"): name for name in archive.namelist()}
                wanted = names if only is None else list(only)
                if missing := [name for name in wanted if name not in names]:
                    raise ValueError(f"it has no array {missing[0]!r}")
                return {name: _array(archive.getinfo(names[name]), archive) for name in wanted}
        except SaeTracksError:
            raise
        except DAMAGED as error:
            raise SaeTracksError(f"cannot read {path} as arrays: {error}") from error


def _array(info: zipfile.ZipInfo, archive: zipfile.ZipFile) -> "NDArray":
    import numpy as np

    if info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{info.filename} is compressed, which sae-tracks does not do")
    with archive.open(info) as file:
        shape, _, dtype = header(file)
        if dtype.hasobject or not dtype.itemsize or math.prod(shape) * dtype.itemsize > info.file_size:
            raise ValueError(f"{info.filename} holds {dtype} {shape}, and only {info.file_size:,} bytes")
    with archive.open(info) as file:
        array = np.lib.format.read_array(file, allow_pickle=False)
        if file.read(1):  # at the end, the CRC is compared
            raise ValueError(f"{info.filename} is longer than its array")
    return array


def header(file: Any) -> "tuple[tuple[int, ...], bool, Any]":
    """Shape, Fortran order and dtype of an open ``.npy``, whose next byte is then its first number."""
    from numpy.lib import format as npy

    version = npy.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"it is .npy of version {version}, which sae-tracks does not write")
    try:
        shape, fortran, dtype = (npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0)(file)
    except (SyntaxError, tokenize.TokenError, MemoryError, RecursionError) as error:  # of Python's parser
        raise ValueError("its header cannot be read") from error
    if any(n < 0 for n in shape):
        raise ValueError(f"its shape is {shape}")
    return shape, fortran, dtype
