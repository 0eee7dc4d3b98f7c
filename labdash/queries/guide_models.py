"""The model that a chapter of the guide reckons with, and the names to pull its quants by."""

from dataclasses import dataclass
from math import log, prod

from labdash.catalog.models import CatalogModel, PublishedFile, find_model, models
from labdash.catalog.own import kept
from labdash.planner.errors import PlannerError
from labdash.planner.file_types import find_file_type
from labdash.planner.model import Model
from labdash.queries.fit_models import choose
from labdash.queries.opening import DEFAULT_QUANT
from labdash.queries.tag_names import (
    hub_name,
    is_guess,
    is_on_hub,
    library_name,
    tag_in_sixteen_bits,
)

# What a size alone is reckoned with: a shape that is usual today, with fewer heads for keys and
# values than for queries. The first of a size is taken, of which others are made.
USUAL_ARCHS = ("llama", "qwen2", "qwen3")
SINCE = "2024-07"


@dataclass(frozen=True, kw_only=True)
class GuideModel:
    """A model in 16 bits. ``known`` is None where the catalog lacks it, and the lab has it.

    ``projector_bytes`` are those of the part that reads images, as published or reckoned.
    """

    name: str
    plain: Model
    known: CatalogModel | None
    projector_bytes: int = 0
    is_projector_reckoned: bool = False

    @property
    def params(self) -> int:
        """Count the weights of the file, without a vision tower beside it."""
        return elements_of(self.plain)

    @property
    def default_quant(self) -> str:
        """The quant of the library's own tag, the usual one where that is not known."""
        default = self.known.default_quant if self.known else None
        try:
            return find_file_type(default).name if default else DEFAULT_QUANT
        except PlannerError:
            return DEFAULT_QUANT

    def pull_name(self, quant: str) -> str:
        """Return the name under which a quant is usually published.

        The library's own tag, where that is known to stand for a file of this quant. Of the two
        types of 16 bits the library has one: it stands for both.
        """
        if self.known is None:
            return f"{self.name.partition(':')[0]}:{quant}" if is_on_hub(self.name) else self.name
        default = self.known.default_file
        if default and self.known.ollama and _is_of(default, quant):
            return self.known.ollama
        tag = library_name(self.known, quant)
        if tag is None and quant in ("BF16", "F16"):
            _, tag = tag_in_sixteen_bits(self.known)
        return tag or hub_name(self.known, quant, self.name)

    def is_guess(self, quant: str, pull: str) -> bool:
        """Tell whether nobody has seen the name of a file published."""
        files = [each for each in self.known.files if _is_of(each, quant)] if self.known else []
        return all(is_guess(pull, each) for each in (None, *files))

    def published_bytes(self, quant: str, pull: str) -> int | None:
        """Return the size of the file that ``pull`` stands for, None where it is not known.

        Publishers' files of one quant differ, so that of another one does not count.
        """
        found = self._published(quant, pull)
        return found.bytes if found else None

    def images_in(self, quant: str, pull: str) -> int:
        """Tell how much of that file reads images: the library's hold it, if no second one does."""
        found = self._published(quant, pull)
        is_second = found is None or found.projector_bytes or ":" not in found.file
        return 0 if is_second else self.projector_bytes

    def _published(self, quant: str, pull: str) -> PublishedFile | None:
        files = [each for each in self.known.files if _is_of(each, quant)] if self.known else []
        return next((each for each in files if self._is_named(each, quant, pull)), None)

    def _is_named(self, file: PublishedFile, quant: str, pull: str) -> bool:
        """Tell whether a file is what a name stands for."""
        place, _, tag = pull.partition(":")
        if is_on_hub(pull):
            owner = place.partition("/")[2].partition("/")[0]
            return file.file.startswith(f"{owner}/") and tag.upper() in ("", quant)
        known = self.known
        if known is None or file != known.default_file:
            return file.file == pull
        # The library has this one under its full tag too, and the usual size without any.
        usual = known.latest and tag in ("", "latest")
        return usual or pull in (known.ollama, library_name(known, quant))


def _is_of(file: PublishedFile, quant: str) -> bool:
    """Tell whether a file is of a quant, by whatever name its publisher calls that."""
    try:
        return bool(file.quant) and find_file_type(file.quant or "").name == quant
    except PlannerError:
        return False


def elements_of(model: Model) -> int:
    """Count the numbers that a model's tensors hold."""
    return sum(prod(tensor.shape) for tensor in model.tensors)


def open_guide_model(name: str) -> GuideModel:
    """Find a model by name. Raises ``PlannerError`` with one line."""
    chosen = choose(name, "F16")
    try:
        known = find_model(name).model
    except PlannerError:
        known = None
    shown = (known.ollama or known.name) if known else name.strip()
    return GuideModel(
        name=shown,
        plain=chosen.model,
        known=known,
        projector_bytes=chosen.projector_bytes,
        is_projector_reckoned=chosen.is_projector_reckoned,
    )


def nearest(params: float) -> GuideModel:
    """Return the dense text model of the catalog that is nearest in size."""
    name = min(_usual(), key=lambda row: abs(log(row[1] / params)))[2]
    return open_guide_model(name)


def catalog_names() -> list[str]:
    """Return the models that can be chosen, in the order of the alphabet."""
    return sorted(model.ollama or model.name for model in models() if model.metadata)


@kept(2)
def _usual() -> tuple[tuple[str, int, str], ...]:
    """Return release, parameters and name of dense models of text, the oldest first."""
    return tuple(
        sorted(
            (model.released, model.params_total, model.ollama)
            for model in models()
            if model.ollama and model.params_total and model.released and _is_usual(model)
        )
    )


def _is_usual(model: CatalogModel) -> bool:
    is_dense_text = not model.params_active and not {"vision", "embedding"} & set(
        model.capabilities
    )
    is_young = (model.released or "") >= SINCE
    return is_dense_text and is_young and model.checked and model.arch in USUAL_ARCHS
