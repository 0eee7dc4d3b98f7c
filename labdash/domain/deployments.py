"""What a person does with deployments: each is checked whole before it is stored."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any, TypedDict, Unpack

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from labdash.domain.errors import LabDashError
from labdash.domain.names import parse_model_name
from labdash.models import Deployment, Gpu, InstalledModel, Node, Residency
from labdash.planner.errors import PlannerError
from labdash.planner.lab import USUAL_ORDER, Variant
from labdash.planner.placing.inventory import is_cloud
from labdash.planner.telling.names import FOLDER, alias_of
from labdash.queries.bars import LoadedView, loaded_models
from labdash.queries.lab import NodeView, read_lab
from labdash.queries.library import Library, plain_name, read_library
from labdash.queries.snapshot import read_shelf
from labdash.queries.variants import UnknownModelError, variants_of

# Those that Ollama takes in OLLAMA_KV_CACHE_TYPE.
KV_TYPES = ("f16", "q8_0", "q4_0")
CPU = "cpu"
USUAL_CTX = 8192
LONGEST_NAME = 60
# What is in memory goes before what only lies on a disk.
LOADED_PRIORITY, INSTALLED_PRIORITY = 2, 4


class Fields(TypedDict, total=False):
    """What may be said of a deployment; what is left out stays, or is as usual."""

    name: str
    model: str
    quant_floor: str
    quant_wish: str
    ctx_floor: int
    ctx_wish: int
    priority: int
    prefer: str
    residency: str
    offload_allowed: bool
    replicas: int
    nodes: list[str]
    pin: str
    keep_apart: list[str]
    min_tokens_per_s: float | None
    give_way: list[str]
    parallel: int | None
    kv_types: list[str]
    same_name: bool


def create(**fields: Unpack[Fields]) -> Deployment:
    """Store what shall be served; without a name it has that of its model.

    Raises ``LabDashError`` with one line that says what is wrong.
    """
    deployment = Deployment(**fields)
    deployment.name = deployment.name or _free_name(deployment.model)
    return _store(deployment)


def change(*, deployment: Deployment, **fields: Unpack[Fields]) -> Deployment:
    """Store other wishes. What keeps apart from it goes with a new name."""
    was = deployment.name
    changed = Deployment.objects.get(pk=deployment.pk)
    for name, value in fields.items():
        setattr(changed, name, value)
    with transaction.atomic():
        _store(changed)
        if changed.name != was:
            _rename(was, changed.name)
    deployment.refresh_from_db()
    return changed


def let_share(*, deployment: Deployment, names: Collection[str]) -> None:
    """Keep it apart from these no longer, whichever of the two says so."""
    rows = Deployment.objects.filter(name__in=[deployment.name, *names])
    with transaction.atomic():
        for row in rows:
            free = set(names) if row.pk == deployment.pk else {deployment.name}
            kept = [each for each in row.keep_apart if each not in free]
            if kept != row.keep_apart:
                row.keep_apart = kept
                row.save(update_fields=["keep_apart", "changed_at"])
    deployment.refresh_from_db()


def delete(*, deployment: Deployment) -> None:
    """Forget what was to be served; the plan in force stays until another is applied."""
    with transaction.atomic():
        _rename(deployment.name, None)
        deployment.delete()


def check(deployment: Deployment) -> None:
    """Refuse what can never be planned. Raises ``LabDashError`` with one line."""
    _check_fields(deployment)
    _check_ranges(deployment)
    _check_lists(deployment)
    _check_places(deployment)
    _check_others(deployment)
    _check_model(deployment)


def adopt_present(*, installed: bool = False, now: datetime) -> list[Deployment]:
    """Make deployments of what is in memory now, as it is, where it is; return the new ones.

    ``installed``: of everything on disks too, to be loaded on demand.
    """
    lab, library = read_lab(now=now), read_library()
    found = [wish for view in lab.nodes for wish in _present(view, library)]
    if installed:
        found += list(_installed(found))
    return [made for wish in found if (made := _adopt(wish)) is not None]


# --- checks --------------------------------------------------------------------------------------


def _store(deployment: Deployment) -> Deployment:
    deployment.model = deployment.model.strip()
    check(deployment)
    try:
        with transaction.atomic():
            deployment.save()
    except IntegrityError as error:
        raise LabDashError(f"There is a deployment named {deployment.name} already.") from error
    return deployment


def _check_fields(deployment: Deployment) -> None:
    """Ask the model's own validators; the first objection is the line."""
    if not deployment.model:
        raise LabDashError("Write a model name, such as qwen3:14b.")
    # What runs elsewhere is refused as a model, with more than that it cannot be pulled.
    is_here = InstalledModel.objects.filter(name__iexact=deployment.model).exists()
    if not is_here and not is_cloud(deployment.model):
        parse_model_name(deployment.model)
    try:
        deployment.full_clean(exclude=["id"], validate_unique=False, validate_constraints=False)
    except ValidationError as error:
        field, texts = next(iter(error.message_dict.items()))
        label = getattr(Deployment._meta.get_field(field), "verbose_name", field)  # noqa: SLF001 - documented API
        raise LabDashError(f"{label.capitalize()}: {texts[0]}") from error


