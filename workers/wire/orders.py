"""What the hub asks a node to do."""

from typing import Annotated, Self

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from workers.values import Count, Maybe, Small
from workers.wire.applies import AliasName, Parameters
from workers.wire.base import (
    PROTOCOL_VERSION,
    InstalledName,
    InstanceUrl,
    Message,
    ModelName,
    Protocol,
    Slug,
    TryId,
)
from workers.wire.loads import (
    FOREVER_S,
    MOST_CONTEXT,
    MOST_KEEP_S,
    MOST_MAIN_GPU,
    LoadWishName,
)
from workers.wire.origins import Origin

_alias: TypeAdapter[str] = TypeAdapter(AliasName)


class Order(Message):
    """What every order carries."""

    protocol: Protocol = PROTOCOL_VERSION
    node: Slug


class PullOrder(Order):
    """Pull ``model`` on ``instance_url``. ``attempt`` grows when the hub sends a job again.

    From ``origin`` where that is set, else from the registry of its name. ``keep_free_bytes`` shall
    be free on its disk afterwards.
    """

    job_id: int
    attempt: int
    instance: str
    instance_url: InstanceUrl
    model: ModelName
    deadline_s: float
    keep_free_bytes: Count = 0
    origin: Origin | None = None


class RefreshOrder(Order):
    """Read and report the whole inventory now."""


class TryOrder(Order):
    """Ask ``model`` once; the prompt is under ``try_prompt_key``.

    ``main_gpu`` is that with which it was loaded by hand: with another, Ollama would load it anew.
    """

    try_id: TryId
    instance_url: InstanceUrl
    model: InstalledName
    main_gpu: Maybe[Small] = None


class LoadOrder(Order):
    """Load ``model``, change how long it stays, or unload it.

    ``context`` is in tokens per slot, ``None`` as its server has it. ``keep_s`` is -1 for ever.
    ``main_gpu`` counts as the server does.
    """

    job_id: int
    instance_url: InstanceUrl
    model: InstalledName
    wish: LoadWishName
    context: Annotated[int, Field(ge=1, le=MOST_CONTEXT)] | None = None
    keep_s: Annotated[int, Field(ge=FOREVER_S, le=MOST_KEEP_S)] = 300
    main_gpu: Annotated[int, Field(ge=0, le=MOST_MAIN_GPU)] | None = None
    deadline_s: Annotated[float, Field(gt=0)]


class CreateOrder(Order):
    """Give ``base``, which is installed, a name of LabDash's own that keeps ``parameters``.

    Or give them to the base itself: then ``model`` is the same name.
    """

    job_id: int
    instance_url: InstanceUrl
    model: InstalledName
    base: InstalledName
    parameters: Parameters
    deadline_s: Annotated[float, Field(gt=0)]

    @model_validator(mode="after")
    def _names_nothing_of_others(self) -> Self:
        if self.model != self.base and not is_alias(self.model):
            raise ValueError("only names under labdash/ are made, or the base itself")
        return self


class DeleteOrder(Order):
    """Delete a name that a ``CreateOrder`` made, after unloading what was loaded by it."""

    job_id: int
    instance_url: InstanceUrl
    model: AliasName
    deadline_s: Annotated[float, Field(gt=0)]


def is_alias(name: str) -> bool:
    """Tell whether a name is one of LabDash's own."""
    try:
        return bool(_alias.validate_python(name))
    except ValidationError:
        return False
