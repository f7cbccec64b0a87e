"""A socket's public address, from STUN servers that say what the test has them say."""

from collections.abc import Callable

import pytest

from pknet.nat import AddressDiscovery, Mapping
from pknet.nat.discovery import GATHERING_PATIENCE, KEEPALIVE_INTERVAL
from pknet.stun import (
    Attribute,
    BindingSucceeded,
    MessageClass,
    Method,
    StunClient,
    build_message,
    parse_message,
)

Address = tuple[str, int]

SERVER, ALTERNATE = ("192.0.2.1", 1315), ("192.0.2.1", 1316)
OTHER, OTHER_ALTERNATE = ("192.0.2.9", 1315), ("192.0.2.9", 1316)
OWN = ("10.0.0.2", 1315)
SEEN = ("203.0.113.7", 1315)
REQUEST = build_message(Method.BINDING, MessageClass.REQUEST, bytes(12))


class World:
    """One socket, its discovery, and servers that see it by `mapping(server)`; None does not answer."""

    def __init__(self, mapping: Callable[[Address], Address | None], own: Address = OWN) -> None:
        self.now = 100.0
        self.mapping = mapping
        self.count = 0
        self.client = StunClient(self.token_bytes)
        self.discovery = AddressDiscovery(self.client, [own])
        self.asked: list[Address] = []

    def token_bytes(self, length: int) -> bytes:
        self.count += 1
        return self.count.to_bytes(length)

    def settle(self) -> None:
        """Have all that was asked answered."""
        while transmits := self.client.transmits():
            for transmit in transmits:
                self.asked.append(transmit.remote)
                seen = self.mapping(transmit.remote)
                if seen is not None:
                    self.client.receive_message(
                        parse_message(
                            build_message(
                                Method.BINDING,
                                MessageClass.SUCCESS_RESPONSE,
                                parse_message(transmit.data).transaction_id,
                                [(Attribute.XOR_MAPPED_ADDRESS, seen)],
                            )
                        ),
                        transmit.remote,
                        None,
                        self.now,
                    )
            for event in self.client.events():
                assert self.discovery.receive_event(event, self.now)

    def run(self, until: float) -> None:
        """Let time pass, from one deadline to the next."""
        self.settle()
        while True:
            deadlines = (self.client.next_timeout(), self.discovery.next_timeout())
            due = min((when for when in deadlines if when is not None), default=until)
            if due >= until:
                break
            self.now = due
            self.client.handle_timeout(due)
            self.discovery.handle_timeout(due)
            moved = self.discovery.next_timeout()
            assert moved is None or moved > due
            self.settle()
        self.now = until


def test_a_socket_without_nat_sees_its_own_address() -> None:
    world = World(lambda _: OWN)
    world.discovery.add_server(SERVER, None, world.now)
    assert world.discovery.mapping is Mapping.UNKNOWN
    world.settle()
    assert world.discovery.mapping is Mapping.NONE
    assert world.discovery.public_address is not None
    assert world.discovery.public_address.address == OWN


def test_the_public_address_says_who_told_it_and_when() -> None:
    world = World(lambda _: SEEN)
    world.discovery.add_server(SERVER, None, world.now)
    world.settle()
    public = world.discovery.public_address
    assert public is not None
    assert (public.address, public.learnt_at, public.server) == (SEEN, 100.0, SERVER)
    assert public.how == "STUN Binding answered by 192.0.2.1 port 1315"


@pytest.mark.parametrize(
    ("servers", "by_host", "by_port", "expected"),
    [
        ([(SERVER, None)], 0, 0, Mapping.UNKNOWN),
        ([(SERVER, ALTERNATE)], 0, 0, Mapping.ENDPOINT_INDEPENDENT),
        ([(SERVER, ALTERNATE)], 0, 1, Mapping.ADDRESS_AND_PORT_DEPENDENT),
        # From one host this can't be told from a mapping that is the same for all.
        ([(SERVER, ALTERNATE)], 1, 0, Mapping.ENDPOINT_INDEPENDENT),
        ([(SERVER, None), (OTHER, None)], 0, 0, Mapping.ENDPOINT_INDEPENDENT),
        ([(SERVER, ALTERNATE), (OTHER, None)], 1, 0, Mapping.ADDRESS_DEPENDENT),
        ([(SERVER, ALTERNATE), (OTHER, OTHER_ALTERNATE)], 1, 1, Mapping.ADDRESS_AND_PORT_DEPENDENT),
    ],
)
def test_the_mapping_is_told_from_what_different_addresses_see(
    servers: list[tuple[Address, Address | None]], by_host: int, by_port: int, expected: Mapping
) -> None:
    def mapping(server: Address) -> Address:
        host, port = server
        return SEEN[0], 40000 + by_host * 100 * (host == OTHER[0]) + by_port * (port - 1315)

    world = World(mapping)
    for server, alternate in servers:
        world.discovery.add_server(server, alternate, world.now)
    world.settle()
    assert world.discovery.mapping is expected


