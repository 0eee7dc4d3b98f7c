"""Which models the catalog knows: their shape, their published files, and how they are named."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache
from typing import Any

from labdash.catalog.files import read_lines
from labdash.catalog.own import kept, own_rows
from labdash.planner.errors import PlannerError
from labdash.planner.facts import Value
from labdash.planner.placing.inventory import is_cloud

HOSTS = ("hf.co/", "huggingface.co/", "registry.ollama.ai/", "ollama.com/")
# The quantization at the end of a tag: "8b-instruct-q4_K_M", "270m-it-fp16".
QUANT = re.compile(r"(?:^|-)(i?q\d\w*|tq\d\w*|mxfp4\w*|b?f16|fp16|f32)$", re.IGNORECASE)
# Who publishes a repository. Names are written into commands: what no publisher is called is none.
OWNER = re.compile(r"[\w.-]+(/[\w.-]+)*")
LONGEST_SHOWN = 80
RUNS_ELSEWHERE = (
    "{} runs in Ollama's cloud and takes no memory here: ask for a model that runs in the lab"
)
OPTIONAL = (
    "ollama", "released", "license", "params_total", "params_active", "params_language_model",
    "params_tied", "params_untied", "tied", "params_check", "notes",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """A file whose size is known to the byte. ``projector_bytes`` is a second file beside it."""

    quant: str | None
    bytes: int
    file: str
    source: str
    projector_bytes: int | None


@dataclass(frozen=True, slots=True)
class CatalogModel:
    """``metadata`` has the keys of a GGUF file, as far as they are known: none for a few models.

    ``params_total`` counts what Hugging Face holds, vision towers among it;
    ``params_language_model`` is the part without them. ``params_tied`` and ``params_untied`` are
    set where builds with and without a matrix of their own for the output are published.
    ``tied`` is None where no source said. ``checked`` where the shape gives the parameters to the
    last one. ``ollama`` is the tag of the library, ``latest`` whether the bare name means it.
    ``own`` is one that the lab brought.
    """

    name: str
    family: str
    ollama: str | None
    latest: bool
    hf_repo: str
    arch: str
    released: str | None
    license: str | None
    capabilities: tuple[str, ...]
    params_total: int | None
    params_active: int | None
    params_language_model: int | None
    params_tied: int | None
    params_untied: int | None
    tied: bool | None
    params_check: str | None
    metadata: Mapping[str, Value]
    files: tuple[PublishedFile, ...]
    notes: str | None
    source: str
    own: bool = False

    @property
    def checked(self) -> bool:
        """Whether the shape was seen to give the exact number of parameters."""
        return (self.params_check or "").startswith(("exact", "language model"))

    @property
    def default_quant(self) -> str | None:
        """Tell the quantization of the library's own tag, where its file is known."""
        return self.default_file.quant if self.default_file else None

    @property
    def default_file(self) -> PublishedFile | None:
        """Return the file of the library's own tag, where it is known."""
        return next((file for file in self.files if file.file == self.ollama), None)


@dataclass(frozen=True, slots=True)
class Found:
    """``quant`` is what the name itself says. ``notice`` tells what was assumed."""

    model: CatalogModel
    quant: str | None
    notice: str | None


@kept(2)
def models() -> tuple[CatalogModel, ...]:
    """Return all models of the catalog, the lab's own in place of those of their name."""
    own = [_model(row, own=True) for row in own_rows()]
    taken = {model.name.lower() for model in own}
    usual = {_library_family(model) for model in own if model.latest}
    given = [model for model in given_models() if model.name.lower() not in taken]
    others = [replace(m, latest=m.latest and _library_family(m) not in usual) for m in given]
    return (*(others if usual else given), *own)


@cache
def given_models() -> tuple[CatalogModel, ...]:
    """Return the models that come with LabDash."""
    return tuple(_model(row) for row in read_lines("models.jsonl"))


def given_tags() -> Mapping[str, str]:
    """Return which name each tag of the library has in what comes with LabDash."""
    return {model.ollama.lower(): model.name for model in given_models() if model.ollama}


def _library_family(model: CatalogModel) -> str:
    return (model.ollama or "").partition(":")[0].lower()


