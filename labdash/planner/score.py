"""How good a plan is: a tuple, compared in order.

First how many deployments are served, by priority; then how few layers lie on the CPU; then how
near all come to what was wished; then how little has to move.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

from labdash.planner.lab import USUAL_ORDER, Deployment, Prefer, Yields
from labdash.planner.plan import Choice, Score

# What gives way first weighs least.
WEIGHTS = (1, 4, 16)
SPEED_WEIGHT = 1
PREFERRED = 4
PREFERENCES: Mapping[Prefer, str] = {"quality": "quant", "context": "ctx", "speed": "speed"}
# Satisfactions are whole numbers of this part, so that sums are the same in any order.
PARTS = 1_000_000


def order_of(deployment: Deployment) -> tuple[Yields, ...]:
    """Return what gives way, first to last, with what was left out at the end."""
    given = deployment.give_way
    return (*given, *(each for each in USUAL_ORDER if each not in given))


def spares_cpu(deployment: Deployment) -> bool:
    """Whether its layers on the CPU count before all wishes: where offload gives way last."""
    return order_of(deployment)[-1] == "offload"


def satisfaction(deployment: Deployment, choice: Choice, *, fastest: float | None) -> int:
    """Tell how much of what was wished a choice gives, in millionths.

    ``fastest`` is the greatest speed that any choice of the deployment has in an empty lab.
    """
    shares = {
        "ctx": _share(choice.ctx, deployment.ctx_floor, deployment.ctx_wish),
        "quant": _quant(deployment, choice),
    }
    weights = dict(zip(order_of(deployment), WEIGHTS, strict=True))
    considered = {"ctx": float(weights["ctx"]), "quant": float(weights["quant"])}
    if not spares_cpu(deployment):
        layers = sum(choice.layers.values())
        shares["offload"] = 1 - choice.cpu_layers / layers
        considered["offload"] = weights["offload"]
    if fastest is not None:
        shares["speed"] = _share(
            choice.tokens_per_s or 0.0, deployment.min_tokens_per_s or 0.0, fastest
        )
        considered["speed"] = SPEED_WEIGHT
    preferred = PREFERENCES[deployment.prefer]
    if preferred in considered:
        considered[preferred] *= PREFERRED
    total = sum(considered.values())
    return round(PARTS * sum(shares[part] * weight for part, weight in considered.items()) / total)


def score(
    deployments: Iterable[Deployment], chosen: Iterable[tuple[Deployment, Choice, int]]
) -> Score:
    """Sum up: ``chosen`` holds a choice for each replica that is served, and its satisfaction."""
    chosen = list(chosen)
    served = Counter(deployment.priority for deployment, _, _ in chosen)
    priorities = sorted({each.priority for each in deployments})
    return Score(
        served=tuple(served[priority] for priority in priorities),
        cpu_layers=sum(c.cpu_layers for d, c, _ in chosen if spares_cpu(d)),
        value=sum(points for _, _, points in chosen) / PARTS,
        moved_bytes=sum(choice.download_bytes + choice.moved_bytes for _, choice, _ in chosen),
    )


def _share(got: float, floor: float, wish: float) -> float:
    """Tell how far from floor to wish, 1 where they are the same."""
    return 1.0 if wish <= floor else min(1.0, max(0.0, (got - floor) / (wish - floor)))


def _quant(deployment: Deployment, choice: Choice) -> float:
    """Compare by what quants lose where all were measured, else by their size."""
    best, worst = deployment.variants[0], deployment.variants[-1]
    if best is worst:
        return 1.0
    losses = (choice.variant.loss, worst.loss, best.loss)
    if any(loss is None for loss in losses):
        each = (choice.variant, worst, best)
        return _share(*(variant.bits_per_weight for variant in each))
    return _share(*(-(loss or 0.0) for loss in losses))
