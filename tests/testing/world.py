"""Two hosts behind NATs, a server with two addresses, and attempts to punch between them."""

from pknet.testing import Address, Attachment, Host, Link, Nat, SimulatedNetwork, SimulatedSocket
from tests.testing.machines import Mirror, Puncher

SERVER = ("192.0.2.1", 3478)
UNUSED_SERVER = ("192.0.2.2", 3479)


class Side:
    """One host behind one NAT, and the machine that punches from there."""

    def __init__(self, network: SimulatedNetwork, nat: str, latency: float, learn: bool) -> None:
        self.network = network
        # Half the way is on each side of the internet.
        self.nat: Nat = network.nat(nat, up=Link(latency=latency / 2), down=Link(latency=latency / 2))
        self.host: Host = network.host(behind=self.nat)
        self.learn = learn
        self.attachment: Attachment[Puncher] = self.host.attach(Puncher(learn), port=1315)
        self.mapped = self.ask(SERVER)

    def fresh_socket(self) -> None:
        """Punch from a new socket from now on; the old one stays open."""
        self.attachment = self.host.attach(Puncher(self.learn))
        self.mapped = self.ask(SERVER)

    def ask(self, server: Address) -> Address | None:
        """Return what a server sees as this side's address, None if it hears nothing."""
        socket = self.attachment.socket
        with Borrowed(socket):
            socket.send(b"who am I", server)
            if not self.network.run_until(lambda: socket.received, timeout=1.0):
                return None
            host, port = socket.received.pop().data.split()
            return host.decode(), int(port)


class Borrowed:
    """Takes a socket from its machine for a moment."""

    def __init__(self, socket: SimulatedSocket) -> None:
        self.socket = socket
        self.attachment = socket.attachment

    def __enter__(self) -> None:
        self.socket.attachment = None

    def __exit__(self, *error: object) -> None:
        self.socket.attachment = self.attachment


class World:
    """Sides a and b, who have asked a server for their addresses; `latency` is from one NAT to the other."""

    def __init__(
        self, nat_a: str, nat_b: str, latency: float = 0.0, learn: bool = True, seed: int = 0
    ) -> None:
        self.network = SimulatedNetwork(seed)
        for host, port in (SERVER, UNUSED_SERVER):
            self.network.host(host).attach(Mirror(), port=port)
        self.a = Side(self.network, nat_a, latency, learn)
        self.b = Side(self.network, nat_b, latency, learn)

    def punch(
        self, skew: float = 0.0, duration: float = 1.2, opener_ttl: int | None = None, lead: float = 0.0
    ) -> bool:
        """Punch from both sides, b `skew` seconds after a (or before); return whether both got answers."""
        begin = self.network.now + max(0.0, -skew)
        for side, target, when in (
            (self.a, self.b.mapped, begin),
            (self.b, self.a.mapped, begin + skew),
        ):
            if target is None:
                return False
            self._start_at(side, target, when, duration, opener_ttl, lead)
        self.network.run(duration + abs(skew) + 1.0)
        return None not in (self.a.attachment.machine.direct_at, self.b.attachment.machine.direct_at)

    def _start_at(
        self,
        side: Side,
        target: Address,
        when: float,
        duration: float,
        opener_ttl: int | None,
        lead: float,
    ) -> None:
        def start() -> None:
            side.attachment.machine.start(target, self.network.now, duration, opener_ttl, lead)
            side.attachment.kick()

        self.network.call_at(when, start)
