"""Sizes are known before memory is taken, and what would be read for ever is refused."""

import gzip
import io
import os
import zipfile

import numpy as np
import pytest

from sae_tracks import bounded
from sae_tracks.bounded import read_arrays, read_bytes, read_text
from sae_tracks.errors import SaeTracksError


def refused(message, function, *arguments):
    with pytest.raises(SaeTracksError, match=message) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)


def test_named_pipes_devices_and_folders_are_refused_and_an_open_pipe_is_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    refused("named pipe", read_text, tmp_path / "pipe")
    refused("is a device", read_text, type(tmp_path)("/dev/zero"))
    refused("is a folder", read_text, tmp_path)
    refused("no file", read_text, tmp_path / "none")
    reading, writing = os.pipe()
    os.write(writing, b"c1\t1\t2\n")
    os.close(writing)
    assert read_text(type(tmp_path)(f"/dev/fd/{reading}")) == b"c1\t1\t2\n"
    os.close(reading)
    named = os.open(tmp_path / "pipe", os.O_RDWR)  # as of `command /dev/stdin < pipe`
    os.write(named, b"c1\t1\t2\n")
    with bounded.opened(type(tmp_path)(f"/dev/fd/{named}")) as file:
        assert file.read1() == b"c1\t1\t2\n"
    os.close(named)


def test_a_file_that_may_not_be_read_says_so(tmp_path, monkeypatch):
    path = tmp_path / "a.bed"
    path.write_text("x")

    def denied(*_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(type(path), "open", denied)
    refused("cannot read .*a.bed: Permission denied", read_text, path)


def test_bombs_of_one_line_and_of_many_are_refused_early(tmp_path, monkeypatch):
    monkeypatch.setattr(bounded, "SMALL", 1 << 22)
    for name, piece, message in (
        ("line", b"A" * (1 << 20), "line of more than 1,048,576 bytes"),
        ("rows", b"c1\t1\t2\n" * (1 << 17), "more than 100 times its size: if that is right, gunzip it"),
    ):
        (tmp_path / name).write_bytes(gzip.compress(piece, mtime=0) * 20)
        refused(message, read_text, tmp_path / name)


def test_the_most_text_can_be_raised(tmp_path, monkeypatch):
    plain, zipped = tmp_path / "a.bed", tmp_path / "a.bed.gz"
    plain.write_bytes(b"c1\t1\t2\n" * 100)
    zipped.write_bytes(gzip.compress(plain.read_bytes()))
    for path in (plain, zipped):
        monkeypatch.setenv(bounded.MOST_TEXT, "699")
        refused("more than 699 bytes of text: split it, or raise SAE_TRACKS_MOST_TEXT", read_text, path)
        monkeypatch.setenv(bounded.MOST_TEXT, "700")
        assert len(read_text(path)) == 700
    monkeypatch.setenv(bounded.MOST_TEXT, "lots")
    refused("SAE_TRACKS_MOST_TEXT=lots: it is a number of bytes", read_text, plain)
    refused("more than 5 bytes", read_bytes, plain, 5)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_lines_up_to_the_limit_are_read(tmp_path, end):
    text = (b"A" * bounded.LONGEST_LINE + end) * 3
    (tmp_path / "a").write_bytes(text)
    assert read_text(tmp_path / "a") == text
    (tmp_path / "a").write_bytes(text + b"A" * (bounded.LONGEST_LINE + 1))
    refused("line of more than", read_text, tmp_path / "a")


def test_arrays_come_back_and_only_some_if_asked(tmp_path):
    arrays = {"a": np.arange(6).reshape(2, 3), "b": np.array(["x", "yy"]), "c": np.array(3), "d": np.empty((0, 4))}
    np.savez(tmp_path / "x.npz", **arrays)
    found = read_arrays(tmp_path / "x.npz")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype and np.array_equal(found[name], array)
    assert list(read_arrays(tmp_path / "x.npz", ["b"])) == ["b"]
    refused("it has no array 'e'", read_arrays, tmp_path / "x.npz", ["e"])


def npz(path, header, content=b"12345678", *, compress=zipfile.ZIP_STORED, cut=None):
    text = header.ljust(117).encode() + b"\n"
    data = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + content
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compress) as archive:
        archive.writestr("a.npy", data)
    path.write_bytes(out.getvalue()[:cut])
    return path


