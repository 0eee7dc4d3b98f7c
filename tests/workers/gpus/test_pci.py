from pathlib import Path

import pytest

from workers.gpus.pci import nvidia_cards


def add_device(bus: Path, number: int, *, vendor: str, device_class: str) -> None:
    folder = bus / f"0000:0{number}:00.0"
    folder.mkdir(parents=True)
    (folder / "vendor").write_text(f"{vendor}\n")
    (folder / "class").write_text(f"{device_class}\n")


@pytest.mark.parametrize("device_class", ["0x030000", "0x030200"])
def test_a_card_counts_as_vga_and_as_3d_controller(tmp_path: Path, device_class: str) -> None:
    add_device(tmp_path, 1, vendor="0x10de", device_class=device_class)
    assert nvidia_cards(tmp_path) == 1


def test_the_audio_of_a_card_and_other_makes_do_not_count(tmp_path: Path) -> None:
    add_device(tmp_path, 1, vendor="0x10de", device_class="0x040300")
    add_device(tmp_path, 2, vendor="0x1002", device_class="0x030000")
    (tmp_path / "0000:03:00.0").mkdir()
    assert nvidia_cards(tmp_path) == 0


def test_a_machine_without_that_bus_is_unknown(tmp_path: Path) -> None:
    assert nvidia_cards(tmp_path / "nothing") is None
