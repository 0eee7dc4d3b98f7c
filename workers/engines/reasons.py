"""Why a pull failed, in plain words, from the texts that Ollama gives (seen on 0.33.0-rc2)."""

import re
from dataclasses import dataclass
from pathlib import Path

from workers.engines.names import without_places
from workers.engines.stream import End
from workers.wire import PullCause

# All that Ollama says where a part of an earlier download was left empty.
SPOILED = "EOF"
_GIB = 2**30
_MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Reason:
    """A sentence for a person, its kind, and whether trying again may help."""

    text: str
    retry: bool
    cause: PullCause = "other"


@dataclass(frozen=True, kw_only=True)
class Circumstances:
    """What the sentence may speak of. ``store`` is the folder of Ollama's models, if known."""

    model: str
    url: str
    version: str | None = None
    store: str | None = None


@dataclass(frozen=True, kw_only=True)
class _Rule:
    pattern: str
    text: str
    cause: PullCause
    retry: bool = False


# Searched in this order: an earlier one may be a special case of a later one.
_RULES = (
    _Rule(
        pattern=r"no space left on device|disk quota exceeded|not enough space on the disk",
        cause="no-space",
        text="The disk under {store} is full. Free some space there; what has come is kept.",
    ),
    _Rule(
        pattern=r"requires? a newer version of ollama|manifest: 412",
        cause="needs-newer-ollama",
        text="{model} needs a newer Ollama than {version} on {url}. Update Ollama there.",
    ),
    _Rule(
        pattern=r"manifest: file does not exist",
        cause="no-such-model",
        text="The registry has no model {model}. Check its name and its tag.",
    ),
    _Rule(
        pattern=r"^file does not exist",
        cause="registry-fault",
        text="The registry lists {model} but lacks one of its files. Try again later.",
        retry=True,
    ),
    _Rule(
        pattern=r"unauthorized|access denied|manifest: 40[13]",
        cause="not-public",
        text="The registry does not give {model} to everybody: it is private or does not exist.",
    ),
    _Rule(
        pattern=r"manifest: 429|too many requests",
        cause="busy",
        text="The registry has had too many requests from here. Try again in some minutes.",
        retry=True,
    ),
    _Rule(
        pattern=r"digest mismatch",
        cause="damaged",
        text="A file of {model} arrived damaged, and Ollama has thrown it away. Try again.",
        retry=True,
    ),
    _Rule(
        pattern=rf"^{SPOILED}$",
        cause="spoiled",
        text="An earlier download of {model} broke off when Ollama was stopped, and cannot go on."
        " Delete the files with -partial in their names from {store}/blobs, then try again.",
    ),
    _Rule(
        pattern=r"permission denied|read-only file system|operation not permitted",
        cause="disk",
        text="Ollama may not write to {store}: {text}",
    ),
    _Rule(
        pattern=r"input/output error",
        cause="disk",
        text="The disk under {store} has an error: {text}",
    ),
    _Rule(
        pattern=r"x509:|certificate|tls: |TLS handshake",
        cause="unreachable",
        text="No secure connection to the registry: {text}. Check the machine's clock and proxy.",
        retry=True,
    ),
    _Rule(
        pattern=r"no such host|server misbehaving|name resolution",
        cause="unreachable",
        text="The machine of {url} cannot find the registry. Is it connected? {text}",
        retry=True,
    ),
    _Rule(
        pattern=r"dial tcp|connection re(fused|set)|i/o timeout|unreachable|exceeded \(Client",
        cause="unreachable",
        text="The machine of {url} cannot reach the registry: {text}",
        retry=True,
    ),
    _Rule(
        pattern=r"context deadline exceeded",
        cause="stalled",
        text="The registry did not send a file of {model} in time. Try again later.",
        retry=True,
    ),
    _Rule(
        pattern=r"max retries exceeded",
        cause="unreachable",
        text="The registry broke off the download again and again: {text}",
        retry=True,
    ),
    _Rule(
        pattern=r"unexpected status code 30\d|no Location header",
        cause="refused",
        text="The registry answers in a way that Ollama cannot follow: {text}",
    ),
    _Rule(
        pattern=r"invalid character|looking for beginning of value",
        cause="unreachable",
        text="What answers is no registry, but perhaps the sign-in page of a network: {text}",
        retry=True,
    ),
    _Rule(
        pattern=r"manifest: 5\d\d|^5\d\d: ",
        cause="registry-fault",
        text="The registry has an error of its own ({text}). Try again later.",
        retry=True,
    ),
    _Rule(pattern=r"manifest: 4\d\d", cause="refused", text="The registry refuses {model}: {text}"),
    _Rule(
        pattern=r"cloud is disabled|remote model is unavailable",
        cause="refused",
        text="{model} runs in Ollama's cloud only, and that is switched off on {url}.",
    ),
    _Rule(
        pattern=r"invalid model name",
        cause="no-such-model",
        text="Ollama takes {model} for no model name.",
    ),
    _Rule(
        pattern=r"context canceled",
        cause="broken-off",
        text="Ollama broke off the download of {model}. Try again.",
        retry=True,
    ),
    _Rule(pattern=r"\S", cause="other", text="Ollama on {url} failed{status}: {text}", retry=True),
    _Rule(
        pattern=r"",
        cause="other",
        text="Ollama on {url} failed{status} and gave no reason.",
        retry=True,
    ),
)

