"""Quants in the order of what they lose, and which of them lie between a floor and a wish."""

from collections.abc import Iterable

from labdash.catalog.quality import find_quality
from labdash.planner.errors import PlannerError
from labdash.planner.file_types import FILE_TYPES, find_file_type

# What is published of most models, best first.
USUAL = (
    "F16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q4_K_M", "Q4_K_S", "Q3_K_L", "Q3_K_M", "Q3_K_S",
    "Q2_K",
)  # fmt: skip
# Offered beside them only to who asks for one of these, since they are slow on a CPU.
WITH_CODE_BOOKS = (
    "IQ4_NL", "IQ4_XS", "IQ3_M", "IQ3_S", "IQ3_XS", "IQ3_XXS", "IQ2_M", "IQ2_S", "IQ2_XS",
    "IQ2_XXS", "IQ1_M", "IQ1_S",
)  # fmt: skip
NATIVE = "MXFP4_MOE"
NATIVE_ARCHS = frozenset(("gpt-oss",))
# Nobody measured these: taken between those with about as many bits. What a model was trained in
# loses next to nothing.
UNMEASURED = {
    "F32": 0.0, "BF16": 0.0005, NATIVE: 0.04, "Q2_0": 0.5, "TQ2_0": 0.6, "TQ1_0": 0.9, "Q1_0": 2.0,
}  # fmt: skip
NATIVE_LOSS = 0.0006


def quant_name(text: str) -> str:
    """Write a quant as llama-quantize does. Raises ``PlannerError`` with the nearest known."""
    return find_file_type(text).name


def known_quant(text: str | None) -> str | None:
    """Write a quant as llama-quantize does, None for what it does not make."""
    try:
        return quant_name(text) if text else None
    except PlannerError:
        return None


def worth(quant: str, arch: str) -> float:
    """Tell what a quant loses, for comparisons: less is better."""
    if quant == NATIVE and arch in NATIVE_ARCHS:
        return NATIVE_LOSS
    measured = find_quality(quant)
    return measured.kld if measured else UNMEASURED.get(quant, 0.0)


def loss_of(quant: str) -> float | None:
    """Tell what a quant was measured to lose, None where nobody did."""
    measured = find_quality(quant)
    return measured.kld if measured else None


def ladder(floor: str, wish: str, *, arch: str, beside: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the quants from the wish down to the floor. Raises ``PlannerError``.

    ``beside`` are further ones that are at hand, taken where they lie between.
    """
    best, worst = worth(wish, arch), worth(floor, arch)
    if best > worst:
        raise PlannerError(f"the least quant {floor} is better than the wished {wish}")
    named = {floor, wish}
    found = {each for each in (*_offered(named, arch), *beside) if best < worth(each, arch) < worst}
    return tuple(_sorted(found | named, arch))


def every(own: str, *, arch: str, beside: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the usual quants of a model, its own and those ``beside``, the best first."""
    return tuple(_sorted({own, *_offered({own}, arch), *beside}, arch))


def below(floor: str, *, arch: str) -> tuple[str, ...]:
    """Return the usual quants that lose more than ``floor``, the best first."""
    least = worth(floor, arch)
    return tuple(_sorted((q for q in _offered({floor}, arch) if worth(q, arch) > least), arch))


def _offered(named: set[str], arch: str) -> tuple[str, ...]:
    if arch in NATIVE_ARCHS:
        return ("F16", NATIVE)
    usual = USUAL[1:] if "BF16" in named else USUAL
    return (*usual, *WITH_CODE_BOOKS) if any(q.startswith("IQ") for q in named) else usual


def _sorted(quants: Iterable[str], arch: str) -> list[str]:
    order = list(FILE_TYPES)
    return sorted(quants, key=lambda quant: (worth(quant, arch), order.index(quant)))
