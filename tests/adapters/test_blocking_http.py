"""http.client and http.server, as they come with Python, over streams of the blocking adapter."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

import pknet_blocking
from pknet_io.network import NetworkOptions
from tests.adapters.ends import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Open = Callable[[], pknet_blocking.Stream]

pytestmark = pytest.mark.timeout(60)

PAGE = os.urandom(3 << 20)


class Handler(BaseHTTPRequestHandler):
    """Gives a large page, and says what it was sent."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer(PAGE)

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(hashlib.sha256(data).hexdigest().encode())

    def answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def plain() -> Iterator[Open]:
    """Serve over plain uTP: an HTTPServer whose socket is a listener."""
    with ThreadingHTTPServer(LOOPBACK, Handler, bind_and_activate=False) as server:
        server.socket.close()
        listener = pknet_blocking.create_server(LOOPBACK)
        server.socket = listener  # type: ignore[assignment]
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield lambda: pknet_blocking.create_connection(listener.address)
        server.shutdown()
        serving.join()


@contextlib.contextmanager
def nodes() -> Iterator[Open]:
    """Serve over streams between nodes: a Network whose handler is an HTTP handler."""

    def handle(stream: pknet_blocking.Stream) -> None:
        with stream:
            Handler(stream, stream.getpeername(), None)  # type: ignore[arg-type]

    options = NetworkOptions(*LOOPBACK)
    with pknet_blocking.Network(pknet_blocking.RendezvousNodes(), options, handler=handle) as server:
        known = pknet_blocking.RendezvousNodes(nodes=[server.make_ticket(()).to_node_info()])
        with pknet_blocking.Network(known, options) as client:
            yield lambda: client.connect(server.node_id)


@pytest.fixture(params=[plain, nodes])
def connection(request: pytest.FixtureRequest) -> Iterator[HTTPConnection]:
    with request.param() as open_stream:
        made = HTTPConnection("a.name.that.is.not.looked.up")
        made.sock = open_stream()
        yield made
        made.close()


def test_one_connection_carries_many_requests(connection: HTTPConnection) -> None:
    stream = connection.sock
    for size in (0, 1, 1 << 16, 3 << 20):
        connection.request("GET", "/page")
        with connection.getresponse() as response:
            assert response.status == 200
            assert response.read() == PAGE
        data = os.urandom(size)
        connection.request("POST", "/", data)
        with connection.getresponse() as response:
            assert response.read().decode() == hashlib.sha256(data).hexdigest()
        assert connection.sock is stream


def test_an_answer_is_read_to_its_end_though_the_connection_is_closed_by_then(
    connection: HTTPConnection,
) -> None:
    connection.request("GET", "/page", headers={"Connection": "close"})
    with connection.getresponse() as response:
        assert connection.sock is None
        assert response.read() == PAGE


def test_an_answer_that_is_late_is_a_timeout(connection: HTTPConnection) -> None:
    connection.sock.settimeout(0.05)
    connection.putrequest("POST", "/")
    connection.putheader("Content-Length", "1")
    connection.endheaders()
    with pytest.raises(TimeoutError):
        connection.getresponse()
    connection.sock.settimeout(None)
    connection.send(b"x")
    with connection.getresponse() as response:
        assert response.read().decode() == hashlib.sha256(b"x").hexdigest()


def test_http_client_may_dial_by_itself() -> None:
    with pknet_blocking.create_server(LOOPBACK) as listener:
        client = HTTPConnection(*listener.address)
        client._create_connection = pknet_blocking.create_connection  # type: ignore[attr-defined]

        def serve() -> None:
            stream, address = listener.accept()
            with stream:
                Handler(stream, address, None)  # type: ignore[arg-type]

        serving = threading.Thread(target=serve)
        serving.start()
        client.request("GET", "/page")
        with client.getresponse() as response:
            assert response.read() == PAGE
        client.close()
        serving.join()
