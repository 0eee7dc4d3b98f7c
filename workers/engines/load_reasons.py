"""What it means when Ollama refuses a load, from the texts that it gives (seen on 0.33.0-rc2)."""

import re

# Searched in this order: an earlier one may be a special case of a later one.
_RULES = (
    (
        r"not recorded",
        (
            "This is a limit of the simulation: nobody recorded what this model takes with these"
            " settings. Choose another context. A real Ollama would have tried."
        ),
    ),
    (
        r"requires more system memory",
        (
            "The RAM is too small for what does not fit on the GPUs. Unload something else, choose"
            " a shorter context, or a smaller quant."
        ),
    ),
    (
        r"memory layout cannot|out.?of.?(device.?)?memory|cudaMalloc|failed to allocate",
        (
            "The GPU's memory is too small for it now. Unload something else, choose a shorter"
            " context or a smaller quant.{unpin}"
        ),
    ),
    (
        r"unknown (model )?architecture|requires? a newer version|unsupported model|412",
        "This Ollama ({version}) does not know this kind of model. Update Ollama there.",
    ),
    (
        (
            r"invalid magic|magic number|corrupt|invalid file|unexpected EOF while reading|^EOF$"
            r"|tensor .{0,80}(out of bounds|exceeds file size)|failed to read"
        ),
        "The model's file is damaged. Delete the model and pull it again.",
    ),
    (
        r"invalid character .{1,40} looking for beginning",
        "What Ollama noted of this model is damaged. Pull it again.",
    ),
    (
        r"maximum pending requests|server busy",
        "Ollama has too many requests waiting already. Try again when it is less busy.",
    ),
    (
        r"cloud is disabled|remote model|signin_url|unauthorized",
        "This model runs in Ollama's cloud and needs no memory here: there is nothing to load.",
    ),
    (
        r"does not support (generate|chat|embed)",
        "Ollama cannot load this kind of model by request. It loads when a program uses it.",
    ),
    (
        r"no such file|try pulling it first|not found",
        "This server has no such model any more, or its file is missing. Pull it again.",
    ),
    (
        r"option .{1,40} must be of type",
        (
            "A parameter stored in the model has the wrong type. Make the model again with a number"
            " in its place."
        ),
    ),
    (
        r"context (size|length)|n_ctx|kv cache",
        "The context is too large for this model or this memory. Choose a shorter one.",
    ),
    (
        r"signal: killed",
        (
            "Something killed the process, most likely the system because the RAM ran out. Choose a"
            " shorter context or a smaller quant."
        ),
    ),
    (
        r"signal: (illegal instruction|segmentation fault|aborted|bus error)|SIG(ILL|SEGV|ABRT)",
        "The process crashed. Update Ollama and the driver; the log may say where it crashed.",
    ),
    (
        r"timed out waiting",
        (
            "It made no step for minutes: the disk may be too slow, or the driver hangs. The log"
            " shows how far it came."
        ),
    ),
    (
        (
            r"process has terminated|runner has unexpectedly stopped|exit status"
            r"|unable to load model|failed to load model"
        ),
        (
            "The process that runs the model ended while it loaded. The log says more; often the"
            " memory was too small."
        ),
    ),
)
_PINNED = re.compile(r"exit status|has terminated|unexpectedly stopped")
# Nothing but this is told of a GPU that the server does not have.
_BARE_EXIT = re.compile(r"process has terminated: exit status 1\s*$")
_SHOWN = 900


def explain(text: str, *, version: str | None, main_gpu: int | None, gpus: int | None) -> str:
    """Say in plain words what a refusal means; ``gpus`` is how many the machine has, if known."""
    if main_gpu is not None and gpus is not None and main_gpu >= gpus and _PINNED.search(text):
        return f"There is no GPU {main_gpu} for this server: it counts from 0 and has {gpus}."
    if main_gpu is not None and _BARE_EXIT.search(text):
        return (
            "The process that runs the model ended while it loaded. If this server does not see all"
            f" cards (CUDA_VISIBLE_DEVICES), it may have no GPU {main_gpu}: load it without one."
            " Else the log says more."
        )
    for pattern, meaning in _RULES:
        if re.search(pattern, text, re.IGNORECASE):
            unpin = " Or load it without a GPU chosen." if main_gpu is not None else ""
            return meaning.format(version=version or "of an unknown version", unpin=unpin)
    return "LabDash does not know this error. The log may say more."


def clean(text: str) -> str:
    """Make one line of what a server said, without more than a page can show."""
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…"
