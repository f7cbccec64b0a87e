"""Key files and ticket files: whose they are, and that none is lost."""

import signal
from pathlib import Path

import click
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from pknet.network import Ticket
from pknet_cli.keys import default_key_path, load_or_make_key, load_or_make_secret, ticket_path
from tests.cli.programs import Program, pknet, run, running


def expose(key: Path, *more: str, service: str = "127.0.0.1:9") -> list[str]:
    return ["expose", service, "--listen", "127.0.0.1:0", "--key", str(key), *more]


def ticket_of(*arguments: str) -> Ticket:
    with running(*arguments) as exposer:
        return Ticket.parse(exposer.line())


def test_the_ticket_stays_the_same_until_a_new_one_is_wanted(tmp_path: Path) -> None:
    command = expose(tmp_path / "key")
    first, again, new = ticket_of(*command), ticket_of(*command), ticket_of(*command, "--new-ticket")
    assert first.secret == again.secret != new.secret
    assert first.node_id == again.node_id == new.node_id


def test_two_services_on_one_machine_are_two_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    command = ["expose", "127.0.0.1:8000", "--listen", "127.0.0.1:0"]
    other = ["expose", "[::1]:8000", "--listen", "127.0.0.1:0"]
    with running(*command) as first, running(*other) as second:
        one, two = Ticket.parse(first.line()), Ticket.parse(second.line())
    assert one.node_id != two.node_id
    assert one.secret != two.secret
    assert ticket_of(*command).node_id == one.node_id
    assert {path.name for path in tmp_path.rglob("*.key")} == {
        "expose-127.0.0.1-8000.key",
        "expose-__1-8000.key",
    }


@pytest.mark.parametrize("command", ["serve", "expose"])
def test_a_key_in_use_is_refused_until_its_process_is_gone(command: str, tmp_path: Path) -> None:
    key = tmp_path / "some.key"
    arguments = (
        expose(key) if command == "expose" else ["serve", "--listen", "127.0.0.1:0", "--key", str(key)]
    )
    first = Program(pknet(*arguments))
    assert first.line()
    refused = run(*arguments)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == (
        f"Error: {key} is in use by another process; give this one a key of its own by --key\n"
    )
    first.end(signal.SIGKILL)
    with running(*arguments) as second:
        assert second.line()


def test_keys_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    ticket_of(*expose(tmp_path / "a.key"))
    files = sorted(tmp_path.iterdir())
    assert [path.name for path in files] == ["a.key", "a.key.ticket"]
    assert [path.stat().st_mode & 0o077 for path in files] == [0, 0]


def test_keys_whose_names_differ_in_what_follows_the_dot_have_tickets_of_their_own(tmp_path: Path) -> None:
    assert ticket_path(tmp_path / "a.key") != ticket_path(tmp_path / "a.pem")


@pytest.mark.parametrize("name", ["key.ticket", "key", "key.pem"])
def test_a_new_ticket_never_costs_a_key(name: str, tmp_path: Path) -> None:
    load_or_make_key(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    load_or_make_secret(ticket_path(tmp_path / name), new=True)
    load_or_make_secret(ticket_path(tmp_path / name), new=True)
    assert (tmp_path / name).read_bytes() == content


@pytest.mark.parametrize("new", [False, True])
@pytest.mark.parametrize(
    "content", [b"not hexadecimal", b"abcd", b"\xff\xfe", b"", b"-----BEGIN PRIVATE KEY-----"]
)
def test_a_file_that_holds_no_ticket_is_left_alone(content: bytes, new: bool, tmp_path: Path) -> None:
    path = tmp_path / "key.ticket"
    path.write_bytes(content)
    with pytest.raises(click.ClickException) as caught:
        load_or_make_secret(path, new=new)
    assert caught.value.message == f"{path} does not hold 16 bytes in hexadecimal"
    assert path.read_bytes() == content


def private_bytes(key: X25519PrivateKey, password: bytes = b"") -> bytes:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"root:x:0:0:root:/root:/bin/bash\n", "{} holds no private key that can be read"),
        (private_bytes(X25519PrivateKey.generate()), "{} holds a key of another kind than Ed25519"),
        (
            private_bytes(X25519PrivateKey.generate(), b"password"),
            "the private key in {} has a password; pknet wants one without",
        ),
    ],
)
def test_a_file_that_holds_no_key_is_told_in_plain_words(content: bytes, why: str, tmp_path: Path) -> None:
    path = tmp_path / "passwd"
    path.write_bytes(content)
    failed = run(*expose(path))
    assert (failed.returncode, failed.stderr) == (1, f"Error: {why.format(path)}\n")
    assert path.read_bytes() == content


def test_a_key_that_can_not_be_kept_is_told_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    failed = run(*expose(tmp_path / "file" / "key"))
    assert failed.returncode == 1
    assert failed.stderr.startswith(f"Error: {tmp_path / 'file'}")
    assert "Errno" not in failed.stderr


def test_no_default_key_has_a_name_that_some_system_can_not_have() -> None:
    assert default_key_path("expose-fe80::1%2-80").name == "expose-fe80__1_2-80.key"
