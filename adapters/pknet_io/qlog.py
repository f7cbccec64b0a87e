"""Logs of uTP connections in files, in the shape of qlog (draft-ietf-quic-qlog-main-schema).

A file is a sequence of JSON texts (RFC 7464): a header, then an event a line, with its time in milliseconds
since the first. The draft wants the suffix .sqlog.
"""

from __future__ import annotations

import re
import weakref
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

import pknet
from pknet.errors import ProtocolError

if TYPE_CHECKING:
    import os

    from pknet.utp import UtpConnection

__all__ = ["SUFFIX", "QlogDirectory", "QlogEvent", "QlogWriter", "read_qlog"]

SUFFIX = ".sqlog"
FILE_SCHEMA = "urn:ietf:params:qlog:file:sequential"
EVENT_SCHEMA = "urn:x-pknet:qlog:events:utp"
RECORD_SEPARATOR = b"\x1e"
# So much a connection, and so many connections of a run, are written of: who connects can't fill the disk.
MAX_SIZE = 64 << 20
MAX_FILES = 1000
# So many events a second go to the file at once, and as many in a rush: what a killed process leaves behind
# lacks next to nothing, and a busy connection writes full buffers.
MAX_FLUSHES = 100


class QlogEvent(msgspec.Struct, frozen=True):
    """What happened, and when: milliseconds since the log began."""

    time: float
    name: str
    data: dict[str, Any]


class QlogWriter:
    """Writes the log of one connection to a file: `connection.log = QlogWriter(path)`.

    Of a quiet connection each event is in the file at once, of a busy one up to 8 KiB may wait for the next
    events. The file is closed when the connection is forgotten, or has written `max_size` bytes; or by
    `close`. Raises OSError if the file can't be made.
    """

    def __init__(self, path: str | os.PathLike[str], *, max_size: int = MAX_SIZE) -> None:
        self.path = Path(path)
        self._left = max_size
        self._began: float | None = None
        self._last = 0.0
        self._flushes = float(MAX_FLUSHES)
        self._file = self.path.open("xb")
        # What is in the buffer reaches the file even if nobody closes this.
        self._close = weakref.finalize(self, self._file.close)

    def __call__(self, time: float, name: str, data: dict[str, Any]) -> None:
        """Write an event; `time` is in seconds of any clock."""
        if self._file.closed:
            return
        if self._began is None:
            self._began = self._last = time
            self._write(_header(is_initiator=data.get("is_initiator", True)))
        self._write(QlogEvent(round((time - self._began) * 1e3, 3), name, data))
        if name == "utp:log_ended":
            self.close()
        elif self._left <= 0:
            self._write(QlogEvent(round((time - self._began) * 1e3, 3), "utp:log_full", {}))
            self.close()
        else:
            self._flush_now_and_then(time)

    def close(self) -> None:
        """Close the file; what is told from then on is dropped."""
        self._close()

    def _write(self, record: object) -> None:
        line = RECORD_SEPARATOR + msgspec.json.encode(record, enc_hook=str) + b"\n"
        self._left -= self._file.write(line)

    def _flush_now_and_then(self, time: float) -> None:
        """Flush, unless that was done too often lately; the events themselves tell how time goes."""
        self._flushes = min(self._flushes + (time - self._last) * MAX_FLUSHES, MAX_FLUSHES)
        self._last = time
        if self._flushes >= 1:
            self._flushes -= 1
            self._file.flush()


class QlogDirectory:
    """Writes a file for each connection into a folder: `UtpConfig(open_log=QlogDirectory(path))`.

    It stops at `max_files`. Raises OSError if the folder can't be made.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, max_files: int = MAX_FILES, max_size: int = MAX_SIZE
    ) -> None:
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        self._max_files = max_files
        self._max_size = max_size
        self._count = 0

    def __call__(self, connection: UtpConnection) -> QlogWriter | None:
        """Return what writes the log of a connection; None if there are enough files."""
        # Files of other runs may have the name.
        while self._count < self._max_files:
            self._count += 1
            path = self.path / self._name(connection.remote)
            try:
                return QlogWriter(path, max_size=self._max_size)
            except FileExistsError:
                continue
        return None

    def _name(self, remote: object) -> str:
        parts = remote if isinstance(remote, tuple) else (remote,)
        peer = "-".join(re.sub(r"[^\w.]+", "_", str(part)) for part in parts)
        return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{self._count:04}-{peer[:80]}{SUFFIX}"


def read_qlog(path: str | os.PathLike[str]) -> list[QlogEvent]:
    """Return the events of a log, in order; a last line that is cut off is left out.

    Raises ProtocolError if the file is no log of a uTP connection, OSError if it can't be read.
    """
    content = Path(path).read_bytes()
    if not content:
        raise ProtocolError(f"{path} is empty: nothing has been written to this log yet")
    records = content.split(b"\n")
    is_cut = records.pop() != b""
    texts = [record.removeprefix(RECORD_SEPARATOR) for record in records]
    try:
        header = msgspec.json.decode(texts[0], type=_Header)
        if header.file_schema != FILE_SCHEMA or EVENT_SCHEMA not in header.trace.event_schemas:
            raise ProtocolError(f"{path} is a qlog, but none of a uTP connection by pknet")
    except (IndexError, msgspec.DecodeError):
        raise ProtocolError(f"{path} is no qlog: it does not begin with the header of one") from None
    events = []
    for number, text in enumerate(texts[1:], 2):
        try:
            events.append(msgspec.json.decode(text, type=QlogEvent))
        except msgspec.DecodeError as error:
            raise ProtocolError(f"{path} is damaged: line {number} is no event ({error})") from None
    if is_cut and not events:
        raise ProtocolError(f"{path} is cut off before the first event")
    return events


class _Trace(msgspec.Struct):
    common_fields: dict[str, Any]
    vantage_point: dict[str, str]
    event_schemas: list[str]


class _Header(msgspec.Struct):
    file_schema: str
    serialization_format: str
    title: str
    trace: _Trace


def _header(*, is_initiator: bool) -> _Header:
    reference = {
        "clock_type": "monotonic",
        "epoch": "unknown",
        "wall_clock_time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }
    return _Header(
        file_schema=FILE_SCHEMA,
        serialization_format="application/qlog+json-seq",
        title="a uTP connection",
        trace=_Trace(
            common_fields={"time_format": "relative_to_epoch", "reference_time": reference},
            vantage_point={
                "name": f"pknet {pknet.__version__}",
                "type": "client" if is_initiator else "server",
            },
            event_schemas=[EVENT_SCHEMA],
        ),
    )
