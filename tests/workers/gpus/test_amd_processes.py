"""Memory of AMD cards by process, on trees made after the kernel's documentation."""

import os
import subprocess
import sys
from pathlib import Path

import psutil

from tests.processes import eventually
from tests.workers.gpus.amd_tree import compute, make_card, make_compute_node, open_card
from workers.gpus.amd_processes import AmdProcesses
from workers.gpus.amdgpu import AmdgpuSource
from workers.gpus.processes import BlobNames
from workers.wire import GpuProcess

MIB = 2**20
CARD = "0000:03:00.0"
OTHER_CARD = "0000:83:00.0"


def read(root: Path, *, shared: frozenset[str] = frozenset()) -> dict[str, dict[int, int]] | None:
    """Return bytes by card and process."""
    found = AmdProcesses(sysfs=root, proc=root / "proc").read(shared=shared)
    return None if found is None else {card: dict(used) for card, used in found.items()}


def draw(root: Path, pid: int, fd: int, *, card: str = CARD, **told: object) -> None:
    """Let a process have memory of a card for graphics or Vulkan."""
    open_card(root, pid, fd, driver="amdgpu", pdev=card, **told)


def test_where_the_kernel_tells_of_nobody_it_is_unknown(tmp_path: Path) -> None:
    assert read(tmp_path) is None


def test_memory_is_summed_by_card_and_process(tmp_path: Path) -> None:
    draw(tmp_path, 7, 3, client_id=1, memory_vram="2048 KiB")
    draw(tmp_path, 7, 4, client_id=2, memory_vram="1 MiB")
    draw(tmp_path, 7, 5, client_id=3, memory_vram="4096", card=OTHER_CARD)
    draw(tmp_path, 8, 3, client_id=4, memory_vram="5 MiB")

    assert read(tmp_path) == {CARD: {7: 3 * MIB, 8: 5 * MIB}, OTHER_CARD: {7: 4096}}


def test_a_client_with_several_open_files_counts_once(tmp_path: Path) -> None:
    for fd in (3, 4):
        draw(tmp_path, 7, fd, client_id=1, memory_vram="2048 KiB")

    assert read(tmp_path) == {CARD: {7: 2 * MIB}}


def test_newer_kernels_name_is_taken_and_what_is_shared_left_out(tmp_path: Path) -> None:
    draw(
        tmp_path,
        7,
        3,
        client_id=1,
        resident_vram="9 MiB",
        shared_vram="2 MiB",
        memory_vram="9 MiB",
    )

    assert read(tmp_path) == {CARD: {7: 7 * MIB}}


def test_ram_counts_where_the_card_has_no_memory_of_its_own(tmp_path: Path) -> None:
    draw(tmp_path, 7, 3, client_id=1, memory_vram="1 MiB", memory_gtt="6 MiB")

    assert read(tmp_path) == {CARD: {7: MIB}}
    assert read(tmp_path, shared=frozenset({CARD})) == {CARD: {7: 7 * MIB}}


def test_other_drivers_and_files_without_figures_are_passed_over(tmp_path: Path) -> None:
    open_card(tmp_path, 7, 3, driver="i915", pdev=CARD, client_id=1, memory_vram="1 MiB")
    draw(tmp_path, 8, 3, client_id=2, memory_vram="many")
    (tmp_path / "proc/9").mkdir()

    assert read(tmp_path) == {CARD: {}}


def test_rocm_is_counted_by_the_place_of_its_card(tmp_path: Path) -> None:
    make_compute_node(tmp_path, 0, gpu_id=0, location_id=0)
    make_compute_node(tmp_path, 1, gpu_id=1234, location_id=0x300, domain=0)
    compute(tmp_path, 7, gpu_id=1234, used_bytes=5 * MIB)
    compute(tmp_path, 7, gpu_id=99, used_bytes=MIB)

    assert read(tmp_path) == {CARD: {7: 5 * MIB}}


def test_parts_of_a_split_card_are_summed(tmp_path: Path) -> None:
    for part in range(3):
        make_compute_node(tmp_path, part, gpu_id=100 + part, location_id=0x300 + part)
        compute(tmp_path, 7, gpu_id=100 + part, used_bytes=MIB)

    assert read(tmp_path) == {CARD: {7: 3 * MIB}}


def test_memory_of_rocm_that_both_tell_of_counts_once(tmp_path: Path) -> None:
    make_compute_node(tmp_path, 1, gpu_id=1234, location_id=0x300)
    compute(tmp_path, 7, gpu_id=1234, used_bytes=5 * MIB)
    draw(tmp_path, 7, 3, client_id=1, memory_vram="6 MiB")

    assert read(tmp_path) == {CARD: {7: 6 * MIB}}


def test_a_card_names_its_processes_and_their_models(tmp_path: Path) -> None:
    digest = "ab" * 32
    code = "import time; time.sleep(60)"
    command = [sys.executable, "-c", code, "--model", f"/models/blobs/sha256-{digest}"]
    names = BlobNames()
    names.set_installed("ollama", {"qwen3:8b": digest})
    make_card(tmp_path, 0, {"vendor": "0x1002"}, pci_id=CARD)
    draw(tmp_path, os.getpid(), 3, client_id=1, memory_vram="1 MiB")
    draw(tmp_path, os.getppid(), 3, client_id=2, memory_vram="0")
    with subprocess.Popen(command) as runner:  # noqa: S603 - ourselves
        assert eventually(lambda: bool(psutil.Process(runner.pid).cmdline()))
        draw(tmp_path, runner.pid, 3, client_id=3, memory_vram="8 MiB")
        _, (gpu,) = AmdgpuSource(names, root=tmp_path, proc=tmp_path / "proc").read()
        runner.kill()

    found = {process.pid: process for process in gpu.processes or ()}
    own = psutil.Process().name()
    assert found[os.getpid()] == GpuProcess(pid=os.getpid(), name=own, used_bytes=MIB)
    assert (found[runner.pid].model, found[runner.pid].used_bytes) == ("qwen3:8b", 8 * MIB)
    assert len(found) == 2
