"""Keys of nodes and secrets of tickets, in files that only their owner may read."""

from __future__ import annotations

import os
from pathlib import Path

import click
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

__all__ = ["default_key_path", "load_or_make_key", "load_or_make_secret", "ticket_path"]

SECRET_SIZE = 16


def default_key_path(name: str) -> Path:
    """Return where a command keeps its key; what no file name can have on some system becomes "_"."""
    allowed = "".join(character if character.isalnum() or character in "-." else "_" for character in name)
    return Path(click.get_app_dir("pknet")) / f"{allowed}.key"


def ticket_path(key_path: Path) -> Path:
    """Return where the secret of the ticket is kept that belongs to a key."""
    return key_path.with_name(f"{key_path.name}.ticket")


def load_or_make_key(path: Path) -> Ed25519PrivateKey:
    """Read the private key in a PEM file; make both if the file is not there."""
    if path.exists():
        try:
            key = load_pem_private_key(path.read_bytes(), password=None)
        except TypeError:
            raise click.ClickException(
                f"the private key in {path} has a password; pknet wants one without"
            ) from None
        except ValueError:
            raise click.ClickException(f"{path} holds no private key that can be read") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise click.ClickException(f"{path} holds a key of another kind than Ed25519")
        return key
    key = Ed25519PrivateKey.generate()
    _make(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return key


def load_or_make_secret(path: Path, *, new: bool) -> bytes:
    """Read the secret of a ticket; make one if the file is not there, or if a `new` one is wanted.

    A file that holds anything else, a key perhaps, is not replaced.
    """
    if path.exists():
        try:
            secret = bytes.fromhex(path.read_bytes().decode().strip())
        except ValueError:
            secret = b""
        if len(secret) != SECRET_SIZE:
            raise click.ClickException(f"{path} does not hold {SECRET_SIZE} bytes in hexadecimal")
        if not new:
            return secret
        path.unlink()
    secret = os.urandom(SECRET_SIZE)
    _make(path, secret.hex().encode() + b"\n")
    return secret


def _make(path: Path, data: bytes) -> None:
    """Write a file that was not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
