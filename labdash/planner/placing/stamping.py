"""An outcome as a choice: with the names of node, server and devices."""

from labdash.planner.lab import CPU
from labdash.planner.placing.outcome import Outcome
from labdash.planner.placing.seats import Member, Seat
from labdash.planner.plan import Choice


def stamped(
    outcome: Outcome, seat: Seat, member: Member, price: tuple[int, int] = (0, 0)
) -> Choice:
    """Name the devices of an outcome in one place. ``price`` is what it downloads and moves."""
    devices = [f"{member.node}/{gpu}" for gpu in member.gpus]
    host = f"{member.node}/{CPU}"
    layers = dict(zip(devices, outcome.layers, strict=True)) | {host: outcome.cpu_layers}
    used = dict(zip(devices, outcome.gpu_bytes, strict=True)) | {host: outcome.host_bytes}
    return Choice(
        variant=outcome.variant,
        node=member.node,
        instance=member.instance,
        form=outcome.form,
        ctx=outcome.ctx,
        parallel=outcome.parallel,
        kv_type=seat.rules.kv_type,
        flash_attn=seat.rules.flash_attn,
        num_batch=outcome.num_batch,
        num_gpu=outcome.num_gpu,
        main_gpu=member.main_gpu,
        layers={device: count for device, count in layers.items() if count},
        bytes={device: size for device, size in used.items() if size},
        host_bytes=outcome.host_bytes,
        predicted_bytes=outcome.predicted_bytes,
        margin_bytes=max(
            (m for m, b in zip(outcome.margins, outcome.gpu_bytes, strict=True) if b), default=0
        ),
        tokens_per_s=outcome.tokens_per_s,
        download_bytes=price[0],
        moved_bytes=price[1],
        cpu_experts=outcome.cpu_experts,
    )
