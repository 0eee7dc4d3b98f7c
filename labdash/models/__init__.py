"""What is stored: one file per noun."""

from labdash.models.access import Attempt, CodePurpose, OneTimeCode
from labdash.models.deployment import Deployment, Prefer, Residency
from labdash.models.guide import TourClosed
from labdash.models.joining import Invitation, Membership
from labdash.models.library import Family, InstalledModel, Variant
from labdash.models.load import LOAD_ENDED, LoadJob, LoadState, LoadWish
from labdash.models.node import SLUG, Gpu, GpuSource, Instance, Node, NodeKind
from labdash.models.plan import (
    IN_FORCE,
    ITEM_OVER,
    ItemState,
    ItemWish,
    Plan,
    PlanItem,
    PlanState,
    Prediction,
    Verdict,
)
from labdash.models.problem import Problem
from labdash.models.pull import (
    ENDED,
    RUNNING,
    PullJob,
    PullSettings,
    PullSource,
    PullState,
    UnusedRule,
)
from labdash.models.sample import GpuPeriod, GpuSample, Tier
from labdash.models.schedule import PullSchedule, RunState, ScheduleRun, ScheduleWhat, UpdateRule
from labdash.models.shelf import (
    MOVE_ENDED,
    NAME_ENDED,
    Manifest,
    Move,
    MoveState,
    NameAct,
    NameJob,
    NameState,
)
from labdash.models.transfer import Transfer
from labdash.models.update import (
    HELD_BACK,
    UPDATE_ENDED,
    Update,
    UpdateState,
    UpstreamHost,
    UpstreamManifest,
    UpstreamState,
    UpstreamTag,
)

__all__ = [
    "ENDED",
    "HELD_BACK",
    "IN_FORCE",
    "ITEM_OVER",
    "LOAD_ENDED",
    "MOVE_ENDED",
    "NAME_ENDED",
    "RUNNING",
    "SLUG",
    "UPDATE_ENDED",
    "Attempt",
    "CodePurpose",
    "Deployment",
    "Family",
    "Gpu",
    "GpuPeriod",
    "GpuSample",
    "GpuSource",
    "InstalledModel",
    "Instance",
    "Invitation",
    "ItemState",
    "ItemWish",
    "LoadJob",
    "LoadState",
    "LoadWish",
    "Manifest",
    "Membership",
    "Move",
    "MoveState",
    "NameAct",
    "NameJob",
    "NameState",
    "Node",
    "NodeKind",
    "OneTimeCode",
    "Plan",
    "PlanItem",
    "PlanState",
    "Prediction",
    "Prefer",
    "Problem",
    "PullJob",
    "PullSchedule",
    "PullSettings",
    "PullSource",
    "PullState",
    "Residency",
    "RunState",
    "ScheduleRun",
    "ScheduleWhat",
    "Tier",
    "TourClosed",
    "Transfer",
    "UnusedRule",
    "Update",
    "UpdateRule",
    "UpdateState",
    "UpstreamHost",
    "UpstreamManifest",
    "UpstreamState",
    "UpstreamTag",
    "Variant",
    "Verdict",
]
