"""The six labs of real owners, read and planned once a test run."""

from dataclasses import replace
from functools import cache

from labdash.env import ROOT
from labdash.planner.explain import explained
from labdash.planner.lab import Deployment, Lab
from labdash.planner.memory.caches import count_cells
from labdash.planner.memory.estimate import kv_bytes
from labdash.planner.memory.split import split_layers
from labdash.planner.plan import Choice, Plan
from labdash.planner.proposals import proposed
from labdash.planner.settings import Gpu, Settings
from labdash.planner.solve import solve
from labdash.queries.lab_file import parse
from labdash.queries.variants import smaller

FOLDER = ROOT / "tests" / "fixtures" / "labs"
LIMIT_S = 300.0


@cache
def real_lab(number: str) -> Lab:
    """Read a lab by the number in its file's name."""
    (path,) = FOLDER.glob(f"{number}-*.toml")
    return parse(path.read_text("utf-8"))


@cache
def real_plan(number: str) -> Plan:
    """Plan it, with reasons and proposals, however busy this machine is."""
    lab = real_lab(number)
    plan = explained(lab, solve(lab, limit_s=LIMIT_S), smaller=smaller)
    return replace(plan, proposals=proposed(lab, plan))


def wanted(number: str, name: str) -> Deployment:
    """Return a deployment of a lab."""
    return next(each for each in real_lab(number).deployments if each.name == name)


def chosen(number: str, name: str) -> Choice:
    """Return what a deployment of a lab was given."""
    placements = real_plan(number).placements
    return next(each.choice for each in placements if each.deployment.name == name)


def cache_bytes(deployment: Deployment, ctx: int, kind: str = "f16") -> int:
    """Tell what the cache of a deployment's floor takes of a GPU."""
    model = deployment.variants[-1].model
    settings = Settings(build=10488, ctx=ctx, type_k=kind, type_v=kind, gpus=(Gpu(),))
    split = split_layers(model.shape.block_count, settings)
    return sum(kv_bytes(model, settings, split, count_cells(model.shape, settings)))
