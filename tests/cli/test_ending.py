"""How commands end when they are asked to: at once, and with 0 only if they had done their work."""

import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pknet.network import Ticket
from tests.cli.programs import Program, pknet, running

NODE = "a" * 52

ENDINGS = pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A UDP socket at which nobody answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        silent.settimeout(30)
        yield silent


def end_when_asking(command: list[str], silent: socket.socket, number: int) -> tuple[int, str, str]:
    """Start a command; when it has sent something to the silent socket, send it a signal."""
    program = Program(pknet(*command))
    silent.recvfrom(2048)
    return program.end(number)


@ENDINGS
def test_a_command_that_looks_for_a_node_ends_when_it_is_asked(
    silent: socket.socket, number: int, status: int
) -> None:
    ticket = Ticket(NODE, bytes(16), (silent.getsockname(),)).encode()  # type: ignore[arg-type]
    ended = end_when_asking(["connect", ticket, "--udp", "127.0.0.1:0"], silent, number)
    assert ended == (status, "", f"Looking for node {NODE}.\nInterrupted.\n")


@ENDINGS
def test_a_command_that_waits_for_its_rendezvous_nodes_ends_when_it_is_asked(
    silent: socket.socket, number: int, status: int, tmp_path: Path
) -> None:
    host, port = silent.getsockname()
    command = ["expose", "127.0.0.1:9", "--listen", "127.0.0.1:0", "--key", str(tmp_path / "key")]
    code, output, error = end_when_asking([*command, "--rendezvous", f"{NODE}@{host}:{port}"], silent, number)
    assert (code, output) == (status, "")
    assert error.endswith("\nInterrupted.\n")


@ENDINGS
def test_a_command_that_waits_for_an_answer_ends_when_it_is_asked(
    silent: socket.socket, number: int, status: int
) -> None:
    host, port = silent.getsockname()
    ended = end_when_asking(["stun", f"{host}:{port}", "--timeout", "60"], silent, number)
    assert ended == (status, "", "Interrupted.\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_has_done_its_work_ends_well_when_it_is_asked(number: int, tmp_path: Path) -> None:
    program = Program(pknet("serve", "--listen", "127.0.0.1:0", "--key", str(tmp_path / "key")))
    assert program.line()
    status, _, error = program.end(number)
    assert status == 0
    assert error.endswith("\nStopping.\n")


def test_a_command_that_can_not_stop_soon_ends_when_it_is_asked_again(tmp_path: Path) -> None:
    expose = ["--listen", "127.0.0.1:0", "--key", str(tmp_path / "key")]
    with socket.create_server(("127.0.0.1", 0)) as service:
        exposer = Program(pknet("expose", f"127.0.0.1:{service.getsockname()[1]}", *expose))
        with running("connect", exposer.line(), "--udp", "127.0.0.1:0") as connector:
            host, _, port = connector.line().rpartition(":")
            with socket.create_connection((host, int(port))) as reader:
                writer, _ = service.accept()
                with writer:
                    fill(writer)
                    # What the reader does not take can't be delivered, and would be waited for.
                    exposer.process.send_signal(signal.SIGTERM)
                    assert exposer.process.stderr is not None
                    assert any(line == "Stopping.\n" for line in exposer.process.stderr)
                    status, _, error = exposer.end(signal.SIGINT)
                reader.close()
    assert (status, error) == (130, "Interrupted.\n")


def fill(writer: socket.socket) -> None:
    """Send until all buffers on the way are full."""
    writer.settimeout(1)
    with suppress(TimeoutError):
        while True:
            writer.sendall(bytes(1 << 20))
