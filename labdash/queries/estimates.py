"""Requests for an estimate, as commands and pages give them, and answers as they print them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from labdash.catalog.engines import newest_engine, parse_engine
from labdash.catalog.gpus import find_gpu, known_names
from labdash.planner.errors import PlannerError
from labdash.planner.memory.companions import Companions
from labdash.planner.memory.estimate import estimate
from labdash.planner.memory.fit import Fitted, fit
from labdash.planner.memory.result import DeviceUse, Estimate, HostUse
from labdash.planner.model import Model
from labdash.planner.settings import ALL_LAYERS, Gpu, Settings
from labdash.queries.opening import open_model

MIB = 2**20
UNITS = {"mib": MIB, "mb": 10**6, "gib": 2**30, "gb": 10**9, "g": 2**30, "m": MIB}
# llama.cpp, --fit-target: what it keeps free on each GPU.
MARGIN_MIB = 1024
DEFAULT_CTX = 4096
DEFAULT_BATCH = 512
# More than any lab has, and than an estimate should take time for.
MOST_GPUS = 64
MOST_MIB = 2**30


class Request(BaseModel):
    """One estimate that is asked for; None and what is absent mean the default.

    ``mmproj``, ``draft`` and ``lora`` are loaded beside the model. ``ctx`` is the total over all
    slots. ``gpu_free_mib`` has an entry a GPU, None where its size is not known. ``cpu_override``
    is a regular expression of tensors that stay in RAM.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str
    quant: str | None = None
    ctx: int | Literal["auto"] | None = None
    parallel: int | None = None
    unified_kv: bool | None = None
    flash_attn: bool | None = None
    type_k: str | None = None
    type_v: str | None = None
    batch: int | None = None
    ubatch: int | None = None
    gpu_layers: int | Literal["all"] | None = None
    gpu_free_mib: tuple[float | None, ...] | None = Field(default=None, max_length=MOST_GPUS)
    gpu_names: tuple[str | None, ...] = ()
    tensor_split: tuple[float, ...] | str | None = None
    outputs: int | None = None
    kv_offload: bool | None = None
    op_offload: bool | None = None
    swa_full: bool | None = None
    dry_run: bool | None = None
    pipeline: bool | None = None
    cpu_override: str | None = None
    engine: str | None = None
    fit: bool | None = None
    margin_mib: float | None = None
    mmproj: str | None = None
    draft: str | None = None
    lora: tuple[str, ...] = ()

    @field_validator("source")
    @classmethod
    def _is_named(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("no model was named")
        return value


@dataclass(frozen=True, slots=True)
class Answer:
    """An estimate with what it was made of. ``fitted`` where the engine was to choose."""

    model: Model
    estimate: Estimate
    fitted: Fitted | None
    warnings: tuple[str, ...]


def read_request(values: dict[str, Any]) -> Request:
    """Check a request. Raises ``PlannerError`` with one line that names the field."""
    try:
        return Request.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][:1])
        if first["type"] == "extra_forbidden":
            raise PlannerError(
                f"{where} is no key of a request; there are {', '.join(Request.model_fields)}"
            ) from None
        message = first["msg"].removeprefix("Value error, ")
        raise PlannerError(f"{where}: {message[0].lower()}{message[1:]}") from None


def answer(request: Request) -> Answer:
    """Estimate. Raises ``PlannerError`` with one line where there is no answer."""
    source = open_model(request.source, request.quant)
    model = source.model
    build, build_notice = _build(request.engine)
    settings = _settings(request, model, build)
    fitted = None
    margin_bytes = 0
    if request.fit:
        margin_bytes = _mib("margin_mib", _or(request.margin_mib, MARGIN_MIB))
        fitted = fit(model, settings, margin_bytes=margin_bytes, ctx_is_free=_is_auto(request))
        settings = fitted.settings
    companions = _companions(request)
    result = estimate(model, settings, margin_bytes=margin_bytes, companions=companions)
    warnings = (*source.notices, *((build_notice,) if build_notice else ()), *result.warnings)
    return Answer(model, result, fitted, warnings)


def _parts(use: DeviceUse | HostUse) -> dict[str, Any]:
    """Write the parts. A projector that is given as a file is among weights and compute."""
    return {name: value for name, value in asdict(use).items() if name != "images_bytes"}


def as_json(given: Answer) -> dict[str, Any]:
    """Write an answer as ``estimate --json`` prints it."""
    result, shape = given.estimate, given.model.shape
    written: dict[str, Any] = {
        "model": {
            "name": given.model.name,
            "arch": shape.arch,
            "quant": given.model.quant,
            "layers": shape.block_count,
            "ctx_train": shape.ctx_train,
            "weight_bytes": given.model.weight_bytes,
        },
        "devices": [_parts(device) for device in result.devices],
        "host": _parts(result.host),
        "fits": result.fits,
        "basis": asdict(result.basis),
        "warnings": list(given.warnings),
        "ctx": result.ctx,
    }
    if given.fitted is not None:
        written["ctx"] = given.fitted.ctx
        written["gpu_layers"] = given.fitted.gpu_layers
        written["experts_on_cpu"] = list(given.fitted.experts_on_cpu)
        written["tensor_split"] = given.fitted.tensor_split
    return written


