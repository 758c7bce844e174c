"""The page's server: byte ranges, and that nothing is served but what it was given, to nobody but this machine."""

import http.client
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving import serving

from sae_tracks.errors import SaeTracksError
from sae_tracks.report.serve import PageServer, byte_range, folder_site, write_site

TRACK = bytes(range(256)) * 1000


@pytest.fixture
def made():
    """How often each thing was made."""
    return []


@pytest.fixture
def server(tmp_path, made):
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a b.bw").write_bytes(TRACK)
    (tmp_path / "in" / "beside.txt").write_text("secret")
    site = {
        "index.html": b"<!doctype html>page",
        "tracks/a b.bw": (tmp_path / "in" / "a b.bw").resolve(),
        "loci/a.json": lambda: made.append(1) or b"{}",
        "none.bed": b"",
    }
    with serving(site) as server:
        yield server


def ask(server, target="/", method="GET", **headers):
    """Status, headers and body; the target goes out as it is."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    connection.putrequest(method, target, skip_host="Host" in headers, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, answer.headers, body


def raw(server, request):
    """The bytes that come back for bytes."""
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=30) as link:
        link.sendall(request)
        link.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: link.recv(1 << 16), b""))


def test_the_page_is_at_the_root_and_its_files_have_their_types(server):
    status, headers, body = ask(server)
    assert (status, body) == (200, b"<!doctype html>page")
    assert headers["Content-Type"] == "text/html; charset=utf-8" and headers["X-Content-Type-Options"] == "nosniff"
    assert ask(server, "/index.html?x=1#y")[2] == body
    assert ask(server, "/loci/a.json")[1]["Content-Type"] == "application/json"
    status, headers, body = ask(server, "/tracks/a%20b.bw")
    assert (status, body, headers["Content-Type"]) == (200, TRACK, "application/octet-stream")
    assert headers["Accept-Ranges"] == "bytes"
    assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize(
    ("asked", "first", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=255990-", 255990, 256000),
        ("bytes=255999-999999999", 255999, 256000),
        ("bytes=-10", 255990, 256000),
        ("bytes=-999999", 0, 256000),
        ("Bytes=0-", 0, 256000),
    ],
)
def test_a_range_is_answered_with_its_bytes(server, asked, first, end):
    status, headers, body = ask(server, "/tracks/a%20b.bw", Range=asked)
    assert (status, body) == (206, TRACK[first:end])
    assert headers["Content-Range"] == f"bytes {first}-{end - 1}/256000"
    assert headers["Content-Length"] == str(end - first)


@pytest.mark.parametrize("asked", ["bytes=256000-", "bytes=300000-300001", "bytes=-0"])
def test_a_range_past_the_end_is_refused_with_the_size(server, asked):
    status, headers, body = ask(server, "/tracks/a%20b.bw", Range=asked)
    assert (status, headers["Content-Range"], body) == (416, "bytes */256000", b"")


@pytest.mark.parametrize(
    "asked", ["bytes=0-1,5-6", "bytes=9-2", "bytes=-", "bytes=a-b", "rows=0-1", "bytes=\u00b2-", ""]
)
def test_a_range_that_cannot_be_read_and_several_ranges_give_the_whole(server, asked):
    status, _, body = ask(server, "/tracks/a%20b.bw", Range=asked.encode("utf-8"))
    assert (status, body) == (200, TRACK)


def test_a_range_that_depends_on_a_version_gives_the_whole(server):
    assert ask(server, "/tracks/a%20b.bw", Range="bytes=0-1", If_Range='"v1"')[0] == 200


def test_a_range_of_an_empty_file_is_refused(server):
    assert ask(server, "/none.bed", Range="bytes=0-")[0] == 416
    assert ask(server, "/none.bed")[::2] == (200, b"")


@given(st.integers(0, 20), st.integers(0, 30) | st.none(), st.integers(0, 30) | st.none())
def test_ranges_are_those_of_the_bytes_they_name(size, first, last):
    named = set(range(size))
    if first is None:
        named = set(range(size)[-last:]) if last else set()
    else:
        named &= set(range(first, 1 << 10 if last is None else last + 1))
    found = byte_range(f"bytes={'' if first is None else first}-{'' if last is None else last}", size)
    if (first is None and last is None) or (first is not None and last is not None and last < first):
        assert found is None
    else:
        assert set(range(*found)) == named


def test_head_says_what_get_would_without_the_body(server):
    for headers in ({}, {"Range": "bytes=5-9"}, {"Range": "bytes=999999-"}):
        get, head = (ask(server, "/tracks/a%20b.bw", method, **headers) for method in ("GET", "HEAD"))
        assert head[0] == get[0] and head[2] == b""
        assert [pair for pair in head[1].items() if pair[0] != "Date"] == [p for p in get[1].items() if p[0] != "Date"]


@pytest.mark.parametrize(
    "target",
    [
        "/..%2fsecret.txt",
        "/%2e%2e/secret.txt",
        "/../secret.txt",
        "/tracks/../../secret.txt",
        "/tracks/..%2f..%2fsecret.txt",
        "/..%5csecret.txt",
        "/%252e%252e%252fsecret.txt",
        "//etc/passwd",
        "/%2fetc/passwd",
        "/etc/passwd",
        "/tracks/a%20b.bw%00",
        "/tracks/a%20b.bw%00.html",
        "/%00",
        "/%ff%fe",
        "/tracks/",
        "/tracks",
        "/tracks/beside.txt",
        "/tracks/./a%20b.bw",
        "/tracks//a%20b.bw",
        "/INDEX.HTML",
        "/%zz",
        "*",
        "index.html",
    ],
)
def test_no_other_address_leads_to_a_file(server, target):
    status, _, body = ask(server, target)
    assert status == 404 and b"secret" not in body and b"root:" not in body


def test_an_absolute_path_of_a_file_of_the_page_is_no_address(server, tmp_path):
    for path in (tmp_path / "in" / "beside.txt", tmp_path / "in" / "a b.bw"):
        assert ask(server, str(path).replace(" ", "%20"))[0] == 404
        assert ask(server, f"http://127.0.0.1:{server.server_port}{path}".replace(" ", "%20"))[0] == 404


def test_a_file_that_becomes_a_link_is_not_followed(server, tmp_path):
    track = tmp_path / "in" / "a b.bw"
    track.unlink()
    track.symlink_to(tmp_path / "secret.txt")
    assert ask(server, "/tracks/a%20b.bw")[0] == 404
    track.unlink()
    assert ask(server, "/tracks/a%20b.bw")[0] == 404


def test_only_the_names_of_this_machine_are_answered(server):
    port = server.server_port
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"LocalHost:{port}", f"[::1]:{port}"):
        assert ask(server, Host=host)[0] == 200
    for host in (
        "evil.example",
        f"evil.example:{port}",
        "localhost",
        f"localhost:{port + 1}",
        f"localhost.evil:{port}",
    ):
        assert ask(server, Host=host)[0] == 403
    assert b" 403 " in raw(server, b"GET / HTTP/1.1\r\n\r\n").splitlines()[0]
    twice = f"GET / HTTP/1.1\r\nHost: localhost:{port}\r\nHost: evil.example\r\n\r\n"
    assert b" 403 " in raw(server, twice.encode()).splitlines()[0]


def test_it_listens_on_the_loopback_address_alone(server):
    assert server.server_address[0] == "127.0.0.1"
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.2", server.server_port), timeout=5)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT"])
def test_nothing_but_get_and_head_is_done(server, method):
    assert ask(server, method=method)[0] == 501


def test_a_body_is_not_taken_for_the_next_request(server):
    host = f"Host: localhost:{server.server_port}"
    hidden = f"GET /tracks/a%20b.bw HTTP/1.1\r\n{host}\r\n\r\n"
    answer = raw(server, f"GET / HTTP/1.1\r\n{host}\r\nContent-Length: {len(hidden)}\r\n\r\n{hidden}".encode())
    assert answer.count(b"HTTP/1.1") == 1


def test_a_connection_serves_one_request_after_the_other(server):
    request = f"GET /loci/a.json HTTP/1.1\r\nHost: localhost:{server.server_port}\r\n\r\n".encode()
    assert raw(server, request * 3).count(b"HTTP/1.1 200") == 3


def test_what_is_made_on_request_is_made_once_for_many_at_once(server, made):
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda i: ask(server, "/loci/a.json" if i % 2 else "/tracks/a%20b.bw"), range(48)))
    assert {answer[0] for answer in answers} == {200} and len(made) == 1
    assert {answer[2] for answer in answers} == {b"{}", TRACK}


def test_a_reader_that_leaves_stops_nothing(server):
    link = socket.create_connection(("127.0.0.1", server.server_port))
    link.sendall(f"GET /tracks/a%20b.bw HTTP/1.1\r\nHost: localhost:{server.server_port}\r\n\r\n".encode())
    link.close()
    assert ask(server)[0] == 200


def test_a_part_that_cannot_be_made_is_an_error_of_that_part(tmp_path, caplog):
    def fails():
        raise SaeTracksError("the bigWig is cut short")

    with serving({"index.html": b"page", "loci/a.json": fails}) as server:
        assert ask(server, "/loci/a.json")[0] == 500
        assert ask(server)[0] == 200
    assert "cut short" in caplog.text


def test_a_port_that_is_taken_is_an_error_of_one_line(server):
    with pytest.raises(SaeTracksError, match=f"cannot listen on port {server.server_port}"):
        PageServer({}, server.server_port)


def test_a_folder_is_served_without_its_links_and_hidden_files(tmp_path):
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "s.txt").write_text("secret")
    site = tmp_path / "site"
    write_site(
        {"index.html": b"page", "tracks/a.bw": tmp_path / "secret" / "s.txt", "loci/a.json": lambda: b"{}"}, site
    )
    (site / "link.txt").symlink_to(tmp_path / "secret" / "s.txt")
    (site / "folder").symlink_to(tmp_path / "secret")
    (site / ".hidden").write_text("secret")
    (site / "tracks" / ".git").mkdir()
    (site / "tracks" / ".git" / "config").write_text("secret")
    found = folder_site(site)
    assert set(found) == {"index.html", "tracks/a.bw", "loci/a.json"}
    assert (site / "tracks" / "a.bw").read_text() == "secret" and (site / "loci" / "a.json").read_text() == "{}"
