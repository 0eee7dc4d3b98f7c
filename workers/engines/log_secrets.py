"""Takes out of log lines what must not leave the machine: keys, passwords, prompts."""

import re

LONGEST_LINE = 400
# No more of a line is looked at.
_READ = 4000
REMOVED = "[removed]"
# Prompts are in them, and nothing else than this tells which.
_DETAILED = re.compile(
    r"\blevel=(DEBUG|TRACE)\b|\bDEBUG\b|\"level\":\s*\"(debug|trace)\"", re.IGNORECASE
)
_TALK = re.compile(r"\b(prompt|messages|content|response)[\"']?\s*[=:]\s*[\"'\[{]", re.IGNORECASE)
# Each request of every program, LabDash's own every second.
_ACCESS = re.compile(r"^\[GIN\]")
# With its quotes where it has some, for it may hold spaces then.
_VALUE = r"(?:\"[^\"]*\"?|'[^']*'?|[^\s\"',;&\]}]+)"
_SECRETS = (
    (re.compile(r"(?i)\b((?:proxy-)?authorization[\"']?\s*[:=]\s*[\"']?)[^\r\n\"',;]+"), r"\1"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}"), r"\1 "),
    (re.compile(r"(?i)(cookie[\"']?\s{0,3}[:=]).*"), r"\1 "),
    (
        re.compile(
            r"(?i)((?:api[_-]?key|secret|passw(?:or)?d|credential|signature)"
            rf"[A-Za-z0-9_-]{{0,20}}[\"']?\s{{0,3}}[:=]\s{{0,3}}){_VALUE}"
        ),
        r"\1",
    ),
    # A number after it counts tokens, or is one's number.
    (
        re.compile(
            rf"(?i)(token[A-Za-z0-9_-]{{0,20}}[\"']?\s{{0,3}}[:=]\s{{0,3}})(?!\d{{1,9}}\b){_VALUE}"
        ),
        r"\1",
    ),
    (re.compile(r"(?i)([?&](?:key|sig|auth|pass)=)[^&\s\"']+"), r"\1"),
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]{0,20}://)[^\s@\"']{1,300}@"), r"\1"),
    (re.compile(r"\b(?:hf_|sk-|ghp_|github_pat_|glpat-|xox[abp]-|AKIA)[A-Za-z0-9_-]{8,}"), ""),
    # By which a model came from another machine of the lab.
    (re.compile(r"/[0-9a-f]{32}(?=/)"), "/"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.?[A-Za-z0-9_-]*"), ""),
    (re.compile(r"\bssh-(?:ed25519|rsa)\s+[A-Za-z0-9+/=]{20,}"), ""),
)
_HOMES = re.compile(r"((?:/home|/Users)/|[A-Za-z]:\\Users\\)[^/\\\s\"']+")


def without_secrets(lines: list[str], *, most: int) -> tuple[str, ...]:
    """Return the last ``most`` lines that may be shown, each cleaned."""
    kept = [line for line in lines if line.strip() and not _is_private(line[:_READ])]
    return tuple(clean_line(line) for line in kept[-most:])


def clean_line(line: str) -> str:
    """Replace keys, passwords and users' names in a line, and cut it."""
    line = line[:_READ]
    for pattern, kept in _SECRETS:
        line = pattern.sub(kept + REMOVED + ("@" if "://" in pattern.pattern else ""), line)
    line = _HOMES.sub(r"\1[user]", line)
    return line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE - 1]}…"


def _is_private(line: str) -> bool:
    return bool(_DETAILED.search(line) or _ACCESS.match(line) or _TALK.search(line))