def test_it_is_worth_waiting_until_all_is_known() -> None:
    world = World(lambda _: SEEN)
    assert not world.discovery.is_gathering
    world.discovery.add_server(SERVER, ALTERNATE, world.now)
    assert world.discovery.is_gathering
    world.settle()
    assert not world.discovery.is_gathering


def test_a_server_that_does_not_answer_is_not_waited_for_any_longer_than_need_be() -> None:
    world = World(lambda _: None)
    world.discovery.add_server(SERVER, None, world.now)
    world.run(100 + GATHERING_PATIENCE - 0.01)
    assert world.discovery.is_gathering
    world.run(100 + GATHERING_PATIENCE + 0.01)
    assert not world.discovery.is_gathering
    assert world.discovery.public_address is None


def test_an_alternate_port_that_is_learnt_of_later_is_asked_then_and_waited_for() -> None:
    world = World(lambda server: (SEEN[0], server[1]))
    world.discovery.add_server(SERVER, None, world.now)
    world.settle()
    assert not world.discovery.is_gathering
    world.discovery.add_server(SERVER, ALTERNATE, world.now)
    assert world.discovery.is_gathering
    world.settle()
    assert world.discovery.mapping is Mapping.ADDRESS_AND_PORT_DEPENDENT


def test_the_mapping_is_kept_alive_by_asking_the_server_but_not_its_alternate_port() -> None:
    world = World(lambda _: SEEN)
    world.discovery.add_server(SERVER, ALTERNATE, world.now)
    world.run(100 + 5.5 * KEEPALIVE_INTERVAL)
    assert world.asked.count(SERVER) == 6
    assert world.asked.count(ALTERNATE) == 1
    assert world.discovery.public_address is not None
    assert world.discovery.public_address.learnt_at == 100 + 5 * KEEPALIVE_INTERVAL


def test_a_server_added_later_does_not_put_off_the_keepalive_of_the_first() -> None:
    world = World(lambda _: SEEN)
    world.discovery.add_server(SERVER, None, world.now)
    world.run(100 + KEEPALIVE_INTERVAL - 1)
    world.discovery.add_server(OTHER, None, world.now)
    world.run(100 + KEEPALIVE_INTERVAL + 1)
    assert world.asked.count(SERVER) == 2


def test_a_server_that_is_silent_has_one_request_at_a_time() -> None:
    world = World(lambda _: None)
    world.discovery.add_server(SERVER, None, world.now)
    world.run(100 + KEEPALIVE_INTERVAL + 1)
    assert len(world.client) == 1


def test_a_change_of_the_mapping_is_noticed_and_how_it_maps_is_asked_anew() -> None:
    public = SEEN
    world = World(lambda _: public)
    world.discovery.add_server(SERVER, ALTERNATE, world.now)
    world.settle()
    public = ("203.0.113.8", 1315)
    world.run(100 + KEEPALIVE_INTERVAL + 1)
    assert world.discovery.public_address is not None
    assert world.discovery.public_address.address == public
    assert world.discovery.mapping is Mapping.ENDPOINT_INDEPENDENT
    assert world.asked.count(ALTERNATE) == 2


def test_after_a_change_of_the_mapping_what_the_alternate_port_saw_before_counts_no_more() -> None:
    public: dict[Address, Address | None] = {SERVER: SEEN, ALTERNATE: SEEN}
    world = World(public.__getitem__)
    world.discovery.add_server(SERVER, ALTERNATE, world.now)
    world.settle()
    public.update({SERVER: ("203.0.113.8", 1315), ALTERNATE: None})
    world.run(100 + KEEPALIVE_INTERVAL + 5)
    assert world.discovery.mapping is Mapping.UNKNOWN


