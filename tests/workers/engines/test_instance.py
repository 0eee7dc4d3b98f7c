from dataclasses import dataclass, field
from datetime import UTC, datetime

from workers.engines.base import EngineDown
from workers.engines.instance import InstanceReader, InventoryReader
from workers.engines.place import Elsewhere, Surroundings
from workers.engines.stream import PullStream
from workers.shelf import StoreFiles
from workers.wire import DiskReading, InstalledModel, InstanceSpec, LoadedModel

SPEC = InstanceSpec(name="ollama", url="http://127.0.0.1:11434")
QWEN = LoadedModel(name="qwen3:8b", digest="d", size_bytes=2, size_vram_bytes=1)
TIMEOUT = EngineDown("timeout", "connected, and no answer within 10 s")
REFUSED = EngineDown("refused", "nothing listens on this port")


def model(name: str, digest: str) -> InstalledModel:
    return InstalledModel(
        name=name, digest=digest, size_bytes=1, modified_at=datetime(2026, 1, 1, tzinfo=UTC)
    )


@dataclass
class ScriptedEngine:
    """An engine that answers what the test says, behind the real Protocol."""

    url: str = SPEC.url
    versions: list[str | EngineDown] = field(default_factory=lambda: ["0.32.15"])
    loads: list[tuple[LoadedModel, ...] | EngineDown] = field(default_factory=lambda: [(QWEN,)])
    models: tuple[InstalledModel, ...] = ()

    def version(self) -> str:
        return _next(self.versions)

    def loaded(self) -> tuple[LoadedModel, ...]:
        return _next(self.loads)

    def digests(self) -> frozenset[tuple[str, str]]:
        return frozenset((model.name, model.digest) for model in self.models)

    def installed(self) -> tuple[InstalledModel, ...]:
        return self.models

    def store(self) -> str | None:
        return "/models"

    def pull(self, model: str, *, read_s: float, insecure: bool = False) -> PullStream:
        raise NotImplementedError


def _next[T](answers: list[T | EngineDown]) -> T:
    answer = answers.pop(0) if len(answers) > 1 else answers[0]
    if isinstance(answer, EngineDown):
        raise answer
    return answer


class Beside:
    """A place that sees everything."""

    def look(self) -> Surroundings:
        return Surroundings(home="process", installed=True)

    def disk(self, told: str | None) -> DiskReading | None:
        assert told == "/models"
        return DiskReading(path="/models", total_bytes=10, free_bytes=4)

    def files(self, told: str | None) -> StoreFiles | None:
        return None


def reader(engine: ScriptedEngine) -> InstanceReader:
    return InstanceReader(SPEC, engine, Beside())


def test_a_server_that_answers_tells_everything() -> None:
    reading = reader(ScriptedEngine()).read()

    assert (reading.state, reading.version, reading.loaded) == ("ok", "0.32.15", (QWEN,))
    assert (reading.home, reading.installed) == ("process", True)
    assert reading.disk
    assert reading.disk.free_bytes == 4


def test_a_server_that_is_stopped_says_so_at_once_and_whether_it_is_installed() -> None:
    instance = reader(ScriptedEngine(versions=["0.32.15", REFUSED]))
    instance.read()

    reading = instance.read()

    assert (reading.state, reading.reason) == ("refused", "nothing listens on this port")
    assert (reading.version, reading.loaded, reading.home) == (None, None, None)
    assert reading.installed is True
    assert reading.disk
    assert reading.disk.free_bytes == 4


def test_a_server_of_another_machine_is_told_as_such_also_while_it_refuses() -> None:
    instance = InstanceReader(SPEC, ScriptedEngine(versions=[REFUSED]), Elsewhere())

    reading = instance.read()

    assert (reading.state, reading.home, reading.installed) == ("refused", "remote", None)


def test_one_time_out_changes_nothing_and_the_second_counts() -> None:
    instance = reader(ScriptedEngine(versions=["0.32.15", TIMEOUT, TIMEOUT, "0.32.15", TIMEOUT]))

    states = [instance.read().state for _ in range(5)]

    assert states == ["ok", "ok", "timeout", "ok", "ok"]


def test_a_time_out_of_a_server_never_seen_counts_at_once() -> None:
    assert reader(ScriptedEngine(versions=[TIMEOUT])).read().state == "timeout"


def test_a_slow_list_of_loaded_models_keeps_the_last_one() -> None:
    instance = reader(ScriptedEngine(loads=[(QWEN,), TIMEOUT]))

    readings = [instance.read(), instance.read()]

    assert [(reading.state, reading.loaded) for reading in readings] == [("ok", (QWEN,))] * 2


def test_loaded_models_that_were_long_not_told_are_unknown() -> None:
    instance = reader(ScriptedEngine(loads=[(QWEN,), TIMEOUT]))
    instance.read()
    instance._loaded_at -= 31

    reading = instance.read()

    assert (reading.state, reading.loaded) == ("ok", None)


def test_an_inventory_is_told_once_and_again_when_something_changed() -> None:
    engine = ScriptedEngine(models=(model("a:latest", "1"),))
    inventory = InventoryReader("rog", SPEC, engine, Elsewhere())
    told = [inventory.read(), inventory.read()]
    engine.models = (model("a:latest", "2"),)
    told += [inventory.read(), inventory.read()]
    engine.models = (model("b:latest", "2"),)
    told += [inventory.read()]

    names = [[(m.name, m.digest) for m in entry.models] if entry else None for entry in told]
    assert names == [[("a:latest", "1")], None, [("a:latest", "2")], None, [("b:latest", "2")]]


def test_an_inventory_names_node_instance_and_version() -> None:
    told = InventoryReader("rog", SPEC, ScriptedEngine(), Elsewhere()).read()

    assert told
    assert (told.node, told.instance, told.version) == ("rog", "ollama", "0.32.15")


def test_an_inventory_is_told_when_asked_for_and_after_some_time() -> None:
    inventory = InventoryReader("rog", SPEC, ScriptedEngine(), Elsewhere())
    inventory.read()
    inventory.force()
    forced = inventory.read()
    quiet = inventory.read()
    inventory._sent_at -= 301

    assert [bool(forced), bool(quiet), bool(inventory.read())] == [True, False, True]


def test_an_inventory_waits_for_a_server_that_is_down() -> None:
    engine = ScriptedEngine(versions=[REFUSED, "0.32.15"])
    inventory = InventoryReader("rog", SPEC, engine, Elsewhere())

    assert [bool(inventory.read()), bool(inventory.read())] == [False, True]
