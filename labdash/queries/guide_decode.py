"""Names of models and files taken apart: what each piece means, and what is not known."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from labdash.catalog.models import models
from labdash.catalog.name_words import BITS, FORMATS, NEAREST, QUANT, letters_of, meaning_of
from labdash.catalog.own import kept
from labdash.planner.errors import PlannerError
from labdash.planner.file_types import find_file_type
from labdash.queries.guide_paste import FILE, HOSTS, Pasted, read_paste

# A point ends a word unless it stands between digits.
ENDS = re.compile(r"[-_\s@]+|\.(?!\d)|(?<!\d)\.(?=\d)")
# What stands behind a model's own name, as the format or the way in which it was made. One
# separator at a time: a run that could be split in many ways would take ages to be refused.
TAIL = re.compile(
    r"(?:[-._](?:ud|i1|imat|gguf|ggml(?:v\d)?|awq|gptq|mlx|exl[23]|fp8|mxfp8|nvfp4|bnb|nf4|int\d"
    r"|w\da\d+|unsloth|dynamic|static|quantized|\d(?:\.\d+)?-?(?:bits?|bpw)|\d+_\d+|cloud|))+$",
    re.IGNORECASE,
)
FILES = {
    "gguf": "a file of llama.cpp and Ollama",
    "safetensors": "a file as models are published",
    "ggml": "the library that llama.cpp computes with",
}
# Words that leave a model what it is, and a name of nothing but family, version and size.
HARMLESS = frozenset(("instruct", "inst", "it", "chat", "meta", "hf", "gguf"))
BARE = re.compile(r"([a-z]+\d*(?:\.\d+)?)(?: (\d{1,2}(?:\.\d+)?))? (\d+(?:\.\d+)?[bm])(?: a\d+b)?")


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A piece of a name. ``meaning`` is empty where LabDash does not know it.

    ``is_place`` where it tells where the model lies, and nothing of the model.
    """

    text: str
    meaning: str
    is_place: bool = False

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
    ``format`` names what is no GGUF, with ``bits`` a weight where the name says them. ``is_bare``:
    a name of a family alone, of which its library takes one. ``pull`` is the name as Ollama takes
    it, nothing where it takes none such.
    """

    pasted: Pasted
    pieces: tuple[Piece, ...]
    written: str
    quant: str | None
    is_own_mix: bool
    letters: tuple[tuple[str, str], ...]
    bases: tuple[str, ...]
    format: str
    bits: int | None
    is_bare: bool
    pull: str

    @property
    def is_cloud(self) -> bool:
        """Whether it runs elsewhere."""
        return "cloud" in self.words

    @property
    def words(self) -> frozenset[str]:
        """All its words."""
        return frozenset(each.text.lower() for each in self.pieces)

    @property
    def says_something(self) -> bool:
        """Whether a word of it, but for who published it, was read."""
        return any(each.is_known and not each.is_place for each in self.pieces)


def decode(text: str) -> Decoded:
    """Take a name apart. Raises ``PlannerError`` where there is none."""
    pasted = read_paste(text)
    written = _written(pasted)
    official = written.upper().replace("FP", "F") if "MXFP" not in written.upper() else "MXFP4_MOE"
    pieces = tuple(_pieces(pasted, written))
    words = [each.text.lower() for each in pieces]
    is_own_mix = official in NEAREST or "ud" in words
    return Decoded(
        pasted=pasted,
        pieces=pieces,
        written=written,
        quant=_made(official),
        is_own_mix=is_own_mix,
        letters=tuple(letters_of(official)),
        bases=tuple(dict.fromkeys(_bases(pasted, written))),
        format="" if pasted.is_gguf else _format(words),
        bits=next((bits for word in words if (bits := _bits(word))), None),
        is_bare=pasted.is_library and pasted.tag in ("", "latest") and not written,
        pull=_pull(pasted, f"UD-{written}" if "ud" in words else written),
    )


def _written(pasted: Pasted) -> str:
    """Return the quant as it stands in the name, or else in a folder above it."""
    for text in (f"{pasted.name}:{pasted.tag}", "/".join(pasted.beside)):
        if found := list(QUANT.finditer(text)):
            return found[-1][0]
    return ""


def _pull(pasted: Pasted, written: str) -> str:
    """Return the name as Ollama takes it: of its library, or of a repository of GGUF files."""
    if pasted.is_library:
        return pasted.path
    if not (pasted.hub_place and pasted.is_gguf):
        return ""
    tag = pasted.tag or written
    return f"hf.co/{pasted.hub_place}:{tag}" if tag else f"hf.co/{pasted.hub_place}"


def _made(official: str) -> str | None:
    try:
        return find_file_type(NEAREST.get(official, official)).name if official else None
    except PlannerError:
        return None


def _format(words: Iterable[str]) -> str:
    said = list(words)
    return next(
        (name for pattern, name in FORMATS if any(re.fullmatch(pattern, word) for word in said)), ""
    )


def _bits(word: str) -> int | None:
    found = BITS.fullmatch(word)
    return int(next(each for each in found.groups() if each)) if found else None


def _pieces(pasted: Pasted, written: str) -> Iterable[Piece]:
    if pasted.host:
        yield Piece(text=pasted.host, meaning=HOSTS.get(pasted.host, ""), is_place=True)
    if pasted.folder:
        meaning = "a folder of a disk: LabDash reads the name of the file alone"
        yield Piece(text=pasted.folder, meaning=meaning, is_place=True)
    is_known = pasted.is_known_host or not pasted.host
    for part, meaning in (
        (pasted.owner, "who published it"),
        (pasted.repository, "the repository"),
        *((each, "a folder of the repository") for each in pasted.beside),
    ):
        if part:
            yield Piece(text=part, meaning=meaning if is_known else "", is_place=True)
    yield from _words(pasted.name, written, is_gguf=pasted.is_gguf)
    if pasted.tag:
        yield from _words(pasted.tag, written, is_gguf=True)


def _words(text: str, written: str, *, is_gguf: bool) -> Iterable[Piece]:
    """Read a name or a tag word by word; the quant is one word whatever stands in it."""
    at = text.rfind(written) if written else -1
    parts = (text[:at], written, text[at + len(written) :]) if at >= 0 else (text,)
    for part in parts:
        if written and part == written:
            yield Piece(text=part, meaning="the quant: how the weights are stored")
        else:
            words = [word for word in ENDS.split(part) if word]
            yield from (
                Piece(text=word, meaning=_meaning(word, before, is_gguf=is_gguf))
                for before, word in zip(["", *words], words, strict=False)
            )


def _meaning(word: str, before: str, *, is_gguf: bool) -> str:
    lowered = word.lower()
    if lowered in FILES and (is_gguf or lowered != "ggml"):
        return FILES[lowered]
    if lowered in _families():
        return "the family"
    if known := meaning_of(word):
        return known
    # A number behind the family is its version; elsewhere it means nothing that is known.
    return "version" if before.isalpha() and re.fullmatch(r"\d{1,2}(?:\.\d+)?", word) else ""


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


def _bases(pasted: Pasted, written: str) -> Iterable[str]:
    """Offer the name as the catalog may know it: whole, then without quant and first words."""
    if pasted.tag:
        yield re.sub(r"-cloud$", "", pasted.path)
    bare = _without_ends(pasted.name, written)
    yield bare
    yield re.sub(r"-qat$", "", bare, flags=re.IGNORECASE)
    yield bare.partition("_")[2]
    yield bare.partition("-")[2]
    yield _without_ends(pasted.repository, "")
    yield _family_and_size(f"{bare}:{pasted.tag}" if pasted.tag and not written else bare)


def _without_ends(name: str, written: str) -> str:
    """Drop the ending of a file, the number of a part, the quant, and what says the format."""
    bare = FILE.sub("", re.sub(r" \(\d+\)(?=\.|$)", "", name))
    bare = re.sub(r"-\d{5}-of-\d{5}$", "", FILE.sub("", bare))
    bare = bare[: bare.rfind(written)] if written and written in bare else bare
    return TAIL.sub("", bare.strip()).replace(" ", "-")


def _family_and_size(name: str) -> str:
    """Write a name as the library would, where only family, version and size stand in it."""
    words = [word for word in ENDS.split(name.lower().replace(":", "-")) if word]
    left = [word for word in words if word not in HARMLESS]
    found = BARE.fullmatch(" ".join(left))
    return f"{found[1]}{found[2] or ''}:{found[3]}" if found else ""
