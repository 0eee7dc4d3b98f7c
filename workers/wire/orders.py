"""What the hub asks a node to do."""

from workers.wire.base import PROTOCOL_VERSION, InstanceUrl, Message, ModelName, Protocol, Slug


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
