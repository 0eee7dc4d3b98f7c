"""What the hub asks a node to do."""

from workers.values import Maybe, Small
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


class Order(Message):
    """What every order carries."""

    protocol: Protocol = PROTOCOL_VERSION
    node: Slug


class PullOrder(Order):
    """Pull ``model`` on ``instance_url``. ``attempt`` grows when the hub sends a job again."""

    job_id: int
    attempt: int
    instance: str
    instance_url: InstanceUrl
    model: ModelName
    deadline_s: float


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
