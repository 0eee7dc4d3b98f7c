"""An entry of the catalog out of one file: its header, a saved show, or what is published of it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from math import prod

from django.conf import settings
from django.core.cache import cache

from labdash.catalog.entries import CAPABILITIES, KEY, MOST_LISTED, NAME, QUANT
from labdash.catalog.models import QUANT as TAG_QUANT
from labdash.catalog.own import Row
from labdash.planner.encoders import ENCODERS
from labdash.planner.errors import PlannerError
from labdash.planner.facts import Length, Value
from labdash.planner.model import Model
from labdash.planner.tables import tensors_of
from labdash.queries.fit_files import capabilities_of, pack_model, unpack
from labdash.queries.registries import ollama_registry
from labdash.queries.tag_names import is_on_hub
from labdash.sources.registry import address_of, open_remote

KEPT_S = 3600
CHAT = "completion"
LONGEST_WORD = 60
# What people paste beside an address: a command, the page of a model, of a file.
COMMAND = re.compile(r"^(\$ )?ollama (run|pull|show) ", re.IGNORECASE)
LIBRARY_PAGE = re.compile(r"^(www\.)?ollama\.com/(library/)?", re.IGNORECASE)
FILE_PAGE = re.compile(r"([^/]+/[^/]+/[^/]+)/(?:blob|resolve|tree)/[^/]+/?(.*)")
FILE_QUANT = re.compile(
    r"[-._]((?:UD-)?(?:I?Q\d\w*|TQ\d\w*|MXFP4\w*)|B?F16|F32)(?:-\d{5}-of-\d{5})?\.gguf$",
    re.IGNORECASE,
)
# The quantization at the end of a file's name.
ENDING = re.compile(r"[-._](I?Q\d\w*|TQ\d\w*|MXFP4\w*|B?F16|F32|GGUF)$", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class File:
    """A file that was read: its model, and what a pull of ``address`` fetches, if it has one.

    ``can`` is what a saved show tells of capabilities.
    """

    model: Model
    facts: str
    can: tuple[str, ...] = ()
    address: str = ""
    file_bytes: int | None = None
    projector_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class Draft:
    """What the header says of itself, for somebody to look at before it is kept.

    ``doubt`` says why other quants may be off, nothing where the planner's rules give the same
    tensors as the file has.
    """

    name: str
    family: str
    capabilities: tuple[str, ...]
    arch: str
    quant: str | None
    params_total: int
    params_active: int
    context: int
    layers: int
    weight_bytes: int
    doubt: str

    @property
    def is_mixture(self) -> bool:
        """Whether a token uses a part of the parameters."""
        return self.params_active < self.params_total


def file_of_facts(facts: str) -> File:
    """Read what a page kept of a file. Raises ``PlannerError``."""
    return File(model=unpack(facts).model, facts=facts, can=capabilities_of(facts))


def file_at(address: str) -> File:
    """Read a file's header from where it is published. Raises ``PlannerError``.

    It is kept for an hour: who looks at it first keeps it afterwards.
    """
    name = plain_address(address)
    registry = ollama_registry()
    address_of(name, ollama=registry)
    if settings.DEMO:
        raise PlannerError("the simulated lab has no header to read: choose a file instead")
    key = f"catalog:{sha256(name.encode()).hexdigest()}"
    found: tuple[str, int, int] | None = cache.get(key)
    if found is None:
        remote = open_remote(name, ollama=registry)
        facts = pack_model(remote.model, remote.warnings)
        found = (facts, remote.file_bytes, remote.projector_bytes)
        cache.set(key, found, KEPT_S)
    facts, size, projector = found
    model = unpack(facts).model
    return File(model=model, facts=facts, address=name, file_bytes=size, projector_bytes=projector)


def plain_address(text: str) -> str:
    """Return the name in what was pasted: a command, the page of a model or of a file."""
    name = COMMAND.sub("", " ".join(text.split()), count=1)
    name = name.removeprefix("https://").removeprefix("http://").partition("?")[0].rstrip("/")
    name = LIBRARY_PAGE.sub("", name, count=1)
    page = FILE_PAGE.fullmatch(name)
    if page is None:
        return name
    quant = FILE_QUANT.search(page[2])
    return f"{page[1]}:{quant[1]}" if quant else page[1]


def draft_of(file: File) -> Draft:
    """Propose an entry. Raises ``PlannerError`` for what is no whole model."""
    model, shape = file.model, file.model.shape
    name = _name(file)
    total = sum(prod(each.shape) for each in model.tensors)
    return Draft(
        name=name,
        family=name.partition("-")[0],
        capabilities=_capabilities(file),
        arch=shape.arch,
        quant=model.quant,
        params_total=total,
        params_active=total - idle_params(model),
        context=shape.ctx_train,
        layers=shape.block_count,
        weight_bytes=model.weight_bytes,
        doubt=_doubt(model),
    )


def entry_of(file: File, *, source: str, **told: object) -> Row:
    """Make the entry; ``told`` are the keys that somebody chose: name, family, capabilities."""
    draft = draft_of(file)
    row: dict[str, object] = {
        "name": draft.name,
        "family": draft.family,
        "capabilities": list(draft.capabilities),
        **{key: value for key, value in told.items() if value},
        **({"hf_repo": repository} if (repository := _repository(file)) else {}),
        "arch": draft.arch,
        "params_total": draft.params_total,
        "tied": not _has_output(file.model),
        "metadata": _metadata(file.model),
        "files": _files(file, source),
        "source": source,
    }
    if draft.is_mixture:
        row["params_active"] = draft.params_active
    if not draft.doubt:
        row["params_check"] = "exact: the shape gives each tensor that the file has"
    if file.address and not is_on_hub(file.address):
        row["ollama"] = _tag(file.address)
    return row


def _name(file: File) -> str:
    """Make a name of the repository, of the tag or of the file."""
    text = _repository(file).rpartition("/")[2]
    if not text and file.address:
        base, _, tag = _tag(file.address).partition(":")
        size = TAG_QUANT.sub("", tag).removeprefix("latest")
        text = "-".join(filter(None, (base.rpartition("/")[2], size)))
    text = text or file.model.name.rpartition("/")[2].removesuffix(".gguf").removesuffix(".json")
    while shorter := ENDING.search(text):
        text = text[: shorter.start()]
    text = re.sub(r"[^\w .+()-]+", "-", text).strip(" .-")[:100]
    return text if NAME.fullmatch(text) else "my-model"


def _repository(file: File) -> str:
    """Return the repository on Hugging Face without the ending that converted ones have."""
    if not is_on_hub(file.address):
        return ""
    place = address_of(file.address)
    return f"{place.namespace}/{ENDING.sub('', place.model)}"


def _tag(address: str) -> str:
    place = address_of(address)
    space = "" if place.namespace == "library" else f"{place.namespace}/"
    return f"{space}{place.model}:{place.tag}".lower()


def _capabilities(file: File) -> tuple[str, ...]:
    model = file.model
    # Ollama says completion.
    told = tuple(w for w in CAPABILITIES if w in file.can or (w == "chat" and CHAT in file.can))
    if told:
        return told
    if model.shape.arch in ENCODERS or f"{model.shape.arch}.pooling_type" in model.metadata:
        return ("embedding",)
    return ("chat", "vision") if file.projector_bytes else ("chat",)


def _metadata(model: Model) -> Mapping[str, object]:
    """Keep what decides over shape and memory, without the architecture before each key."""
    before = f"{model.shape.arch}."
    found = {
        key.removeprefix(before): list(value) if isinstance(value, tuple) else value
        for key, value in model.metadata.items()
        if key.startswith(before) and _is_kept(key.removeprefix(before), value)
    }
    return {**found, "vocab_size": model.shape.vocab}


def _is_kept(key: str, value: Value) -> bool:
    if isinstance(value, Length) or not KEY.fullmatch(key):
        return False
    if isinstance(value, tuple):
        return 0 < len(value) <= MOST_LISTED and not any(isinstance(each, str) for each in value)
    return not isinstance(value, str) or len(value) <= LONGEST_WORD


def _files(file: File, source: str) -> list[Row]:
    if not file.address or not file.file_bytes:
        return []
    quant = file.model.quant
    row: dict[str, object] = {
        "quant": quant if quant and QUANT.fullmatch(quant) else None,
        "bytes": file.file_bytes,
        "file": _written(file.address),
        "source": source,
    }
    return [row | ({"projector_bytes": file.projector_bytes} if file.projector_bytes else {})]


def _written(address: str) -> str:
    """Write the name as Ollama takes it."""
    if not is_on_hub(address):
        return _tag(address)
    place = address_of(address)
    return f"hf.co/{place.namespace}/{place.model}:{place.tag}"


def _has_output(model: Model) -> bool:
    return any(tensor.name == "output.weight" for tensor in model.tensors)


def idle_params(model: Model) -> int:
    """Count the parameters of experts that a token does not use."""
    experts = model.shape.experts
    if experts is None or not experts.count:
        return 0
    held = sum(prod(t.shape) for t in model.tensors if "_exps." in t.name)
    return held - held * experts.used // experts.count


def _doubt(model: Model) -> str:
    """Compare the file's tensors with those that the planner would make of the shape."""
    arch = model.shape.arch
    named: dict[str, Value] = {"general.architecture": arch}
    for key, value in _metadata(model).items():
        named[f"{arch}.{key}"] = tuple(value) if isinstance(value, list) else value  # type: ignore[assignment]  # as it was read
    try:
        made = tensors_of(named, tied=not _has_output(model))
    except PlannerError as error:
        # Where it is advised to give the file: that was done.
        return f"It can be listed and not estimated: {str(error).partition(': give ')[0]}."
    has = {each.name: prod(each.shape) for each in model.tensors}
    would = {each.name: prod(each.shape) for each in made}
    if has == would:
        return ""
    apart = abs(sum(has.values()) - sum(would.values()))
    share = 100 * apart / max(1, sum(has.values()))
    return (
        f"The planner would make {len(would)} tensors of this shape and the file has {len(has)}: "
        f"estimates of it are off by about {share:.1f} % of its size."
    )
