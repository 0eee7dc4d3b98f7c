"""What it means when Ollama refuses to make or delete a name (texts seen on 0.33.0-rc2)."""

import re

# Searched in this order.
_RULES = (
    (
        r"no space left|disk quota|not enough space",
        "The disk of its models is full. Free some space there.",
    ),
    (
        r"permission denied|read-only file system|operation not permitted",
        "Ollama may not write to its own folder of models. Look at who owns it.",
    ),
    (r"invalid model name|is invalid", "Ollama takes {model} for no model name."),
    (
        r"neither .from. (or|nor) .files. was specified|unknown field|path or modelfile",
        "This Ollama is too old to make a name from another (before 0.5.5). Update it.",
    ),
    (
        # The text of newer versions: server/create.go of ollama, met by users of 0.34.1 and 0.35.
        r"quantization is only supported for safetensors",
        "This Ollama makes no smaller files. Pull one, or make it with llama.cpp (see the guide).",
    ),
    (r"unknown type|must be of type", "Ollama does not take one of the options as it was sent."),
    (
        r"not found|no such file|file does not exist",
        "The model or one of its files is not there any more. Pull it again.",
    ),
    (
        r"cloud is disabled|remote model",
        "This model runs in Ollama's cloud: it has no options of a GPU.",
    ),
    (
        r"the simulated server",
        "This is a limit of the simulation: it has no figures of such a file.",
    ),
    (r"unexpected EOF|^EOF$|invalid character", "What Ollama noted of this model is damaged."),
)


def explain(text: str, *, model: str) -> str:
    """Say in plain words what a refusal means."""
    for pattern, meaning in _RULES:
        if re.search(pattern, text, re.IGNORECASE):
            return meaning.format(model=model)
    return "LabDash does not know this error. The server's log may say more."
