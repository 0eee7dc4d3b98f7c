"""What all messages share, and the grammar of what orders may name."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

PROTOCOL_VERSION = 1

# Hub and nodes are not updated in one moment: one version more or less is understood.
VERSIONS_APART = 1

# What no version of LabDash will reach: other numbers are noise.
HIGHEST_PROTOCOL = 9999

Protocol = Annotated[int, Field(strict=True, ge=1, le=HIGHEST_PROTOCOL)]
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,49}$")]
# Where models may come from: an order must not make a node open an arbitrary address.
MODEL_HOSTS = ("registry.ollama.ai", "hf.co", "huggingface.co")
# [[host/]namespace/]model[:tag], parts of 80 characters, as Ollama's grammar has it.
ModelName = Annotated[
    str,
    StringConstraints(
        pattern=r"^((registry\.ollama\.ai|hf\.co|huggingface\.co)/[A-Za-z0-9_][A-Za-z0-9_\-]{0,79}/"
        r"|[A-Za-z0-9_][A-Za-z0-9_\-]{0,79}/)?"
        r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,79}(:[A-Za-z0-9_][A-Za-z0-9_.\-]{0,79})?$",
        max_length=350,
    ),
]
# A name under which something is installed, from whatever registry it once came.
InstalledName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:/\-]*$", max_length=350)
]
# 128 bits, so that nobody guesses one.
TryId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
InstanceUrl = Annotated[str, StringConstraints(pattern=r"^https?://[^\s/@?#]+$", max_length=300)]


def is_understood(protocol: int) -> bool:
    """Tell whether this side understands what speaks a version of the protocol."""
    return abs(protocol - PROTOCOL_VERSION) <= VERSIONS_APART


class Message(BaseModel):
    """A frozen value. Unknown fields are dropped: the other side may be one version newer."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)
