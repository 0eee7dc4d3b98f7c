"""A plan as ``manage.py plan --json`` prints it. The shape of the dict is what scripts rely on."""

from dataclasses import asdict
from typing import Any

from labdash.planner.plan import Placement, Plan, Refusal


def plan_json(plan: Plan) -> dict[str, Any]:
    """Return a plan as plain values that JSON can hold."""
    written: dict[str, Any] = {
        "status": plan.status,
        "score": list(plan.score.key),
        "gap": plan.gap,
        "placements": [_placement(each) for each in plan.placements],
        "refusals": [_refusal(each) for each in plan.refusals],
        "proposals": [asdict(each) for each in plan.proposals],
        "moves": [asdict(each) for each in plan.moves],
        "devices": [asdict(each) for each in plan.devices],
        "warnings": list(plan.warnings),
    }
    if plan.limited_by is not None:
        written["limited_by"] = plan.limited_by
    if plan.unproved is not None:
        written["unproved"] = asdict(plan.unproved)
    return written


def _placement(placement: Placement) -> dict[str, Any]:
    choice = placement.choice
    return {
        "deployment": placement.deployment.name,
        "replica": placement.replica,
        "variant": choice.variant.name,
        "quant": choice.variant.quant,
        "instance": choice.instance,
        "node": choice.node,
        "form": choice.form,
        "residency": placement.deployment.residency,
        "ctx": choice.ctx,
        "kv_type": choice.kv_type,
        "flash_attn": choice.flash_attn,
        "num_gpu": choice.num_gpu,
        "main_gpu": choice.main_gpu,
        "num_batch": choice.num_batch,
        "parallel": choice.parallel,
        "layers": dict(choice.layers),
        "bytes": dict(choice.bytes),
        "host_bytes": choice.host_bytes,
        "margin_bytes": choice.margin_bytes,
        "tokens_per_s": None if choice.tokens_per_s is None else round(choice.tokens_per_s, 2),
        "download_bytes": choice.download_bytes,
        "load_order": placement.load_order,
        "shares": placement.shares,
        "reasons": list(placement.reasons),
    }


def _refusal(refusal: Refusal) -> dict[str, Any]:
    return {
        "deployment": refusal.deployment.name,
        "replica": refusal.replica,
        "limit": refusal.limit,
        "short_bytes": refusal.short_bytes,
        "text": refusal.text,
        "nearest": [
            {"kind": way.kind, "text": way.text, "value": way.value} for way in refusal.nearest
        ],
    }
