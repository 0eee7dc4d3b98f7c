"""Under which name a quant of a model is to be pulled: as published, or as it usually is.

The tags of Ollama's library are ``SIZE[-WORDS]-QUANT``. Which of them it has was seen for all
models that the catalog has of it. For a lab's own entries the usual ones are taken: until the end
of 2024 it held all usual quants of a model, since then four bits, eight and sixteen. The others lie
on Hugging Face.
"""

import re

from labdash.catalog.library import is_seen, tags_seen
from labdash.catalog.models import QUANT, CatalogModel, PublishedFile

# What stands between size and quant.
WORDS = {
    "codellama": "instruct", "codestral": "v0.1", "command-r": "08-2024", "command-r7b": "12-2024",
    "deepseek-coder": "instruct", "deepseek-coder-v2": "lite-instruct", "deepseek-v2": "lite-chat",
    "devstral": "small-2505", "devstral-small-2": "instruct-2512", "dolphin3": "llama3.1",
    "falcon3": "instruct", "gemma": "instruct", "gemma2": "instruct", "gemma3": "it",
    "gemma3n": "it", "gemma4": "it", "glm4": "chat", "granite3.1-moe": "instruct",
    "granite3.3": "instruct", "hermes3": "llama3.1", "llama2": "chat", "llama3": "instruct",
    "llama3.1": "instruct", "llama3.2": "instruct", "llama3.2-vision": "instruct",
    "llama3.3": "instruct", "magistral": "small-2506", "minicpm-v": "2.6",
    "ministral-3": "instruct-2512",
    "mistral": "instruct", "mistral-nemo": "instruct-2407", "mistral-small3.1": "instruct-2503",
    "mistral-small3.2": "instruct-2506", "mixtral": "instruct-v0.1", "moondream": "v2",
    "nemotron": "instruct",
    "nemotron-mini": "instruct", "olmo2": "1124-instruct", "phi3.5": "mini-instruct",
    "qwen2.5": "instruct", "qwen2.5-coder": "instruct", "qwen3-vl": "instruct",
    "smollm2": "instruct", "tinyllama": "chat-v1", "yi": "chat",
}  # fmt: skip
# Tags whose short form leaves out more than that.
LONG = {
    "qwen3-coder:30b": "30b-a3b",
    "qwen3-coder:480b": "480b-a35b", "qwen3-vl:30b": "30b-a3b-instruct",
    "qwen3-next:80b": "80b-a3b-instruct", "qwen3.5:35b": "35b-a3b", "qwen3.5:122b": "122b-a10b",
    "qwen3.6:35b": "35b-a3b", "deepseek-r1:1.5b": "1.5b-qwen-distill",
    "deepseek-r1:7b": "7b-qwen-distill", "deepseek-r1:8b": "8b-0528-qwen3",
    "deepseek-r1:14b": "14b-qwen-distill", "deepseek-r1:32b": "32b-qwen-distill",
    "deepseek-r1:70b": "70b-llama-distill", "deepseek-r1:671b": "671b-0528",
    "llama4:16x17b": "17b-scout-16e-instruct", "llama4:128x17b": "17b-maverick-128e-instruct",
    "mistral-small:22b": "22b-instruct-2409", "mistral-small:24b": "24b-instruct-2501",
    "phi3:3.8b": "3.8b-mini-4k-instruct", "phi3:14b": "14b-medium-128k-instruct",
    "nomic-embed-text:latest": "137m-v1.5", "glm-4.7-flash:latest": "",
    "gemma:7b": "7b-instruct-v1.1", "gemma4:26b": "26b-a4b-it", "lfm2.5:latest": "8b-a1b",
    "llava:7b": "7b-v1.6-mistral", "llava:13b": "13b-v1.6-vicuna", "llava:34b": "34b-v1.6",
    "mistral:7b": "7b-instruct-v0.3", "mistral:7b-instruct-v0.1-q4_0": "7b-instruct",
    "mistral-large:123b": "123b-instruct-2407", "nemotron-3-nano:30b": "30b-a3b",
}  # fmt: skip
FEWER_SINCE = "2024-12-07"
FEWER = frozenset(("Q4_K_M", "Q8_0", "F16", "BF16", "MXFP4_MOE"))
# Whose repositories are named after the model's own: where to look for what nobody here has seen.
PUBLISHER = "unsloth"
HUBS = ("hf.co/", "huggingface.co/")
# A file as the catalog has it of a publisher on Hugging Face, and one with its repository.
FILE = re.compile(r"(?P<owner>[\w-]+)/(?P<stem>[\w.-]+)-(?P<quant>[A-Za-z0-9_]+)\.gguf")
FILE_IN = re.compile(r"(?P<repository>[\w-]+/[\w.-]+)/[\w.-]+\.gguf")


