"""What HTTP clients say of the same answers, and of no answer, of a real server."""

import asyncio
import contextlib
import socket
import ssl
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from stale_retry.detection import http_status, is_conflict_error
from stale_retry.transient import is_transient_error

pytestmark = pytest.mark.servers


class Answers(BaseHTTPRequestHandler):
    """`/412` is answered with that status, `/hang-up` with nothing, `/cut` with half of what it announces."""

    def do_GET(self):
        if self.path == "/hang-up":
            return
        if self.path == "/cut":
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"half")
            return
        self.send_response(int(self.path[1:]))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def nobody():
    with contextlib.closing(socket.socket()) as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{reserved.getsockname()[1]}"


@pytest.fixture
def silence():
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def httpx_get(url, timeout=10):
    import httpx

    httpx.get(url, timeout=timeout, trust_env=False).raise_for_status()


def httpx2_get(url, timeout=10):
    import httpx2

    httpx2.get(url, timeout=timeout, trust_env=False).raise_for_status()


def requests_get(url, timeout=10):
    import requests

    requests.get(url, timeout=timeout, proxies={"http": None}).raise_for_status()


def urllib_get(url, timeout=10):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    opener.open(url, timeout=timeout).read()


def aiohttp_get(url, timeout=10):
    import aiohttp

    async def get():
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout)) as session,
            session.get(url, raise_for_status=True) as response,
        ):
            await response.read()

    asyncio.run(get())


CLIENTS = [httpx_get, httpx2_get, requests_get, aiohttp_get]
every_client = pytest.mark.parametrize("get", [*CLIENTS, urllib_get], ids=lambda get: get.__name__)
every_client_but_urllib = pytest.mark.parametrize("get", CLIENTS, ids=lambda get: get.__name__)


def error_of(get, url, **options):
    with pytest.raises(Exception) as caught:
        get(url, **options)
    return caught.value


@every_client
def test_412_is_a_conflict(get, server):
    error = error_of(get, f"{server}/412")
    assert is_conflict_error(error)
    assert not is_transient_error(error)


@every_client
@pytest.mark.parametrize("status", [400, 404, 409, 500])
def test_another_status_is_none_and_a_choice(get, server, status):
    error = error_of(get, f"{server}/{status}")
    assert not is_conflict_error(error)
    assert not is_transient_error(error)
    assert http_status(status).predicate(error)
    assert not http_status(412).predicate(error)


@every_client
@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_server_that_cannot_now_is_transient(get, server, status):
    error = error_of(get, f"{server}/{status}")
    assert is_transient_error(error)
    assert not is_conflict_error(error)


@every_client_but_urllib
@pytest.mark.parametrize("path", ["hang-up", "cut"])
def test_an_answer_that_was_lost_is_transient(get, server, path):
    assert is_transient_error(error_of(get, f"{server}/{path}"))


@every_client_but_urllib
def test_a_server_that_is_not_there_is_transient(get, nobody):
    assert is_transient_error(error_of(get, nobody))


@every_client
def test_a_server_that_does_not_answer_in_time_is_transient(get, silence):
    assert is_transient_error(error_of(get, silence, timeout=0.05))


@pytest.fixture
def stranger(tmp_path):
    """A server whose certificate nobody vouches for."""
    import trustme

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *args: None
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"https://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@every_client
def test_a_certificate_that_nobody_vouches_for_is_not_transient(get, stranger):
    assert not is_transient_error(error_of(get, stranger))


def test_a_wrong_url_is_not_transient():
    assert not is_transient_error(error_of(httpx_get, "ftp://127.0.0.1"))
