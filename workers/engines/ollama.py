"""Ollama over HTTP: what it runs, what it holds, and what it has installed."""

import re
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from workers.engines.base import EngineDown
from workers.engines.http import JsonClient
from workers.engines.names import is_copy, listed_name
from workers.engines.stream import PullStream
from workers.values import Count, Each, Maybe, Medium, Moment, Name
from workers.wire import InstalledModel, LoadedModel

# The first FROM is the weights' file, a second one the projector's. Windows writes `\`.
_STORE = re.compile(r"^FROM (.+)[/\\]blobs[/\\]sha256-")
# Before 0.30 another engine reckoned what a model takes.
_NEW_ENGINE = (0, 30)
_WEIGHTS = re.compile(r"^FROM .*sha256-([0-9a-f]{64})\s*$", re.MULTILINE)


class _Details(BaseModel):
    parent_model: str = ""
    format: str = ""
    family: str = ""
    parameter_size: str = ""
    quantization_level: str = ""
    context_length: Maybe[Medium] = None


class _Tag(BaseModel):
    name: Name
    digest: str
    size: Count
    modified_at: Moment
    details: _Details = Field(default_factory=_Details)
    capabilities: tuple[str, ...] | None = None
    remote_model: str = ""
    remote_host: str = ""

    @property
    def is_cloud(self) -> bool:
        tag = self.name.rpartition(":")[2]
        return bool(
            self.remote_host or self.remote_model or tag == "cloud" or tag.endswith("-cloud")
        )


class _Tags(BaseModel):
    models: tuple[Each[_Tag], ...] | None = None


class _Shown(BaseModel):
    modelfile: str = ""
    parameters: str = ""
    details: _Details = Field(default_factory=_Details)
    model_info: dict[str, Any] = Field(default_factory=dict)
    capabilities: tuple[str, ...] | None = None


class _Running(BaseModel):
    name: Name
    digest: str
    size: Count
    size_vram: Maybe[Count] = None
    context_length: Maybe[Medium] = None
    expires_at: Maybe[Moment] = None


class _Processes(BaseModel):
    models: tuple[Each[_Running], ...] | None = None


class _Version(BaseModel):
    version: str


@dataclass(frozen=True, kw_only=True)
class Named:
    """A name as its server describes it.

    ``parent`` is what it was made from, empty for one that was pulled. ``parameters`` are the
    options that it keeps.
    """

    name: str
    is_cloud: bool
    parent: str
    parameters: frozenset[str]