def test_servers_that_see_different_addresses_do_not_take_turns() -> None:
    world = World(lambda server: (SEEN[0], 40000 + (server == OTHER)))
    world.discovery.add_server(SERVER, None, world.now)
    world.discovery.add_server(OTHER, None, world.now)
    addresses = set()
    for _ in range(4):
        world.run(world.now + KEEPALIVE_INTERVAL)
        assert world.discovery.public_address is not None
        addresses.add(world.discovery.public_address.address)
    assert addresses == {(SEEN[0], 40000)}


def test_a_server_that_falls_silent_gives_way_to_another() -> None:
    silent: set[Address] = set()
    world = World(lambda server: None if server in silent else (SEEN[0], 40000 + (server == OTHER)))
    world.discovery.add_server(SERVER, None, world.now)
    world.discovery.add_server(OTHER, None, world.now)
    world.settle()
    silent.add(SERVER)
    world.run(100 + 5 * KEEPALIVE_INTERVAL)
    assert world.discovery.public_address is not None
    assert world.discovery.public_address.server == OTHER


def test_a_server_on_the_local_network_does_not_hide_the_nat() -> None:
    world = World(lambda server: OWN if server == SERVER else SEEN)
    world.discovery.add_server(SERVER, None, world.now)
    world.settle()
    assert world.discovery.mapping is Mapping.NONE
    world.discovery.add_server(OTHER, OTHER_ALTERNATE, world.now)
    world.run(100 + 2 * KEEPALIVE_INTERVAL + 1)
    assert world.discovery.public_address is not None
    assert world.discovery.public_address.address == SEEN
    assert world.discovery.mapping is Mapping.ENDPOINT_INDEPENDENT


@pytest.mark.parametrize(
    "nonsense", [("0.0.0.0", 1), ("192.0.2.1", 0), ("224.0.0.1", 9), ("127.0.0.1", 9), ("::", 1)]
)
def test_an_address_that_nobody_could_be_told_of_is_not_believed(nonsense: Address) -> None:
    world = World(lambda _: nonsense)
    world.discovery.add_server(SERVER, None, world.now)
    world.settle()
    assert world.discovery.public_address is None
    assert world.discovery.mapping is Mapping.UNKNOWN


def test_a_server_that_is_removed_is_asked_no_more_and_its_word_is_forgotten() -> None:
    world = World(lambda server: (SEEN[0], server[1]))
    world.discovery.add_server(SERVER, ALTERNATE, world.now)
    world.settle()
    world.discovery.remove_server(SERVER)
    world.discovery.remove_server(SERVER)
    assert world.discovery.next_timeout() is None
    world.discovery.add_server(OTHER, None, world.now)
    world.settle()
    assert world.discovery.mapping is Mapping.UNKNOWN
    assert world.discovery.public_address is not None
    assert world.discovery.public_address.server == OTHER


def test_what_is_asked_is_not_answered_after_the_end() -> None:
    world = World(lambda _: SEEN)
    world.discovery.add_server(SERVER, ALTERNATE, world.now)
    world.discovery.close()
    assert len(world.client) == 0
    assert world.discovery.next_timeout() is None
    assert not world.discovery.is_gathering


def test_only_a_few_servers_are_asked() -> None:
    world = World(lambda _: SEEN)
    for number in range(20):
        world.discovery.add_server((f"192.0.2.{number + 1}", 1315), None, world.now)
    assert len(world.discovery.servers) == len(world.client) == 4


def test_a_client_that_is_full_is_asked_again_later() -> None:
    world = World(lambda _: SEEN)
    world.client = StunClient(world.token_bytes, max_transactions=1)
    world.discovery = AddressDiscovery(world.client, [OWN])
    world.discovery.add_server(OTHER, None, world.now)
    world.discovery.add_server(SERVER, None, world.now)
    world.run(100 + KEEPALIVE_INTERVAL + 1)
    assert world.discovery.public_address is not None


def test_a_timeout_before_its_time_changes_nothing() -> None:
    world = World(lambda _: SEEN)
    world.discovery.add_server(SERVER, None, world.now)
    world.settle()
    before = world.discovery.next_timeout()
    world.discovery.handle_timeout(world.now + 0.5)
    assert world.discovery.next_timeout() == before
    assert world.client.transmits() == []


def test_the_answer_to_another_question_is_left_alone() -> None:
    world = World(lambda _: SEEN)
    world.discovery.add_server(SERVER, None, world.now)
    other = BindingSucceeded(bytes(12), SERVER, None, SEEN, 0.1, parse_message(REQUEST))
    assert not world.discovery.receive_event(other, world.now)
    assert world.discovery.public_address is None
