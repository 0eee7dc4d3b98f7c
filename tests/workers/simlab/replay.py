"""Sends recorded requests to a fake server and tells where its answers differ from the real ones.

Compared are status, the headers that matter, JSON shapes (keys and kinds, at every depth), the
words (errors, statuses of streams and their order). Numbers, digests and times are not.
"""

import json
import re
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from typing import Any

type Leave = Callable[[list[dict[str, Any]]], bool]

TIMEOUT_S = 20
FEW_KEYS = 6
HEADERS = (
    "content-type",
    "allow",
    "location",
    "access-control-allow-origin",
    "access-control-allow-methods",
    "access-control-allow-headers",
    "access-control-max-age",
    "vary",
)
# Words that are compared as they are.
EXACT = ("error", "status", "done", "done_reason", "object", "owned_by", "role", "capabilities")
_HEX = re.compile(r"[0-9a-f]{64}|(?<=pulling )[0-9a-f]{12}")
_PLACE = re.compile(r" on [0-9.]+:53|\b(\d{1,3}\.){3}\d{1,3}(:\d+)?")


def stay(_lines: list[dict[str, Any]]) -> bool:
    """Leave never."""
    return False


@dataclass(kw_only=True)
class Got:
    """What a server answered. ``lines`` is set for streams, ``body`` otherwise."""

    status: int
    headers: dict[str, str]
    body: Any = ""
    lines: list[dict[str, Any]] | None = None
    was_cut: bool = False
    notes: list[str] = field(default_factory=list)


def send(url: str, request: dict[str, Any], *, leave: Leave = stay) -> Got:
    """Send one recorded request; the connection is closed at the line for which ``leave``."""
    connection = HTTPConnection(url.removeprefix("http://"), timeout=TIMEOUT_S)
    headers = dict(request.get("headers", {}))
    if headers.get("Host") == "<hostname of the server>":
        headers["Host"] = socket.gethostname()
    raw = request.get("body_raw")
    body = raw.encode() if raw is not None else None
    if "body" in request:
        body = json.dumps(request["body"]).encode()
    skip_host = "Host" in headers
    connection.putrequest(request["method"], request["path"], skip_host=skip_host)
    for key, value in headers.items():
        connection.putheader(key, value)
    if body is not None:
        connection.putheader("Content-Length", str(len(body)))
    elif request["method"] == "POST":
        connection.putheader("Content-Length", "0")
    connection.endheaders(body)
    try:
        return _receive(connection, leave)
    finally:
        connection.close()


def leave_like(recorded: dict[str, Any]) -> Leave:
    """Leave where the recorder left: at the same step, or after as many lines of progress."""
    count = recorded.get("client_disconnected_after_lines")
    last = recorded.get("lines", [[0, {}]])[-1][1]
    if count is None:
        return stay
    if last.get("total"):
        return lambda lines: len(lines) >= count
    return lambda lines: lines[-1].get("status") == last.get("status")


def _receive(connection: HTTPConnection, leave: Leave) -> Got:
    response = connection.getresponse()
    headers = {key.lower(): value for key, value in response.getheaders()}
    got = Got(status=response.status, headers=headers)
    if "ndjson" not in headers.get("content-type", ""):
        got.body = _decoded(response.read(), headers)
        return got
    got.lines = []
    try:
        while line := response.readline():
            got.lines.append(json.loads(line))
            if leave(got.lines):
                break
    except (HTTPException, ConnectionError):
        got.was_cut = True
    return got


def _decoded(data: bytes, headers: dict[str, str]) -> Any:
    if data and "json" in headers.get("content-type", ""):
        return json.loads(data)
    return data.decode()


def differences(recorded: dict[str, Any], got: Got) -> list[str]:
    """Compare an answer with the real one; empty: they agree."""
    found = [] if recorded["status"] == got.status else [f"status {got.status}"]
    for header in HEADERS:
        real, ours = recorded["headers"].get(header), got.headers.get(header)
        if real != ours and not (header == "content-type" and real is None):
            found.append(f"{header}: {ours!r} for {real!r}")
    if "lines" in recorded:
        return found + _stream_differences(recorded["lines"], got)
    if got.lines is not None:
        return [*found, "a stream"]
    return found + _body_differences(recorded, got)


