"""The command `pknet`, run as a user runs it."""

import errno
import hashlib
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
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


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what ICMP messages say")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_stun_says_at_once_that_nobody_has_the_port(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as closed:
        closed.bind((host, 0))
        port = closed.getsockname()[1]
    # Longer than a test may take.
    failed = run("stun", "--timeout", "3600", f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    assert failed.returncode == 1
    assert "refused: nobody has that port" in failed.stderr


def test_a_node_on_ipv6_is_reached_without_an_option(keys: Path) -> None:
    expose = ["--listen", "[::1]:0", "--key", f"{keys}/expose.key"]
    with service() as address, running("expose", address, *expose) as exposer:
        with running("connect", exposer.line()) as connector:
            assert ask(connector.line(), b"x") == answer_to(b"x")


def test_a_node_of_the_other_family_is_not_said_to_be_silent(keys: Path) -> None:
    expose = ["--listen", "[::1]:0", "--key", f"{keys}/expose.key"]
    with running("expose", "127.0.0.1:9", *expose) as exposer:
        failed = run("connect", exposer.line(), "--udp", "127.0.0.1:0")
    assert failed.returncode == 1
    assert "no address of a kind that this node can reach" in failed.stderr


def test_a_tcp_port_in_use_is_told_before_the_node_is_looked_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        failed = run("connect", some_ticket(), "--listen", address)
    why = os.strerror(errno.EADDRINUSE)
    assert (failed.returncode, failed.stderr) == (1, f"Error: can't listen on TCP {address}: {why}\n")


@pytest.mark.parametrize(
    ("arguments", "start"),
    [
        ("stun nosuch.invalid", "nosuch.invalid: "),
        ("serve --listen nosuch.invalid:1315", "UDP port 1315 on nosuch.invalid can't be had: "),
        ("serve --listen 192.0.2.1:1315", "UDP port 1315 on 192.0.2.1 can't be had: "),
        ("connect TICKET --listen nosuch.invalid:0", "can't listen on TCP nosuch.invalid:0: "),
        ("connect TICKET --listen 192.0.2.1:80", "can't listen on TCP 192.0.2.1:80: "),
    ],
)
def test_an_error_names_the_address_it_is_about(arguments: str, start: str, keys: Path) -> None:
    words = arguments.replace("TICKET", some_ticket()).split()
    failed = run(*words, *([] if words[0] == "stun" else ["--key", f"{keys}/key"]))
    assert failed.returncode == 1
    assert failed.stderr.startswith(f"Error: {start}")
    assert "Errno" not in failed.stderr


def test_the_log_has_a_line_for_each_record_with_its_time(keys: Path) -> None:
    with running("-v", "serve", "--listen", "127.0.0.1:0", "--key", f"{keys}/serve.key") as server:
        node_id = server.line().partition("@")[0]
    line = next(line for line in server.error.splitlines() if "listens on" in line)
    time, level, message = line.split(" ", 2)
    assert datetime.fromisoformat(time).tzinfo is not None
    assert level == "INFO"
    assert message.startswith(f"node {node_id} listens on UDP 127.0.0.1 port ")


def test_a_rendezvous_node_that_is_another_one_is_named(keys: Path) -> None:
    with running("serve", "--listen", "127.0.0.1:0", "--key", f"{keys}/serve.key") as server:
        node_id, _, address = server.line().partition("@")
        expose = ["expose", "127.0.0.1:9", "--listen", "127.0.0.1:0", "--key", f"{keys}/expose.key"]
        with running(*expose, "--rendezvous", f"{'a' * 52}@{address}") as exposer:
            assert exposer.line().startswith("pknet1")
    assert f"the peer is node {node_id}, expected was node {'a' * 52}\n" in exposer.error
    assert "does not answer" not in exposer.error


def test_who_connects_is_told_when_the_service_does_not_run(keys: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
    with (
        running("expose", address, "--listen", "127.0.0.1:0", "--key", f"{keys}/expose.key") as exposer,
        running("connect", exposer.line(), "--udp", "127.0.0.1:0") as connector,
    ):
        with pytest.raises(ConnectionResetError):
            ask(connector.line(), b"x")
    assert (
        "broke a forwarded connection before it sent anything: its service does not run," in connector.error
    )
