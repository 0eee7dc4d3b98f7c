"""The files that a deployment may be served with, from the wished quant down to the floor."""

from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod

from labdash.catalog.models import (
    RUNS_ELSEWHERE,
    CatalogModel,
    Found,
    PublishedFile,
    find_model,
    models,
)
from labdash.catalog.own import kept
from labdash.planner.errors import PlannerError
from labdash.planner.lab import Deployment, Variant
from labdash.planner.model import Model
from labdash.planner.placing.inventory import is_cloud, plain
from labdash.planner.stock import stock_model
from labdash.queries.opening import DEFAULT_QUANT
from labdash.queries.quant_ladder import (
    NATIVE,
    below,
    every,
    known_quant,
    ladder,
    loss_of,
    quant_name,
    worth,
)
from labdash.queries.shelf import Have, Shelf, default_quant, find, quant_of
from labdash.queries.tag_names import (
    hub_name,
    is_guess,
    is_on_hub,
    library_name,
    published_name,
    repository_of,
)

# Projectors are published with 16 bits.
PROJECTOR_BYTES_EACH = 2
# The parameters of these count a block more, which predicts further tokens and is not loaded.
EXTRA_BLOCK_ARCHS = ("qwen35",)
ESTIMATED_PROJECTOR = "the size of its projector for images is reckoned from its parameters"
NOTHING = Shelf()


class UnknownModelError(PlannerError):
    """Nobody here knows the model, or its shape. ``heard_of`` where the lab or the catalog has it.

    What was heard of is refused with a reason; what was not is most likely a slip of the pen.
    """

    def __init__(self, text: str, *, heard_of: bool) -> None:
        """Keep whether the name stands for anything."""
        super().__init__(text)
        self.heard_of = heard_of


class UnknownQuantError(PlannerError):
    """No file of the model has such a quant."""


@dataclass(frozen=True)
class _Asked:
    """What a name stands for. ``only`` is its one quant where no other can be had."""

    name: str
    known: CatalogModel
    own_quant: str | None
    only: Have | None = None


def variants_of(
    model: str, floor: str = "", wish: str = "", *, shelf: Shelf = NOTHING
) -> tuple[Variant, ...]:
    """Return the variants from the wish down to the floor; quants may be left out.

    Raises ``UnknownModelError``, ``UnknownQuantError``, or ``PlannerError`` for what is no quant.
    """
    asked = _ask(model, shelf)
    least, best = _bounds(asked, floor, wish)
    beside = {quant_of(have, asked.known) for have in shelf.by_model.get(asked.known.name, ())}
    quants = ladder(least, best, arch=asked.known.arch, beside=filter(None, beside))
    if asked.only is not None:
        quants = tuple(quant for quant in quants if quant == asked.own_quant)
        if not quants:
            raise UnknownQuantError(
                f"{model} is installed as {asked.own_quant}, and known as no other"
            )
    required = {least, best}
    made = (
        (quant in required, _make(asked, quant, shelf, required=quant in required))
        for quant in quants
    )
    return tuple(v for needed, v in made if v is not None and (needed or _can_be_had(v, shelf)))


def family_of(model: str, *, shelf: Shelf = NOTHING) -> tuple[Variant, ...]:
    """Return all quants of a model that people choose among, and its own, the best first.

    Raises as ``variants_of``.
    """
    asked = _ask(model, shelf)
    _, own = _bounds(asked, "", "")
    beside = {quant_of(have, asked.known) for have in shelf.by_model.get(asked.known.name, ())}
    quants = every(own, arch=asked.known.arch, beside=filter(None, beside))
    if asked.only is not None:
        quants = (own,)
    made = ((quant == own, _make(asked, quant, shelf, required=quant == own)) for quant in quants)
    return tuple(v for is_own, v in made if v is not None and (is_own or _can_be_had(v, shelf)))


def own_quant(model: str, *, shelf: Shelf = NOTHING) -> str:
    """Return the quant that a name stands for. Raises as ``variants_of``."""
    return _bounds(_ask(model, shelf), "", "")[1]


def _can_be_had(variant: Variant, shelf: Shelf) -> bool:
    """Whether a registry that tells all its names has a variant, or the lab has it."""
    return not shelf.offered or not variant.guessed


def smaller(deployment: Deployment, *, shelf: Shelf = NOTHING) -> tuple[Variant, ...]:
    """Return the variants that lose more than a deployment's floor, the best first."""
    try:
        asked = _ask(deployment.model, shelf)
    except PlannerError:
        return ()
    if asked.only is not None or not deployment.variants:
        return ()
    quants = below(deployment.variants[-1].quant, arch=asked.known.arch)
    made = (_make(asked, quant, shelf, required=False) for quant in quants)
    return tuple(variant for variant in made if variant is not None)


