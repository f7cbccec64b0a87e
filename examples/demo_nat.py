"""The demo across two NATs: three processes of the command `pknet`, each in a network namespace of its own.

    agent1 -- router1 ------ internet ------ router2 -- agent2
    pknet connect               |                 pknet expose
                          pknet serve

The routers are Linux with nftables; what they counted is shown in the end.
"""

import http.client
import subprocess
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from rich.table import Table

from examples.demo import (
    FILE,
    PATIENCE,
    SIZE,
    console,
    download,
    first_line,
    http_server,
    pknet,
    say,
    shared_folder,
)
from pknet_io.network import DEFAULT_PORT
from tests.natlab import RULE_SETS, Counters, Namespace, NatLab, missing_requirements

LATENCY = 0.010
HTTP_PORT = 8080
MOST_THROUGH_SERVER = 0.01


def run_across_nats(nats: str) -> bool:
    """Fetch the file across two NATs, "cone,cone" and the like; return whether it came whole and directly."""
    names = nats.split(",")
    if len(names) != 2 or not set(names) <= RULE_SETS.keys():
        say(f"{nats!r} is not two of {', '.join(RULE_SETS)}, joined by a comma")
        return False
    missing = missing_requirements(LATENCY)
    if missing:
        say(f"This needs {', '.join(missing)}.")
        return False
    say(f"Two private networks, the first behind the NAT {names[0]!r}, the second behind {names[1]!r};")
    say(f"{LATENCY * 1000:.0f} ms and one hop between routers and server.")
    lab = NatLab(*names, latency=LATENCY, hops=1)
    with shared_folder() as (folder, expected), tempfile.TemporaryDirectory() as keys, lab:
        return run_in(lab, folder, expected, Path(keys))


def run_in(lab: NatLab, folder: Path, expected: str, keys: Path) -> bool:
    """Run the three commands, fetch the file and show what the routers counted."""
    say(f"A file of {SIZE >> 20} MiB with SHA-256 {expected[:16]}…")
    start(lab.agent2, http_server(folder, HTTP_PORT))
    serve = pknet("serve", "--public", lab.server.address, "--key", f"{keys}/serve.key")
    rendezvous = start(lab.server, serve)
    say(f"server {lab.server.address}: pknet serve, a rendezvous node, {rendezvous}")
    service = f"127.0.0.1:{HTTP_PORT}"
    expose = pknet("expose", service, "--rendezvous", rendezvous, "--key", f"{keys}/expose.key")
    ticket = start(lab.agent2, expose, narrator="agent2")
    say(f"agent2 {lab.agent2.address}: pknet expose, ticket {ticket[:24]}…")
    try:
        # The port that a "dmz" forwards; behind the others any would do.
        connect = pknet("connect", ticket, "--udp", f"0.0.0.0:{DEFAULT_PORT}")
        local = start(lab.agent1, connect, narrator="agent1")
    except RuntimeError:
        say("No stream, so nothing was fetched.")
        return False
    say(f"agent1 {lab.agent1.address}: pknet connect, TCP {local} leads to the service")
    matches = fetch(lab.agent1, local, expected)
    return show(lab.router1.counters(), lab.router2.counters()) and matches


def start(place: Namespace, command: list[str], narrator: str = "") -> str:
    """Start a program in a namespace and return its first line; with a `narrator`, show what it tells."""
    error = subprocess.PIPE if narrator else subprocess.DEVNULL
    process = place.popen(command, stdout=subprocess.PIPE, stderr=error, text=True)
    if narrator:
        threading.Thread(target=show_lines, args=(process.stderr, narrator), daemon=True).start()
    return first_line(process)


def show_lines(lines: IO[str], speaker: str) -> None:
    """Show lines as they come, each with its speaker, until the lab closes the pipe."""
    with suppress(ValueError):
        for line in lines:
            say(f"  {speaker}: {line.rstrip()}")


def fetch(place: Namespace, address: str, expected: str) -> bool:
    """Fetch the file by HTTP from a TCP address inside a namespace."""
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE)
    with place.inside():
        connection.connect()
    with download("through both NATs") as answer:
        connection.request("GET", f"/{FILE}")
        response: Any = connection.getresponse()
        answer.feed(b"\r\n\r\n")
        while data := response.read(1 << 18):
            answer.feed(data)
    connection.close()
    return answer.matches(expected)


def show(router1: Counters, router2: Counters) -> bool:
    """Show what the routers counted; return whether the file passed from agent to agent."""
    table = Table("router", "agent to agent, bytes", "agent to server, bytes", "through the server")
    is_direct = True
    for name, counted in (("router1", router1), ("router2", router2)):
        direct = counted.to_peer.bytes + counted.from_peer.bytes
        served = counted.to_server.bytes + counted.from_server.bytes
        is_direct = is_direct and direct > SIZE and served < SIZE * MOST_THROUGH_SERVER
        table.add_row(name, f"{direct:,}", f"{served:,}", f"{served / (direct + served):.3%}")
    say("What the routers' own counters say:")
    console.print(table)
    return is_direct
