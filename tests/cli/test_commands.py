"""The command `pknet`, run as a user runs it."""

import hashlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pknet.network import Ticket
from tests.cli.programs import from_json, run, running

PAYLOAD = bytes(range(256)) * 4096


@contextmanager
def service() -> Iterator[str]:
    """A TCP service that answers what it was sent with its SHA-256 and a payload; its HOST:PORT."""

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                received = b""
                while data := connection.recv(1 << 16):
                    received += data
                connection.sendall(hashlib.sha256(received).digest() + PAYLOAD)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def ask(address: str, request: bytes) -> bytes:
    """Send a request to a TCP service, finish, and return the answer."""
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while data := connection.recv(1 << 16):
            answer += data
        return answer


def answer_to(request: bytes) -> bytes:
    return hashlib.sha256(request).digest() + PAYLOAD


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path


def test_a_service_is_reached_through_a_rendezvous(keys: Path) -> None:
    serve = ["serve", "--listen", "127.0.0.1:0", "--key", f"{keys}/serve.key"]
    with service() as address, running(*serve) as server:
        rendezvous = server.line()
        expose = ["expose", address, "--listen", "127.0.0.1:0", "--key", f"{keys}/expose.key"]
        with running(*expose, "--rendezvous", rendezvous) as exposer:
            ticket = Ticket.parse(exposer.line())
            # As it is for somebody far away, who can't use the node's own address.
            far = Ticket(ticket.node_id, ticket.secret, (), ticket.rendezvous)
            with running("connect", far.encode(), "--udp", "127.0.0.1:0") as connector:
                local = connector.line()
                for request in (b"first", b"second" * 10_000):
                    assert ask(local, request) == answer_to(request)
            assert "through the hole that both sides punched" in connector.error


def test_a_node_that_is_reachable_needs_no_server(keys: Path) -> None:
    expose = ["--listen", "127.0.0.1:0", "--key", f"{keys}/expose.key"]
    with service() as address, running("expose", address, *expose) as exposer:
        ticket = exposer.line()
        with running("connect", ticket, "--udp", "127.0.0.1:0") as connector:
            assert ask(connector.line(), b"x") == answer_to(b"x")
        assert "at its own address" in connector.error


def test_the_commands_write_logs_that_can_be_drawn(keys: Path) -> None:
    expose = ["--listen", "127.0.0.1:0", "--key", f"{keys}/expose.key", "--qlog", f"{keys}/there"]
    with service() as address, running("expose", address, *expose) as exposer:
        ticket = exposer.line()
        connect = ["connect", ticket, "--udp", "127.0.0.1:0", "--qlog", f"{keys}/here"]
        with running(*connect) as connector:
            assert ask(connector.line(), b"x") == answer_to(b"x")
    for folder in (keys / "there", keys / "here"):
        largest = max(folder.glob("*.sqlog"), key=lambda path: path.stat().st_size)
        assert run("plot", str(largest)).stdout == f"{largest.with_suffix('.svg')}\n"


def test_the_ticket_stays_the_same_until_a_new_one_is_wanted(keys: Path) -> None:
    def ticket_of(*more: str) -> Ticket:
        expose = ["expose", "127.0.0.1:9", "--listen", "127.0.0.1:0", "--key", f"{keys}/expose.key", *more]
        with running(*expose) as exposer:
            return Ticket.parse(exposer.line())

    first, again, new = ticket_of(), ticket_of(), ticket_of("--new-ticket")
    assert first.secret == again.secret != new.secret
    assert first.node_id == again.node_id == new.node_id


def test_an_old_ticket_admits_nobody(keys: Path) -> None:
    expose = ["expose", "127.0.0.1:9", "--listen", "127.0.0.1:0", "--key", f"{keys}/expose.key"]
    with running(*expose) as exposer:
        old = Ticket.parse(exposer.line())
    with running(*expose, "--new-ticket") as exposer:
        new = Ticket.parse(exposer.line())
        refused = run(
            "connect", Ticket(new.node_id, old.secret, new.addresses).encode(), "--udp", "127.0.0.1:0"
        )
    assert refused.returncode == 1
    assert "the node refused" in refused.stderr


def test_a_ticket_with_a_wrong_digit_is_told_before_anything_is_sent() -> None:
    ticket = Ticket.parse(good := some_ticket()).encode()
    assert ticket == good
    wrong = ticket[:30] + ("b" if ticket[30] != "b" else "c") + ticket[31:]
    refused = run("connect", wrong)
    assert refused.returncode == 2
    assert "the ticket is damaged or incomplete" in refused.stderr


def some_ticket() -> str:
    node_id = "a" * 52
    return Ticket(node_id, bytes(16), (("192.0.2.1", 1315),)).encode()  # type: ignore[arg-type]


def test_a_port_in_use_is_told_in_plain_words(keys: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        failed = run("serve", "--listen", f"127.0.0.1:{port}", "--key", f"{keys}/serve.key")
    assert failed.returncode == 1
    assert f"UDP port {port} on 127.0.0.1 is in use" in failed.stderr


def test_stun_tells_the_address_that_the_server_sees(keys: Path) -> None:
    with running("serve", "--listen", "127.0.0.1:0", "--key", f"{keys}/serve.key") as server:
        address = server.line().partition("@")[2]
        answer = from_json(run("stun", "--json", address).stdout)
        assert answer["mapped_address"]["host"] == "127.0.0.1"
        assert answer["rtt"] > 0
        assert run("stun", address).stdout.startswith("127.0.0.1:")


def test_stun_says_when_nobody_answers() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        failed = run("stun", "--timeout", "0.2", f"127.0.0.1:{silent.getsockname()[1]}")
    assert failed.returncode == 1
    assert "no answer" in failed.stderr


@pytest.mark.parametrize("address", ["", "host", "host:", "host:99999", "::1:80", "host:eighty"])
def test_a_malformed_address_is_refused(address: str) -> None:
    assert run("expose", address).returncode == 2


@pytest.mark.parametrize("content", [b"not hexadecimal", b"abcd", b"\xff\xfe", b""])
def test_a_damaged_secret_is_told_in_plain_words(keys: Path, content: bytes) -> None:
    expose = ["expose", "127.0.0.1:9", "--listen", "127.0.0.1:0", "--key", f"{keys}/expose.key"]
    (keys / "expose.ticket").write_bytes(content)
    failed = run(*expose)
    assert failed.returncode == 1
    assert failed.stderr == f"Error: {keys}/expose.ticket does not hold 16 bytes in hexadecimal\n"


def test_keys_are_readable_by_their_owner_only(keys: Path) -> None:
    with running("serve", "--listen", "127.0.0.1:0", "--key", f"{keys}/serve.key") as server:
        server.line()
    assert (keys / "serve.key").stat().st_mode & 0o077 == 0
