"""Run utp-native (libutp) in a process of its own and listen to what it reports."""

import contextlib
import hashlib
import json
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import Any, Self

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

DRIVER = Path(__file__).with_name("utp_native.cjs")


class PeerError(Exception):
    """The peer reported an error, stopped, or did not get as far as it should in time."""


def seeded_stream(seed: str, size: int) -> bytes:
    """Return the first `size` bytes of the stream that the driver sends for `--seed`."""
    key = hashlib.sha256(seed.encode()).digest()[:16]
    return Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor().update(bytes(size))


class UtpNative:
    """A node process with one UDP socket, listening or connecting; `with` ends it.

    Options are those of the driver: `send=…` is `--send …`, `echo=True` is `--echo`.
    """

    def __init__(self, role: str, **options: str | int | bool) -> None:
        node = shutil.which("node")
        if node is None:
            raise PeerError("there is no `node` on the path")
        arguments = [
            f"--{name}" if value is True else f"--{name}={value}"
            for name, value in options.items()
            if value is not False
        ]
        self._process = subprocess.Popen(
            [node, str(DRIVER), role, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._events: list[dict[str, Any]] = []
        self._complaints: list[str] = []
        self._changed = threading.Condition()
        self._stopped = False
        self._readers = [
            threading.Thread(target=self._read_events, daemon=True),
            threading.Thread(target=self._read_complaints, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    @classmethod
    def listen(cls, **options: str | int | bool) -> Self:
        """Start a peer that accepts connections, on a port it chooses unless given `port`."""
        return cls("listen", **options)

    @classmethod
    def connect(cls, host: str, port: int, **options: str | int | bool) -> Self:
        """Start a peer that opens `count` connections (one by default)."""
        return cls("connect", host=host, port=port, **options)

    @property
    def address(self) -> tuple[str, int]:
        """The address a listening peer is bound to."""
        listening = self.wait_for("listening")
        return listening["host"], listening["port"]

    def wait_for(self, event: str, connection: int = 0, timeout: float = 60.0) -> dict[str, Any]:
        """Return the event of this name, once it was reported for the connection of this number.

        Raises PeerError at once if the peer stops or reports an error on that connection instead.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                for seen in self._events:
                    if seen.get("id", connection) == connection and seen["event"] in (event, "error"):
                        if seen["event"] == event:
                            return seen
                        raise PeerError(f"{seen} while waiting for {event!r}")
                if self._stopped or not self._changed.wait(deadline - time.monotonic()):
                    raise PeerError(f"no {event!r} from the peer: {self._events} {''.join(self._complaints)}")

    def kill(self) -> None:
        """End the process as a crash would: no FIN, and nothing that answers."""
        self._process.kill()
        self.close()

    def close(self) -> None:
        """End the process, harmlessly if it is over."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for reader in self._readers:
            reader.join()
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read_events(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                self._events.append(json.loads(line))
                self._changed.notify_all()
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _read_complaints(self) -> None:
        assert self._process.stderr is not None
        self._complaints.extend(self._process.stderr)
