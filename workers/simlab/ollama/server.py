"""One fake Ollama server: what belongs together for as long as it runs."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

from workers.simlab.machine import Machine
from workers.simlab.ollama.download import Downloads
from workers.simlab.ollama.gotime import now_ns, rfc3339
from workers.simlab.ollama.manifest import Installed, Layer
from workers.simlab.ollama.scheduler import Scheduler
from workers.simlab.ollama.settings import Environment, Pace, Quirks
from workers.simlab.ollama.store import Store
from workers.simlab.ollama.upstream import Upstream
from workers.simlab.ollama.weights import Weights

LOG_LINES = 400


class OllamaServer:
    """Joins a machine, a store, a version and an environment.

    ``weights`` are the model files that exist at all, by digest. ``folder`` keeps what is
    installed. ``version`` is the machine's, such as ``0.32.15`` or ``0.24.0``.
    """

    def __init__(  # noqa: PLR0913 - keyword only, and each is a part of a real server
        self,
        *,
        machine: Machine,
        folder: Path,
        upstream: Upstream,
        weights: Mapping[str, Weights],
        environment: Environment | None = None,
        pace: Pace | None = None,
        quirks: Quirks | None = None,
    ) -> None:
        self.machine = machine
        self.version = machine.version
        self.weights = weights
        self.upstream = upstream
        self.environment = environment or Environment()
        self.pace = pace or Pace()
        self.quirks = quirks or Quirks()
        self.store = Store(folder, machine)
        self.on_crash: Callable[[], None] = lambda: None
        self.downloads = Downloads(
            store=self.store,
            upstream=upstream,
            pace=self.pace,
            quirks=self.quirks,
            crash=self._die,
        )
        self.scheduler = Scheduler(
            machine=machine, environment=self.environment, pace=self.pace, spawn=self.spawn
        )
        self._tasks: set[asyncio.Task[None]] = set()
        # What the server would have written, and how its next loads are to fail.
        self.log: deque[str] = deque(maxlen=LOG_LINES)
        self.load_faults: deque[str] = deque()

    def write(self, level: str, message: str) -> None:
        """Write a line of the server's log."""
        self.log.append(f'time={rfc3339(now_ns())} level={level} source=sched.go msg="{message}"')

    def _die(self) -> None:
        self.on_crash()

    @property
    def is_new_engine(self) -> bool:
        """Whether models run in llama-server, as from 0.30.0 on."""
        return self.at_least("0.30.0")

    def at_least(self, version: str) -> bool:
        """Compare this server's version with a release."""
        return _numbers(self.version) >= _numbers(version)

    def weights_of(self, model: Installed) -> Weights | None:
        """Find the file behind a name; a cloud stub has none."""
        layer = model.manifest.layer("model")
        return self.weights.get(layer.digest) if layer else None

    def read_layer(self, layer: Layer | None) -> str:
        """Give the text of a small layer, empty where there is none."""
        data = self.store.read_blob(layer.digest) if layer else None
        return data.decode() if data else ""

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something that outlives its request and ends with the server."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def start(self) -> None:
        """Do what a server does before it listens."""
        if not self.environment.no_prune:
            self.store.prune()

    async def stop(
        self, *, kill: bool = False, spoil: bool = False, leave_runners: bool = False
    ) -> None:
        """End everything that runs.

        ``kill``: as SIGKILL, which saves no progress of pulls; ``spoil``: as a SIGTERM in an
        unlucky moment, which leaves an empty part file. ``leave_runners``: nobody ends the
        processes of a server that was killed; systemd would.
        """
        self.downloads.keep_progress = not kill
        under_way = self.downloads.active
        await self.downloads.stop()
        self.downloads.keep_progress = True
        for digest in under_way if spoil else ():
            self.store.partials.spoil(digest)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        self.scheduler.stop(leave_runners=leave_runners)
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.upstream.close()


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.partition("-")[0].split("."))
