"""What makes a server see only some GPUs, in the order given."""

from collections.abc import Iterable, Sequence

from labdash.planner.lab import Instance, Node
from labdash.planner.placing.seats import visible

VARIABLES = {"nvidia": "CUDA_VISIBLE_DEVICES", "amd": "ROCR_VISIBLE_DEVICES"}
# Vulkan, for what has no driver of its own and for cards of several makers.
OTHERS = "GGML_VK_VISIBLE_DEVICES"
# CUDA counts the fastest first unless it is told to count as the driver does.
ORDER = "CUDA_DEVICE_ORDER=PCI_BUS_ID"
# ROCR is of Linux alone.
ON_WINDOWS = "HIP_VISIBLE_DEVICES"
NO_VULKAN = "OLLAMA_VULKAN=0"
# What decides which cards a server sees.
HIDING = (*VARIABLES.values(), OTHERS, ON_WINDOWS, "CUDA_DEVICE_ORDER", "OLLAMA_VULKAN")


def card_makers(node: Node, instance: Instance) -> set[str]:
    """Tell who made the cards that an instance sees; an unknown maker is taken for NVIDIA."""
    return {card.vendor or "nvidia" for card in visible(node, instance)}


def visible_lines(makers: Iterable[str], gpus: Sequence[int]) -> tuple[str, ...]:
    """Write the variables, as they are written into an environment. Apple's need none."""
    found = set(makers)
    if not found or found == {"apple"}:
        return ()
    name = VARIABLES.get(next(iter(found)), OTHERS) if len(found) == 1 else OTHERS
    line = f"{name}={','.join(map(str, gpus))}"
    return (ORDER, line) if found == {"nvidia"} else (line,)


def only_lines(node: Node, instance: Instance) -> tuple[str, ...]:
    """Write what makes an Ollama see its cards and no other ones of the node.

    From 0.30 on it finds by Vulkan what its first driver was told to hide: without Vulkan that
    ends. Cards of AMD may have no other driver, so that both are told.
    """
    makers = card_makers(node, instance)
    lines = visible_lines(makers, instance.gpus)
    if {card.index for card in node.cards} <= set(instance.gpus):
        return lines
    if makers == {"nvidia"}:
        return (*lines, NO_VULKAN)
    if makers == {"amd"}:
        numbers = ",".join(map(str, instance.gpus))
        name = ON_WINDOWS if node.kind == "windows" else VARIABLES["amd"]
        return (f"{name}={numbers}", f"{OTHERS}={numbers}")
    return lines
