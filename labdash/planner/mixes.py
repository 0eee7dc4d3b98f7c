"""The mixes of llama-quantize: which tensors of a file get another type than the rest.

A ``Place`` is what a rule sees of a tensor. Each table has a rule for a file type; one that is not
in the table keeps its base type there.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from labdash.planner.ggml import TYPES

type Role = Literal[
    "output", "embedding", "value", "key", "query", "joined", "up", "gate", "down", "other"
]

# llama.cpp takes a model for a "70B" by its number of blocks.
_BLOCKS_OF_70B = {"llama": 80, "qwen2": 80, "deci": 80, "olmo": 80, "jais2": 68}
_MIXTRAL_EXPERTS = 8
_MANY_HEADS = 4
_MANY_EXPERTS = 4


@dataclass(frozen=True, slots=True)
class Traits:
    """Facts of a model that rules ask for; ``heads_per_kv`` is that of the first block."""

    arch: str
    blocks: int
    experts: int
    heads_per_kv: int

    @property
    def falcon(self) -> bool:
        """Falcon has rules of its own."""
        return self.arch == "falcon"

    @property
    def mixtral(self) -> bool:
        """Eight experts: attention is then a small part of the file."""
        return self.experts == _MIXTRAL_EXPERTS

    @property
    def grouped(self) -> bool:
        """Four heads or more share a value head: the value matrix is small."""
        return self.heads_per_kv >= _MANY_HEADS

    @property
    def is_70b(self) -> bool:
        """Say whether llama.cpp takes it for a 70B model."""
        if self.arch == "llama" and (self.heads_per_kv == 1 or self.mixtral):
            return False
        return self.blocks == _BLOCKS_OF_70B.get(self.arch)


@dataclass(frozen=True, slots=True)
class Place:
    """A tensor as a rule sees it: the ``index``-th of ``count`` in its role.

    ``row`` is the length of its rows, ``stacked`` says that it holds several matrices, ``base`` is
    the type that most tensors of the file get.
    """

    name: str
    role: Role
    row: int
    stacked: bool
    quant: str
    base: str
    index: int
    count: int
    traits: Traits
    imatrix: bool

    def first(self, share: int) -> bool:
        """Say whether it is in the first 1/``share`` of the blocks."""
        return self.index < self.count // share

    @property
    def sensitive(self) -> bool:
        """The first and the last eighth, and every third block between them."""
        every_third = (self.index - self.count // 8) % 3 == 2  # noqa: PLR2004 - the third of three
        return self.first(8) or self.index >= 7 * self.count // 8 or every_third


type Rule = Callable[[Place], str]
type Rules = Mapping[str, Rule]

LOW_BIT = frozenset(("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M"))
_WIDER_LOW_BIT = frozenset(("IQ2_S", "IQ2_M"))

_EMBEDDING: Rules = {
    **dict.fromkeys(("IQ2_XXS", "IQ2_XS", "IQ1_S", "IQ1_M"), lambda _: "q2_K"),
    **dict.fromkeys(("IQ2_S", "IQ2_M", "IQ3_XXS"), lambda _: "iq3_s"),
    **dict.fromkeys(("TQ1_0", "TQ2_0", "Q2_0"), lambda _: "q4_K"),
}

_VALUE: Rules = {
    "Q2_K": lambda at: "q4_K" if at.traits.grouped else "q3_K",
    "Q2_K_S": lambda at: "q4_K" if at.traits.grouped else at.base,
    "IQ3_XXS": lambda at: "q4_K" if at.traits.grouped else "iq3_xxs" if at.imatrix else "iq3_s",
    "IQ3_XS": lambda at: "q4_K" if at.traits.grouped else at.base,
    "IQ3_S": lambda at: "q4_K" if at.traits.grouped else at.base,
    "IQ3_M": lambda _: "q4_K",
    "Q3_K_M": lambda at: "q5_K" if at.index < 2 else "q4_K",  # noqa: PLR2004 - two tensors
    "Q3_K_L": lambda _: "q5_K",
    "IQ4_NL": lambda at: "q5_K" if at.traits.grouped else at.base,
    "IQ4_XS": lambda at: "q5_K" if at.traits.grouped else at.base,
    "Q4_K_S": lambda at: "q5_K" if at.index < 4 else at.base,  # noqa: PLR2004 - four tensors
    "Q4_K_M": lambda at: "q6_K" if at.sensitive else at.base,
    "Q5_K_M": lambda at: "q6_K" if at.sensitive else at.base,
}

_QUERY_AND_KEY: Rules = {"IQ3_XS": lambda _: "iq3_xxs", "IQ3_XXS": lambda _: "iq2_s"}

_DOWN: Rules = {
    "Q2_K": lambda _: "q3_K",
    "Q2_K_S": lambda at: "q4_K" if at.first(8) else at.base,
    "IQ3_XXS": lambda at: at.base if at.imatrix else "q4_K" if at.first(8) else "q3_K",
    "IQ3_M": lambda at: "q4_K" if at.first(8) or (at.traits.mixtral and at.sensitive) else at.base,
    "Q3_K_M": lambda at: "q5_K" if at.first(16) else "q4_K",
    "Q3_K_L": lambda _: "q5_K",
    "IQ4_NL": lambda at: "q5_K" if at.first(8) and not at.imatrix else at.base,
    "IQ4_XS": lambda at: "q5_K" if at.first(8) and not at.imatrix else at.base,
    "Q4_0": lambda at: "q4_1" if at.first(8) and at.imatrix else at.base,
    "Q4_K_S": lambda at: "q5_K" if at.first(8) else at.base,
    "Q4_K_M": lambda at: "q6_K" if at.sensitive else at.base,
    "Q5_0": lambda at: "q5_1" if at.first(8) and at.imatrix else at.base,
    "Q5_K_M": lambda at: "q6_K" if at.sensitive else at.base,
}

_DOWN_OF_FALCON: Rules = {
    **_DOWN,
    "Q3_K_M": lambda at: "q5_K" if at.first(16) else "q4_K" if at.sensitive else "q3_K",
    "Q3_K_L": lambda _: "q4_K",
    "Q4_K_S": lambda at: at.base,
    "Q4_K_M": lambda at: "q6_K" if at.first(16) else "q5_K" if at.sensitive else "q4_K",
}

_JOINED: Rules = {
    "Q2_K": lambda _: "q3_K",
    "IQ3_XXS": lambda _: "iq3_s",
    "IQ3_M": lambda _: "q4_K",
    "Q3_K_M": lambda _: "q4_K",
    "Q3_K_L": lambda _: "q5_K",
}
_JOINED_OF_FALCON: Rules = {"Q3_K_L": lambda _: "q4_K"}
_JOINED_OF_MIXTRAL = frozenset(("Q2_K", "Q3_K_S", "Q3_K_M", "Q4_K_S", "Q4_K_M", "IQ3_XXS")) | {
    "IQ3_XS",
    "IQ3_S",
    "IQ3_M",
    "IQ4_NL",
    "IQ4_XS",
}

_UP_AND_GATE: Rules = {
    "IQ3_XS": lambda at: at.base if at.first(8) or at.index >= 7 * at.count // 8 else "iq3_xxs",
}


def mixed_type(place: Place) -> str:
    """Choose the type by the file type's mix, whether or not the rows divide by its block."""
    if place.role == "output":
        return _output_type(place)
    if place.quant == "MXFP4_MOE":
        return "mxfp4" if place.stacked else "q8_0"
    if place.role == "embedding":
        return _by_table(place, _EMBEDDING)
    if place.quant in LOW_BIT:
        return _low_bit_type(place)
    rule = _BY_ROLE.get(place.role)
    return rule(place) if rule else place.base


