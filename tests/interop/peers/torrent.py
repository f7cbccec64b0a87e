"""Drive libtorrent sessions that have nothing but uTP to reach each other."""

import time
from pathlib import Path
from typing import Any, Self

import libtorrent

Address = tuple[str, int]
NAME = "content.bin"


class TorrentError(Exception):
    """A libtorrent session reported an error, or did not get as far as it should in time."""


class Torrent:
    """One file of given content, described as a torrent."""

    def __init__(self, content: bytes, directory: Path) -> None:
        (directory / NAME).write_bytes(content)
        described = libtorrent.create_torrent([libtorrent.create_file_entry(NAME, len(content))])
        libtorrent.set_piece_hashes(described, str(directory))
        self.directory = directory
        self.info = libtorrent.torrent_info(described.generate())


class TorrentSession:
    """A session on loopback that has one torrent, whole or still to be fetched; `with` ends it.

    TCP, encryption, and all that finds peers by itself are off: it knows the peers that `connect` names,
    and those who come. It keeps a peer that has become as complete as itself, so that `peers` can be
    asked once the transfer is over. `buffer`: what the kernel's buffers are to hold in bytes, 0 for its
    default.
    """

    def __init__(
        self, torrent: Torrent, directory: Path, *, host: str = "127.0.0.1", buffer: int = 0
    ) -> None:
        self._host = host
        self._session = libtorrent.session(
            {
                "listen_interfaces": f"[{host}]:0" if ":" in host else f"{host}:0",
                "enable_incoming_tcp": False,
                "enable_outgoing_tcp": False,
                "enable_incoming_utp": True,
                "enable_outgoing_utp": True,
                "enable_dht": False,
                "enable_lsd": False,
                "enable_upnp": False,
                "enable_natpmp": False,
                "in_enc_policy": 2,  # pe_disabled
                "out_enc_policy": 2,
                "recv_socket_buffer_size": buffer,
                "send_socket_buffer_size": buffer,
                "allow_multiple_connections_per_ip": True,
                "close_redundant_connections": False,
                "alert_mask": libtorrent.alert.category_t.error_notification
                | libtorrent.alert.category_t.status_notification
                | libtorrent.alert.category_t.connect_notification,
            }
        )
        self._alerts: list[str] = []
        self._seen: list[type] = []
        parameters = libtorrent.add_torrent_params()
        parameters.ti = torrent.info
        parameters.save_path = str(directory)
        self._handle = self._session.add_torrent(parameters)

    @property
    def address(self) -> Address:
        """Where the session listens."""
        return self._host, self._session.listen_port()

    def connect(self, address: Address) -> None:
        """Open a uTP connection to a peer."""
        self._handle.connect_peer(address)

    def disconnect(self) -> None:
        """Close every connection of the torrent; the session goes on answering."""
        self._handle.pause()

    def wait_until_complete(self, timeout: float = 60.0) -> None:
        """Return once every piece is here, agrees with its hash and is on the disk."""
        deadline = time.monotonic() + timeout
        self._wait_for(libtorrent.torrent_finished_alert, deadline)
        self._handle.flush_cache()
        self._wait_for(libtorrent.cache_flushed_alert, deadline)

    def _wait_for(self, alert_type: type, deadline: float) -> None:
        while alert_type not in self._seen:
            if time.monotonic() > deadline:
                raise TorrentError("the torrent is not complete: " + "; ".join(self._alerts))
            self._session.wait_for_alert(100)
            for alert in self._session.pop_alerts():
                self._seen.append(type(alert))
                self._alerts.append(alert.message())

    def is_complete(self) -> bool:
        """Tell whether every piece is here."""
        return bool(self._handle.status().is_seeding)

    def received(self) -> int:
        """Return the bytes of content that have come from the peers there are."""
        return sum(peer.total_download for peer in self._handle.get_peer_info())

    def peers(self) -> dict[Address, bool]:
        """Return the address of each peer, and whether it is connected by uTP."""
        found: list[Any] = self._handle.get_peer_info()
        # The binding has no name for the flag utp_socket: bit 17 (libtorrent/peer_info.hpp).
        return {peer.ip: bool(peer.flags & 1 << 17) for peer in found}

    def close(self) -> None:
        """End the session, harmlessly if it is over; waits until its threads are."""
        self.__dict__.pop("_handle", None)
        self.__dict__.pop("_session", None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
