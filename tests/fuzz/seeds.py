"""Write the inputs that fuzzing begins with into the corpus: `python -m tests.fuzz.seeds`.

Real messages (the RFCs' and those captured from other programs) where a target takes messages, and short
plays where it takes steps.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from pknet.nat.candidate import Candidate, CandidateType, Description, Mapping
from pknet.network import introduction, messages
from pknet.network.framing import FrameReader, frame
from pknet.network.info import NodeInfo, RendezvousInfo
from pknet.network.ticket import Ticket, _from_base32
from pknet.stun import Attribute, PasswordAlgorithm, build_message
from tests.fuzz import node, utp_endpoint, utp_pair
from tests.fuzz.node import ONE, OTHER
from tests.fuzz.targets import CORPUS
from tests.stun import vectors

CAPTURES = Path(__file__).parents[1] / "interop" / "captures.json"

ADDRESSES = (("192.0.2.1", 1315), ("2001:db8::1", 1315), ("node.example", 1316))


def main() -> None:
    """Write each seed that is not there under the name that libFuzzer would give it."""
    for name, seeds in SEEDS.items():
        folder = CORPUS / name
        folder.mkdir(parents=True, exist_ok=True)
        for data in seeds():
            (folder / hashlib.sha1(data).hexdigest()).write_bytes(data)


# Messages of standards.


def stun_messages() -> list[bytes]:
    everything = build_message(
        1,
        3,
        vectors.TRANSACTION_ID,
        [
            (Attribute.MAPPED_ADDRESS, ADDRESSES[0]),
            (Attribute.XOR_MAPPED_ADDRESS, ADDRESSES[1]),
            (Attribute.ALTERNATE_SERVER, ADDRESSES[0]),
            (Attribute.ERROR_CODE, (420, "why")),
            (Attribute.UNKNOWN_ATTRIBUTES, [1, 2, 3]),
            (Attribute.PASSWORD_ALGORITHM, PasswordAlgorithm(2)),
            (Attribute.PASSWORD_ALGORITHMS, [PasswordAlgorithm(1, b"abc"), PasswordAlgorithm(2)]),
            (Attribute.ALTERNATE_DOMAIN, "example.org"),
            (Attribute.ICE_CONTROLLING, 1),
            (Attribute.USE_CANDIDATE, True),
            (0x8777, b"unknown"),
        ],
        integrity_key=b"key",
        integrity="both",
        sha256_size=16,
    )
    return [
        vectors.REQUEST,
        vectors.IPV4_RESPONSE,
        vectors.IPV6_RESPONSE,
        vectors.LONG_TERM_REQUEST,
        vectors.SHA256_REQUEST,
        everything,
    ]


def utp_packets() -> list[bytes]:
    return [bytes.fromhex(capture["hex"]) for capture in json.loads(CAPTURES.read_text())]


def runs() -> list[bytes]:
    """Return runs for the classifier: the size of a segment, less one, and the run."""
    stun, utp = stun_messages()[0], utp_packets()
    short = [packet for packet in utp if len(packet) <= len(stun)]
    run = b"".join(datagram.ljust(len(stun), b"\0") for datagram in (*short, stun, stun, bytes(3), short[0]))
    return [bytes([len(stun) - 1]) + run, bytes([19]) + utp[0] * 3 + bytes(20) + utp[1]]


# Plays.


def strangers() -> list[bytes]:
    """Return plays for `utp_endpoint`; its own numbers are 1, 2, 3, …"""
    step = steps_of(utp_endpoint.STEPS)

    def packet(kind: int, connection_id: int, seq_nr: int, ack_nr: int, payload: bytes = b"") -> bytes:
        fields = bytes([len(payload), connection_id]) + seq_nr.to_bytes(2) + bytes([ack_nr])
        return step("receive_packet", kind) + fields + b"\0\1" + b"\0\2" + b"\x40\x00" + payload + b"\0"

    come_in = packet(4, 50, 10, 0) + packet(2, 51, 11, 1)
    speak = packet(0, 51, 11, 0, b"hello") + packet(0, 51, 13, 0, b"early")
    dialled = step("connect", 0) + packet(2, 1, 30, 2) + packet(2, 1, 30, 2)
    program = step("send", 0) + b"\x40" + step("read", 0) + b"\x40" + step("ask", 0)
    wait = step("wait", 10)
    return [
        come_in + speak + program + wait + packet(1, 51, 12, 0) + step("leave", 0) + wait,
        dialled + program + packet(2, 1, 30, 3) + packet(3, 1, 30, 3) + wait,
        come_in + program + step("leave", 1) + packet(3, 51, 12, 1) + step("wait", 15),
        b"".join(packet(4, number, 10, 0) for number in range(9)) + step("wait", 15),
        step("receive_any", 4) + b"\x2c" + utp_packets()[2][:108] + b"\1" + step("toggle", 0),
    ]


def pairs() -> list[bytes]:
    """Return plays for `utp_pair`."""
    step = steps_of(utp_pair.STEPS)

    def both(name: str, number: int) -> bytes:
        return step(name, 2 * number) + step(name, 2 * number + 1)

    def change(field: utp_pair.Field, value: bytes) -> bytes:
        return both("send", 3) + step("change", 2 * field + 1) + b"\0" + value + both("work", 3)

    opened = both("work", 3)
    busy = b"\0\0\x10" + opened + both("send", 6) + both("work", 1)
    plays = [
        busy + both("lose", 1) + both("work", 5) + both("leave", 0) + both("work", 4),
        busy + both("repeat", 2) + both("delay", 1) + both("work", 5) + step("leave", 9) + both("wait", 5),
        busy + both("wait", 3) + both("deliver", 7) + both("read", 5) + both("wait", 6) + both("wait", 7),
        busy + step("change_path", 2) + both("work", 4) + step("change_controller", 6) + both("work", 5),
        busy + both("invent", 0) + b"\x14" + utp_packets()[1] + b"\0" + both("leave", 6) + both("wait", 6),
    ]
    plays += [busy + change(field, b"\x20\x07\xff\x00\xff") * 2 + both("wait", 4) for field in utp_pair.Field]
    for controller in range(4):
        for size in (0, 16, 16 + 64):
            long = (both("send", 7) + both("work", 5)) * 4 + both("lose", 0) + both("work", 6)
            plays.append(bytes([controller | size, 0xFF, 0xF0]) + opened + long + both("leave", 0))
    return plays


def guests() -> list[bytes]:
    """Return plays for `node`."""
    step = steps_of(node.STEPS)

    def packet(kind: int, seq_nr: int, payload: bytes = b"") -> bytes:
        fields = bytes([len(payload), 51 if kind != 4 else 50]) + seq_nr.to_bytes(2) + b"\0"
        return step("receive_packet", kind) + fields + b"\0\1\0\2\x40\0" + payload + b"\0"

    def say(message: Any) -> bytes:
        (payload,) = FrameReader().receive_stream_data(messages.encode(message))
        return step("receive_signalling", 0) + len(payload).to_bytes(2) + payload

    come_in = packet(4, 10) + packet(2, 11)
    offerer = introduction.Offerer(OTHER, ONE.node_id, Random(1).randbytes, node.SECRET)
    meet = step("accept_signalling", 0) + say(messages.Introduce(0, offerer.offer()))
    stun = bytes([0x00, 0x06, 9]) + b"evtj:h6vY" + bytes([0x00, 0x24, 4]) + bytes(4) + bytes(12)
    check = step("receive_stun", 4) + stun + b"\1"
    wait = step("wait", 12)
    plain = b"\3" + come_in + packet(0, 11, b"not TLS") + step("send", 0) + b"\4" + packet(1, 12) + wait
    secure = b"\1" + come_in + packet(0, 11, b"\x16\3\1\0\x20" + bytes(32)) + wait
    refused = b"\0" + meet + wait + say(messages.Prepare(1)) + step("signalling_changes", 0)
    met = (
        b"\4" + meet + say(messages.Introduce(0, bytes(40))) + check + step("receive_stun", 0) + stun + b"\2"
    )
    dialled = step("connect", 0) + packet(2, 30) + step("leave", 1) + step("connect", 1) + step("wait", 15)
    return [
        plain,
        secure,
        refused,
        met,
        b"\1" + dialled,
        b"\0" + check * 3 + step("receive_run", 1) + bytes(20),
    ]


def steps_of(steps: tuple[Callable[..., None], ...]) -> Callable[[str, int], bytes]:
    """Return a function that makes the control byte of a step."""
    names = [step.__name__ for step in steps]
    return lambda name, number: bytes([names.index(name) << 4 | number])


# Messages of pknet's own.


def frames() -> list[bytes]:
    """Return streams for `frames`: a fourth of the maximum, then pieces, each behind its length less one."""
    stream = frame(b"") + frame(b"hello") + frame(bytes(100))
    pieces = [stream[at : at + 10] for at in range(0, len(stream), 10)]
    cut = b"".join(bytes([len(piece) - 1]) + piece for piece in pieces)
    return [b"\xff" + cut, b"\x10" + cut]


def own_messages() -> list[bytes]:
    """Return a message of each kind behind the number of its form."""
    random = Random(1)
    offerer = introduction.Offerer(ONE, OTHER.node_id, random.randbytes, bytes(16))
    answerer = introduction.Answerer(OTHER, random.randbytes, lambda *_: True)
    description = Description((Candidate(CandidateType.HOST, *ADDRESSES[0]),), Mapping.ENDPOINT_INDEPENDENT)
    answerer.receive_offer(offerer.offer())
    declined = answerer.decline("no")
    answerer = introduction.Answerer(OTHER, random.randbytes, lambda *_: True)
    answerer.receive_offer(offerer.offer())
    answer = answerer.answer(description.encode())
    offerer.receive_answer(answer)
    introductions = [offerer.offer(), declined, answer, offerer.go(description.encode())]
    conversations: list[list[Any]] = [
        [
            messages.Hello(1, messages.Purpose.STREAM, bytes(32)),
            messages.Welcome(),
            messages.Refused("why"),
        ],
        [
            messages.Register(),
            messages.Registered(1316),
            messages.OpenChannel(1, ONE.node_id),
            messages.ChannelData(1, b"data"),
            messages.ChannelClosed(1, "why"),
        ],
        [messages.Prepare(1), messages.Prepared(1), messages.Introduce(0, offerer.offer())],
    ]
    payloads: list[list[bytes]] = [
        [FrameReader().receive_stream_data(messages.encode(message))[0] for message in conversation]
        for conversation in conversations
    ]
    payloads += [introductions, [description.encode()], [info().to_msgpack()], [info().to_json()]]
    return [bytes([form]) + payload for form, group in enumerate(payloads) for payload in group]


def tickets() -> list[bytes]:
    """Return tickets as text, and the bodies of such."""
    least = Ticket(ONE.node_id, bytes(range(16)))
    most = Ticket(ONE.node_id, bytes(range(16)), ADDRESSES, info().rendezvous)
    texts = [ticket.encode() for ticket in (least, most)]
    bodies = [_from_base32(text.removeprefix("pknet1"))[:-5] for text in texts]
    return [b"\1" + text.encode() for text in texts] + [b"\0" + body for body in bodies]


def info() -> NodeInfo:
    return NodeInfo(ONE.node_id, ADDRESSES, (RendezvousInfo(OTHER.node_id, ADDRESSES[:1]),), bytes(16))


SEEDS: dict[str, Callable[[], list[bytes]]] = {
    "stun_message": stun_messages,
    "classifier": runs,
    "utp_packet": utp_packets,
    "utp_endpoint": strangers,
    "utp_pair": pairs,
    "frames": frames,
    "messages": own_messages,
    "ticket": tickets,
    "node": guests,
}

if __name__ == "__main__":
    main()