_STATUSES = {
    403: Reason(
        text="Ollama on {url} refuses requests under this host name (403). Use its IP address.",
        retry=False,
        cause="refused",
    ),
    404: Reason(
        text="What answers on {url} is no Ollama server (404).", retry=False, cause="refused"
    ),
    405: Reason(
        text="What answers on {url} is no Ollama server (405).", retry=False, cause="refused"
    ),
}

_KINDS = {
    "refused": Reason(
        text="Ollama does not answer on {url}. Is it running?", retry=True, cause="server-away"
    ),
    "cut": Reason(
        text="Ollama on {url} went away in the middle of the pull.", retry=True, cause="server-away"
    ),
    "closed": Reason(
        text="Ollama on {url} ended the pull without saying that it succeeded.",
        retry=True,
        cause="broken-off",
    ),
}


def explain(end: End, about: Circumstances) -> Reason:
    """Say in one sentence why a pull ended without success."""
    found = _KINDS.get(end.kind) or _find_rule(end)
    text = found.text.format(
        model=about.model,
        url=about.url,
        version=about.version or "the one",
        store=about.store or "Ollama's model folder",
        text=_shorten(end.text),
        status="" if end.status is None else f" (status {end.status})",
    )
    return Reason(text=text, retry=found.retry, cause=found.cause)


def _find_rule(end: End) -> _Rule | Reason:
    """Find a text's rule; a status that explains itself wins over a text that no rule knows."""
    rule = next(rule for rule in _RULES if re.search(rule.pattern, end.text, re.IGNORECASE))
    is_known = rule not in _RULES[-2:]
    return rule if is_known else _STATUSES.get(end.status or 0, rule)


def _shorten(text: str) -> str:
    """Make one line of at most 200 characters, without what every text begins with."""
    line = " ".join(without_places(text).split())
    line = line.removeprefix("pull model manifest: ").rstrip(".: ")
    return line if len(line) <= 200 else f"{line[:199]}…"  # noqa: PLR2004 - said above


def short_of_disk(*, missing_bytes: int, free_bytes: int, keep_bytes: int, path: str) -> Reason:
    """Say how much space a pull lacks."""
    short = size(missing_bytes + keep_bytes - free_bytes)
    text = f"It needs {short} more on {path}: {size(missing_bytes)} are still to come, and"
    kept = f", of which {size(keep_bytes)} are to stay free" if keep_bytes else ""
    return Reason(text=f"{text} {size(free_bytes)} are free{kept}.", retry=False, cause="no-space")


def nearly_full(*, free_bytes: int, path: str) -> Reason:
    """Say that a disk has no room for any model."""
    text = f"Only {size(free_bytes)} are free on {path}. Free some space there first."
    return Reason(text=text, retry=False, cause="no-space")


def damaged_file(model: str, *, path: Path) -> Reason:
    """Say which file to delete: Ollama takes one that is there for whole."""
    text = f"A file of {model} is damaged: Ollama was stopped before it had checked it."
    return Reason(text=f"{text} Delete {path}, then pull again.", retry=False, cause="damaged")


def unverified(model: str) -> str:
    """Say what to do about files that nobody has checked."""
    return (
        f"Ollama was stopped while it checked the files, and does not do so again. Should {model}"
        " fail to load: delete it and pull it again."
    )


def size(number: int) -> str:
    """Write a number of bytes in GiB, or in MiB below a tenth of that."""
    if number < _GIB / 10:
        return f"{number / _MIB:.1f} MiB"
    return f"{number / _GIB:.1f} GiB"
