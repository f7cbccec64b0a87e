"""Each timer of a connection has a name, by which a program may ask what it waits for."""

from pknet.utp import UtpConfig
from tests.utp.peer import SEGMENT, Peer, mask_of


def test_what_a_connection_waits_for_has_a_name() -> None:
    seen = []
    peer = Peer(UtpConfig(keepalive=None, send_buffer=1 << 20))
    connection = peer.endpoint.connect(peer.remote, peer.now)
    peer.await_dial(connection)
    seen.append(connection.next_timer)
    peer.pass_time(0.1)
    peer.state()
    peer.take()
    seen.append(connection.next_timer)
    connection.send(bytes(2 * SEGMENT), peer.now)
    first = peer.take()[0].seq_nr
    seen.append(connection.next_timer)
    peer.pass_time(0.1)
    peer.state(ack_nr=first - 1, selective_ack=mask_of(first - 1, first + 1))
    peer.take()
    seen.append(connection.next_timer)
    peer.state()
    connection.send(bytes(1 << 20), peer.now)
    for _ in range(3):
        peer.take()
        peer.pass_time(0.1)
        peer.state()
    peer.take()
    seen.append(connection.next_timer)
    peer.pass_time(0.2)
    peer.state(wnd_size=0)
    peer.take()
    seen.append(connection.next_timer)
    assert seen == ["retransmit", "prove", "tail", "reordering", "pace", "probe"]


def test_the_ends_of_a_connection_have_names_too() -> None:
    peer = Peer(UtpConfig(keepalive=20))
    connection = peer.dial_and_prove()
    peer.take()
    seen = [connection.next_timer]
    connection.close(peer.now)
    peer.take()
    peer.state()
    peer.take()
    peer.pass_time(25)
    seen.append(connection.next_timer)
    peer.fin()
    peer.take()
    seen.append(connection.next_timer)
    peer.pass_time(10)
    seen.append(connection.next_timer)
    assert seen == ["keepalive", "give up", "linger", None]
