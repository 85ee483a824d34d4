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

from stale_retry import retry_transaction
from stale_retry.detection import http_status, is_conflict_error
from stale_retry.transient import is_transient_error, leaves_doubt, retry_if_transient

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
@pytest.mark.parametrize("status", [408, 429, 502, 503, 504])
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


@pytest.mark.parametrize("get", [httpx_get, httpx2_get], ids=lambda get: get.__name__)
def test_a_server_that_is_not_there_stored_nothing_where_the_client_never_sends_again(get, nobody):
    assert not leaves_doubt(error_of(get, nobody))


@pytest.mark.parametrize("get", [requests_get, aiohttp_get], ids=lambda get: get.__name__)
def test_a_server_that_is_not_there_leaves_doubt_where_the_client_may_have_sent_before(get, nobody):
    assert leaves_doubt(error_of(get, nobody))


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


class Versioned(BaseHTTPRequestHandler):
    """Stores a write, loses the answer, and refuses a second one, which names the version that it had before."""

    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        self.close_connection = False

    def answer(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self):
        self.answer(200)

    def do_PUT(self):
        self.server.writes += 1
        if self.server.writes > 1:
            self.answer(412)
        elif self.path == "/hang-up":
            self.close_connection = True
        else:
            self.answer(503)

    do_DELETE = do_POST = do_PUT  # noqa: N815

    def log_message(self, *args):
        pass


@pytest.fixture
def versioned():
    with ThreadingHTTPServer(("127.0.0.1", 0), Versioned) as server:
        server.writes = 0
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


async def aiohttp_writes(url, method):
    import aiohttp

    async with aiohttp.ClientSession(raise_for_status=True) as session:
        async with session.get(url) as response:
            await response.read()
        async with session.request(method, f"{url}/hang-up"):
            pass


def aiohttp_write(url, method):
    asyncio.run(aiohttp_writes(url, method))


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_a_refusal_that_aiohttp_met_when_it_sent_again_is_in_doubt(versioned, method):
    error = error_of(aiohttp_write, versioned.url, method=method)
    assert versioned.writes == 2
    assert not is_conflict_error(error)
    assert is_transient_error(error)
    assert leaves_doubt(error)


@pytest.mark.asyncio
async def test_a_write_that_aiohttp_sent_again_is_found_and_not_stored_twice(versioned):
    def find_stored(url):
        return f"stored by write 1 of {versioned.writes}"

    @retry_transaction(find_stored=find_stored, in_doubt=retry_if_transient(), observers=())
    async def write(url):
        await aiohttp_writes(url, "PUT")

    assert await write(versioned.url) == "stored by write 1 of 2"


@pytest.mark.asyncio
async def test_a_write_that_aiohttp_sent_again_is_not_made_again_where_nobody_looks(versioned):
    import aiohttp

    with pytest.raises(aiohttp.ClientResponseError):
        await retry_transaction(observers=())(aiohttp_writes)(versioned.url, "PUT")
    assert versioned.writes == 2


def test_an_answer_to_a_post_that_was_lost_is_not_sent_again_by_aiohttp(versioned):
    error = error_of(aiohttp_write, versioned.url, method="POST")
    assert versioned.writes == 1
    assert leaves_doubt(error)


def requests_put(url, again):
    import requests
    from urllib3.util import Retry

    retry = Retry(again, status_forcelist=[503], allowed_methods=None, raise_on_status=False)
    with requests.Session() as session:
        session.trust_env = False
        session.mount("http://", requests.adapters.HTTPAdapter(max_retries=retry))
        session.put(url).raise_for_status()


def test_a_refusal_that_urllib3_met_when_it_sent_again_is_in_doubt(versioned):
    error = error_of(requests_put, versioned.url, again=1)
    assert versioned.writes == 2
    assert not is_conflict_error(error)
    assert is_transient_error(error)
    assert leaves_doubt(error)


def test_a_refusal_that_urllib3_met_at_once_is_a_conflict(versioned):
    versioned.writes = 1
    error = error_of(requests_put, versioned.url, again=1)
    assert is_conflict_error(error)
    assert not leaves_doubt(error)


class Blob(BaseHTTPRequestHandler):
    """A blob that refuses every write for the reason which its path names."""

    def do_PUT(self):
        self.send_response(412)
        self.send_header("x-ms-error-code", self.path.rpartition("/")[2])
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.mark.parametrize(("reason", "conflict"), [("ConditionNotMet", True), ("LeaseIdMissing", False)])
def test_a_blob_of_azure_that_changed_is_a_conflict_and_a_leased_one_is_not(reason, conflict):
    from azure.storage.blob import BlobClient

    with ThreadingHTTPServer(("127.0.0.1", 0), Blob) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        client = BlobClient(f"http://127.0.0.1:{server.server_port}/account", "container", reason, retry_total=0)
        error = error_of(lambda url: client.upload_blob(b"mine", overwrite=True), "")
        client.close()
        server.shutdown()
        thread.join()
    assert http_status(412).predicate(error)
    assert is_conflict_error(error) is conflict


def test_a_wrong_url_is_not_transient():
    assert not is_transient_error(error_of(httpx_get, "ftp://127.0.0.1"))
