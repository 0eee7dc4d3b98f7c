import os
from pathlib import Path

from tests.workers.gpus.amd_tree import make_card, write
from workers.gpus.amdgpu import AmdgpuSource
from workers.gpus.processes import BlobNames
from workers.wire import DriverReading, GpuReading

GIB = 2**30


def read(root: Path) -> tuple[DriverReading, tuple[GpuReading, ...]]:
    """Read the cards of a tree whose processes are hidden."""
    return AmdgpuSource(BlobNames(), root=root, proc=root / "proc").read()


FULL = {
    "vendor": "0x1002",
    "unique_id": "a1b2c3",
    "product_name": "Radeon RX 7900 XTX",
    "mem_info_vram_total": str(24 * GIB),
    "mem_info_vram_used": str(5 * GIB),
    "gpu_busy_percent": "42",
    "hwmon/hwmon3/temp1_input": "61500",
    "hwmon/hwmon3/power1_average": "212000000",
    "hwmon/hwmon3/power1_cap": "339000000",
    "hwmon/hwmon3/freq1_input": "2304000000",
}


def test_a_card_reports_what_its_files_hold(tmp_path: Path) -> None:
    make_card(tmp_path, 0, FULL)

    driver, (gpu,) = read(tmp_path)

    assert driver.state == "ok"
    assert (gpu.uuid, gpu.name) == ("amdgpu-a1b2c3", "Radeon RX 7900 XTX")
    assert gpu.pci_id == "0000:00:00.0"
    assert gpu.memory_total_bytes == 24 * GIB
    assert gpu.memory_used_bytes == 5 * GIB
    assert gpu.memory_free_bytes == 19 * GIB
    assert gpu.utilization_percent == 42
    assert gpu.temperature_celsius == 62
    assert (gpu.power_watts, gpu.power_limit_watts) == (212.0, 339.0)
    assert (gpu.clock_graphics_mhz, gpu.clock_memory_mhz) == (2304, None)
    assert gpu.processes is None


def test_a_missing_or_unreadable_file_is_unknown(tmp_path: Path) -> None:
    make_card(tmp_path, 0, {"vendor": "0x1002", "mem_info_vram_total": "no number"})

    _, (gpu,) = read(tmp_path)

    assert gpu.uuid == "amdgpu-0000:00:00.0"
    assert (gpu.memory_total_bytes, gpu.memory_used_bytes, gpu.memory_free_bytes) == (
        None,
        None,
        None,
    )
    assert (gpu.power_watts, gpu.temperature_celsius, gpu.utilization_percent) == (
        None,
        None,
        None,
    )


def test_power_of_a_newer_driver_is_read_from_its_own_file(tmp_path: Path) -> None:
    make_card(tmp_path, 0, {"vendor": "0x1002", "hwmon/hwmon0/power1_input": "15000000"})

    _, (gpu,) = read(tmp_path)

    assert gpu.power_watts == 15.0


def test_other_vendors_cards_are_not_counted(tmp_path: Path) -> None:
    make_card(tmp_path, 0, {"vendor": "0x8086"})
    make_card(tmp_path, 1, FULL)

    _, gpus = read(tmp_path)

    assert [(gpu.uuid, gpu.index) for gpu in gpus] == [("amdgpu-a1b2c3", 0)]


def test_without_the_driver_it_is_missing(tmp_path: Path) -> None:
    driver, gpus = read(tmp_path)

    assert (driver.state, gpus) == ("missing", ())


def test_cards_come_in_the_order_of_the_bus(tmp_path: Path) -> None:
    for number, place in ((10, "0000:03:00.0"), (2, "0000:83:00.0"), (0, "0000:c3:00.0")):
        make_card(tmp_path, number, {"vendor": "0x1002"}, pci_id=place)

    _, gpus = read(tmp_path)

    assert [(gpu.index, gpu.pci_id) for gpu in gpus] == [
        (0, "0000:03:00.0"),
        (1, "0000:83:00.0"),
        (2, "0000:c3:00.0"),
    ]


def test_plugs_of_a_card_are_no_cards(tmp_path: Path) -> None:
    make_card(tmp_path, 0, FULL)
    plug = tmp_path / "class/drm/card0-DP-1"
    plug.mkdir()
    (plug / "device").symlink_to(tmp_path / "class/drm/card0")

    _, gpus = read(tmp_path)

    assert len(gpus) == 1


