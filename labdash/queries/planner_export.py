"""A plan as text that other tools take."""

from collections.abc import Iterator
from dataclasses import dataclass

from labdash.planner import exports
from labdash.planner.lab import Lab
from labdash.planner.plan import Placement, Plan


@dataclass(frozen=True, kw_only=True)
class Exported:
    """One placement in three ways."""

    name: str
    where: str
    modelfile: str
    ollama: str
    llama_server: str


def export(plan: Plan, lab: Lab) -> tuple[Exported, ...]:
    """Write each placement, in the plan's order."""
    return tuple(_one(each, lab) for each in plan.placements)


def as_text(plan: Plan, lab: Lab) -> str:
    """Write the whole plan as one text: commands first, then the same for llama-server."""
    if not plan.placements:
        return ""
    return "\n".join([exports.plan_commands(lab, plan), *_servers(plan, lab)])


def _servers(plan: Plan, lab: Lab) -> Iterator[str]:
    yield "# The same with llama.cpp's server, without Ollama:"
    for each in plan.placements:
        text = exports.llama_server(lab, each).rstrip()
        yield "\n".join(line if line.startswith("#") else f"# {line}" for line in text.splitlines())


def _one(placement: Placement, lab: Lab) -> Exported:
    copy = f", copy {placement.replica + 1}" if placement.deployment.replicas > 1 else ""
    return Exported(
        name=f"{placement.deployment.name}{copy}",
        where=placement.choice.instance,
        modelfile=exports.modelfile(placement),
        ollama=exports.ollama_commands(lab, placement),
        llama_server=exports.llama_server(lab, placement),
    )
