"""Deployments as the planner takes them, out of what the user wrote."""

from dataclasses import replace
from typing import Literal

from labdash.models.deployment import Deployment as StoredDeployment
from labdash.planner.errors import PlannerError
from labdash.planner.lab import USUAL_ORDER, Deployment, Variant
from labdash.queries.lab_entries import Wanted
from labdash.queries.shelf import Shelf
from labdash.queries.variants import UnknownModelError, UnknownQuantError, variants_of

# Where the user names no context.
USUAL_FLOOR: int = StoredDeployment._meta.get_field("ctx_floor").default  # noqa: SLF001 - public
USUAL_WISH: int = StoredDeployment._meta.get_field("ctx_wish").default  # noqa: SLF001 - public


def deployment_of(wanted: Wanted, shelf: Shelf, *, strict: bool = False) -> Deployment:
    """Make a deployment. Raises ``PlannerError`` where ``strict``, for what is a slip of the pen.

    Else, and for models that are only not known well enough, it has no variants and says why.
    """
    try:
        found = variants_of(wanted.model, wanted.quant_floor, wanted.quant_wish, shelf=shelf)
    except UnknownModelError as error:
        if strict and not error.heard_of:
            raise
        return _unknown(wanted, "model", str(error))
    except UnknownQuantError as error:
        return _unknown(wanted, "quant", str(error))
    except PlannerError as error:
        if strict:
            raise
        return _unknown(wanted, "quant", str(error))
    return _made(wanted, found)


def _unknown(wanted: Wanted, what: Literal["model", "quant"], text: str) -> Deployment:
    made = _made(wanted, ())
    return replace(made, unknown=what, unknown_text=text)


def _made(wanted: Wanted, variants: tuple[Variant, ...]) -> Deployment:
    floor, wish = _contexts(wanted, variants)
    return Deployment(
        name=wanted.name,
        model=wanted.model,
        variants=variants,
        ctx_floor=floor,
        ctx_wish=wish,
        parallel=wanted.parallel,
        kv_types=wanted.kv_types or None,
        priority=wanted.priority,
        prefer=wanted.prefer,
        residency=wanted.residency,
        offload_allowed=wanted.offload_allowed,
        replicas=wanted.replicas,
        nodes=frozenset(wanted.nodes),
        pin=wanted.pin,
        keep_apart=frozenset(wanted.keep_apart),
        min_tokens_per_s=wanted.min_tokens_per_s,
        give_way=wanted.give_way or USUAL_ORDER,
        same_name=wanted.same_name,
    )


def _contexts(wanted: Wanted, variants: tuple[Variant, ...]) -> tuple[int, int]:
    """Fill in contexts that were left out, within what the model was trained with."""
    floor, wish = wanted.ctx_floor, wanted.ctx_wish
    trained = variants[0].model.shape.ctx_train if variants else 0
    most = trained or max(USUAL_WISH, floor or 0, wish or 0)
    if floor is not None:
        return floor, wish if wish is not None else floor
    wish = min(USUAL_WISH, most) if wish is None else wish
    return min(USUAL_FLOOR, wish), wish