def _check_ranges(deployment: Deployment) -> None:
    if deployment.ctx_floor > deployment.ctx_wish:
        raise LabDashError(
            f"The least context, {deployment.ctx_floor:,}, is above the wished one,"
            f" {deployment.ctx_wish:,}."
        )
    least = deployment.min_tokens_per_s
    if least is not None and not 0 < least < float("inf"):
        raise LabDashError("Write a speed above 0 tokens a second, or none.")


def _check_lists(deployment: Deployment) -> None:
    _require_known("give_way", deployment.give_way, USUAL_ORDER, "Nothing else gives way")
    _require_known("kv_types", deployment.kv_types, KV_TYPES, "Ollama knows no such KV cache type")
    for name in ("nodes", "keep_apart"):
        value = getattr(deployment, name)
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise LabDashError(f"{name} is a list of names.")


def _require_known(field: str, value: Any, known: Iterable[str], text: str) -> None:
    if not isinstance(value, list) or len(set(map(str, value))) != len(value):
        raise LabDashError(f"{field} is a list in which nothing comes twice.")
    wrong = next((each for each in value if each not in tuple(known)), None)
    if wrong is not None:
        raise LabDashError(f"{text} as {wrong}: use {', '.join(known)}.")


def _check_places(deployment: Deployment) -> None:
    """Refuse nodes, tags and devices that are not in this lab."""
    nodes = {node.slug: node for node in Node.objects.all()}
    tags = {str(tag) for node in nodes.values() for tag in node.tags}
    for place in deployment.nodes:
        if place not in nodes and place not in tags:
            raise LabDashError(f"No node and no tag is named {place}.")
    if deployment.pin:
        _check_pin(deployment, nodes)


def _check_pin(deployment: Deployment, nodes: Mapping[str, Node]) -> None:
    slug, _, device = deployment.pin.rpartition("/")
    node = nodes.get(slug)
    if node is None:
        raise LabDashError(f"No node is named {slug or deployment.pin}: pin to rog/0 or rog/cpu.")
    if device == CPU:
        if not deployment.offload_allowed:
            raise LabDashError(f"Allow it to use the CPU, or do not pin it to {deployment.pin}.")
    elif not (device.isdecimal() and Gpu.objects.filter(node=node, index=int(device)).exists()):
        raise LabDashError(f"{slug} has no GPU {device}.")
    if deployment.nodes and slug not in deployment.nodes and not _tagged(node, deployment.nodes):
        raise LabDashError(f"It is pinned to {deployment.pin}, which is none of its nodes.")


def _tagged(node: Node, names: Iterable[str]) -> bool:
    return bool({str(tag) for tag in node.tags} & set(names))


def _check_others(deployment: Deployment) -> None:
    """Refuse names that are unknown, its own, or that would come to the same alias."""
    others = Deployment.objects.exclude(pk=deployment.pk)
    known = set(others.values_list("name", flat=True))
    if deployment.name in known:
        raise LabDashError(f"There is a deployment named {deployment.name} already.")
    twin = next((each for each in known if alias_of(each) == alias_of(deployment.name)), None)
    if twin is not None:
        alias = alias_of(deployment.name)
        raise LabDashError(f"{deployment.name} and {twin} would both be served as {alias}.")
    for name in deployment.keep_apart:
        if name == deployment.name:
            raise LabDashError(f"{name} cannot be kept apart from itself.")
        if name not in known:
            raise LabDashError(f"No deployment is named {name}: nothing to keep apart from.")


def _check_model(deployment: Deployment) -> None:
    """Refuse models and quants that nobody knows; what cannot be placed is the plan's to say."""
    try:
        variants = variants_of(
            deployment.model, deployment.quant_floor, deployment.quant_wish, shelf=read_shelf()
        )
    except UnknownModelError as error:
        if not error.heard_of:
            raise LabDashError(_sentence(error, deployment.model)) from error
        return
    except PlannerError as error:
        raise LabDashError(_sentence(error, deployment.model)) from error
    _check_context(deployment, variants)