APU = {
    "vendor": "0x1002",
    "mem_info_vram_total": str(GIB // 2),
    "mem_info_vram_used": str(GIB // 4),
    "mem_info_gtt_total": str(62 * GIB),
    "mem_info_gtt_used": str(20 * GIB),
    "hwmon/hwmon4/in1_label": "vddnb",
}


def test_a_processors_own_gpu_has_its_part_of_the_ram(tmp_path: Path) -> None:
    make_card(tmp_path, 0, APU)

    _, (gpu,) = read(tmp_path)

    assert gpu.unified
    assert gpu.memory_total_bytes == 62 * GIB + GIB // 2
    assert gpu.memory_used_bytes == 20 * GIB + GIB // 4


def test_a_card_with_memory_of_its_own_does_not_count_the_ram_that_it_may_map(
    tmp_path: Path,
) -> None:
    make_card(tmp_path, 0, {**FULL, "mem_info_gtt_total": str(62 * GIB)})

    _, (gpu,) = read(tmp_path)

    assert (gpu.unified, gpu.memory_total_bytes) == (False, 24 * GIB)


def test_shared_memory_of_unknown_size_is_unknown(tmp_path: Path) -> None:
    make_card(tmp_path, 0, {**APU, "mem_info_gtt_used": "?"})

    _, (gpu,) = read(tmp_path)

    assert (gpu.memory_used_bytes, gpu.memory_free_bytes) == (None, None)


def test_a_file_that_the_driver_refuses_is_unknown(tmp_path: Path) -> None:
    make_card(tmp_path, 0, FULL)
    # To read a folder fails as the driver's EBUSY and EPERM do, for root too.
    busy = tmp_path / "devices/0000:00:00.0/gpu_busy_percent"
    busy.unlink()
    busy.mkdir()

    _, (gpu,) = read(tmp_path)

    assert (gpu.utilization_percent, gpu.temperature_celsius) == (None, 62)


SENSORS = ("gpu_busy_percent", "hwmon/hwmon3/temp1_input", "hwmon/hwmon3/power1_average")


def test_a_sleeping_card_tells_who_it_is_and_no_sensor_is_read(tmp_path: Path) -> None:
    make_card(tmp_path, 0, {**FULL, "power/runtime_status": "suspended", "power/control": "auto"})
    device = tmp_path / "devices/0000:00:00.0"
    for sensor in SENSORS:
        (device / sensor).unlink()
        os.mkfifo(device / sensor)  # whoever opens it, waits for ever

    _, (gpu,) = read(tmp_path)

    assert (gpu.uuid, gpu.name, gpu.state) == ("amdgpu-a1b2c3", "Radeon RX 7900 XTX", "ok")
    assert (gpu.asleep, gpu.memory_total_bytes) == (True, 24 * GIB)
    assert (gpu.memory_used_bytes, gpu.temperature_celsius) == (None, None)


def test_sensors_of_an_idle_card_rest_and_its_memory_is_read_on(tmp_path: Path) -> None:
    idle = {**FULL, "gpu_busy_percent": "0", "power/control": "auto"}
    make_card(tmp_path, 0, {**idle, "power/runtime_status": "active"})
    source = AmdgpuSource(BlobNames(), root=tmp_path, proc=tmp_path / "proc")
    source.read()
    device = tmp_path / "devices/0000:00:00.0"
    write(device / "hwmon/hwmon3/temp1_input", "80000")
    write(device / "mem_info_vram_used", str(7 * GIB))

    _, (gpu,) = source.read()

    assert (gpu.temperature_celsius, gpu.memory_used_bytes) == (62, 7 * GIB)


def test_sensors_of_a_card_that_never_sleeps_are_read_each_time(tmp_path: Path) -> None:
    make_card(tmp_path, 0, {**FULL, "gpu_busy_percent": "0", "power/control": "on"})
    source = AmdgpuSource(BlobNames(), root=tmp_path, proc=tmp_path / "proc")
    source.read()
    write(tmp_path / "devices/0000:00:00.0/hwmon/hwmon3/temp1_input", "80000")

    _, (gpu,) = source.read()

    assert gpu.temperature_celsius == 80
