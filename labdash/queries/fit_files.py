"""What a page keeps of a file that was chosen: the facts that an estimate needs, as one text.

The hub keeps nothing of a file. The page holds these facts and sends them with each question, so
they are as hostile as the file itself.
"""

import json
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections.abc import Sequence
from functools import lru_cache

from labdash.planner.errors import PlannerError
from labdash.planner.facts import Length, Value
from labdash.planner.gguf import Header, check_data
from labdash.planner.gguf_split import model_of
from labdash.planner.model import Model
from labdash.planner.show import model_of_show
from labdash.queries.fit_models import LONGEST_NAME, Chosen

# It is a part of an address: tables of tensors take 1 to 5 KiB so packed.
PACKED_LIMIT = 32 * 2**10
FACTS_LIMIT_BYTES = 4 * 2**20
# No file beside a model is larger.
LARGEST_FILE_BYTES = 2**40
MOST_WORDS = 20
DAMAGED = "what this page kept of the file is damaged: choose the file again"


def pack(header: Header, *, name: str, file_bytes: int | None) -> str:
    """Make the text that the page keeps. Raises ``PlannerError`` for a file of no model."""
    model = model_of(header, name=name)
    warnings = [*header.warnings]
    if file_bytes is not None:
        warnings += check_data(header, file_bytes, installed=False)
    return pack_model(model, warnings)


def pack_model(
    model: Model, warnings: Sequence[str], *, can: object = None, projector_bytes: int = 0
) -> str:
    """Make the text of a model. Raises ``PlannerError`` where it would be too long.

    ``can`` is what a show tells of its capabilities, ``projector_bytes`` the size of the file
    beside it that reads images.
    """
    document = {
        "name": model.name[:LONGEST_NAME],
        "warnings": warnings,
        "capabilities": _words(can),
        **({"projector_bytes": projector_bytes} if projector_bytes else {}),
        "details": {"quantization_level": model.quant},
        "model_info": _facts(model),
        "tensors": [
            {"name": each.name, "type": each.type, "shape": each.shape} for each in model.tensors
        ],
    }
    packed = zlib.compress(json.dumps(document, separators=(",", ":")).encode(), 9)
    text = urlsafe_b64encode(packed).decode()
    if len(text) > PACKED_LIMIT:
        raise PlannerError("this GGUF file holds more than LabDash can keep on a page")
    unpack(text)
    return text


def _facts(model: Model) -> dict[str, Value]:
    """Keep what decides over memory: the keys of the architecture."""
    arch = str(model.metadata["general.architecture"])
    return {
        key: value
        for key, value in model.metadata.items()
        if key == "general.architecture"
        or (key.startswith(f"{arch}.") and not isinstance(value, Length))
    }


def capabilities_of(text: str) -> tuple[str, ...]:
    """Return what a show told of capabilities. Raises ``PlannerError`` for no such text."""
    return _words(_document(text).get("capabilities"))


def _words(told: object) -> tuple[str, ...]:
    listed = told if isinstance(told, list) else ()
    return tuple(each for each in listed[:MOST_WORDS] if isinstance(each, str))


@lru_cache(maxsize=32)
def unpack(text: str) -> Chosen:
    """Read the text back, one model for each. Raises ``PlannerError`` where it is none."""
    document = _document(text)
    name = str(document.get("name", ""))[:LONGEST_NAME] or "model"
    warnings = document.get("warnings")
    model = model_of_show(document, name=name)
    return Chosen(
        model=model,
        basis=f"by the {len(model.tensors)} tensors that its file lists",
        own_quant=model.quant,
        facts=text,
        notices=tuple(str(each)[:200] for each in warnings) if isinstance(warnings, list) else (),
        projector_bytes=_size(document.get("projector_bytes")),
    )


def _size(told: object) -> int:
    return told if type(told) is int and 0 <= told <= LARGEST_FILE_BYTES else 0


def _document(text: str) -> dict[str, object]:
    try:
        opened = zlib.decompressobj()
        packed = urlsafe_b64decode(text[:PACKED_LIMIT].encode())
        content = opened.decompress(packed, FACTS_LIMIT_BYTES)
        document = json.loads(content)
    except (ValueError, NotBase64, zlib.error, RecursionError):
        raise PlannerError(DAMAGED) from None
    if not isinstance(document, dict):
        raise PlannerError(DAMAGED)
    return document
