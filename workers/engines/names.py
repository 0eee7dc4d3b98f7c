"""When two model names mean the same, by the rules of its server."""


def canonical_name(name: str) -> str:
    """Write out what Ollama fills in, in small letters: its lookups know no case."""
    path, colon, tag = name.lower().rpartition(":")
    if not colon or "/" in tag:
        path, tag = name.lower(), "latest"
    parts = path.split("/")
    defaults = ["registry.ollama.ai", "library"]
    return "/".join(defaults[: 3 - len(parts)] + parts) + f":{tag}"


def listed_name(name: str) -> str:
    """Write a name as its server lists it: never without a tag."""
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"
