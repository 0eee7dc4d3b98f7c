"""A plan made of what each node holds."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from labdash.planner.lab import CPU, Node
from labdash.planner.loading import Load, Settled
from labdash.planner.placement import why_none
from labdash.planner.plan import DeviceLoad, Placement, Plan, Refusal, Status, Unproved
from labdash.planner.score import score
from labdash.planner.solving.problem import Column, Problem


def plan_of(
    problem: Problem,
    sets: Sequence[Sequence[Column]],
    *,
    proved: bool = False,
    gap: float | None = None,
    out_of_time: bool = False,
    unproved: Unproved | None = None,
) -> Plan:
    """Write down a plan. ``proved``: nothing can be better by more than the gap."""
    outcomes = [problem.verdict(node, columns).outcome for node, columns in enumerate(sets)]
    settled = [each for each in outcomes if isinstance(each, Settled)]
    placements = _placements(problem, [load for each in settled for load in each.loads])
    chosen = [
        (each.deployment, each.choice, problem.points(each.deployment, each.choice))
        for each in placements
    ]
    status: Status = "infeasible"
    if placements or not problem.wanted:
        status = "optimal" if proved else "feasible"
    return Plan(
        status=status,
        score=score(problem.wanted, chosen),
        gap=gap,
        placements=placements,
        refusals=tuple(_refusals(problem, placements)),
        devices=tuple(
            load
            for node, each in zip(problem.nodes, settled, strict=True)
            for load in _devices(node, each)
        ),
        limited_by="time" if out_of_time else None,
        unproved=unproved,
    )


def _placements(problem: Problem, loads: Iterable[Load]) -> tuple[Placement, ...]:
    """Count the replicas of each deployment by the names of their instances."""
    ordered = sorted(
        loads,
        key=lambda load: (problem.numbers[load.pick.deployment], load.choice.instance),
    )
    made: list[Placement] = []
    for load in ordered:
        before = made[-1] if made and made[-1].deployment is load.pick.deployment else None
        made.append(
            Placement(
                deployment=load.pick.deployment,
                replica=before.replica + 1 if before else 0,
                choice=load.choice,
                load_order=load.load_order,
                shares=load.shares,
            )
        )
    return tuple(made)


def _refusals(problem: Problem, placements: Iterable[Placement]) -> Iterable[Refusal]:
    served = [0] * len(problem.wanted)
    for each in placements:
        served[problem.numbers[each.deployment]] += 1
    for number, deployment in enumerate(problem.wanted):
        if served[number] == deployment.replicas:
            continue
        first = _refusal(problem, number)
        for replica in range(served[number], deployment.replicas):
            yield replace(first, replica=replica)


def _refusal(problem: Problem, number: int) -> Refusal:
    deployment = problem.wanted[number]
    if problem.groups[number]:
        text = "There is room for it alone, but others took it."
        return Refusal(deployment=deployment, replica=0, limit="lost", text=text)
    blocked = why_none(problem.lab, deployment)
    return Refusal(
        deployment=deployment,
        replica=0,
        limit=blocked.limit,
        text=blocked.text,
        short_bytes=blocked.short_bytes,
    )


def _devices(node: Node, settled: Settled) -> Iterable[DeviceLoad]:
    for card in node.cards:
        device = f"{node.name}/{card.index}"
        yield DeviceLoad(
            node=node.name,
            device=device,
            total_bytes=card.total_bytes,
            reserved_bytes=card.total_bytes - card.room_bytes,
            planned_bytes=settled.devices.get(device, 0),
        )
    device = f"{node.name}/{CPU}"
    yield DeviceLoad(
        node=node.name,
        device=device,
        total_bytes=node.ram_bytes,
        reserved_bytes=(node.ram_bytes or 0) - (node.ram_room_bytes or 0),
        planned_bytes=settled.devices.get(device, 0),
    )