def _by_table(place: Place, rules: Rules) -> str:
    rule = rules.get(place.quant)
    return rule(place) if rule else place.base


def _output_type(place: Place) -> str:
    if place.quant == "MXFP4_MOE" or place.traits.falcon or place.row % TYPES[place.base].block:
        return "q8_0"
    if place.quant in LOW_BIT or place.quant == "IQ3_XXS":
        return "q5_K"
    return "q8_0" if place.base == "q8_0" else "q6_K"


def _low_bit_type(place: Place) -> str:
    wider = "iq3_s" if place.quant in _WIDER_LOW_BIT else "q2_K"
    if place.role == "value":
        many = place.traits.grouped or place.traits.experts >= _MANY_EXPERTS
        return "q4_K" if many else wider
    if place.role == "down":
        return wider if place.first(8) else place.base
    if place.role == "key" and place.traits.mixtral:
        return "q4_K"
    if place.role == "joined":
        return _low_bit_joined_type(place)
    return place.base


def _low_bit_joined_type(place: Place) -> str:
    if place.traits.mixtral:
        return "q5_K"
    if place.quant in _WIDER_LOW_BIT:
        return "iq3_s"
    return "iq2_xxs" if place.quant.startswith("IQ1") else place.base


def _value_type(place: Place) -> str:
    if place.traits.mixtral:
        return "q8_0"
    kind = _by_table(place, _VALUE)
    return "q5_K" if place.traits.is_70b and kind in {"q3_K", "q4_K"} else kind


def _key_type(place: Place) -> str:
    return "q8_0" if place.traits.mixtral else _by_table(place, _QUERY_AND_KEY)


def _down_type(place: Place) -> str:
    return _by_table(place, _DOWN_OF_FALCON if place.traits.falcon else _DOWN)


def _joined_type(place: Place) -> str:
    if place.traits.falcon:
        return _by_table(place, _JOINED_OF_FALCON)
    if place.traits.mixtral:
        return "q5_K" if place.quant in _JOINED_OF_MIXTRAL else place.base
    return _by_table(place, _JOINED)


_BY_ROLE: Mapping[Role, Rule] = {
    "value": _value_type,
    "key": _key_type,
    "query": lambda at: _by_table(at, _QUERY_AND_KEY),
    "down": _down_type,
    "joined": _joined_type,
    "up": lambda at: _by_table(at, _UP_AND_GATE),
    "gate": lambda at: _by_table(at, _UP_AND_GATE),
}
