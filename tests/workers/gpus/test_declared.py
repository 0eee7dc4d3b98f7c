from workers.gpus.declared import DeclaredSource
from workers.wire import DeclaredGpu, DeclaredHardware

GIB = 2**30


def test_declared_hardware_has_sizes_and_no_measurements() -> None:
    declared = DeclaredHardware(
        ram_total_bytes=64 * GIB,
        gpus=(DeclaredGpu(name="Apple M2 Max", memory_total_bytes=48 * GIB, unified=True),),
    )

    reading = DeclaredSource(declared, slug="studio").read()

    (gpu,) = reading.gpus
    assert (gpu.uuid, gpu.source, gpu.unified) == ("declared-studio-0", "declared", True)
    assert (gpu.memory_total_bytes, gpu.memory_used_bytes) == (48 * GIB, None)
    assert reading.driver.state == "none"
    assert (reading.host.ram_total_bytes, reading.host.ram_used_bytes) == (64 * GIB, None)