def _body_differences(recorded: dict[str, Any], got: Got) -> list[str]:
    real = recorded["body"]
    if not isinstance(real, dict):
        return [] if isinstance(real, list) or real == got.body else [f"body {got.body!r}"]
    text = json.dumps(real, ensure_ascii=False, separators=(",", ":"))
    # A body that is shorter than its length was cut by the recorder: of some only a few keys are
    # left, of the others only long lists were shortened.
    cut = recorded.get("bytes", 0) > len(text.encode()) and len(real) < FEW_KEYS
    return _value_differences(real, got.body, "", partial=cut)


def _value_differences(real: Any, ours: Any, path: str, *, partial: bool = False) -> list[str]:
    if isinstance(real, dict) and isinstance(ours, dict):
        return _dict_differences(real, ours, path, partial=partial)
    if isinstance(real, list) and isinstance(ours, list):
        return _list_differences(real, ours, path, partial=partial)
    if _kind(real) != _kind(ours):
        return [f"{path}: {_kind(ours)} for {_kind(real)}"]
    if path.rpartition(".")[2] in EXACT and _plain(real) != _plain(ours):
        return [f"{path}: {_plain(ours)!r} for {_plain(real)!r}"]
    return []


def _dict_differences(
    real: dict[str, Any], ours: dict[str, Any], path: str, *, partial: bool
) -> list[str]:
    found = []
    wanted = {key for key, value in real.items() if value is not None} if partial else set(real)
    if missing := wanted - set(ours):
        found.append(f"{path}: lacks {sorted(missing)}")
    if not partial and (extra := set(ours) - wanted):
        found.append(f"{path}: has {sorted(extra)} besides")
    for key in wanted & set(ours):
        found += _value_differences(real[key], ours[key], f"{path}.{key}", partial=partial)
    return found


def _list_differences(real: list[Any], ours: list[Any], path: str, *, partial: bool) -> list[str]:
    """Lists agree where each of our elements is like one of the real ones."""
    if not real or not ours:
        return [] if bool(real) == bool(ours) else [f"{path}: {len(ours)} for {len(real)}"]
    found = []
    for element in ours[:20]:
        tries = [_value_differences(each, element, f"{path}[]", partial=partial) for each in real]
        closest: list[str] = min(tries, key=len)
        found += closest
    return found


def _stream_differences(lines: Iterable[Any], got: Got) -> list[str]:
    real = [line for _, line in lines if "_omitted_lines" not in line]
    ours = got.lines
    if ours is None:
        return [f"no stream but {got.body!r}"]
    found = []
    if (theirs := _steps(real)) != (mine := _steps(ours)):
        found.append(f"steps {mine} for {theirs}")
    for shape, line in _shapes(ours).items():
        # Whether the small layers show is a matter of milliseconds.
        if shape not in _shapes(real) and not line.get("total"):
            found.append(f"a line {line}")
    return found


def _steps(lines: list[dict[str, Any]]) -> list[str]:
    """Name what happens in a stream, repeats left out.

    A layer's progress counts only where it is complete at once (it was there before): whether
    a small layer shows at all is a matter of milliseconds.
    """
    steps: list[str] = []
    for line in lines:
        step = _plain(line.get("error") or line.get("status") or _text_step(line))
        is_progress = step.startswith("pulling ") and step != "pulling manifest"
        if not is_progress and (not steps or steps[-1] != step):
            steps.append(step)
    return steps


def _text_step(line: dict[str, Any]) -> str:
    return f"{'last' if line.get('done') else 'text'} {line.get('done_reason', '')}"


def _shapes(lines: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Give one line for each kind that occurs; lines without ``completed`` may always occur."""
    return {
        str({key: _kind(value) for key, value in line.items() if key != "completed"}): line
        for line in lines
    }


def _plain(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return _PLACE.sub("ADDRESS", _HEX.sub("HEX", value))


def _kind(value: Any) -> str:
    match value:
        case bool() | None:
            return str(type(value).__name__)
        case int() | float():
            return "number"
    return type(value).__name__
