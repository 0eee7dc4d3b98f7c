"""Every message between hub and node.

Orders go down as Celery tasks whose only argument is one of the ``…Order`` messages as a dict.
Reports come up as entries ``{"report": <JSON>}`` on the stream ``node:<slug>:reports``.
A value that could not be read is ``None``, never 0.

Both sides build what they send of what others wrote: drivers, Ollama, file names. So texts of
reports are cut and cleaned, what may be unknown and makes no sense is unknown, and an entry of a
list that makes no sense is left out of it.
"""

from workers.wire.base import (
    HIGHEST_PROTOCOL,
    MODEL_HOSTS,
    PROTOCOL_VERSION,
    InstanceUrl,
    Message,
    ModelName,
    Protocol,
    Slug,
    is_understood,
)
from workers.wire.hardware import (
    MOST_GPUS,
    MOST_PROCESSES,
    DiskReading,
    DriverReading,
    GpuProcess,
    GpuReading,
    HostReading,
)
from workers.wire.instances import (
    MOST_INSTANCES,
    MOST_LOADED,
    MOST_MODELS,
    MOST_SETTINGS,
    InstalledModel,
    InstanceReading,
    LoadedModel,
    Setting,
)
from workers.wire.keys import (
    HUB_NODE,
    cancel_key,
    hub_nodes_key,
    load_cancel_key,
    orders_queue,
    reports_key,
    spec_key,
    try_answer_key,
    try_prompt_key,
    try_wish_key,
    watched_key,
)
from workers.wire.loads import LoadPhase, LoadProgress, LoadWishName
from workers.wire.orders import LoadOrder, Order, PullOrder, RefreshOrder, TryOrder
from workers.wire.reports import Inventory, PullPhase, PullProgress, Report, Sample, report_adapter
from workers.wire.specs import DeclaredGpu, DeclaredHardware, InstanceSpec, JoinRequest, NodeSpec
from workers.wire.tries import (
    TryBegan,
    TryEnd,
    TryGpu,
    TryLine,
    TryOutcome,
    TryPlace,
    TryText,
    try_line_adapter,
)

__all__ = [
    "HIGHEST_PROTOCOL",
    "HUB_NODE",
    "MODEL_HOSTS",
    "MOST_GPUS",
    "MOST_INSTANCES",
    "MOST_LOADED",
    "MOST_MODELS",
    "MOST_PROCESSES",
    "MOST_SETTINGS",
    "PROTOCOL_VERSION",
    "DeclaredGpu",
    "DeclaredHardware",
    "DiskReading",
    "DriverReading",
    "GpuProcess",
    "GpuReading",
    "HostReading",
    "InstalledModel",
    "InstanceReading",
    "InstanceSpec",
    "InstanceUrl",
    "Inventory",
    "JoinRequest",
    "LoadOrder",
    "LoadPhase",
    "LoadProgress",
    "LoadWishName",
    "LoadedModel",
    "Message",
    "ModelName",
    "NodeSpec",
    "Order",
    "Protocol",
    "PullOrder",
    "PullPhase",
    "PullProgress",
    "RefreshOrder",
    "Report",
    "Sample",
    "Setting",
    "Slug",
    "TryBegan",
    "TryEnd",
    "TryGpu",
    "TryLine",
    "TryOrder",
    "TryOutcome",
    "TryPlace",
    "TryText",
    "cancel_key",
    "hub_nodes_key",
    "is_understood",
    "load_cancel_key",
    "orders_queue",
    "report_adapter",
    "reports_key",
    "spec_key",
    "try_answer_key",
    "try_line_adapter",
    "try_prompt_key",
    "try_wish_key",
    "watched_key",
]
