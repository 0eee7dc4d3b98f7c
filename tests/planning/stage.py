"""A simulated lab in the test's process, and the node side's own code for each machine of it."""

import asyncio
import os
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from tests.processes import eventually
from tests.simlab import CALL_TIMEOUT_S, FAST, event_loop
from workers.engines.create import Naming
from workers.engines.load import Load
from workers.engines.pulls import Pulls
from workers.nodewatch import NodeWatch
from workers.simlab.control import control_app
from workers.simlab.lab import Lab, Place
from workers.simlab.log_control import add_log_routes
from workers.simlab.scenario import MachinePlan
from workers.simlab.server_faults import add_fault_routes
from workers.store import Store
from workers.telemetry import Telemetry
from workers.wire import (
    ApplyProgress,
    CreateOrder,
    InstanceSpec,
    LoadOrder,
    LoadProgress,
    NodeSpec,
    PullOrder,
    Sample,
)

READY_S = 20


@dataclass
class Member:
    """A machine of the lab with the worker that watches it."""

    place: Place
    watch: NodeWatch
    telemetry: "Watches"

    def url(self, instance: str) -> str:
        """Return where a server listens."""
        return next(each.url for each in self.watch.spec.instances if each.name == instance)


class Watches(Telemetry):
    """What pulls need of telemetry: one node that is watched already."""

    def __init__(self, watch: NodeWatch) -> None:
        self._watch = watch

    def find(self, slug: str) -> NodeWatch | None:
        """Return the node."""
        return self._watch


class Stage:
    """The running lab. Orders are carried out in the caller's thread, one after the other."""

    def __init__(self, lab: Lab, loop: asyncio.AbstractEventLoop, store: Store) -> None:
        self.lab, self.loop, self.store = lab, loop, store
        self.members: dict[str, Member] = {}
        self.stopping = threading.Event()
        self.control_url = ""
        # One for all: each makes a context for TLS, which takes a while.
        self.client = httpx.Client(trust_env=False, timeout=READY_S)
        self._jobs = 0

    def call[T](self, work: Coroutine[Any, Any, T]) -> T:
        """Run something where the lab runs, and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(CALL_TIMEOUT_S)

    def do(self, act: Callable[[], object]) -> None:
        """Let something happen where the lab runs."""

        async def run() -> None:
            act()

        self.call(run())

    def watch(self, hardware_url: str, plan: MachinePlan, place: Place) -> None:
        """Begin to watch a machine, as its worker does."""
        urls = [hosted.url for hosted in place.servers]
        names = ["ollama", *(f"ollama-{number}" for number in range(2, len(urls) + 1))]
        specs = tuple(
            InstanceSpec(name=name, url=url) for name, url in zip(names, urls, strict=True)
        )
        spec = NodeSpec(slug=plan.slug, instances=specs)
        watch = NodeWatch(spec, store=self.store, simulated_url=hardware_url)
        self.members[plan.slug] = Member(place, watch, Watches(watch))

    def wait_until_known(self) -> None:
        """Wait until each worker has listed what is installed."""
        for member in self.members.values():
            member.watch.refresh()
        for slug, member in self.members.items():
            assert eventually(partial(_knows_installed, member))
            assert eventually(partial(self._answers, slug))

    def _answers(self, slug: str) -> bool:
        return all(each.version for each in self.sample(slug).instances)

    def installed(self, slug: str, instance: str) -> dict[str, str]:
        """Return the names on a server with the digests of their weights."""
        return dict(self.members[slug].watch._names._installed.get(instance, {}))

    def sample(self, slug: str) -> Sample:
        """Return what a machine looks like now."""
        return self.members[slug].watch._sample()

    def pull(self, slug: str, instance: str, model: str) -> None:
        """Pull a model."""
        member = self.members[slug]
        pulls = Pulls(telemetry=member.telemetry, store=self.store, stopping=self.stopping)
        values = {"attempt": 1, "instance": instance, "model": model}
        order = PullOrder.model_validate(self._order(slug, instance) | values)
        pulls.carry_out(order)

    def create(self, slug: str, instance: str, **fields: Any) -> ApplyProgress:
        """Make an alias."""
        member = self.members[slug]
        order = CreateOrder.model_validate(self._order(slug, instance) | fields)
        naming = Naming(
            order, watch=self._instance(member, order.instance_url), **self._common(member)
        )
        return asyncio.run(naming.run())

    def load(self, slug: str, instance: str, model: str, **fields: Any) -> LoadProgress:
        """Load a model, or unload it."""
        member = self.members[slug]
        values = {"model": model, "wish": "load", "keep_s": -1}
        order = LoadOrder.model_validate(self._order(slug, instance) | values | fields)
        watch = self._instance(member, order.instance_url)
        return asyncio.run(Load(order, watch=watch, **self._common(member)).run())

    def _instance(self, member: Member, url: str) -> Any:
        found = member.watch.find(url)
        assert found
        return found

    def _common(self, member: Member) -> dict[str, Any]:
        return {"node": member.watch, "store": self.store, "stopping": self.stopping}

    def _order(self, slug: str, instance: str) -> dict[str, Any]:
        self._jobs += 1
        url = self.members[slug].url(instance)
        return {"node": slug, "job_id": self._jobs, "instance_url": url, "deadline_s": 60}


def _knows_installed(member: Member) -> bool:
    return all(
        name in member.watch._names._installed.get(spec.name, ())
        for spec in member.watch.spec.instances
        for name in member.place.plan.installed
    )


def settled[T](look: Callable[[], T], is_expected: Callable[[T], bool]) -> T:
    """Look until it is as expected or time is over: a worker's sample may be of a moment ago."""
    found: list[T] = []

    def is_settled() -> bool:
        found.append(look())
        return is_expected(found[-1])

    eventually(is_settled)
    return found[-1]


@contextmanager
def running(plans: Sequence[MachinePlan]) -> Iterator[Stage]:
    """Run a lab for the length of a test."""
    with ExitStack() as stack:
        loop = stack.enter_context(event_loop())
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="planned-"))
        lab = Lab(plans, state_dir=Path(folder), registry_bytes_per_s=None, pace=FAST)
        store = Store(os.environ["REDIS_URL"], slug=plans[0].slug)
        stage = Stage(lab, loop, store)
        stage.call(lab.start())
        stack.callback(lambda: stage.call(lab.stop()))
        app = control_app(lab)
        add_log_routes(app)
        add_fault_routes(app)
        stage.control_url, control = stage.call(lab.serve_control(app, 0))
        stack.callback(lambda: stage.call(control.cleanup()))
        for plan in plans:
            hardware_url = f"{stage.control_url}/machines/{plan.slug}/hardware"
            stage.watch(hardware_url, plan, lab.places[plan.slug])
        stack.callback(lambda: _end(stage))
        stage.wait_until_known()
        yield stage


def _end(stage: Stage) -> None:
    """End the workers, and let their last readings end too."""
    threads = [each for each in threading.enumerate() if each.name.startswith(("probe-", "node-"))]
    for member in stage.members.values():
        member.watch.stop()
    for thread in threads:
        thread.join(READY_S)
    stage.store._client.close()
    stage.client.close()