HEADER = "{{'descr': '{}', 'fortran_order': False, 'shape': {}, }}"


@pytest.mark.parametrize(
    ("kind", "shape", "message"),
    [
        ("<i8", "(10**12,)", "cannot read"),
        ("<i8", "(1000000000000,)", "holds int64 .*, and only"),
        ("<i8", "(-1,)", "cannot read|shape is"),
        ("<i8", "(1000000, 1000000, 1000000, 1000000)", "and only"),
        ("|O", "(1,)", "holds object"),
        ("<q9", "(1,)", "cannot read"),
        ("<i8", "(" * 300 + "1", "cannot read"),
    ],
    ids=str,
)
def test_a_header_that_claims_more_than_the_file_holds_is_refused(tmp_path, kind, shape, message):
    refused(message, read_arrays, npz(tmp_path / "x.npz", HEADER.format(kind, shape)))


def test_compressed_cut_and_changed_archives_are_refused(tmp_path):
    header = HEADER.format("<i8", "(1,)")
    assert read_arrays(npz(tmp_path / "x.npz", header))["a"].shape == (1,)
    refused("is compressed", read_arrays, npz(tmp_path / "x.npz", header, compress=zipfile.ZIP_DEFLATED))
    refused("cannot read", read_arrays, npz(tmp_path / "x.npz", header, cut=-3))
    changed = bytearray(npz(tmp_path / "x.npz", header).read_bytes())
    changed[changed.index(b"12345678")] ^= 1
    (tmp_path / "x.npz").write_bytes(changed)
    refused("CRC", read_arrays, tmp_path / "x.npz")


def test_the_sequences_at_the_end_of_a_gff_may_be_one_line_each(tmp_path):
    path = tmp_path / "a.gff3"
    head = b"c1\tx\texon\t1\t9\t.\t+\t.\tID=a\n##FASTA\n>c1\n"
    path.write_bytes(head + b"A" * (3 << 20) + b"\n>c2\n" + b"A" * (3 << 20))
    assert read_text(path).startswith(head)
    path.write_bytes(head.replace(b">c1\n", b"") + b"A" * (3 << 20))
    refused("a line of more than", read_text, path)


def test_what_unpacks_to_a_hundred_times_its_size_is_a_matrix_and_no_text(tmp_path, monkeypatch):
    monkeypatch.setattr(bounded, "SMALL", 1000)
    path, text = tmp_path / "a.gz", b"0\t" * 50_000 + b"\n"
    path.write_bytes(gzip.compress(text * 20))
    refused("unpacks to more than 100 times its size", read_text, path)
    assert b"".join(bounded.unpacked(path, path.read_bytes(), 1 << 30)) == text * 20


@pytest.mark.parametrize("said", ["(" * 9000, "{'descr': '''", "-" * 9000 + "1"], ids=["nested", "open", "minus"])
def test_a_header_that_python_cannot_parse_is_one_line(tmp_path, said):
    head = said.encode() + b"\n"
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head)
    refused("its header cannot be read|Cannot parse header|Header length", read_arrays, path)


def test_an_array_of_no_bytes_is_refused(tmp_path):
    path, content = tmp_path / "a.npz", io.BytesIO()
    header = {"descr": "<U0", "fortran_order": False, "shape": (10**9,)}
    np.lib.format.write_array_header_1_0(content, header)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", content.getvalue())
    refused("holds <U0", read_arrays, path)


def test_bytes_behind_an_array_are_refused(tmp_path):
    path, content = tmp_path / "a.npz", io.BytesIO()
    np.save(content, np.arange(3))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", content.getvalue() + b"x")
    refused("is longer than its array", read_arrays, path)
