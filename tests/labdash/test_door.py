"""What is told of the door, by a file that the forwarder writes."""

import json
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from labdash.door import DoorState, read_door


@pytest.fixture
def told(settings: Settings, tmp_path: Path) -> Path:
    """The file, in a data folder of its own."""
    settings.DATA_DIR = tmp_path
    (tmp_path / "run").mkdir()
    return tmp_path / "run" / "door.json"


def write(told: Path, https: int | None, store: int | None, error: str = "") -> None:
    """Write what a forwarder would."""
    errors = {"store": error} if error else {}
    told.write_text(json.dumps({"ports": {"https": https, "store": store}, "errors": errors}))


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"ports": {}}', "null"])
def test_what_cannot_be_read_is_a_closed_door(told: Path, text: str | None) -> None:
    if text is not None:
        told.write_text(text)
    assert read_door() == DoorState()


def test_it_tells_which_ports_are_open_and_why_another_is_not(told: Path) -> None:
    write(told, 8643, None, "port 8644 is in use")
    assert (read_door().https_port, read_door().store_port) == (8643, None)
    assert read_door().errors == {"store": "port 8644 is in use"}
    write(told, 8643, 8644)
    assert read_door() == DoorState(https_port=8643, store_port=8644)
