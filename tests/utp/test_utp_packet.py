import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pknet.errors import ProtocolError
from pknet.utp import Packet, PacketType, parse_packet
from tests.utp.twin import TwinPacket, decode, encode

u16 = st.integers(0, 0xFFFF)
u32 = st.integers(0, 0xFFFFFFFF)
packets = st.builds(
    TwinPacket,
    type=st.integers(0, 4),
    connection_id=u16,
    timestamp=u32,
    timestamp_difference=u32,
    wnd_size=u32,
    seq_nr=u16,
    ack_nr=u16,
    extensions=st.lists(st.tuples(st.sampled_from((1, 2, 3, 255)), st.binary(max_size=255)), max_size=4).map(
        tuple
    ),
    payload=st.binary(max_size=1500),
)

# Published test vectors: portal-network-specs, utp-wire-test-vectors.md.
VECTORS = {
    "41002741c9b699ba00000000001000002e6c0000": Packet(
        PacketType.SYN, connection_id=10049, seq_nr=11884, timestamp=3384187322, wnd_size=1048576
    ),
    "21002741005e885e36a7e8830010000041a72e6d": Packet(
        PacketType.STATE,
        connection_id=10049,
        seq_nr=16807,
        ack_nr=11885,
        timestamp=6195294,
        timestamp_difference=916973699,
        wnd_size=1048576,
    ),
    "21012741005e885e36a7e8830010000041a72e6d000401000080": Packet(
        PacketType.STATE,
        connection_id=10049,
        seq_nr=16807,
        ack_nr=11885,
        timestamp=6195294,
        timestamp_difference=916973699,
        wnd_size=1048576,
        selective_ack=bytes((1, 0, 0, 128)),
    ),
    "0100667d0f0cbacf0e710cbf00100000208e41a600010203040506070809": Packet(
        PacketType.DATA,
        connection_id=26237,
        seq_nr=8334,
        ack_nr=16806,
        timestamp=252492495,
        timestamp_difference=242289855,
        wnd_size=1048576,
        payload=bytes(range(10)),
    ),
    "11004a3b1eb5be8f1e7c94d100100000a05a41a6": Packet(
        PacketType.FIN,
        connection_id=19003,
        seq_nr=41050,
        ack_nr=16806,
        timestamp=515227279,
        timestamp_difference=511481041,
        wnd_size=1048576,
    ),
    "3100f34d2cc6cfbb0000000000000000d87541a7": Packet(
        PacketType.RESET, connection_id=62285, seq_nr=55413, ack_nr=16807, timestamp=751226811
    ),
}


@pytest.mark.parametrize("wire", VECTORS)
def test_published_vectors_are_written_and_read(wire: str) -> None:
    packet = VECTORS[wire]
    assert bytes(packet).hex() == wire
    assert parse_packet(bytes.fromhex(wire)) == packet


@given(packets)
def test_packets_are_read_as_the_twin_writes_them(packet: TwinPacket) -> None:
    read = parse_packet(encode(packet))
    assert (
        read.type,
        read.connection_id,
        read.timestamp,
        read.timestamp_difference,
        read.wnd_size,
        read.seq_nr,
        read.ack_nr,
        read.selective_ack,
        read.payload,
    ) == (
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


@given(packets, st.binary(min_size=1, max_size=255))
def test_packets_are_written_as_the_twin_writes_them(packet: TwinPacket, mask: bytes) -> None:
    for extensions in ((), ((1, mask),)):
        twin = TwinPacket(**packet.__dict__ | {"extensions": extensions})
        ours = Packet(
            packet.type,
            connection_id=packet.connection_id,
            seq_nr=packet.seq_nr,
            ack_nr=packet.ack_nr,
            timestamp=packet.timestamp,
            timestamp_difference=packet.timestamp_difference,
            wnd_size=packet.wnd_size,
            selective_ack=mask if extensions else None,
            payload=packet.payload,
        )
        assert bytes(ours) == encode(twin)


@given(
    st.binary(max_size=64)
    | packets.map(encode).flatmap(lambda wire: st.integers(0, 64).map(lambda n: wire[:n]))
)
@example(bytes.fromhex("21012741005e885e36a7e8830010000041a72e6d0004010000"))
@example(bytes.fromhex("21012741005e885e36a7e8830010000041a72e6d00"))
@example(bytes.fromhex("21012741005e885e36a7e8830010000041a72e6d0000"))
def test_any_bytes_are_a_packet_or_none_as_the_twin_says(datagram: bytes) -> None:
    expected = decode(datagram)
    if expected is None:
        with pytest.raises(ProtocolError):
            parse_packet(datagram)
    else:
        read = parse_packet(datagram)
        assert (read.seq_nr, read.selective_ack, read.payload) == (
            expected.seq_nr,
            expected.selective_ack,
            expected.payload,
        )


@pytest.mark.parametrize("first", [0x00, 0x02, 0x40, 0x51, 0x61, 0xF1])
def test_other_versions_and_unknown_types_are_no_packets(first: int) -> None:
    with pytest.raises(ProtocolError):
        parse_packet(bytes((first,)) + bytes(19))


@pytest.mark.parametrize("size", [0, 256])
def test_a_selective_ack_that_does_not_fit_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="1 to 255 bytes"):
        Packet(PacketType.STATE, connection_id=1, selective_ack=bytes(size))


@pytest.mark.parametrize("field", ["connection_id", "seq_nr", "ack_nr"])
@pytest.mark.parametrize("value", [-1, 65536])
def test_a_number_that_does_not_fit_is_refused(field: str, value: int) -> None:
    with pytest.raises(OverflowError):
        Packet(PacketType.STATE, **{"connection_id": 1} | {field: value})  # type: ignore[arg-type]


def test_packets_with_the_same_bytes_are_equal_and_hash_alike() -> None:
    one, same, other = (Packet(PacketType.DATA, connection_id=n, payload=b"x") for n in (1, 1, 2))
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert one != bytes(one)


def test_a_packet_says_what_it_is() -> None:
    packet = Packet(
        PacketType.STATE, connection_id=7, seq_nr=8, ack_nr=9, selective_ack=b"\x01", payload=b"ab"
    )
    assert "STATE, connection_id=7, seq_nr=8, ack_nr=9" in repr(packet)
    assert "selective_ack=01, payload=2 bytes" in repr(packet)
