"""A lab as reports would have left it: rows in the database, samples in the store."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from math import sin

from django.utils import timezone

from labdash.domain.history import roll_up
from labdash.live import save_state
from labdash.models import (
    Family,
    Gpu,
    GpuSample,
    InstalledModel,
    Instance,
    Node,
    PullJob,
    Variant,
)
from workers import wire

GIB = 2**30
MIB = 2**20


def gpu(
    uuid: str,
    index: int,
    name: str,
    total_gib: float,
    *,
    processes: tuple[wire.GpuProcess, ...] = (),
    **fields: object,
) -> wire.GpuReading:
    """Make a reading; used, free and reserve follow from ``processes`` where not given."""
    used = sum(each.used_bytes or 0 for each in processes)
    total = int(total_gib * GIB)
    reserved = 360 * MIB
    values: dict[str, object] = {
        "source": "simulated",
        "processes": processes,
        "memory_total_bytes": total,
        "memory_used_bytes": used,
        "memory_reserved_bytes": reserved,
        "memory_free_bytes": total - used - reserved,
        "utilization_percent": 0,
        "temperature_celsius": 38,
        "power_watts": 21.4,
        "power_limit_watts": 350.0,
        **fields,
    }
    return wire.GpuReading.model_validate({"uuid": uuid, "index": index, "name": name, **values})


def process(pid: int, name: str, used_gib: float, model: str | None = None) -> wire.GpuProcess:
    """Make a process that holds memory of a GPU."""
    return wire.GpuProcess(pid=pid, name=name, used_bytes=int(used_gib * GIB), model=model)


def loaded(name: str, size_gib: float, vram_gib: float, context: int = 8192) -> wire.LoadedModel:
    """Make an entry of ``/api/ps``."""
    return wire.LoadedModel(
        name=name,
        digest=name,
        size_bytes=int(size_gib * GIB),
        size_vram_bytes=int(vram_gib * GIB),
        context_length=context,
    )


def reading(
    *models: wire.LoadedModel, name: str = "ollama", version: str = "0.32.15", **fields: object
) -> wire.InstanceReading:
    """Make the state of an Ollama server that answers."""
    disk = wire.DiskReading(path="/var/lib/ollama", total_bytes=900 * GIB, free_bytes=310 * GIB)
    values = {"state": "ok", "version": version, "loaded": models, "disk": disk, **fields}
    return wire.InstanceReading.model_validate(
        {"name": name, "url": "http://127.0.0.1:11434", **values}
    )


def sample(
    slug: str,
    gpus: Iterable[wire.GpuReading] = (),
    instances: Iterable[wire.InstanceReading] = (),
    *,
    ram_gib: tuple[float, float] | None = (21, 64),
    driver: wire.DriverReading | None = None,
) -> wire.Sample:
    """Make what a node reports. ``ram_gib`` is used and total."""
    host = wire.HostReading()
    if ram_gib is not None:
        used, total = (int(each * GIB) for each in ram_gib)
        host = wire.HostReading(ram_used_bytes=used, ram_total_bytes=total, cpu_percent=12)
    return wire.Sample(
        node=slug,
        sent_at=datetime.now(UTC),
        worker_version="0.1.0",
        driver=driver or wire.DriverReading(state="ok", version="580.65"),
        gpus=tuple(gpus),
        host=host,
        instances=tuple(instances),
    )


def add(
    report: wire.Sample, *, kind: str = "linux", age_s: float = 0.5, agentless: bool = False
) -> Node:
    """Store a node that reported ``age_s`` ago."""
    at = timezone.now() - timedelta(seconds=age_s)
    node = Node.objects.create(
        slug=report.node,
        kind=kind,
        agentless=agentless,
        last_seen_at=at,
        last_sample=report.model_dump(mode="json"),
    )
    for each in report.instances:
        Instance.objects.create(
            node=node, name=each.name, url=each.url, version=each.version or "", inventory_at=at
        )
    for card in report.gpus:
        Gpu.objects.create(
            node=node,
            uuid=card.uuid,
            index=card.index,
            name=card.name or "",
            memory_total_bytes=card.memory_total_bytes,
            source=card.source,
        )
    save_state(report, arrived_at=at)
    return node


def install(node: Node, name: str, quant: str, size_gib: float, **fields: object) -> InstalledModel:
    """Store that a name is installed on a node; equal names share family and weights."""
    family, _ = Family.objects.get_or_create(
        name=name, defaults={"architecture": "qwen3", "parameter_count": 14_800_000_000}
    )
    size = int(size_gib * GIB)
    variant, _ = Variant.objects.get_or_create(
        blob_digest=str(fields.pop("blob", f"sha256:{name}-{quant}")),
        defaults={"family": family, "quant": quant, "size_bytes": size},
    )
    return InstalledModel.objects.create(
        instance=node.instances.get(name=fields.pop("instance", "ollama")),
        variant=variant,
        name=name,
        digest=name,
        size_bytes=size,
        modified_at=timezone.now(),
        **fields,
    )


def pull(node: Node, model: str, **fields: object) -> PullJob:
    """Store a pull to the first instance of a node."""
    return PullJob.objects.create(instance=node.instances.all()[0], model=model, **fields)


def five_nodes() -> dict[str, Node]:
    """Store a lab like that of the demo, with models and two pulls, one thing being wrong."""
    nodes = {
        "rog": add(
            sample(
                "rog",
                [
                    gpu(
                        "GPU-rog-0", 0, "NVIDIA GeForce RTX 3090", 24,
                        processes=(
                            process(11, "ollama", 17.9, "qwen3:32b"),
                            process(12, "whisper-server", 2.5),
                            process(13, "Xorg", 0.6),
                        ),
                        temperature_celsius=71, power_watts=286.2, utilization_percent=94,
                    ),
                    gpu(
                        "GPU-rog-1", 1, "NVIDIA GeForce RTX 3090", 24,
                        processes=(
                            process(21, "ollama", 10.4, "qwen2.5-coder:14b"),
                            process(22, "ollama", 0.6, "nomic-embed-text:latest"),
                        ),
                    ),
                ],
                [
                    reading(
                        loaded("qwen3:32b", 22.4, 17.9, 16384),
                        loaded("qwen2.5-coder:14b", 10.4, 10.4, 32768),
                        loaded("nomic-embed-text:latest", 0.6, 0.6, 2048),
                    )
                ],
                ram_gib=(31, 64),
            )
        ),
        "tower": add(
            sample(
                "tower",
                [
                    gpu(
                        "GPU-tower-0", 0, "NVIDIA GeForce RTX 4070", 12,
                        processes=(
                            process(31, "ollama", 7.0, "llama3.1:8b"),
                            process(32, "gnome-shell", 1.1),
                        ),
                        temperature_celsius=52, power_watts=64.0, utilization_percent=31,
                    )
                ],
                [reading(loaded("llama3.1:8b", 7.0, 7.0))],
                ram_gib=(12, 32),
            )
        ),
        "oldie": add(
            sample(
                "oldie",
                [
                    gpu(
                        "GPU-oldie-0", 0, "Tesla P40", 24,
                        processes=(process(41, "ollama", 19.6, "gemma3:27b"),),
                        temperature_celsius=58, power_watts=51.0,
                    ),
                    gpu(
                        "GPU-oldie-1", 1, "Tesla P40", 24,
                        processes=(process(42, "ollama", 12.6, "gpt-oss:20b"),),
                        temperature_celsius=61, power_watts=148.0, utilization_percent=88,
                    ),
                ],
                [
                    reading(
                        loaded("gemma3:27b", 19.6, 19.6, 32768),
                        loaded("gpt-oss:20b", 12.6, 12.6, 32768),
                        version="0.24.0",
                    )
                ],
                ram_gib=(9, 128),
                driver=wire.DriverReading(state="ok", version="570.86"),
            )
        ),
        "minibox": add(
            sample(
                "minibox",
                [],
                [reading(loaded("qwen3:4b", 3.4, 0))],
                ram_gib=(9, 16),
                driver=wire.DriverReading(state="missing"),
            )
        ),
        "studio": add(
            sample(
                "studio",
                [
                    gpu(
                        "mac", 0, "Apple M4 Max", 48, unified=True, memory_used_bytes=None,
                        memory_reserved_bytes=None, memory_free_bytes=None,
                        temperature_celsius=None, power_watts=None, utilization_percent=None,
                        power_limit_watts=None, source="declared",
                    )
                ],
                [reading()],
                driver=wire.DriverReading(state="none"),
            ),
            kind="mac",
            age_s=7800,
        ),
    }  # fmt: skip
    _fill(nodes)
    return nodes


def _fill(nodes: dict[str, Node]) -> None:
    for slug, name, quant, size_gib in (
        ("rog", "qwen3:32b", "Q4_K_M", 18.8),
        ("rog", "qwen2.5-coder:14b", "Q5_K_M", 9.8),
        ("rog", "nomic-embed-text:latest", "F16", 0.3),
        ("tower", "llama3.1:8b", "Q6_K", 6.1),
        ("oldie", "gemma3:27b", "Q4_K_M", 16.2),
        ("oldie", "gpt-oss:20b", "MXFP4", 12.8),
        ("oldie", "llama3.1:8b", "Q4_K_M", 4.6),
        ("minibox", "qwen3:4b", "Q4_K_M", 2.4),
        ("studio", "qwen3:32b", "Q8_0", 32.8),
    ):
        install(nodes[slug], name, quant, size_gib)
    install(
        nodes["rog"], "my-coder:latest", "Q5_K_M", 9.8,
        blob="sha256:qwen2.5-coder:14b-Q5_K_M", parent_model="qwen2.5-coder:14b",
    )  # fmt: skip
    now = timezone.now()
    pull(
        nodes["tower"], "gemma3:12b", state="downloading", done_bytes=int(6.1 * GIB),
        total_bytes=int(8.1 * GIB), bytes_per_s=112 * MIB, remaining_s=18,
        started_at=now, heartbeat_at=now, attempt=1,
    )  # fmt: skip
    pull(
        nodes["oldie"], "qwen3:30b-a3b", state="verifying", done_bytes=int(18.6 * GIB),
        total_bytes=int(18.6 * GIB), started_at=now, heartbeat_at=now, attempt=1,
    )  # fmt: skip
    pull(nodes["tower"], "qwen3:8b")
    pull(
        nodes["rog"], "llama3.3:70b", state="failed", finished_at=now - timedelta(hours=3),
        total_bytes=int(42.5 * GIB),
        reason="Not enough disk: 42.5 GiB are needed on /var/lib/ollama and 31.0 GiB are free.",
    )  # fmt: skip
    pull(
        nodes["rog"], "qwen3:32b", state="installed", finished_at=now - timedelta(minutes=26),
        total_bytes=int(18.8 * GIB), done_bytes=int(18.8 * GIB),
    )  # fmt: skip


def history(node: Node, *, minutes: int = 60, every_s: int = 30) -> None:
    """Store how the GPUs of a node did, until now: memory in steps, the rest in waves."""
    now = timezone.now().replace(microsecond=0)
    moments = range(0, minutes * 60, every_s)
    GpuSample.objects.bulk_create(
        GpuSample(
            gpu=each,
            at=now - timedelta(seconds=second),
            memory_used_bytes=int((4 + 9 * (second // 900 % 2) + sin(second / 200)) * GIB),
            utilization_percent=int(50 + 45 * sin(second / 170)),
            temperature_celsius=int(55 + 14 * sin(second / 400)),
            power_watts=160 + 120 * sin(second / 170),
            held={
                "model:qwen3:8b": 3 * GIB,
                **({"model:gemma3:27b": 9 * GIB} if second // 900 % 2 else {}),
                "other": int((1 + sin(second / 200)) * GIB),
                "reserve": 360 * MIB,
            },
        )
        for each in node.gpus.all()
        for second in moments
    )
    roll_up(now=now + timedelta(minutes=2))
