"""Tickets: any text is one or raises TicketError, and has one spelling."""

from __future__ import annotations

from pknet.network.ticket import _PREFIX, _VERSION, Ticket, TicketError, _checksum, _to_base32
from tests.fuzz.target_input import TargetInput


def one_input(data: bytes) -> None:
    source = TargetInput(data)
    if source.u8() % 2:
        text = source.rest().decode(errors="replace")
    else:
        # By chance no checksum is ever right.
        body = source.rest()
        text = _PREFIX + _VERSION + _to_base32(body + _checksum(body))
    try:
        ticket = Ticket.parse(text)
    except TicketError as error:
        check_complaint(str(error), text)
        return
    assert Ticket.parse(ticket.encode()) == ticket
    assert Ticket.parse(text.upper()) == ticket
    assert ticket.secret.hex() not in repr(ticket)


def check_complaint(complaint: str, text: str) -> None:
    """Check what is shown of a text that is no ticket: it may be a damaged one, that yet holds a secret."""
    assert len(text) < 40 or text not in complaint
