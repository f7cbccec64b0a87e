"""A scripted peer: one uTP endpoint of pknet, and the packets of its far end written by hand."""

from __future__ import annotations

from random import Random
from typing import Any

from pknet import Transmit
from pknet.utp import (
    ConnectionAccepted,
    DataReceived,
    Packet,
    PacketType,
    UtpConfig,
    UtpConnection,
    UtpEndpoint,
    parse_packet,
)

REMOTE = ("192.0.2.9", 6881)
# The payload of a full packet where no other settings are given. Those have no search for it, so that a test
# sees the packets that it is about, and no probes.
SEGMENT = 1402 - 20
DATA, FIN, STATE, RESET, SYN = PacketType


class Peer:
    """The far end of one connection of `endpoint`; time stands still unless `pass_time` is called.

    A packet that is given by `data`, `state`, … carries the next seq_nr and acknowledges what `take` has seen
    come in order, unless told otherwise. `sent` has every packet that the endpoint sent, with the time it was
    sent at.
    """

    def __init__(
        self,
        config: UtpConfig | None = None,
        *,
        now: float = 1000.0,
        seed: int = 1,
        remote: Any = REMOTE,
        seq_nr: int = 100,
        wnd_size: int = 1 << 20,
    ) -> None:
        self.endpoint = UtpEndpoint(Random(seed).randbytes, config or UtpConfig(path_mtu_discovery=False))
        self.now = now
        self.remote = remote
        self.send_id = self.receive_id = 0
        self.seq_nr = seq_nr
        self.ack_nr = 0
        self.wnd_size = wnd_size
        self.sent: list[tuple[float, Packet]] = []
        self.transmits: list[Transmit] = []
        self.events: list[Any] = []
        self._early: set[int] = set()
        self._taken = 0

    # Opening.

    def dial(self, connection_id: int = 500, **fields: Any) -> Packet:
        """Send a SYN and return the SYN-ACK."""
        self.receive_id, self.send_id = connection_id, (connection_id + 1) & 0xFFFF
        self.give(SYN, connection_id=connection_id, seq_nr=self.seq_nr, ack_nr=0, **fields)
        self.seq_nr = (self.seq_nr + 1) & 0xFFFF
        (syn_ack,) = self.take()
        self.ack_nr = (syn_ack.seq_nr - 1) & 0xFFFF
        return syn_ack

    def dial_and_prove(self, **fields: Any) -> UtpConnection:
        """Open a connection from this side; return the endpoint's end of it."""
        self.dial(**fields)
        self.state()
        assert self.take() == []
        (event,) = self.take_events()
        assert type(event) is ConnectionAccepted
        return event.connection  # type: ignore[no-any-return]

    def await_dial(self, connection: UtpConnection) -> Packet:
        """Take the SYN of a connection that the endpoint dials."""
        assert connection.state == "SYN_SENT"
        (syn,) = self.take()
        assert syn.type == SYN
        self.send_id, self.receive_id = syn.connection_id, (syn.connection_id + 1) & 0xFFFF
        self.ack_nr = syn.seq_nr
        return syn

    def answer_dial(self, **options: Any) -> UtpConnection:
        """Open a connection from the endpoint's side; return its end of it."""
        connection = self.endpoint.connect(self.remote, self.now, **options)
        self.await_dial(connection)
        self.state()
        (proof,) = self.take()
        assert proof.type == STATE
        self.take_events()
        return connection

    # Packets to the endpoint.

    def packet(self, type: int, **fields: Any) -> Packet:
        """Make a packet as this side would send it now."""
        values: dict[str, Any] = {
            "connection_id": self.send_id,
            "seq_nr": self.seq_nr,
            "ack_nr": self.ack_nr,
            "wnd_size": self.wnd_size,
            "timestamp": int(self.now * 1e6) & 0xFFFFFFFF,
        }
        return Packet(type, **values | fields)

    def give(self, type: int, **fields: Any) -> None:
        """Send a packet."""
        self.give_bytes(bytes(self.packet(type, **fields)))

    def give_bytes(self, data: bytes) -> None:
        """Send a datagram."""
        self.endpoint.receive_datagram(data, self.remote, None, self.now)

    def give_together(self, packets: list[Packet], segment_size: int) -> None:
        """Send several datagrams as one buffer, as GRO gives them."""
        data = b"".join(map(bytes, packets))
        self.endpoint.receive_segments(data, segment_size, self.remote, None, self.now)

    def state(self, **fields: Any) -> None:
        """Acknowledge."""
        self.give(STATE, **fields)

    def data(self, payload: bytes, **fields: Any) -> None:
        """Send payload; the next seq_nr is used up unless one is given."""
        self.give(DATA, payload=payload, **fields)
        if "seq_nr" not in fields:
            self.seq_nr = (self.seq_nr + 1) & 0xFFFF

    def fin(self, payload: bytes = b"", **fields: Any) -> None:
        """Finish; the next seq_nr is used up unless one is given."""
        self.give(FIN, payload=payload, **fields)
        if "seq_nr" not in fields:
            self.seq_nr = (self.seq_nr + 1) & 0xFFFF

    # Packets and events from the endpoint.

    def take(self) -> list[Packet]:
        """Return the packets that the endpoint has sent since this was last called."""
        self._collect()
        taken = [packet for _, packet in self.sent[self._taken :]]
        self._taken = len(self.sent)
        return taken

    def take_payload(self) -> bytes:
        """Return the payload of all that `take` returns, in the order in which it was sent."""
        return b"".join(packet.payload for packet in self.take())

    def take_events(self) -> list[Any]:
        """Return the events since this was last called."""
        self._collect()
        taken, self.events = self.events, []
        return taken

    def pass_time(self, seconds: float) -> None:
        """Let time pass, with each timer fired at its moment."""
        end = self.now + seconds
        self._collect()
        while (due := self.endpoint.next_timeout()) is not None and due <= end:
            self.now = max(self.now, due)
            self.endpoint.handle_timeout(self.now)
            self._collect()
        self.now = end
        self.endpoint.handle_timeout(end)
        self._collect()

    def _collect(self) -> None:
        for transmit in self.endpoint.transmits():
            assert transmit.remote == self.remote
            self.transmits.append(transmit)
            for datagram in transmit.datagrams():
                packet = parse_packet(datagram)
                self.sent.append((self.now, packet))
                if packet.type in (DATA, FIN):
                    self._note(packet.seq_nr)
        self.events += self.endpoint.events()

    def _note(self, seq_nr: int) -> None:
        """Acknowledge in order what has come in order, as a real peer would."""
        self._early.add(seq_nr)
        while (following := (self.ack_nr + 1) & 0xFFFF) in self._early:
            self._early.remove(following)
            self.ack_nr = following


def types_of(events: list[Any]) -> list[type]:
    """Return the types of events, those of data left out."""
    return [type(event) for event in events if type(event) is not DataReceived]


def read_all(connection: UtpConnection, now: float) -> bytes:
    """Read what is readable."""
    pieces = []
    while connection.readable:
        pieces.append(connection.read(1 << 20, now))
    return b"".join(pieces)


def mask_of(ack_nr: int, *arrived: int) -> bytes:
    """Return the selective ACK of packets that came early, as BEP 29 has it: bit 0 is ack_nr + 2."""
    mask = bytearray(4)
    for seq_nr in arrived:
        bit = (seq_nr - ack_nr - 2) & 0xFFFF
        mask.extend(bytes(max(0, bit // 32 * 4 + 4 - len(mask))))
        mask[bit // 8] |= 1 << bit % 8
    return bytes(mask)