class Ollama:
    """One Ollama server. What ``/api/show`` says is asked once for each digest."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._json = JsonClient(url)
        self._shown: dict[str, _Shown] = {}
        self._names: frozenset[str] = frozenset()
        self._version = ""

    def version(self) -> str:
        """Return the version; a build from source says 0.0.0. Raises ``EngineDown``."""
        self._version = _parse(_Version, self._json.get("/api/version")).version
        return self._version

    def loaded(self) -> tuple[LoadedModel, ...]:
        """Return what is in memory. Raises ``EngineDown``; a time-out may mean an unload."""
        running = _parse(_Processes, self._json.get("/api/ps")).models or ()
        if not {model.name for model in running} <= self._names:
            # One that was pulled a moment ago, or deleted: a loaded model outlives its name.
            self._tags()
        return tuple(
            LoadedModel(
                name=model.name,
                digest=model.digest,
                size_bytes=model.size,
                size_vram_bytes=model.size_vram,
                context_length=model.context_length,
                expires_at=model.expires_at,
                is_deleted=model.name not in self._names,
                leaves_out_context=self._leaves_out_context(model.digest),
            )
            for model in running
        )

    def installed(self) -> tuple[InstalledModel, ...]:
        """Return all names but those of a moment, with what is known. Raises ``EngineDown``."""
        tags = [tag for tag in self._tags() if not is_copy(tag.name)]
        self._forget_all_but({tag.digest for tag in tags})
        return tuple(_installed(tag, None if tag.is_cloud else self._show(tag)) for tag in tags)

    def digests(self) -> frozenset[tuple[str, str]]:
        """Return names with their digests, to see cheaply whether anything changed."""
        return frozenset((tag.name, tag.digest) for tag in self._tags())

    def capabilities(self, model: str) -> tuple[str, ...] | None:
        """Return what a model can do, ``None`` where its server does not tell (before 0.9.1).

        Raises ``EngineDown``.
        """
        return _parse(_Shown, self._json.post("/api/show", {"model": model})).capabilities

    def find(self, model: str) -> Named | None:
        """Describe one name, whatever its case; ``None`` where it is not installed.

        Raises ``EngineDown``.
        """
        wanted = listed_name(model).lower()
        tag = next((tag for tag in self._tags() if tag.name.lower() == wanted), None)
        if tag is None:
            return None
        if tag.is_cloud:
            return Named(name=tag.name, is_cloud=True, parent="", parameters=frozenset())
        shown = _parse(_Shown, self._json.post("/api/show", {"model": tag.name}))
        lines = (line.split(maxsplit=1) for line in shown.parameters.splitlines())
        return Named(
            name=tag.name,
            is_cloud=False,
            parent=shown.details.parent_model or tag.details.parent_model,
            parameters=frozenset(words[0] for words in lines if words),
        )

    def store(self) -> str | None:
        """Return the folder of the models as the server wrote it when they were last listed."""
        # Lists are made in another thread.
        found = [_STORE.match(shown.modelfile) for shown in list(self._shown.values())]
        return next((match[1] for match in found if match), None)

    def pull(self, model: str, *, read_s: float, insecure: bool = False) -> PullStream:
        """Begin a pull; ``read_s`` bounds the silence between two lines.

        ``insecure`` is plain HTTP, for registries of the lab alone.
        """
        return PullStream(self.url, model, read_s=read_s, insecure=insecure)

    def _tags(self) -> tuple[_Tag, ...]:
        tags = _parse(_Tags, self._json.get("/api/tags")).models or ()
        self._names = frozenset(tag.name for tag in tags)
        return tags

    def _leaves_out_context(self, digest: str) -> bool:
        """Tell by a sliding window: of two caches, Ollama counts the later one (0.33.0-rc2)."""
        shown = self._shown.get(digest)
        if shown is None or _is_old(self._version):
            return False
        architecture = shown.model_info.get("general.architecture")
        return bool(_count(shown.model_info.get(f"{architecture}.attention.sliding_window")))

    def _show(self, tag: _Tag) -> _Shown | None:
        """Describe a model; of one that the server cannot show, its tag alone is reported."""
        if tag.digest not in self._shown:
            try:
                answer = self._json.post("/api/show", {"model": tag.name})
                self._shown[tag.digest] = _without_bulk(_parse(_Shown, answer))
            except EngineDown as down:
                if down.state != "error":
                    raise
                return None
        return self._shown[tag.digest]

    def _forget_all_but(self, digests: set[str]) -> None:
        for digest in self._shown.keys() - digests:
            del self._shown[digest]


def _parse[M: BaseModel](kind: type[M], answer: Any) -> M:
    try:
        return kind.model_validate(answer)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise EngineDown(
            "error", f"it does not answer like Ollama: {where} {problem['msg']}"
        ) from error


def _without_bulk(shown: _Shown) -> _Shown:
    """Keep the few figures that are used: templates and licences are long."""
    figures = {
        key: value for key, value in shown.model_info.items() if isinstance(value, str | int)
    }
    match = _WEIGHTS.search(shown.modelfile)
    modelfile = match[0] if match else ""
    kept = {"model_info": figures, "modelfile": modelfile, "parameters": ""}
    return shown.model_copy(update=kept)


def _installed(tag: _Tag, shown: _Shown | None) -> InstalledModel:
    info = shown.model_info if shown else {}
    details = shown.details if shown else tag.details
    architecture = _text(info.get("general.architecture")) or tag.details.family or None
    weights = _WEIGHTS.search(shown.modelfile) if shown else None
    capabilities = (shown.capabilities if shown else None) or tag.capabilities or ()
    return InstalledModel(
        name=tag.name,
        digest=tag.digest,
        size_bytes=tag.size,
        modified_at=tag.modified_at,
        is_cloud=tag.is_cloud,
        format=tag.details.format or None,
        architecture=architecture,
        parameter_size=tag.details.parameter_size or None,
        parameter_count=_count(info.get("general.parameter_count")),
        quant=tag.details.quantization_level or None,
        context_length=_count(info.get(f"{architecture}.context_length"))
        or tag.details.context_length,
        block_count=_count(info.get(f"{architecture}.block_count")),
        parent_model=details.parent_model or tag.details.parent_model or None,
        blob_digest=weights[1] if weights else None,
        capabilities=capabilities,
    )


def _is_old(version: str) -> bool:
    numbers = re.match(r"(\d+)\.(\d+)", version)
    found = (int(numbers[1]), int(numbers[2])) if numbers else _NEW_ENGINE
    # What was built from source calls itself 0.0.0, whatever it is.
    return (0, 0) < found < _NEW_ENGINE


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) else None