def _companions(request: Request) -> Companions | None:
    """Open what is loaded beside the model."""
    if not (request.mmproj or request.draft or request.lora):
        return None
    projector, draft = (
        open_model(source, None).model if source else None
        for source in (request.mmproj, request.draft)
    )
    if projector is not None and projector.metadata["general.architecture"] != "clip":
        raise PlannerError(f"mmproj: {request.mmproj} is no projector, but a model of its own")
    adapters = tuple(_adapter(source) for source in request.lora)
    return Companions(projector, draft, adapters)


def _adapter(source: str) -> Model:
    model = open_model(source, None).model
    if model.metadata.get("general.type") != "adapter":
        raise PlannerError(f"lora: {source} is no adapter, but a model of its own")
    return model


def _is_auto(request: Request) -> bool:
    return request.ctx in (None, "auto", 0)


@lru_cache(maxsize=64)
def _build(engine: str | None) -> tuple[int, str | None]:
    build = newest_engine() if engine is None else parse_engine(engine)
    return build.number, build.warning


def _settings(request: Request, model: Model, build: int) -> Settings:
    ubatch = DEFAULT_BATCH if request.ubatch is None else request.ubatch
    batch = max(DEFAULT_BATCH, ubatch) if request.batch is None else request.batch
    type_k = request.type_k or "f16"
    return Settings(
        build=build,
        ctx=_ctx(request, model),
        parallel=_or(request.parallel, 1),
        unified_kv=bool(request.unified_kv),
        flash_attn=request.flash_attn is not False,
        type_k=type_k,
        type_v=request.type_v or "f16",
        batch=batch,
        ubatch=ubatch,
        gpu_layers=_layers(request.gpu_layers),
        gpus=_gpus(request),
        tensor_split=_shares(request.tensor_split),
        outputs=request.outputs,
        kv_offload=request.kv_offload is not False,
        op_offload=request.op_offload is not False,
        swa_full=bool(request.swa_full),
        dry_run=request.dry_run is not False,
        pipeline=request.pipeline is not False,
        cpu_override=request.cpu_override or None,
    )


def _or[T](value: T | None, default: T) -> T:
    return default if value is None else value


def _ctx(request: Request, model: Model) -> int:
    if request.ctx == "auto" or (request.fit and request.ctx is None):
        return 0
    if request.ctx is None:
        return min(DEFAULT_CTX, model.shape.ctx_train or DEFAULT_CTX)
    return int(request.ctx)


def _layers(value: int | str | None) -> int:
    if value in (None, "all"):
        return ALL_LAYERS
    number = int(value)
    if number < 0:
        raise PlannerError(
            f"gpu_layers: the number of layers cannot be negative: {number}; all is every layer"
        )
    return number


def _shares(value: Sequence[float] | str | None) -> tuple[float, ...] | None:
    if value is None or value == "":
        return None
    if isinstance(value, str):
        try:
            value = [float(part) for part in value.split(",")]
        except ValueError:
            raise PlannerError(f"tensor_split: write shares as 3,1, not {value[:40]!r}") from None
    return tuple(value)


def _gpus(request: Request) -> tuple[Gpu, ...]:
    if request.gpu_free_mib is None:
        return (Gpu(),)
    gpus = []
    for index, free in enumerate(request.gpu_free_mib):
        name = request.gpu_names[index] if index < len(request.gpu_names) else None
        facts = find_gpu(name) if name else None
        gpus.append(
            Gpu(
                free_bytes=None if free is None else _mib("gpu_free_mib", free),
                vendor=facts.vendor if facts else None,
                sm_count=facts.sm_count if facts else None,
            )
        )
    return tuple(gpus)


def _mib(key: str, value: float) -> int:
    """Give bytes of a size that can be one."""
    if not 0 <= value <= MOST_MIB:
        raise PlannerError(f"{key}: {value:g} MiB is no size of memory")
    return int(value * MIB)


def read_gpus(text: str) -> tuple[tuple[float | None, ...], tuple[str | None, ...]]:
    """Read ``2``, ``24GiB,12GiB`` or ``RTX 3090,RTX 4060``: MiB and names, a GPU each."""
    if text.strip().isascii() and text.strip().isdecimal():
        digits = text.strip().lstrip("0")
        if len(digits) > len(str(MOST_GPUS)) or int(text) > MOST_GPUS:
            raise PlannerError(f"gpus: more than {MOST_GPUS} GPUs are not reckoned with")
        return (None,) * int(text), (None,) * int(text)
    sizes, names = [], []
    for part in text.split(","):
        size = _size_mib(part.strip())
        facts = None if size is not None else find_gpu(part.strip())
        if size is None and facts is None:
            known = ", ".join(list(known_names())[:3])
            raise PlannerError(
                f"gpus: {part.strip()[:40]!r} is no size as 24GiB and no GPU that the catalog "
                f"knows, as {known}"
            )
        sizes.append(size if facts is None else max(facts.vram_gb) * 1024)
        names.append(None if facts is None else facts.name)
    return tuple(sizes), tuple(names)


def _size_mib(text: str) -> float | None:
    lowered = text.lower().replace(" ", "")
    for unit, unit_bytes in UNITS.items():
        number = lowered.removesuffix(unit)
        if number != lowered:
            try:
                return float(number) * unit_bytes / MIB
            except ValueError:
                return None
    return None