def _check_context(deployment: Deployment, variants: tuple[Variant, ...]) -> None:
    trained = [variant.model.shape.ctx_train for variant in variants]
    known = [length for length in trained if length]
    if known and deployment.ctx_floor > max(known):
        raise LabDashError(
            f"{deployment.model} was trained with a context of {max(known):,}, less than the least"
            f" wanted, {deployment.ctx_floor:,}."
        )


def _sentence(error: Exception, model: str) -> str:
    """End it as one, and begin it so unless the name of the model does."""
    text = str(error).strip().rstrip(".")
    first = text[:1] if text.startswith(model) else text[:1].upper()
    return f"{first}{text[1:]}."


# --- names ---------------------------------------------------------------------------------------


def _free_name(model: str) -> str:
    """Name a deployment after its model, with a number where that is taken."""
    base = plain_name(model.strip()).rpartition("/")[2][: LONGEST_NAME - 4] or "model"
    base = "".join(c if c.isascii() and (c.isalnum() or c in "._:-") else "-" for c in base)
    base = base.lstrip("._:-") or "model"
    taken = {alias_of(name) for name in Deployment.objects.values_list("name", flat=True)}
    names = (base if number == 1 else f"{base}-{number}" for number in range(1, 1000))
    return next((name for name in names if alias_of(name) not in taken), base)


def _rename(was: str, name: str | None) -> None:
    """Keep the lists of others true: their names are all that they know of it."""
    for other in Deployment.objects.all():
        if was in other.keep_apart:
            kept = [name if each == was else each for each in other.keep_apart]
            other.keep_apart = [each for each in kept if each is not None]
            other.save(update_fields=["keep_apart", "changed_at"])


# --- what is there now ---------------------------------------------------------------------------


def _present(view: NodeView, library: Library) -> Iterable[Fields]:
    for loaded in loaded_models(view, library):
        if not loaded.model.is_deleted and not loaded.name.startswith(FOLDER):
            yield _as_loaded(view, loaded)


def _as_loaded(view: NodeView, loaded: LoadedView) -> Fields:
    """Wish for what is there: it may use the CPU where it does, and keeps the GPU it has."""
    ctx = loaded.model.context_length or USUAL_CTX
    return {
        "priority": LOADED_PRIORITY,
        "model": loaded.name,
        "quant_floor": loaded.quant,
        "quant_wish": loaded.quant,
        "ctx_floor": ctx,
        "ctx_wish": ctx,
        "nodes": [view.node.slug],
        "offload_allowed": loaded.is_split,
        "pin": _own_gpu(view) if loaded.is_split and loaded.model.size_vram_bytes else "",
    }


def _own_gpu(view: NodeView) -> str:
    """Name a node's only GPU, nothing where it has none or several."""
    gpus = list(view.node.gpus.all())
    return f"{view.node.slug}/{gpus[0].index}" if len(gpus) == 1 else ""


def _installed(loaded: Iterable[Fields]) -> Iterable[Fields]:
    """Yield what is on disks and not in memory, each model of a node once."""
    seen = {(each["nodes"][0], each["model"].lower()) for each in loaded}
    rows = InstalledModel.objects.in_use().filter(is_cloud=False, variant__isnull=False)
    for row in rows.select_related("variant__family", "instance__node"):
        name, slug = plain_name(row.name), row.instance.node.slug
        if name.startswith(FOLDER) or (slug, name.lower()) in seen:
            continue
        seen.add((slug, name.lower()))
        yield _as_installed(row, name)


def _as_installed(row: InstalledModel, name: str) -> Fields:
    variant = row.variant
    trained = variant.family.context_length if variant else None
    ctx = min(USUAL_CTX, trained or USUAL_CTX)
    quant = variant.quant if variant else ""
    return {
        "model": name,
        "quant_floor": quant,
        "quant_wish": quant,
        "ctx_floor": ctx,
        "ctx_wish": ctx,
        "nodes": [row.instance.node.slug],
        "residency": Residency.ON_DEMAND,
        "priority": INSTALLED_PRIORITY,
        "offload_allowed": not row.instance.node.gpus.exists(),
    }


def _adopt(wish: Fields) -> Deployment | None:
    """Make one deployment, or leave what is wanted already and what nobody can plan."""
    model = _listed(wish["model"])
    same = Deployment.objects.filter(model__in={model, plain_name(model), f"{model}:latest"})
    if any(each.nodes in ([], wish["nodes"]) for each in same):
        return None
    try:
        wish["name"] = _free_name(model)
        return create(**wish)
    except LabDashError:
        return None


def _listed(model: str) -> str:
    try:
        return parse_model_name(model)
    except LabDashError:
        return model
