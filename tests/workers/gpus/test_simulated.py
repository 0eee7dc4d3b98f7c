from pathlib import Path

from aiohttp import web

from tests.workers.fake_ollama import serve
from workers.gpus.simulated import SimulatedFiles, SimulatedSource
from workers.shelf import ShelfReader

MACHINE = {
    "driver": {"state": "ok", "version": "580.95.05"},
    "gpus": [{"uuid": "GPU-sim-0", "index": 0, "source": "simulated", "name": "RTX 3090"}],
    "host": {"hostname": "rog", "system": "linux", "ram_total_bytes": 68719476736},
    "disk": {"path": "/models", "total_bytes": 1000, "free_bytes": 400},
}


def machine(body: object) -> web.Application:
    async def answer(_request: web.Request) -> web.Response:
        return web.json_response(body)

    app = web.Application()
    app.router.add_get("/machines/rog/hardware", answer)
    return app


def test_a_simulated_machine_is_read_as_it_answers() -> None:
    with serve(machine(MACHINE)) as url:
        reading = SimulatedSource(f"{url}/machines/rog/hardware").read()

    assert reading.driver.version == "580.95.05"
    assert [gpu.uuid for gpu in reading.gpus] == ["GPU-sim-0"]
    assert reading.host.hostname == "rog"
    assert reading.disk
    assert reading.disk.free_bytes == 400


def test_each_server_of_a_machine_has_settings_of_its_own() -> None:
    settings = {"11434": {"OLLAMA_NUM_PARALLEL": "2"}, "11435": {"CUDA_VISIBLE_DEVICES": "1"}}
    with serve(machine(MACHINE | {"settings": settings})) as url:
        source = SimulatedSource(f"{url}/machines/rog/hardware")
        source.read()

    assert [(each.name, each.value) for each in source.settings(11435)] == [
        ("CUDA_VISIBLE_DEVICES", "1")
    ]
    assert source.settings(1) == ()


def test_an_answer_that_is_no_machine_is_an_error_of_its_driver() -> None:
    with serve(machine({"driver": {"state": "splendid"}})) as url:
        reading = SimulatedSource(f"{url}/machines/rog/hardware").read()

    assert (reading.driver.state, reading.gpus, reading.disk) == ("error", (), None)


def test_a_simulation_that_is_away_is_an_error_of_its_driver() -> None:
    with serve(machine(MACHINE)) as url:
        pass

    reading = SimulatedSource(f"{url}/machines/rog/hardware").read()

    assert reading.driver.state == "error"
    assert "does not answer" in (reading.driver.reason or "")


def test_files_of_which_there_is_no_more_than_their_size_are_told_with_it(tmp_path: Path) -> None:
    (tmp_path / "manifests").mkdir()
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    (blobs / f"sha256-{'a' * 64}.virtual").write_text("5000000000")
    (blobs / f"sha256-{'b' * 64}-partial").write_text("700")
    (blobs / f"sha256-{'b' * 64}-partial-0").write_text("")
    files = SimulatedFiles(tmp_path, clear=lambda: (700, 0))

    reading = ShelfReader().read(files).reading

    assert (reading.orphan_bytes, reading.partial_bytes) == (5_000_000_000, 700)
    assert files.clear_partials() == (700, 0)