def library_name(known: CatalogModel, quant: str) -> str | None:
    """Return the library's tag for a quant, None where it has none or hardly one."""
    if not known.ollama or quant.startswith(("IQ", "TQ")):
        return None
    tag, seen = _usual_tag(known.ollama, quant), tags_seen(known.ollama)
    if seen:
        return tag if tag in seen or _is_default(known, quant) else None
    has_all = (known.released or FEWER_SINCE) < FEWER_SINCE
    return tag if has_all or quant in FEWER else None


def tag_in_sixteen_bits(known: CatalogModel) -> tuple[str, str | None]:
    """Return in which 16 bits the library has a model, with the tag; BF16 where it has neither."""
    for quant in ("BF16", "F16"):
        if tag := library_name(known, quant):
            return quant, tag
    return "BF16", None


def is_guess(name: str, file: PublishedFile | None) -> bool:
    """Tell whether nobody has seen a name published: neither in the library, nor that file."""
    return not is_seen(name) and (file is None or published_name(file) != name)


def hub_name(known: CatalogModel, quant: str, asked: str) -> str:
    """Return the name on Hugging Face, in the repository that was asked for, if one was.

    Else where the catalog has that file, or another of the model, else where most are.
    """
    tag = quant.removesuffix("_MOE")
    seen = recorded_repository(known, tag) or _told_repository(known)
    return f"{repository_of(asked) or f'hf.co/{seen or _usual_repository(known)}'}:{tag}"


def recorded_repository(known: CatalogModel, quant: str) -> str:
    """Name the repository of a file of the catalog, nothing where that is not known.

    Where a file tells none, publishers call it after the model.
    """
    base, owners = base_of(known), known.hf_repo.rpartition("/")[0]
    for file in known.files:
        if file.quant != quant:
            continue
        if told := _told_in(file.file):
            return told
        found = FILE.fullmatch(file.file)
        if found and found["stem"].lower() == base.lower():
            name = base if found["owner"] == owners else found["stem"]
            return f"{found['owner']}/{name}-GGUF"
    return ""


def published_name(file: PublishedFile) -> str:
    """Return what a file of the catalog is pulled by, as far as its entry tells that."""
    told = "" if is_on_hub(file.file) else _told_in(file.file)
    return f"hf.co/{told}:{file.quant}" if told else file.file


def base_of(known: CatalogModel) -> str:
    """Name a model as its own repository does, without the owner."""
    return known.hf_repo.rpartition("/")[2]


def is_on_hub(asked: str) -> bool:
    """Tell a name of Hugging Face from one of the library."""
    return asked.lower().startswith(HUBS)


def repository_of(name: str) -> str:
    """Return the repository of a name of Hugging Face, nothing for another name."""
    return name.partition(":")[0] if is_on_hub(name) else ""


def _usual_tag(own_tag: str, quant: str) -> str:
    family, _, tag = own_tag.partition(":")
    words = LONG.get(own_tag)
    if words is None:
        own = "" if tag == "latest" else QUANT.sub("", tag)
        words = "-".join(filter(None, (own, "" if "-" in own else WORDS.get(family, ""))))
    return f"{family}:{'-'.join(filter(None, (words, _written(quant))))}"


def _is_default(known: CatalogModel, quant: str) -> bool:
    """Tell the quant of the model's own tag, the full tag of which is the same file."""
    default = (known.default_quant or "").upper()
    return bool(default) and default == quant.removesuffix("_MOE")


def _usual_repository(known: CatalogModel) -> str:
    return f"{PUBLISHER}/{base_of(known)}-GGUF"


def _told_repository(known: CatalogModel) -> str:
    """Return the repository that a file tells of a model that few know, whatever its quant.

    Of those that the library has the usual publisher has more quants than another.
    """
    if known.ollama:
        return ""
    return next(filter(None, (_told_in(file.file) for file in known.files)), "")


def _told_in(file: str) -> str:
    if is_on_hub(file):
        return repository_of(file).partition("/")[2]
    found = FILE_IN.fullmatch(file)
    return found["repository"] if found else ""


def _written(quant: str) -> str:
    """Write a quant as tags of the library do: fp16, q4_K_M."""
    if quant in ("F16", "F32"):
        return f"fp{quant[1:]}"
    return "mxfp4" if quant == "MXFP4_MOE" else quant[0].lower() + quant[1:].replace("F16", "f16")