def _ask(name: str, shelf: Shelf) -> _Asked:
    """Find what a name stands for, in the catalog or in the lab."""
    have = shelf.by_name.get(plain(name))
    if is_cloud(name) or (have is None and plain(name) in shelf.cloud):
        raise UnknownModelError(RUNS_ELSEWHERE.format(name), heard_of=False)
    found = find(name)
    if found is None:
        if have is None:
            _refuse(name)
        return _installed(have)
    own = (quant_of(have, found.model) if have else None) or found.quant
    return _Asked(name, _shaped(found), own)


def _refuse(name: str) -> None:
    """Raise with the nearest names of the catalog."""
    try:
        find_model(name)
    except PlannerError as error:
        raise UnknownModelError(str(error), heard_of=False) from None


def _installed(have: Have | None) -> _Asked:
    """Take a name that only the lab knows by the family that its weights are of."""
    assert have is not None  # noqa: S101 - names without one were refused
    found = find(have.family)
    if found is None:
        raise UnknownModelError(
            f"{have.name} is installed, but the catalog does not know its shape", heard_of=True
        )
    quant = quant_of(have, found.model)
    if quant is None:
        raise UnknownModelError(
            f"{have.name} is quantized as {have.quant}, of which the tensors are not known",
            heard_of=True,
        )
    return _Asked(have.name, _shaped(found), quant, only=have)


def _shaped(found: Found) -> CatalogModel:
    if not found.model.metadata:
        raise UnknownModelError(f"the shape of {found.model.name} is not known", heard_of=True)
    return found.model


def _bounds(asked: _Asked, floor: str, wish: str) -> tuple[str, str]:
    """Fill in what was left out: the least is the model's usual quant, the wish the least."""
    usual = quant_name(asked.own_quant or default_quant(asked.known) or DEFAULT_QUANT)
    if floor:
        least = quant_name(floor)
        return least, quant_name(wish) if wish else least
    best = quant_name(wish) if wish else usual
    return max(usual, best, key=lambda quant: worth(quant, asked.known.arch)), best


def _make(asked: _Asked, quant: str, shelf: Shelf, *, required: bool) -> Variant | None:
    """Make a variant; None where llama-quantize cannot make it and nobody asked for it."""
    try:
        plain_one = _stock(
            asked.known.name, quant, converted=is_converted(asked.name, asked.known, shelf)
        )
    except PlannerError as error:
        if not required:
            return None
        if _has_no_tensors(asked.known):
            raise UnknownModelError(str(error), heard_of=True) from None
        raise UnknownQuantError(f"{asked.name}: {error}") from None
    return _named(plain_one, asked, quant, shelf)


def _has_no_tensors(known: CatalogModel) -> bool:
    """Whether the model itself is not known well enough, whatever the quant."""
    try:
        _stock(known.name, "F16", converted=False)
    except PlannerError:
        return True
    return False


@kept(1024)
def _stock(name: str, quant: str, *, converted: bool) -> Variant:
    """Make what depends on model and quant alone: one object each, so that work on it is kept."""
    found = find(name)
    assert found is not None  # noqa: S101 - the name is the catalog's own
    known, model = found.model, model_of(name, quant, converted=converted)
    projector, is_estimate = projector_of(known, model)
    return Variant(
        name="",
        quant=quant,
        model=model,
        file_bytes=model.weight_bytes + projector,
        loss=loss_of(quant),
        embedding="embedding" in known.capabilities,
        vision=bool(projector),
        projector_bytes=projector,
        assumed=(ESTIMATED_PROJECTOR,) if is_estimate else (),
    )


def model_of(name: str, quant: str, *, converted: bool) -> Model:
    """Make the tensors of a file of the catalog, one object each, for all pages that tell of it.

    ``converted``: llama-quantize made it, not Ollama, whose library has files of its own making.
    Raises ``PlannerError``.
    """
    known = next(model for model in models() if model.name == name)
    own_making = has_own_making(known) and quant == NATIVE and not converted
    return _model(known.name, quant, own_making=own_making)


@kept(1024)
def _model(name: str, quant: str, *, own_making: bool) -> Model:
    known = next(model for model in models() if model.name == name)
    model = stock_model(name, known.metadata, quant, tied=bool(known.tied))
    return _unconverted(model) if own_making else model


def has_own_making(known: CatalogModel) -> bool:
    """Whether the library's file of a model is other than llama-quantize makes it."""
    return known.arch == "gpt-oss"


def is_converted(name: str, known: CatalogModel, shelf: Shelf) -> bool:
    """Whether llama-quantize made a file: the library's own is larger than that."""
    if is_on_hub(name) or not has_own_making(known):
        return True
    haves = shelf.by_model.get(known.name, ())
    sizes = [have.size_bytes for have in haves if have.size_bytes and not is_on_hub(have.name)]
    own, made = (
        model_of(known.name, NATIVE, converted=converted).weight_bytes
        for converted in (False, True)
    )
    return bool(sizes) and max(sizes) < (own + made) / 2


def _unconverted(model: Model) -> Model:
    """Return a model as the library has it: what llama-quantize makes Q8_0 is still BF16."""
    tensors = tuple(
        replace(each, type="bf16", bytes=2 * prod(each.shape)) if each.type == "q8_0" else each
        for each in model.tensors
    )
    return replace(model, tensors=tensors)


