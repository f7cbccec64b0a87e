from __future__ import annotations

import concurrent.futures
import ctypes
import os
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, TypeVar

import pytest

from pknet_io import UdpSocket
from tests.io.sockets import LOOPBACKS, WILDCARDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")
CLONE_NEWNET = 0x4000_0000  # <linux/sched.h>


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    """What the test opens, closed at its end."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture(params=LOOPBACKS)
def host(request: pytest.FixtureRequest) -> str:
    """A loopback address of each family."""
    return request.param


@pytest.fixture
def sender(host: str, opened: ExitStack) -> UdpSocket:
    return opened.enter_context(UdpSocket.bind(host))


@pytest.fixture
def receiver(host: str, opened: ExitStack) -> UdpSocket:
    """A socket on every address of the family, as a node has it."""
    return opened.enter_context(UdpSocket.bind(WILDCARDS[host]))


@pytest.fixture
def in_new_namespace() -> Callable[[str, Callable[[], T]], T]:
    """Run a function in a thread that has a network namespace of its own, after the shell commands given.

    The namespace has no name and no way out, and is gone with the thread and the sockets made in it.
    """
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("needs root on Linux")

    def enter_and_run(commands: str, function: Callable[[], T]) -> T:
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
            pytest.skip(f"no network namespace to be had: {os.strerror(ctypes.get_errno())}")
        subprocess.run(["sh", "-ec", commands], check=True, capture_output=True)
        return function()

    def run(commands: str, function: Callable[[], T]) -> T:
        with concurrent.futures.ThreadPoolExecutor(1) as thread:
            return thread.submit(enter_and_run, commands, function).result()

    return run
