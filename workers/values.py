"""Values that come from elsewhere: bounded and cleaned, or unknown where they make no sense."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    Field,
    StringConstraints,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticOmit

# Control characters, further line ends, and halves of surrogate pairs: no page can show them, and
# no database needs to hold them.
_UNSHOWN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# The same, but for what sets text: a line feed and a tab.
_UNSET = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_EARLIEST, _LATEST = datetime(1970, 1, 2, tzinfo=UTC), datetime(9998, 1, 1, tzinfo=UTC)


def _one_line(longest: int) -> Callable[[Any], Any]:
    """Return what makes one line of at most so many characters of a text."""
    return lambda text: _UNSHOWN.sub(" ", text[:longest]) if isinstance(text, str) else text


def _some_lines(text: Any) -> Any:
    return _UNSET.sub(" ", text[:MOST_PROSE]) if isinstance(text, str) else text


def _or_unknown(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    try:
        return handler(value)
    except ValidationError:
        return None


def _or_left_out(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    try:
        return handler(value)
    except ValidationError:
        raise PydanticOmit from None


def or_else(fallback: str) -> WrapValidator:
    """Return what makes a word that is not known, as of a newer version, one that is."""

    def validate(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError:
            return fallback

    return WrapValidator(validate)


def _in_range(moment: datetime) -> datetime:
    """Keep a moment where every time zone has it: files may be dated in the year 1."""
    return min(max(moment, _EARLIEST), _LATEST).astimezone(UTC)


# A piece of a longer text, of several lines.
MOST_PROSE = 1000
Prose = Annotated[str, BeforeValidator(_some_lines)]
Text = Annotated[str, BeforeValidator(_one_line(500))]
# As long as a model's name may be, whatever registry it is from.
Name = Annotated[str, BeforeValidator(_one_line(350))]
Identity = Annotated[
    str, BeforeValidator(_one_line(81)), StringConstraints(min_length=1, max_length=80)
]
Moment = Annotated[AwareDatetime, AfterValidator(_in_range)]
# What 64 bits hold, and what the narrow columns of the database hold.
Count = Annotated[int, Field(ge=0, lt=2**63)]
Small = Annotated[int, Field(ge=0, lt=2**15)]
# Tokens, blocks, attempts.
Medium = Annotated[int, Field(ge=0, lt=2**31)]
Figure = Annotated[float, Field(ge=0, lt=2.0**63)]
# What makes no sense is unknown, or, in a list, left out.
type Maybe[T] = Annotated[T | None, WrapValidator(_or_unknown)]
type Each[T] = Annotated[T, WrapValidator(_or_left_out)]
