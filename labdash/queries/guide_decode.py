"""Names of models and files taken apart: what each piece means, and what is not known."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from labdash.catalog.models import models
from labdash.catalog.name_words import NEAREST, QUANT, letters_of, meaning_of
from labdash.catalog.own import kept
from labdash.planner.errors import PlannerError
from labdash.planner.file_types import find_file_type

LONGEST_NAME = 300
HOSTS = {
    "hf.co": "published on Hugging Face",
    "huggingface.co": "published on Hugging Face",
    "ollama.com": "Ollama's library",
    "registry.ollama.ai": "Ollama's library",
}
COMMANDS = re.compile(r"^(?:ollama\s+(?:run|pull|show)(?:\s+|$)|https?://)+", re.IGNORECASE)
# What stands between repository and file in an address of Hugging Face.
BETWEEN = frozenset(("resolve", "blob", "main", "library", "tree"))
# A point ends a word unless it stands between digits.
ENDS = re.compile(r"[-_\s@]+|\.(?!\d)|(?<!\d)\.(?=\d)")
# What stands behind a model's own name, as the format or the way in which it was made.
TAIL = re.compile(
    r"(?:[-._]+(?:ud|i1|imat|gguf|awq|gptq|mlx|fp8|bnb|int\d|\d-?bit|))+$", re.IGNORECASE
)
FILES = {"gguf": "a file of llama.cpp and Ollama", "safetensors": "a file as models are published"}


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A piece of a name. ``meaning`` is empty where LabDash does not know it."""

    text: str
    meaning: str

    @property
    def is_known(self) -> bool:
        """Whether it could be read."""
        return bool(self.meaning)


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """A name taken apart.

    ``quant`` is what llama-quantize makes, None where the name says none that is known;
    ``written`` the quant as it stands there, and ``is_own_mix`` where its publisher made another
    mix than llama-quantize. ``bases`` are the names to look for in the catalog, best first.
    ``format`` names what is no GGUF. ``is_bare``: a name of a family alone, of which its library
    takes one.
    """

    pieces: tuple[Piece, ...]
    written: str
    quant: str | None
    is_own_mix: bool
    letters: tuple[tuple[str, str], ...]
    bases: tuple[str, ...]
    format: str = ""
    is_bare: bool = False

    @property
    def is_trained_rounded(self) -> bool:
        """Whether the file is another than the one under the model's own tag."""
        return any(each.text.lower() == "qat" for each in self.pieces)


def decode(text: str) -> Decoded:
    """Take a name apart. Raises ``PlannerError`` where there is none."""
    name = COMMANDS.sub("", " ".join(text.split())[:LONGEST_NAME]).split("?")[0].strip("/ ")
    if not name:
        raise PlannerError("Paste a name, such as qwen2.5:14b-instruct-q8_0 or Model-Q4_K_M.gguf")
    path, tag = _split(name)
    found = list(QUANT.finditer(f"{path[-1]}:{tag}"))
    written = found[-1][0] if found else ""
    official = written.upper().replace("FP", "F") if "MXFP" not in written.upper() else "MXFP4_MOE"
    pieces = tuple(_pieces(path, tag, written))
    return Decoded(
        pieces=pieces,
        written=written,
        quant=_made(official),
        is_own_mix=official in NEAREST or any(each.text.lower() == "ud" for each in pieces),
        letters=tuple(letters_of(official)),
        bases=tuple(dict.fromkeys(_bases(path, tag, written))),
        format=_format(each.text.lower() for each in pieces),
        is_bare=len(path) == 1 and tag in ("", "latest") and not written,
    )


def _split(name: str) -> tuple[list[str], str]:
    """Split into the parts of a path and the tag after the last colon."""
    before, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        before, tag = name, ""
    path = [part for part in before.split("/") if part]
    return path or [""], tag


def _made(official: str) -> str | None:
    try:
        return find_file_type(NEAREST.get(official, official)).name if official else None
    except PlannerError:
        return None


def _format(words: Iterable[str]) -> str:
    names = {"gptq": "GPTQ", "awq": "AWQ", "mlx": "MLX", "exl2": "ExLlama", "exl3": "ExLlama"}
    return next((names[word] for word in words if word in names), "")


def _pieces(path: list[str], tag: str, written: str) -> Iterable[Piece]:
    *before, name = path
    for part in before:
        if host := HOSTS.get(part.lower()):
            yield Piece(text=part, meaning=host)
        elif part.lower() not in BETWEEN:
            is_second = any(each.lower() not in HOSTS for each in before[: before.index(part)])
            yield Piece(text=part, meaning="the repository" if is_second else "who published it")
    yield from _words(name, written)
    if tag:
        yield from _words(tag, written)


def _words(text: str, written: str) -> Iterable[Piece]:
    """Read a name or a tag word by word; the quant is one word whatever stands in it."""
    at = text.rfind(written) if written else -1
    parts = (text[:at], written, text[at + len(written) :]) if at >= 0 else (text,)
    for part in parts:
        if written and part == written:
            yield Piece(text=part, meaning="the quant: how the weights are stored")
        else:
            words = [word for word in ENDS.split(part) if word]
            yield from (
                Piece(text=word, meaning=_meaning(word, at)) for at, word in enumerate(words)
            )


def _meaning(word: str, at: int) -> str:
    lowered = word.lower()
    if lowered in FILES:
        return FILES[lowered]
    if lowered in _families():
        return "the family"
    if known := meaning_of(word):
        return known
    # A number behind the family is its version; in front of it means nothing that is known.
    return "version" if at and re.fullmatch(r"\d{1,2}(?:\.\d+)?", word) else ""


@kept(2)
def _families() -> frozenset[str]:
    """Return the words that name families of the catalog: qwen2.5, llama, gemma."""
    names = [name for each in models() for name in (each.ollama, each.family, each.name) if name]
    words = {ENDS.split(name.lower().partition(":")[0])[0] for name in names}
    words |= {word for each in models() if each.ollama for word in _base_words(each.ollama)}
    stems = {re.sub(r"[\d.]+$", "", word) for word in words}
    return frozenset(
        word for word in words | stems if word.strip("0123456789.") and not meaning_of(word)
    )


def _base_words(tag: str) -> list[str]:
    return ENDS.split(tag.lower().partition(":")[0])


def _bases(path: list[str], tag: str, written: str) -> Iterable[str]:
    """Offer the name as the catalog may know it: whole, then without quant and first words."""
    name = path[-1]
    if tag:
        yield "/".join([*path[:-1], f"{name}:{tag}"])
    bare = re.sub(r"\.(gguf|safetensors)$", "", name, flags=re.IGNORECASE)
    bare = re.sub(r"-\d{5}-of-\d{5}$", "", bare)
    if written:
        bare = bare[: bare.rfind(written)] if written in bare else bare
    bare = TAIL.sub("", bare)
    yield bare
    yield re.sub(r"-qat$", "", bare, flags=re.IGNORECASE)
    yield bare.partition("_")[2]
    yield bare.partition("-")[2]
    yield from (part for part in reversed(path[:-1]) if part.lower().endswith("-gguf"))
