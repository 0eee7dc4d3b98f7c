from pathlib import Path

from workers.gpus.amdgpu import AmdgpuSource

GIB = 2**30


def make_card(root: Path, number: int, files: dict[str, str]) -> None:
    device = root / f"devices/0000:0{number}:00.0"
    for name, text in files.items():
        (device / name).parent.mkdir(parents=True, exist_ok=True)
        (device / name).write_text(text + "\n")
    card = root / f"class/drm/card{number}"
    card.mkdir(parents=True)
    (card / "device").symlink_to(device)


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

    driver, (gpu,) = AmdgpuSource(tmp_path).read()

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

    _, (gpu,) = AmdgpuSource(tmp_path).read()

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

    _, (gpu,) = AmdgpuSource(tmp_path).read()

    assert gpu.power_watts == 15.0


def test_other_vendors_cards_are_not_counted(tmp_path: Path) -> None:
    make_card(tmp_path, 0, {"vendor": "0x8086"})
    make_card(tmp_path, 1, FULL)

    _, gpus = AmdgpuSource(tmp_path).read()

    assert [(gpu.uuid, gpu.index) for gpu in gpus] == [("amdgpu-a1b2c3", 0)]


def test_without_the_driver_it_is_missing(tmp_path: Path) -> None:
    driver, gpus = AmdgpuSource(tmp_path).read()

    assert (driver.state, gpus) == ("missing", ())
