"""A shelf with one model behind one secret, for tests of what serves it."""

from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from workers.mirror.shelf import UNKNOWN, Asked, Blob, Manifest, Refusal, find_secret

SECRET = "labdash-0123456789abcdef0123456789abcdef"
MODEL = "qwen3"
TAG = "0.6b"
MANIFEST = b'{"schemaVersion":2}'


@dataclass(kw_only=True)
class OneModel:
    """Gives ``blobs`` by digest to whoever knows the secret."""

    blobs: dict[str, Blob] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    async def manifest(self, asked: Asked, tag: str) -> Manifest | Refusal:
        self.asked.append(asked)
        is_known = self._knows(asked) and tag == TAG
        return Manifest(body=MANIFEST) if is_known else UNKNOWN

    async def blob(self, asked: Asked, digest: str) -> Blob | Refusal:
        return self.blobs.get(digest, UNKNOWN) if self._knows(asked) else UNKNOWN

    def _knows(self, asked: Asked) -> bool:
        model = find_secret(asked.namespace, [(SECRET, MODEL)])
        return model is not None and model == asked.model


def write_blob(folder: Path, data: bytes) -> tuple[str, Path]:
    """Write a file as Ollama names it; return its digest and where it is."""
    digest = f"sha256:{sha256(data).hexdigest()}"
    path = folder / digest.replace(":", "-")
    path.write_bytes(data)
    return digest, path
