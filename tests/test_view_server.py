"""Who may ask the viewer, for what, and how much: group G of the faults, over raw sockets."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest
from view_toy import get, paint_and_run, serving

import wsiseg.view.server as module
from wsiseg.errors import ResourceError
from wsiseg.view import ViewServer
from wsiseg.view.access import Access


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return paint_and_run(tmp_path_factory.mktemp("view"))


@pytest.fixture(scope="module")
def server(run):
    with serving(run[2]) as server:
        yield server


def exchange(server, data, wait_s=30.0):
    """Send bytes as they are; give what comes back until the server closes, or a whole head came."""
    with socket.create_connection(server.server_address, timeout=wait_s) as connection:
        connection.sendall(data)
        return received(connection)


def received(connection):
    found = b""
    while b"\r\n\r\n" not in found:
        try:
            more = connection.recv(65536)
        except ConnectionResetError:
            break
        if not more:
            break
        found += more
    return found


def raw(server, target, *, host=None, extra=b"", method=b"GET", token=True):
    port = server.server_address[1]
    head = method + b" " + target + b" HTTP/1.1\r\nHost: " + (host or b"127.0.0.1:%d" % port) + b"\r\n"
    if token:
        head += b"Authorization: Bearer " + server.access.token.encode() + b"\r\n"
    return exchange(server, head + extra + b"Connection: close\r\n\r\n")


def status(answer):
    return int(answer.split(b" ", 2)[1]) if answer else None


def test_only_the_loopback_address_is_listened_on(server):
    mine = [one.laddr for one in psutil.Process().net_connections("inet") if one.status == psutil.CONN_LISTEN]
    here = [address for address in mine if address.port == server.server_address[1]]
    assert [address.ip for address in here] == ["127.0.0.1"]


TRAVERSALS = [
    b"/../run.json", b"/../../../../etc/passwd", b"/static/../slide.html", b"/static/../../../run.json",
    b"/%2e%2e%2frun.json", b"/static/%2e%2e%2f%2e%2e%2fserver.py", b"/..%5crun.json", b"/static/..\\server.py",
    b"/%252e%252e%252frun.json", b"//etc/passwd", b"/etc/passwd", b"/proc/self/environ", b"file:///etc/passwd",
    b"http://127.0.0.1/etc/passwd", b"/static/view.css%00.js", b"/static/view.css\x00", b"/static/", b"/static/.",
    b"/static/..", b"/slide/0/../../run.json", b"/slide/0/picture/0/../../../run.json", b"/slide/-1/",
    b"/slide/9/", b"/slide/0/run.json", b"/slide/0/summary.json", b"/slide/0/masks.ome.zarr/zarr.json",
    b"/slide/0/0/../../run.json",
    b"/slide/0/mask/0/0/../../run.json", b"/slide/0/nuclei.parquet", b"/slide/00000000000000000000/", b"*", b"/.",
    b"/slide/\xd9\xa0/", b"/slide/0/nucleus/1/../2", b"/static/" + b"a" * 5000, b"/slide/0/" + b"../" * 1000,
]  # fmt: skip


@pytest.mark.parametrize("target", TRAVERSALS)
def test_no_form_of_path_leads_anywhere_but_to_the_few_that_there_are(server, target):
    assert status(raw(server, target)) in (400, 404)


@pytest.mark.parametrize(
    "target",
    [
        b"/slide/0/picture/0/1000000_0", b"/slide/0/picture/99/0_0", b"/slide/0/picture/0/999999_999999",
        b"/slide/0/picture/9999999999/0_0", b"/slide/0/mask/0/1_1", b"/slide/0/picture/0/-1_0",
        b"/slide/0/picture/0/0_0/0", b"/slide/0/picture/0/1e9_0", b"/slide/0/nuclei/99999999999_0",
        b"/slide/0/nucleus/0", b"/slide/0/nucleus/4294967295", b"/slide/0/nucleus/99999999999999",
    ],
)  # fmt: skip
def test_tiles_beyond_the_slide_are_not_found(server, target):
    assert status(raw(server, target)) == 404


def test_without_the_right_token_nothing_is_given(server):
    for path in (b"/", b"/slide/0/", b"/static/view.css", b"/slides.json", b"/nowhere", b"/slide/0/about.json"):
        assert status(raw(server, path, token=False)) == 401
    wrong = server.access.token[:-1] + ("A" if server.access.token[-1] != "A" else "B")
    port = server.server_address[1]
    for field in (
        f"Authorization: Bearer {wrong}", "Authorization: Bearer ", "Authorization: Basic Og==",
        f"Cookie: wsiseg-{port}={wrong}", f"Cookie: wsiseg-1={server.access.token}", f"Cookie: wsiseg-{port}=",
    ):  # fmt: skip
        assert status(raw(server, b"/slide/0/", token=False, extra=field.encode() + b"\r\n")) == 401
    for query in (f"?token={wrong}", "?token=", f"?x=1&token={server.access.token}", "?token=%00"):
        assert status(raw(server, b"/" + query.encode(), token=False)) == 401
    # The token opens the door at one place only.
    assert status(raw(server, f"/slide/0/?token={server.access.token}".encode(), token=False)) == 401


def test_a_first_visit_turns_the_token_into_a_cookie(server):
    response, body = get(server, "/?token=" + server.access.token, Authorization=None)
    assert response.status == 200
    assert b"url=/" in body
    assert server.access.token.encode() not in body
    name, _, rest = response.headers["Set-Cookie"].partition("=")
    value, *attributes = [part.strip() for part in rest.split(";")]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} == set(attributes)
    response, _ = get(server, "/", Authorization=None, Cookie=f"other=1; {name}={value}")
    assert (response.status, response.headers["Location"]) == (303, "/slide/0/")
    assert get(server, "/slide/0/", Authorization=None, Cookie=f"{name}={value}")[0].status == 200


def test_an_address_for_a_command_line_works_once(server):
    target = server.access.url_for_once().partition("/?")[2]
    assert target != f"token={server.access.token}"
    assert get(server, f"/?{target}", Authorization=None)[0].status == 200
    assert get(server, f"/?{target}", Authorization=None)[0].status == 401


def test_tokens_are_long_and_differ():
    tokens = {Access(1).token for _ in range(50)}
    assert len(tokens) == 50
    assert min(map(len, tokens)) >= 43  # 256 bits in base64


@pytest.mark.parametrize("host", [b"evil.com", b"127.0.0.1", b"127.0.0.1:1", b"evil.com:80\r\nHost: 127.0.0.1"])
def test_another_hosts_name_is_misdirected(server, host):
    assert status(raw(server, b"/slide/0/", host=host)) == 421


def test_localhost_is_ours_and_a_request_without_a_host_is_not(server):
    port = server.server_address[1]
    assert status(raw(server, b"/slide/0/", host=b"localhost:%d" % port)) == 200
    token = b"Authorization: Bearer " + server.access.token.encode()
    assert status(exchange(server, b"GET /slide/0/ HTTP/1.0\r\n" + token + b"\r\n\r\n")) == 421


@pytest.mark.parametrize("origin", [b"http://evil.com", b"null", b"https://127.0.0.1", b"http://127.0.0.1:1"])
def test_a_page_of_another_origin_is_refused(server, origin):
    answer = raw(server, b"/slide/0/about.json", extra=b"Origin: " + origin + b"\r\n")
    assert status(answer) == 403
    assert b"access-control" not in answer.lower()


def test_our_own_origin_is_answered_without_cors(server):
    port = server.server_address[1]
    answer = raw(server, b"/slide/0/about.json", extra=b"Origin: http://127.0.0.1:%d\r\n" % port)
    assert status(answer) == 200
    assert b"access-control" not in answer.lower()


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE", b"CONNECT"])
def test_nothing_can_be_sent(server, method):
    answer = raw(server, b"/slide/0/", method=method, extra=b"Content-Length: 0\r\n")
    assert status(answer) == 405
    assert b"connection: close" in answer.lower()


def test_what_is_no_request_is_refused(server):
    assert status(raw(server, b"/slide/0/", method=b"BREW")) == 501
    assert status(raw(server, b"/slide/0/", extra=b"Content-Length: 5\r\n")) == 400
    assert status(raw(server, b"/slide/0/", extra=b"Transfer-Encoding: chunked\r\n")) == 400
    assert exchange(server, b"\x16\x03\x01 hello there\r\n\r\n") == b""


def test_answers_forbid_what_a_browser_might_do(server):
    for path in ("/slide/0/", "/slide/0/about.json", "/slide/0/picture/0/0_0", "/nowhere"):
        headers = get(server, path)[0].headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["Referrer-Policy"] == "no-referrer"
        assert "private" in headers["Cache-Control"]
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Server"] == "wsiseg"


def test_head_is_get_without_a_body(server):
    full, body = get(server, "/slide/0/about.json")
    response, nothing = get(server, "/slide/0/about.json", method="HEAD")
    assert nothing == b""
    assert response.headers["Content-Length"] == full.headers["Content-Length"] == str(len(body))


def test_no_answer_names_a_folder(server, run):
    for path in ("/slides.json", "/slide/0/about.json", "/slide/0/nuclei.json", "/slide/0/nucleus/1", "/slide/0/"):
        assert str(run[2].parent).encode() not in get(server, path)[1]


def test_one_connection_serves_many_requests(server):
    port = server.server_address[1]
    head = b"HEAD /slide/0/ HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAuthorization: Bearer %s\r\n\r\n"
    request = head % (port, server.access.token.encode())
    with socket.create_connection(server.server_address, timeout=30) as connection:
        for data in (request, request * 2):  # alone, and two at once
            connection.sendall(data)
            found = b""
            while found.count(b"\r\n\r\n") < data.count(b"HEAD"):
                found += connection.recv(65536)
            assert found.count(b"HTTP/1.1 200") == data.count(b"HEAD")


def test_an_endless_head_is_cut_off(server):
    endless = b"GET / HTTP/1.1\r\n" + b"X-Fill: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n" * 3000
    try:
        answer = exchange(server, endless)
    except OSError:  # closed before all was sent
        return
    assert status(answer) in (431, None)


def test_a_slow_client_is_closed(server, monkeypatch):
    monkeypatch.setattr(module, "HEAD_S", 0.5)
    began = time.monotonic()
    with socket.create_connection(server.server_address, timeout=20) as connection:
        closed = False
        for byte in b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: " + b"a" * 200:
            try:
                connection.sendall(bytes([byte]))
            except OSError:
                closed = True
                break
            time.sleep(0.05)
        assert closed or connection.recv(10) == b""
    assert time.monotonic() - began < 15


def test_a_silent_client_is_closed(server, monkeypatch):
    monkeypatch.setattr(module, "IDLE_S", 0.3)
    with socket.create_connection(server.server_address, timeout=20) as connection:
        assert connection.recv(10) == b""


def test_a_thousand_connections_neither_hold_the_server_up_nor_grow_it(server, monkeypatch):
    monkeypatch.setattr(module, "IDLE_S", 2.0)
    time.sleep(0.1)
    opened, process = [], psutil.Process()
    try:
        for _ in range(1000):
            connection = socket.socket()
            connection.settimeout(0.1)
            try:
                connection.connect(server.server_address)
            except OSError:  # the backlog is full: refused, too
                connection.close()
                continue
            opened.append(connection)
        assert process.num_threads() < 64 + 100
    finally:
        for connection in opened:
            connection.close()
    deadline = time.monotonic() + 20
    while True:  # until the threads that waited for the closed ones have noticed
        try:
            assert get(server, "/slide/0/about.json")[0].status == 200
            return
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_the_command_prints_one_address_and_ends_quietly(run):
    # A shell starts background jobs with SIGINT ignored, and children inherit that: a CI may be such a job.
    heard = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from wsiseg.cli import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", heard, "view", str(run[2]), "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline()
        found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/\?token=[\w-]{43}\n", line)
        with socket.create_connection(("127.0.0.1", int(found[1])), timeout=30) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%s\r\n\r\n" % found[1].encode())
            assert status(received(connection)) == 401
        process.send_signal(signal.SIGINT)
        try:
            out, errors = process.communicate(timeout=30)
        finally:
            process.kill()
    assert (process.returncode, out, errors) == (0, "", "")


def test_a_port_that_is_taken_is_an_error_in_one_line(server):
    with pytest.raises(ResourceError, match=r"E-IO.*--port"):
        ViewServer(lambda path: module.plain(200), server.server_address[1])


def test_a_bug_in_an_answer_is_reported_and_survived(run, monkeypatch, capfd):
    with serving(run[2]) as server:
        monkeypatch.setattr(server, "answer", lambda path: 1 / 0)
        response, body = get(server, "/slide/0/")
        assert (response.status, body) == (500, b"Internal Server Error\n")
        assert "ZeroDivisionError" in capfd.readouterr().err
