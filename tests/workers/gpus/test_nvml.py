"""The real NVML binding on a library with NVML's names."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from workers.wire import GpuProcess

ROOT = Path(__file__).resolve().parents[3]
SOURCE = ROOT / "tests/fixtures/nvml/nvml.c"
GIB = 2**30

CARD = {
    "name": "NVIDIA GeForce RTX 3090",
    "total": 24 * GIB,
    "used": 10 * GIB,
    "free": 13 * GIB,
    "reserved": 1 * GIB,
    "util": 97,
    "temp": 71,
    "power": 341_500,
    "limit": 350_000,
    "clock.graphics": 1695,
    "clock.memory": 9501,
    "throttle": 0x4,
    "compute": "",
    "graphics": "",
}


class Reader:
    """A process that reads NVML when asked, and the state that its library tells."""

    def __init__(self, folder: Path, library: Path) -> None:
        self._file = folder / "state"
        self.devices = folder / "devices"
        self.state: dict[str, object] = {}
        self._write()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.workers.gpus.nvml_reader"],
            cwd=ROOT,
            env={
                **os.environ,
                "LD_LIBRARY_PATH": str(library),
                "FAKE_NVML_STATE": str(self._file),
                "FAKE_PCI_DEVICES": str(self.devices),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def set(self, **groups: Mapping[str, object]) -> None:
        """Set lines: ``gpu0={"temp": 70}``; ``None`` takes a line away."""
        for group, lines in groups.items():
            for key, value in lines.items():
                name = key if group == "system" else f"{group}.{key}"
                if value is None:
                    self.state.pop(name, None)
                else:
                    self.state[name] = value
        self._write()

    def read(self) -> dict[str, Any]:
        """Read once."""
        answer: dict[str, Any] = json.loads(self._say("read"))
        return answer

    def tell(self, words: str) -> None:
        """Tell ``blob MODEL DIGEST`` and the like, as the process has it."""
        assert self._process.stdin
        self._process.stdin.write(words + "\n")

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def _say(self, line: str) -> str:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()

    def _write(self) -> None:
        self._file.write_text("".join(f"{key} = {value}\n" for key, value in self.state.items()))


def compile_library(folder: Path, *flags: str) -> Path:
    """Compile the library into ``folder``."""
    target = folder / "libnvidia-ml.so.1"
    soname = "-Wl,-soname,libnvidia-ml.so.1"
    command = ["cc", "-shared", "-fPIC", soname, *flags, "-o", str(target), str(SOURCE)]
    subprocess.run(command, check=True, timeout=60)  # noqa: S603 - the compiler on a file of ours
    return folder


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_library(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def reader(tmp_path: Path, library: Path) -> Iterator[Reader]:
    reader = Reader(tmp_path, library)
    reader.set(system={"driver": "580.95.05", "count": 2}, **two_cards())
    yield reader
    reader.stop()


def two_cards() -> dict[str, dict[str, object]]:
    """Return two cards that differ in who they are."""
    return {
        f"gpu{index}": {**CARD, "uuid": f"GPU-{index}", "pci": f"00000000:0{index + 1}:00.0"}
        for index in (0, 1)
    }


def test_two_cards_report_everything_that_they_measure(reader: Reader) -> None:
    answer = reader.read()

    assert (answer["driver"]["state"], answer["driver"]["version"]) == ("ok", "580.95.05")
    assert [gpu["uuid"] for gpu in answer["gpus"]] == ["GPU-0", "GPU-1"]
    assert answer["gpus"][1] == {
        "uuid": "GPU-1",
        "index": 1,
        "name": "NVIDIA GeForce RTX 3090",
        "pci_id": "00000000:02:00.0",
        "source": "nvml",
        "state": "ok",
        "reason": None,
        "asleep": False,
        "unified": False,
        "memory_total_bytes": 24 * GIB,
        "memory_used_bytes": 10 * GIB,
        "memory_free_bytes": 13 * GIB,
        "memory_reserved_bytes": 1 * GIB,
        "utilization_percent": 97,
        "temperature_celsius": 71,
        "power_watts": 341.5,
        "power_limit_watts": 350.0,
        "clock_graphics_mhz": 1695,
        "clock_memory_mhz": 9501,
        "throttle_reasons": ["power cap"],
        "processes": [],
    }


def test_readings_follow_the_card(reader: Reader) -> None:
    reader.read()
    reader.set(gpu0={"temp": 40, "throttle": 0x60})

    gpu = reader.read()["gpus"][0]

    assert gpu["temperature_celsius"] == 40
    assert gpu["throttle_reasons"] == ["thermal slowdown", "hardware thermal slowdown"]


FIELDS = {
    "name": "name",
    "pci": "pci_id",
    "util": "utilization_percent",
    "temp": "temperature_celsius",
    "power": "power_watts",
    "limit": "power_limit_watts",
    "clock.graphics": "clock_graphics_mhz",
    "clock.memory": "clock_memory_mhz",
    "throttle": "throttle_reasons",
}


@pytest.mark.parametrize("code", [3, 4, 13, 999])
def test_a_metric_that_fails_is_unknown_and_all_others_stay(reader: Reader, code: int) -> None:
    before = reader.read()["gpus"][0]
    for metric, field in FIELDS.items():
        reader.set(gpu0={f"error.{metric}": code})
        assert reader.read()["gpus"][0] == {**before, field: None}
        reader.set(gpu0={f"error.{metric}": None})


def test_no_list_of_processes_is_unknown_rather_than_none(reader: Reader) -> None:
    reader.set(gpu0={"compute": None, "graphics": None}, gpu1={"compute": None})

    first, second = reader.read()["gpus"]

    assert (first["processes"], second["processes"]) == (None, [])


def test_processes_are_named_and_counted_once(reader: Reader) -> None:
    own = os.getpid()
    reader.set(gpu0={"compute": f"{own}:700 4194304:-1", "graphics": f"{own}:700 4194305:50"})

    processes = {entry["pid"]: entry for entry in reader.read()["gpus"][0]["processes"]}

    name = psutil.Process(own).name()
    assert GpuProcess(**processes[own]) == GpuProcess(pid=own, name=name, used_bytes=700)
    # No such process: one of a container, of which the driver knows a number of its own.
    assert GpuProcess(**processes[4194304]) == GpuProcess(pid=4194304)
    assert processes[4194305]["used_bytes"] == 50
    assert len(processes) == 3


def test_a_runner_is_named_after_the_model_that_it_serves(reader: Reader) -> None:
    digest = "ab" * 32
    path = f"/models/blobs/sha256-{digest}"
    code = "import time; time.sleep(60)"
    command = [sys.executable, "-c", code, "--model", path]
    with subprocess.Popen(command) as runner:  # noqa: S603 - ourselves
        reader.tell(f"blob qwen3:8b {digest}")
        reader.set(gpu0={"compute": f"{runner.pid}:900"})
        process = reader.read()["gpus"][0]["processes"][0]
        runner.kill()

    assert (process["model"], process["used_bytes"]) == ("qwen3:8b", 900)


def test_a_lost_card_keeps_its_identity_and_the_other_goes_on(reader: Reader) -> None:
    before = reader.read()["gpus"]
    reader.set(gpu1={"error.all": 15})

    first, second = reader.read()["gpus"]

    assert first == before[0]
    assert (second["uuid"], second["name"]) == ("GPU-1", "NVIDIA GeForce RTX 3090")
    assert (second["state"], second["reason"]) == ("lost", "the GPU has fallen off the bus")
    assert second["memory_total_bytes"] == 24 * GIB
    figures = ("memory_used_bytes", "memory_free_bytes", "temperature_celsius", "processes")
    assert [second[name] for name in figures] == [None, None, None, None]


def test_a_card_that_comes_back_is_measured_again(reader: Reader) -> None:
    before = reader.read()
    reader.set(gpu1={"error.all": 15})
    reader.read()
    reader.set(gpu1={"error.all": None})

    readings = [reader.read() for _ in range(3)]

    assert readings[-1] == before


def test_a_card_that_the_driver_no_longer_counts_is_lost(reader: Reader) -> None:
    reader.read()
    reader.set(system={"count": 1})

    states = {gpu["uuid"]: gpu["state"] for gpu in reader.read()["gpus"]}

    assert states == {"GPU-0": "ok", "GPU-1": "lost"}


def test_a_card_that_was_never_read_is_told_by_the_driver(reader: Reader) -> None:
    reader.set(gpu1={"error.handle": 999})

    answer = reader.read()

    assert [gpu["uuid"] for gpu in answer["gpus"]] == ["GPU-0"]
    assert answer["driver"]["reason"] == "the driver counts GPU 1 and cannot read it"


def test_a_card_that_must_be_reset_says_so(reader: Reader) -> None:
    reader.read()
    reader.set(gpu0={"error.all": 16})

    gpu = reader.read()["gpus"][0]

    assert (gpu["state"], gpu["reason"]) == ("error", "the GPU must be reset")


def test_cards_are_known_by_uuid_when_their_order_changes(reader: Reader) -> None:
    reader.read()
    reader.set(gpu0={"uuid": "GPU-1"}, gpu1={"uuid": "GPU-0"})

    gpus = reader.read()["gpus"]

    assert [(gpu["uuid"], gpu["index"]) for gpu in gpus] == [("GPU-1", 0), ("GPU-0", 1)]


def test_memory_of_an_older_driver_holds_the_reserve_as_used(tmp_path: Path) -> None:
    folder = tmp_path / "library"
    folder.mkdir()
    reader = Reader(tmp_path, compile_library(folder, "-DOLD_DRIVER"))
    reader.set(system={"driver": "470.1", "count": 1}, gpu0={**CARD, "uuid": "GPU-0"})
    reader.set(gpu0={"compute": "1:5"})

    gpu = reader.read()["gpus"][0]
    reader.stop()

    assert (gpu["memory_used_bytes"], gpu["memory_reserved_bytes"]) == (11 * GIB, None)
    assert gpu["throttle_reasons"] == ["power cap"]
    assert [process["used_bytes"] for process in gpu["processes"]] == [5]


def test_a_card_without_memory_of_its_own_shares_the_machines(reader: Reader) -> None:
    reader.set(gpu0={"total": None})

    gpu = reader.read()["gpus"][0]

    assert gpu["unified"] is True
    assert gpu["memory_total_bytes"] == psutil.virtual_memory().total
    assert gpu["memory_reserved_bytes"] is None


def test_memory_that_the_user_may_not_see_is_unknown(reader: Reader) -> None:
    reader.set(gpu0={"error.memory_v2": 4, "error.memory": 4})

    gpu = reader.read()["gpus"][0]

    assert (gpu["unified"], gpu["memory_total_bytes"], gpu["state"]) == (False, None, "ok")


def test_a_split_card_tells_the_memory_of_its_parts(reader: Reader) -> None:
    parts = {"total": 10 * GIB, "used": 4 * GIB, "free": 5 * GIB, "reserved": 1 * GIB}
    reader.set(gpu0={"mig": 1, "total": None, "util": None}, gpu0mig0=parts, gpu0mig1=parts)

    gpu = reader.read()["gpus"][0]

    assert (gpu["state"], gpu["reason"]) == ("ok", "split into 2 MIG instances")
    assert gpu["memory_total_bytes"] == 20 * GIB
    assert gpu["memory_free_bytes"] == 10 * GIB
    assert gpu["utilization_percent"] is None


@pytest.mark.parametrize(
    ("code", "state"), [(9, "not_loaded"), (18, "mismatch"), (4, "error"), (999, "error")]
)
def test_a_driver_that_does_not_start_says_why_and_may_start_later(
    reader: Reader, code: int, state: str
) -> None:
    reader.set(system={"init.error": code})
    failed = reader.read()
    reader.set(system={"init.error": None})

    assert (failed["driver"]["state"], failed["gpus"]) == (state, [])
    assert failed["driver"]["reason"]
    assert reader.read()["driver"]["state"] == "ok"


def test_a_driver_that_vanishes_loses_all_cards_until_it_returns(reader: Reader) -> None:
    before = reader.read()
    reader.set(system={"count.error": 999, "init.error": 9})
    gone = [reader.read(), reader.read()]
    reader.set(system={"count.error": None, "init.error": None})

    assert [answer["driver"]["state"] for answer in gone] == ["error", "not_loaded"]
    assert {gpu["state"] for answer in gone for gpu in answer["gpus"]} == {"lost"}
    assert [gpu["uuid"] for gpu in gone[1]["gpus"]] == ["GPU-0", "GPU-1"]
    assert reader.read() == before


DRIVER_GONE = {1: "error", 9: "not_loaded", 18: "mismatch"}


@pytest.mark.parametrize("metric", ["all", "handle", "memory_v2", "util"])
@pytest.mark.parametrize("code", DRIVER_GONE)
def test_a_driver_that_goes_between_two_figures_is_no_card_without_figures(
    reader: Reader, code: int, metric: str
) -> None:
    before = reader.read()
    reader.set(gpu0={f"error.{metric}": code})
    gone = reader.read()
    reader.set(gpu0={f"error.{metric}": None})

    assert gone["driver"]["state"] == DRIVER_GONE[code]
    assert [gpu["state"] for gpu in gone["gpus"]] == ["lost", "lost"]
    assert reader.read() == before


def test_a_card_that_was_never_read_is_looked_for_again(reader: Reader) -> None:
    reader.set(gpu1={"error.handle": 15})
    first = reader.read()
    reader.set(gpu1={"error.handle": None})

    assert [gpu["uuid"] for gpu in first["gpus"]] == ["GPU-0"]
    assert [gpu["uuid"] for gpu in reader.read()["gpus"]] == ["GPU-0", "GPU-1"]


def test_without_a_library_the_driver_is_missing_until_it_is_installed(
    tmp_path: Path, library: Path
) -> None:
    folder = tmp_path / "later"
    folder.mkdir()
    reader = Reader(tmp_path, folder)
    reader.set(system={"driver": "580.95.05", "count": 1}, gpu0={**CARD, "uuid": "GPU-0"})
    missing = reader.read()
    shutil.copy(library / "libnvidia-ml.so.1", folder)
    found = reader.read()
    reader.stop()

    assert missing["driver"]["state"] == "missing"
    assert found["driver"]["state"] == "ok"
    assert [gpu["uuid"] for gpu in found["gpus"]] == ["GPU-0"]
