"""Request bodies, checked as Go's decoder does, with its texts."""

import json
from collections.abc import Mapping
from typing import Any

# The Go type of each field that a request may carry.
_STRING, _BOOL, _MAP = "string", "bool", "map[string]interface {}"
_MODEL = {"model": _STRING, "name": _STRING, "stream": _BOOL}
FIELDS: Mapping[str, Mapping[str, str]] = {
    "GenerateRequest": _MODEL
    | {"prompt": _STRING, "suffix": _STRING, "system": _STRING, "raw": _BOOL, "options": _MAP},
    "ChatRequest": _MODEL | {"messages": "[]api.Message", "options": _MAP},
    "PullRequest": _MODEL | {"insecure": _BOOL},
    "ShowRequest": _MODEL | {"verbose": _BOOL, "options": _MAP},
    "CreateRequest": _MODEL
    | {
        "from": _STRING,
        "files": "map[string]string",
        "parameters": "map[string]interface {}",
        "quantize": _STRING,
        "template": _STRING,
        "system": _STRING,
    },
    "CopyRequest": {"source": _STRING, "destination": _STRING},
    "DeleteRequest": _MODEL,
    "EmbedRequest": _MODEL | {"options": _MAP},
    "EmbeddingRequest": _MODEL | {"prompt": _STRING, "options": _MAP},
}


class BodyError(ValueError):
    """The body cannot be read; the message goes to the client with status 400."""


def read_body(raw: bytes, kind: str) -> dict[str, Any]:
    """Read a body as the Go type ``api.<kind>``. Raises BodyError."""
    if not raw:
        raise BodyError("missing request body")
    try:
        body = json.loads(raw)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BodyError(go_json_error(error)) from error
    if not isinstance(body, dict):
        raise BodyError(
            f"json: cannot unmarshal {_json_kind(body)} into Go value of type api.{kind}"
        )
    _check(body, kind)
    return {key: value for key, value in body.items() if value is not None}


def go_json_error(error: ValueError) -> str:
    """Put Python's complaint about a JSON text in Go's words."""
    if not isinstance(error, json.JSONDecodeError):
        return "invalid character 'ÿ' looking for beginning of value"
    if error.pos >= len(error.doc.rstrip()) or "Unterminated" in error.msg:
        return "unexpected EOF"
    where = "object key string" if "property name" in error.msg else "value"
    return f"invalid character '{error.doc[error.pos]}' looking for beginning of {where}"


def go_json(value: object) -> str:
    """Write JSON as Go's encoder does: sorted keys, HTML signs escaped, a line feed."""
    text = json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text + "\n"


def _check(body: dict[str, Any], kind: str) -> None:
    for field, wanted in FIELDS[kind].items():
        value = body.get(field)
        if value is not None and _json_kind(value) != _WANTED.get(wanted, _container(wanted)):
            raise BodyError(
                f"json: cannot unmarshal {_json_kind(value)} into Go struct field "
                f"{kind}.{field} of type {wanted}"
            )


_WANTED = {_STRING: "string", _BOOL: "bool"}


def _container(wanted: str) -> str:
    return "array" if wanted.startswith("[]") else "object"


def _json_kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "bool"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
    return "object"
