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

__all__ = ["default_key_path", "load_or_make_key", "load_or_make_secret"]

SECRET_SIZE = 16


def default_key_path(name: str) -> Path:
    """Return where a command keeps its key."""
    return Path(click.get_app_dir("pknet")) / f"{name}.key"


def load_or_make_key(path: Path) -> Ed25519PrivateKey:
    """Read the private key in a PEM file; make both if the file is not there."""
    if path.exists():
        try:
            key = load_pem_private_key(path.read_bytes(), password=None)
        except (ValueError, TypeError) as error:
            raise click.ClickException(f"{path} holds no private key: {error}") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise click.ClickException(f"{path} holds a key of another kind than Ed25519")
        return key
    key = Ed25519PrivateKey.generate()
    _write(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return key


def load_or_make_secret(path: Path, *, new: bool) -> bytes:
    """Read the secret of a ticket; make one if the file is not there, or if a `new` one is wanted."""
    if path.exists() and not new:
        try:
            secret = bytes.fromhex(path.read_bytes().decode().strip())
        except ValueError:
            secret = b""
        if len(secret) != SECRET_SIZE:
            raise click.ClickException(f"{path} does not hold {SECRET_SIZE} bytes in hexadecimal")
        return secret
    secret = os.urandom(SECRET_SIZE)
    _write(path, secret.hex().encode() + b"\n")
    return secret


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
