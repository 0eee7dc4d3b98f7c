"""Names of a server that are changed by hand: orders to copy, rename, delete and quantize."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from workers.values import Count, Identity, Maybe, Moment, Prose, Text
from workers.wire.base import PROTOCOL_VERSION, InstalledName, InstanceUrl, Message, Protocol, Slug
from workers.wire.orders import Order

# Small files are written; a disk that sleeps has to wake, and a model that answers has to leave.
NAME_DEADLINE_S = 180.0
# Ollama says nothing while it quantizes: 140 GB at the 40 MB/s of a slow disk take an hour.
QUANTIZE_DEADLINE_S = 4 * 3600.0
# The digest of a manifest, as servers list it.
ManifestDigest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]

type NameAct = Literal["copy", "rename", "delete", "quantize"]
# All that Ollama can make of F16, BF16 and F32.
type Quant = Literal["q8_0", "q4_K_M", "q4_K_S"]
type NamePhase = Literal["working", "done", "failed", "cancelled"]


class NameOrder(Order):
    """Copy ``model`` to ``target``, rename it so, make ``quant`` of it, or delete it.

    With ``digest``, only while the name still stands for that manifest. ``replaces``: the target
    of a copy may stand for something else, which goes with its files. What is renamed or deleted
    is unloaded first.
    """

    job_id: int
    instance_url: InstanceUrl
    act: NameAct
    model: InstalledName
    target: InstalledName | None = None
    digest: ManifestDigest | None = None
    quant: Quant | None = None
    replaces: bool = False
    deadline_s: Annotated[float, Field(gt=0)]

    @model_validator(mode="after")
    def _has_its_target(self) -> Self:
        if (self.target is None) != (self.act == "delete"):
            raise ValueError("all but a deletion need a target")
        if (self.quant is None) == (self.act == "quantize"):
            raise ValueError("a quant is what quantizing makes, and nothing else")
        return self


class NameProgress(Message):
    """How such an order stands; also its heartbeat. ``digest`` is what the target stands for.

    ``reason`` is what the server said, ``meaning`` what that means, in plain sentences.
    """

    kind: Literal["name"] = "name"
    protocol: Protocol = PROTOCOL_VERSION
    node: Slug
    sent_at: Moment
    job_id: Count
    act: NameAct
    phase: NamePhase
    digest: Maybe[Identity] = None
    reason: Maybe[Prose] = None
    meaning: Maybe[Text] = None
