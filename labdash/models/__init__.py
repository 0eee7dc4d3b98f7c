"""What is stored: one file per noun."""

from labdash.models.access import Attempt, CodePurpose, OneTimeCode
from labdash.models.joining import Invitation, Membership
from labdash.models.library import Family, InstalledModel, Variant
from labdash.models.load import LOAD_ENDED, LoadJob, LoadState, LoadWish
from labdash.models.node import SLUG, Gpu, GpuSource, Instance, Node, NodeKind
from labdash.models.problem import Problem
from labdash.models.pull import ENDED, RUNNING, PullJob, PullState
from labdash.models.sample import GpuPeriod, GpuSample, Tier

__all__ = [
    "ENDED",
    "LOAD_ENDED",
    "RUNNING",
    "SLUG",
    "Attempt",
    "CodePurpose",
    "Family",
    "Gpu",
    "GpuPeriod",
    "GpuSample",
    "GpuSource",
    "InstalledModel",
    "Instance",
    "Invitation",
    "LoadJob",
    "LoadState",
    "LoadWish",
    "Membership",
    "Node",
    "NodeKind",
    "OneTimeCode",
    "Problem",
    "PullJob",
    "PullState",
    "Tier",
    "Variant",
]