def find_model(name: str) -> Found:
    """Find a model by Ollama tag, Hugging Face repository or catalog name, in any case.

    Raises ``PlannerError`` with the nearest known names, or the sizes of a known family, and for
    names of Ollama's cloud.
    """
    if is_cloud(name.strip()):
        raise PlannerError(RUNS_ELSEWHERE.format(_short(name.strip())))
    base, _, tag = _plain(name).partition(":")
    quant = _quant(tag)
    owner, _, repository = base.rpartition("/")
    for key in (base, repository if OWNER.fullmatch(owner) else ""):
        if model := _by_name().get(key.removesuffix("-gguf")):
            return Found(model, quant, None)
    family = _families().get(base)
    if family is None:
        raise PlannerError(_unknown(base))
    if tag in ("", "latest"):
        return _default(base, family)
    return Found(_sized(base, tag, family), quant, None)


def _default(base: str, family: tuple[CatalogModel, ...]) -> Found:
    latest = [model for model in family if model.latest] or list(family)
    if len(latest) > 1:
        raise PlannerError(f"{base} comes in several sizes, say which: {_tags(family)}")
    return Found(latest[0], None, f"no size was given: {latest[0].ollama} is taken")


def _sized(base: str, tag: str, family: tuple[CatalogModel, ...]) -> CatalogModel:
    """Find the model whose own tag the asked one begins with: ``8b`` in ``8b-instruct-q4_K_M``.

    Else the only one of that size: ``30b-a3b`` for ``30b-instruct``.
    """
    fitting = [model for model in family if f"{tag}-".startswith(f"{_own(model)}-")]
    size = tag.partition("-")[0]
    sized = [model for model in family if _own(model).partition("-")[0] == size]
    if not fitting and len(sized) == 1:
        return sized[0]
    if not fitting:
        raise PlannerError(f"the catalog has no {base}:{_short(tag)}; it has {_tags(family)}")
    return max(fitting, key=lambda model: len(_own(model)))


def _own(model: CatalogModel) -> str:
    """Return the tag of the library without the quantization at its end."""
    return QUANT.sub("", (model.ollama or "").partition(":")[2].lower())


def _tags(family: Iterable[CatalogModel]) -> str:
    return ", ".join(_own(model) for model in family)


def _plain(name: str) -> str:
    name = name.strip().lower()
    for host in HOSTS:
        name = name.removeprefix(host)
    return name.removeprefix("library/")


def _quant(tag: str) -> str | None:
    match = QUANT.search(tag)
    return match[1].upper().replace("FP16", "F16") if match else None


def _unknown(base: str) -> str:
    near = get_close_matches(base[:LONGEST_SHOWN], [*_families(), *_by_name()], n=3, cutoff=0.5)
    verb = "is" if len(near) == 1 else "are"
    hint = f"; the nearest known {verb} {', '.join(near)}" if near else ""
    return f"the catalog has no model {_short(base)}{hint}"


def _short(text: str) -> str:
    """Make the user's words fit for one line of a message."""
    return " ".join(text.split())[:LONGEST_SHOWN] or "of an empty name"


@kept(2)
def _by_name() -> dict[str, CatalogModel]:
    """Index them; what is a model's own name is never another's repository."""
    repositories = {
        name.lower(): model
        for model in models()
        for name in (model.hf_repo, model.hf_repo.rpartition("/")[2])
    }
    return {**repositories, **{model.name.lower(): model for model in models()}}


@kept(2)
def _families() -> dict[str, tuple[CatalogModel, ...]]:
    families: dict[str, list[CatalogModel]] = {}
    for model in models():
        if model.ollama:
            families.setdefault(_library_family(model), []).append(model)
    return {name: tuple(family) for name, family in families.items()}


def _model(row: Mapping[str, Any], *, own: bool = False) -> CatalogModel:
    return CatalogModel(
        name=row["name"],
        family=row["family"],
        latest=row.get("latest", False),
        hf_repo=row["hf_repo"],
        arch=row["arch"],
        capabilities=tuple(row["capabilities"]),
        metadata=_metadata(row["arch"], row["metadata"]),
        files=tuple(_file(file) for file in row["files"]),
        source=row["source"],
        own=own,
        **{key: row.get(key) for key in OPTIONAL},
    )


def _metadata(arch: str, facts: dict[str, Any]) -> dict[str, Value]:
    """Give the facts the keys of a GGUF file."""
    values = {
        f"{arch}.{key}": tuple(value) if isinstance(value, list) else value
        for key, value in facts.items()
    }
    return {"general.architecture": arch, **values} if facts else {}


def _file(row: dict[str, Any]) -> PublishedFile:
    return PublishedFile(
        quant=row["quant"],
        bytes=row["bytes"],
        file=row["file"],
        source=row["source"],
        projector_bytes=row.get("projector_bytes"),
    )
