"""The life of a process: start its tasks, answer for its health, end cleanly on SIGTERM or SIGINT.

/health, /healthz   200 `Healthy` while the process lives; no dependency is asked (X16)
/health/ready       200 `Healthy`, or 503 `Unhealthy` with a line per reason
/metrics            Prometheus
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Final

import uvloop
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from services.runtime.errors import Unavailable
from services.runtime.http import bind, serve
from services.runtime.log import get_logger, setup_logging
from services.runtime.settings import RuntimeSettings

log = get_logger(__name__)

SAID_AGAIN_S: Final = 8.0
"""Longer than the goodbyes to Kafka and PostgreSQL take. asyncio.wait_for of Python 3.11 loses one that
comes together with its result."""

Checks = Mapping[str, Callable[[], Awaitable[None]]]
"""Name of a dependency to a call that raises Unavailable while it is not there."""


def health_routes(checks: Checks) -> list[Route]:
    """Routes of the health and metrics endpoint, also for services with an HTTP door of their own."""

    async def live(_: Request) -> Response:
        return PlainTextResponse("Healthy")

    async def ready(_: Request) -> Response:
        problems = await unready(checks)
        if problems:
            return PlainTextResponse("Unhealthy\n" + "\n".join(problems), status_code=503)
        return PlainTextResponse("Healthy")

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return [
        Route("/health", live),
        Route("/healthz", live),
        Route("/health/ready", ready),
        Route("/metrics", metrics),
    ]


async def unready(checks: Checks) -> list[str]:
    """A line per dependency that is not there."""

    async def ask(name: str, check: Callable[[], Awaitable[None]]) -> str | None:
        try:
            await asyncio.wait_for(check(), 3)
        except Unavailable as error:
            return f"{name}: {error}"
        except TimeoutError:
            return f"{name}: no answer within 3 s"
        return None

    answers = await asyncio.gather(*(ask(name, check) for name, check in checks.items()))
    return [answer for answer in answers if answer]


def event_check(event: asyncio.Event, what: str) -> Callable[[], Awaitable[None]]:
    """Readiness that waits for something to have happened once."""

    async def check() -> None:
        if not event.is_set():
            raise Unavailable(f"{what} has not happened yet")

    return check


async def run_until_stopped(
    name: str,
    settings: RuntimeSettings,
    tasks: Mapping[str, Coroutine[Any, Any, None]],
    *,
    checks: Checks,
) -> None:
    """Run named tasks until a signal asks to stop; a task that fails ends the process with its error.

    A task that returns is done; the others go on. On a signal all are cancelled and their `finally`
    blocks run.
    """
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stopped.set)
    try:
        listener = bind(settings.health_host, settings.health_port, variable="HEALTH_PORT")
    except SystemExit:
        for work in tasks.values():
            work.close()
        raise
    log.info(
        "started",
        process=name,
        health=f"http://{settings.health_host}:{listener.getsockname()[1]}/health/ready",
    )
    running = [asyncio.create_task(work, name=task) for task, work in tasks.items()]
    running.append(
        asyncio.create_task(serve(Starlette(routes=health_routes(checks)), listener), name="health")
    )
    stopper = asyncio.create_task(stopped.wait(), name="stop")
    waiting: set[asyncio.Task[Any]] = {*running, stopper}
    try:
        while not stopper.done():
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # a bug: raised here, it ends the process
        log.info("stopping", process=name)
    finally:
        await end({*running, stopper})


async def end(tasks: set[asyncio.Task[Any]]) -> None:
    """Cancel until all have ended: libraries below can lose a cancellation, so it is said again."""
    while tasks:
        for task in tasks:
            task.cancel()
        done, tasks = await asyncio.wait(tasks, timeout=SAID_AGAIN_S)
        for task in done:
            if not task.cancelled() and task.exception():
                log.warning("task ended badly", task=task.get_name(), error=repr(task.exception()))


def run(name: str, settings: RuntimeSettings, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """The outermost call of a service: logging, uvloop, and a bug ends the process with a trace."""
    setup_logging(name, settings.log_level)
    try:
        uvloop.run(main())
    except* SystemExit as exits:
        first: BaseException = exits
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None