def projector_of(known: CatalogModel, model: Model) -> tuple[int, bool]:
    """Size the part that reads images, and tell whether that is an estimate."""
    if "vision" not in known.capabilities:
        return 0, False
    published = [file.projector_bytes for file in known.files if file.projector_bytes]
    if published:
        return published[0], False
    language = known.params_language_model or _elements(model)
    rest = (known.params_total or 0) - language
    if known.arch.startswith(EXTRA_BLOCK_ARCHS):
        rest -= _next_token_block(model, language)
    return max(0, rest) * PROJECTOR_BYTES_EACH, rest > 0


def _next_token_block(model: Model, language: int) -> int:
    """Count a block as the others are, and the matrix that joins two tokens before it."""
    ends = sum(prod(tensor.shape) for tensor in model.table.ends.values())
    return (language - ends) // model.shape.block_count + 2 * model.shape.embd**2


def _elements(model: Model) -> int:
    return sum(prod(tensor.shape) for tensor in model.tensors)


def _named(stock: Variant, asked: _Asked, quant: str, shelf: Shelf) -> Variant:
    """Say under which names a variant is published and installed."""
    usual = _published_names(asked, quant)
    published = _published(asked.known, quant, usual)
    size = _file_bytes(published, stock) if published else stock.file_bytes
    have = _nearest(_haves(asked, quant, shelf), usual)
    if _is_blind(have, asked, shelf):
        stock, size = _blind(stock), size and size - stock.projector_bytes
    if have is None:
        guessed = is_guess(usual[0], published)
        if shelf.offered:
            guessed = plain(usual[0]) not in shelf.offered
        return _variant(stock, usual[0], frozenset(usual), None, size, guessed=guessed)
    names = {have.name, *shelf.names_of(have.digest)}
    if plain(have.name) in map(plain, usual):
        names.update(usual)
    size = have.size_bytes or size
    return _variant(stock, have.name, frozenset(names), have.digest, size, guessed=False)


def _is_blind(have: Have | None, asked: _Asked, shelf: Shelf) -> bool:
    """Whether a file reads no images, by its own server's word or that of one like it."""
    if have is not None and have.vision is not None:
        return not have.vision
    return not is_on_hub(asked.name) and shelf.is_blind(asked.known)


@lru_cache(maxsize=1024)
def _blind(stock: Variant) -> Variant:
    return replace(stock, vision=False, projector_bytes=0, assumed=())


@lru_cache(maxsize=1024)
def _variant(
    stock: Variant,
    name: str,
    names: frozenset[str],
    digest: str | None,
    file_bytes: int | None,
    *,
    guessed: bool,
) -> Variant:
    """Make a variant, one object for all deployments of it: by that it is known to be the same."""
    return replace(
        stock, name=name, names=names, digest=digest, file_bytes=file_bytes, guessed=guessed
    )


def _haves(asked: _Asked, quant: str, shelf: Shelf) -> tuple[Have, ...]:
    """Return the installed files of a quant: of the repository alone that was asked for."""
    if asked.only is not None:
        return (asked.only,)
    found = shelf.of(asked.known, quant)
    if not is_on_hub(asked.name):
        return found
    repository = repository_of(asked.name).lower()
    return tuple(have for have in found if repository_of(have.name).lower() == repository)


def _published_names(asked: _Asked, quant: str) -> list[str]:
    """Return the names that one file is published under, the one to pull first."""
    known = asked.known
    if asked.only is not None:
        return [asked.name]
    if is_on_hub(asked.name):
        return [hub_name(known, quant, asked.name)]
    long = library_name(known, quant)
    if quant == quant_name(default_quant(known) or DEFAULT_QUANT) and known.ollama:
        family = known.ollama.partition(":")[0]
        latest = [family, f"{family}:latest"] if known.latest else []
        return list(dict.fromkeys(filter(None, (known.ollama, *latest, long))))
    return [long or hub_name(known, quant, asked.name)]


def _nearest(haves: tuple[Have, ...], names: list[str]) -> Have | None:
    """Choose among installed files of one quant: what was asked for, what is usual, else any."""
    order = {plain(name): place for place, name in reversed(list(enumerate(names)))}
    return min(
        haves, key=lambda h: (order.get(plain(h.name), len(order)), h.digest is None, h.name),
        default=None,
    )  # fmt: skip


def _published(known: CatalogModel, quant: str, names: list[str]) -> PublishedFile | None:
    """Find a file of a quant whose size is known, that of one of the names first."""
    fitting = [file for file in known.files if known_quant(file.quant) == quant]
    return min(fitting, key=lambda file: published_name(file) not in names, default=None)


def _file_bytes(file: PublishedFile, stock: Variant) -> int:
    """Tell what a pull fetches: the library's files hold the projector, unless it is beside."""
    if file.projector_bytes:
        return file.bytes + file.projector_bytes
    return file.bytes if ":" in file.file else file.bytes + stock.projector_bytes
