"""The model that a chapter of the guide reckons with, and the names to pull its quants by."""

from dataclasses import dataclass
from math import log, prod

from labdash.catalog.models import CatalogModel, find_model, models
from labdash.catalog.own import kept
from labdash.planner.errors import PlannerError
from labdash.planner.model import Model
from labdash.queries.fit_models import choose
from labdash.queries.tag_names import hub_name, is_on_hub, library_name

# What a size alone is reckoned with: a shape that is usual today, with fewer heads for keys and
# values than for queries. The first of a size is taken, of which others are made.
USUAL_ARCHS = ("llama", "qwen2", "qwen3")
SINCE = "2024-07"


@dataclass(frozen=True, kw_only=True)
class GuideModel:
    """A model in 16 bits. ``known`` is None where the catalog lacks it, and the lab has it."""

    name: str
    plain: Model
    known: CatalogModel | None

    @property
    def params(self) -> int:
        """Count the weights of the file, without a vision tower beside it."""
        return elements_of(self.plain)

    def pull_name(self, quant: str) -> str:
        """Return the name under which a quant is usually published."""
        if self.known is None:
            return f"{self.name.partition(':')[0]}:{quant}" if is_on_hub(self.name) else self.name
        return library_name(self.known, quant) or hub_name(self.known, quant, self.name)

    def published_bytes(self, quant: str) -> int | None:
        """Return the size of a published file, None where the catalog has none of this quant.

        Publishers' files of one quant differ: that of the name to pull counts before others.
        """
        files = [each for each in self.known.files if each.quant == quant] if self.known else []
        place = self.pull_name(quant).partition(":")[0].removeprefix("hf.co/") if files else ""
        files.sort(key=lambda each: not each.file.startswith(place))
        return files[0].bytes if files else None


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
    return GuideModel(name=shown, plain=chosen.model, known=known)


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
