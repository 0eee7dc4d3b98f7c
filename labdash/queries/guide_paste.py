"""What people paste for a name, down to the name: commands, addresses, paths of a disk, quotes."""

import re
from dataclasses import dataclass

from labdash.planner.errors import PlannerError

LONGEST_NAME = 300
SUCH_AS = "such as qwen2.5:14b-instruct-q8_0 or Model-Q4_K_M.gguf"
# Hosts that names begin with, and what they say.
HOSTS = {
    "hf.co": "published on Hugging Face",
    "huggingface.co": "published on Hugging Face",
    "ollama.com": "Ollama's library",
    "registry.ollama.ai": "Ollama's library",
}
HUBS = frozenset(("hf.co", "huggingface.co"))
LIBRARY = "library"
# What stands between repository and file in an address of Hugging Face.
BETWEEN = frozenset(("resolve", "blob", "main", "tree"))
# Programs that take a name: the first word behind them is it.
COMMANDS = re.compile(
    r"^(?:[$>]\s*)?(?:ollama\s+(?:run|pull|show|rm|cp)|docker\s+model\s+(?:run|pull)|lms\s+get"
    r"|hf\s+download|huggingface-cli\s+download|vllm\s+serve|llama-(?:cli|server)\s+-(?:hf|m))(?:\s+|$)",
    re.IGNORECASE,
)
SCHEME = re.compile(r"^[a-z]{2,8}://(?:www\.)?", re.IGNORECASE)
MARKUP = re.compile(r"<[^<>]*>")
DIGEST = re.compile(r"@sha256:[0-9a-f]+$", re.IGNORECASE)
# A folder of a disk: of Unix, of Windows, or from where somebody stands.
ON_DISK = re.compile(r"^(?:[a-z]:/|file://|[/~]|\.{1,2}/|%\w+%/|\$\w+/)", re.IGNORECASE)
FILE = re.compile(r"\.(?:gguf|safetensors|bin|pth?|part)$", re.IGNORECASE)
AROUND = " \t\"'`\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}<>()[]{},;"


@dataclass(frozen=True, kw_only=True)
class Pasted:
    """A name as it was pasted, without what people copy along with it.

    ``host`` is where it lies, nothing where it does not say so, and ``is_known_host`` whether
    LabDash knows that one. ``folder`` is that of a file on somebody's disk. ``owner`` and
    ``repository`` are those of Hugging Face, or of Ollama's users. ``name`` and ``tag`` are never
    both empty.
    """

    name: str
    tag: str
    host: str = ""
    folder: str = ""
    owner: str = ""
    repository: str = ""
    beside: tuple[str, ...] = ()

    @property
    def is_known_host(self) -> bool:
        """Whether the host is one that models come from."""
        return self.host in HOSTS

    @property
    def path(self) -> str:
        """All of the name, with who published it."""
        parts = (self.owner, self.repository, self.name)
        whole = "/".join(part for part in parts if part)
        return f"{whole}:{self.tag}" if self.tag else whole

    @property
    def is_library(self) -> bool:
        """Whether it can only be a name of Ollama's library."""
        return not (self.owner or self.folder or self.host in HUBS or FILE.search(self.name))

    @property
    def hub_place(self) -> str:
        """The repository of Hugging Face that it names, nothing where it names none."""
        if not self.owner or (self.host and self.host not in HUBS):
            return ""
        return f"{self.owner}/{self.repository or self.name}"

    @property
    def is_gguf(self) -> bool:
        """Whether it names a GGUF file, or a repository of such."""
        return any(each.lower().endswith("gguf") for each in (self.name, self.repository))


def read_paste(text: str) -> Pasted:
    """Read what was pasted. Raises ``PlannerError`` with one line where it holds no name."""
    if len(text) > LONGEST_NAME:
        raise PlannerError(
            f"No name is longer than {LONGEST_NAME} characters: paste the name alone, {SUCH_AS}"
        )
    words, is_command = COMMANDS.subn("", _plain(text))
    if is_command:
        words = words.partition(" ")[0]
    is_address = bool(SCHEME.match(words))
    name = words if words.lower().startswith("file://") else SCHEME.sub("", words)
    name = DIGEST.sub("", re.split(r"[?#]", name)[0]).strip(AROUND)
    if ON_DISK.match(name) and not is_address:
        return _on_disk(name)
    return _split(name.strip("/ "), is_address=is_address)


def _plain(text: str) -> str:
    """Drop markup, quotes and doubled blanks, and write paths of Windows as others do."""
    return " ".join(MARKUP.sub(" ", text).split()).strip(AROUND).replace("\\", "/")


def _on_disk(path: str) -> Pasted:
    folder, _, name = path.rstrip("/").rpartition("/")
    name, _, tag = name.partition(":")
    _require(name)
    return Pasted(name=name, tag=tag, folder=f"{folder}/")


def _split(name: str, *, is_address: bool) -> Pasted:
    """Split into host, publisher, repository, name, and the tag after the last colon."""
    before, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        before, tag = name, ""
    parts = [part for part in before.split("/") if part.strip()]
    host = parts[0].lower() if parts and _is_host(parts, is_address=is_address) else ""
    parts = [part for part in parts[bool(host) :] if part.lower() != LIBRARY]
    *folders, last = parts or [""]
    _require(last or tag)
    named = [part for part in folders if part.lower() not in BETWEEN]
    return Pasted(
        name=last,
        tag=tag,
        host=host,
        owner=named[0] if named else "",
        repository=named[1] if len(named) > 1 else "",
        beside=tuple(named[2:]),
    )


def _is_host(parts: list[str], *, is_address: bool) -> bool:
    first = parts[0].lower()
    return first in HOSTS or is_address or (len(parts) > 1 and ":" in first)


def _require(name: str) -> None:
    if not name.strip(" .:-_/"):
        raise PlannerError(f"Paste a name, {SUCH_AS}")
