"""uTP packets: what is read is what the slow twin reads, and written again it says the same."""

from __future__ import annotations

from pknet.errors import ProtocolError
from pknet.utp import Packet, parse_packet
from tests.utp import twin


def one_input(data: bytes) -> None:
    expected = twin.decode(data)
    try:
        packet = parse_packet(data)
    except ProtocolError:
        assert expected is None
        return
    assert expected is not None
    assert fields(packet) == fields(expected)
    again = parse_packet(bytes(packet))
    assert again == packet
    assert fields(again) == fields(packet)
    assert repr(packet)


def fields(packet: Packet | twin.TwinPacket) -> tuple[object, ...]:
    return (
        packet.type,
        packet.connection_id,
        packet.timestamp,
        packet.timestamp_difference,
        packet.wnd_size,
        packet.seq_nr,
        packet.ack_nr,
        packet.selective_ack,
        packet.payload,
    )
