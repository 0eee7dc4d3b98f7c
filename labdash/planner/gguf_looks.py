"""What a file that is no GGUF file looks like, so that the user sees which one was taken."""

from labdash.planner.errors import PlannerError

MAGIC = b"GGUF"
# So much of a beginning is looked at.
SEEN_BYTES = 512
# Beginnings that tell.
_MAGICS = {
    b"\x89PNG\r\n\x1a\n": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"GIF8": "a GIF picture",
    b"%PDF": "a PDF document",
    b"PK\x03\x04": "a ZIP archive (PyTorch's .bin and .pt are such)",
    b"\x1f\x8b": "a gzip archive",
    b"\x28\xb5\x2f\xfd": "a zstd archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"\xfd7zXZ\x00": "an xz archive",
    b"\x7fELF": "a program",
    b"MZ": "a program of Windows",
    b"lmgg": "an old GGML file, from before GGUF",
    b"fmgg": "an old GGML file, from before GGUF",
    b"tjgg": "an old GGML file, from before GGUF",
    b"algg": "an old LoRA adapter, from before GGUF",
    b"FUGG": "a GGUF file with its bytes in reverse order",
    b"version https://git-lfs": "a pointer of git-lfs: run `git lfs pull` to get the file itself",
    b"{": "a JSON text",
}
_HTML = (b"<!doctype html", b"<html", b"<?xml")


def no_gguf(begin: bytes) -> PlannerError:
    """Say what the file is instead, from its first bytes."""
    if not begin:
        return PlannerError("the file is empty")
    if not begin.strip(b"\0"):
        return PlannerError("no GGUF file: it begins with zeros, as an unfinished download does")
    looks = _looks_like(begin)
    return PlannerError(f"no GGUF file: it looks like {looks}" if looks else "no GGUF file")


def _looks_like(begin: bytes) -> str | None:
    # Safetensors: eight bytes of length, then JSON.
    if begin[8:10] in (b'{"', b"{ "):
        return "a safetensors file, of which LabDash needs a GGUF conversion"
    text = begin.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text[:16].lower().startswith(_HTML):
        return "a web page: perhaps the address of the page was saved, not that of the file"
    for magic, looks in _MAGICS.items():
        if begin.startswith(magic) or (magic == b"{" and text.startswith(magic)):
            return looks
    return "a text" if _is_text(begin[:256]) else None


def _is_text(begin: bytes) -> bool:
    return all(byte >= 0x20 or byte in b"\t\r\n" for byte in begin) and begin.isascii()  # noqa: PLR2004 - the first printable character
