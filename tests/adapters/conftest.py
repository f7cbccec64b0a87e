"""Test bodies that are coroutines, run for both adapters, and nothing left open after any of them."""

from __future__ import annotations

import asyncio
import gc
import inspect
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.adapters.harness import ADAPTERS, Adapter, open_sockets, pknet_threads

if TYPE_CHECKING:
    from collections.abc import Iterator

# How long a connection that has ended may go on answering its peer.
LINGER_TIME = 10


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine function in a loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}
    asyncio.run(_run(pyfuncitem.obj, arguments))
    return True


async def _run(body: Any, arguments: dict[str, Any]) -> None:
    """Run a test's body; neither a task nor an unhandled exception may be left of it."""
    unhandled: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
    await body(**arguments)
    # Handlers whose stream has just ended may have a step to go.
    if left := asyncio.all_tasks() - {asyncio.current_task()}:
        _, left = await asyncio.wait(left, timeout=5)
    assert not left, "tasks are left"
    assert not unhandled, "exceptions were not handled"


@pytest.fixture(params=list(ADAPTERS))
def adapter(request: pytest.FixtureRequest) -> Iterator[Adapter]:
    """Each of the adapters."""
    made = ADAPTERS[request.param]()
    yield made
    made.close()


@pytest.fixture(autouse=True, scope="module")
def nothing_is_left() -> Iterator[None]:
    """Fail a module whose tests leave threads or sockets of pknet behind."""
    before = open_sockets()
    yield
    deadline = time.monotonic() + LINGER_TIME
    for thread in pknet_threads():
        thread.join(max(deadline - time.monotonic(), 0))
    gc.collect()
    assert not pknet_threads()
    assert open_sockets().items() <= before.items()
