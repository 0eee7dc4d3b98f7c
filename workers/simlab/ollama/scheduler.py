"""Loading, sharing and unloading of models: one runner for each model file."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from workers.simlab.machine import Loaded, LoadRefused, LoadRequest, Machine
from workers.simlab.ollama.gotime import FOREVER_NS, SECOND_NS, now_ns, rfc3339
from workers.simlab.ollama.options import LoadOptions
from workers.simlab.ollama.settings import Environment, Pace

# How many models a server keeps for each GPU where nothing else is set.
_MODELS_PER_GPU = 3
_FAILED_LOAD_S = 0.2


class BusyError(Exception):
    """The queue of cold requests is full."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """What a request needs: which model, with which options. ``entry`` is its line in ps."""

    request: LoadRequest
    options: LoadOptions
    entry: dict[str, Any]


@dataclass(kw_only=True, eq=False)
class Runner:
    """One loaded model. ``expires_ns`` is ``None`` until it has been idle once."""

    load: Load
    loaded: Loaded
    keep_alive_ns: int
    slots: asyncio.Semaphore
    expires_ns: int | None = None
    busy: int = 0
    is_unloading: bool = False
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    timer: asyncio.TimerHandle | None = None


class Scheduler:
    """The runners of one server. Cold loads happen one at a time, first come, first served."""

    def __init__(
        self,
        *,
        machine: Machine,
        environment: Environment,
        pace: Pace,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._machine, self._environment, self._pace = machine, environment, pace
        self._spawn = spawn
        self._runners: dict[str, Runner] = {}
        self._lane = asyncio.Lock()
        self._load_killed = asyncio.Event()
        self._waiting = 0

    @asynccontextmanager
    async def runner(self, load: Load, keep_alive_ns: int | None) -> AsyncIterator[Runner]:
        """Have the model loaded while the block runs.

        Raises BusyError, LoadRefused. Leaving while it loads gives the load up.
        """
        runner = self._ready(load) or await self._queue(load)
        if keep_alive_ns is not None:
            runner.keep_alive_ns = keep_alive_ns
        try:
            yield runner
        finally:
            self._release(runner)

    def has(self, load: Load) -> bool:
        """Tell whether the model runs already, with the same options."""
        runner = self._runners.get(load.request.blob_digest)
        return runner is not None and self._usable(runner, load)

    def expire(self, blob_digest: str) -> None:
        """Unload a model as soon as it is idle; the caller need not wait."""
        runner = self._runners.get(blob_digest)
        if runner:
            runner.keep_alive_ns, runner.expires_ns = 0, now_ns()
            if not runner.busy:
                self._unload(runner)

    def kill(self, blob_digest: str) -> None:
        """End a model's process from outside.

        A load fails at once; of a loaded model the server notices at the next request only.
        """
        runner = self._runners.get(blob_digest)
        if runner is None:
            self._load_killed.set()
            return
        self._machine.unload(runner.loaded.pid)

    def ps(self) -> list[dict[str, Any]]:
        """List what is loaded, the last to expire first; ties within a second come as they like."""
        rows = [(_expires_ns(runner), runner) for runner in self._runners.values()]
        random.shuffle(rows)
        rows.sort(key=lambda row: -(row[0] // SECOND_NS))
        return [_ps_entry(runner, expires_ns) for expires_ns, runner in rows]

    @property
    def alive(self) -> list[str]:
        """Digests of the files for which a process runs, whatever is listed."""
        runners = self._runners.items()
        return [digest for digest, each in runners if self._machine.runs(each.loaded.pid)]

    def stop(self, *, leave_runners: bool = False) -> None:
        """End all runners, as the end of the server does; one that is killed may leave them."""
        for runner in self._runners.values():
            if runner.timer:
                runner.timer.cancel()
            if leave_runners:
                self._machine.orphan(runner.loaded.pid)
            else:
                self._machine.unload(runner.loaded.pid)
        self._runners.clear()

    def _ready(self, load: Load) -> Runner | None:
        if not self.has(load):
            return None
        runner = self._runners[load.request.blob_digest]
        self._take(runner)
        return runner

    def _usable(self, runner: Runner, load: Load) -> bool:
        if runner.is_unloading or not self._machine.runs(runner.loaded.pid):
            return False
        return not load.options.needs_reload(runner.load.options)

    async def _queue(self, load: Load) -> Runner:
        if self._lane.locked() and self._waiting >= self._environment.max_queue:
            raise BusyError("server busy, please try again.  maximum pending requests exceeded")
        self._waiting += 1
        try:
            await self._lane.acquire()
        finally:
            self._waiting -= 1
        try:
            return self._ready(load) or await self._cold(load)
        finally:
            self._lane.release()

    async def _cold(self, load: Load) -> Runner:
        stale = self._runners.get(load.request.blob_digest)
        if stale:
            await self._evict(stale)
        await self._make_room(load.request)
        loaded = await self._start(load.request)
        runner = Runner(
            load=load,
            loaded=loaded,
            keep_alive_ns=self._environment.keep_alive_ns,
            slots=asyncio.Semaphore(load.request.parallel),
        )
        self._runners[load.request.blob_digest] = runner
        self._take(runner)
        return runner

    async def _make_room(self, request: LoadRequest) -> None:
        most = self._environment.max_loaded_models or _MODELS_PER_GPU * max(
            self._machine.count_gpus(self._environment.gpus), 1
        )
        while self._runners and (len(self._runners) >= most or self._machine.must_evict(request)):
            await self._evict(self._next_to_go())

    def _next_to_go(self) -> Runner:
        """Choose by the shortest keep_alive; one that is idle goes before one that works."""
        order = sorted(self._runners.items(), key=lambda item: (item[1].keep_alive_ns, item[0]))
        idle = [runner for _, runner in order if not runner.busy]
        return (idle or [runner for _, runner in order])[0]

    async def _start(self, request: LoadRequest) -> Loaded:
        try:
            loaded = self._machine.load(request)
        except LoadRefused as refusal:
            await asyncio.sleep(_FAILED_LOAD_S * self._pace.load_factor)
            if "out-of-memory" not in refusal.text or not self._runners:
                raise
            for runner in list(self._runners.values()):
                await self._evict(runner)
            loaded = self._machine.load(request)
        try:
            await self._wait_for_load(self._machine.load_s(request) * self._pace.load_factor)
        except (asyncio.CancelledError, LoadRefused):
            self._machine.unload(loaded.pid)
            raise
        return loaded

    async def _wait_for_load(self, seconds: float) -> None:
        self._load_killed.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._load_killed.wait(), seconds)
            raise LoadRefused(500, "llama-server process has terminated: signal: killed")

    async def _evict(self, runner: Runner) -> None:
        self.expire(runner.load.request.blob_digest)
        await runner.gone.wait()

    def _take(self, runner: Runner) -> None:
        runner.busy += 1
        if runner.timer:
            runner.timer.cancel()
            runner.timer = None

    def _release(self, runner: Runner) -> None:
        runner.busy -= 1
        if runner.busy:
            return
        if not runner.keep_alive_ns:
            self._unload(runner)
            return
        runner.expires_ns = now_ns() + runner.keep_alive_ns
        if runner.keep_alive_ns != FOREVER_NS:
            seconds = runner.keep_alive_ns / SECOND_NS
            runner.timer = asyncio.get_running_loop().call_later(seconds, self._unload, runner)

    def _unload(self, runner: Runner) -> None:
        if not runner.is_unloading:
            runner.is_unloading = True
            self._spawn(self._end(runner))

    async def _end(self, runner: Runner) -> None:
        await asyncio.sleep(self._pace.unload_s)
        self._machine.unload(runner.loaded.pid)
        self._runners.pop(runner.load.request.blob_digest, None)
        runner.gone.set()


def _expires_ns(runner: Runner) -> int:
    """While the first request after a load runs, the time moves on with the clock."""
    if runner.expires_ns is None:
        return now_ns() + runner.keep_alive_ns
    return runner.expires_ns


def _ps_entry(runner: Runner, expires_ns: int) -> dict[str, Any]:
    return runner.load.entry | {
        "size": runner.loaded.size_bytes,
        "expires_at": rfc3339(expires_ns),
        "size_vram": runner.loaded.size_vram_bytes,
        "context_length": runner.loaded.context_length,
    }
