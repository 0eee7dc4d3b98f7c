"""Serves one file as a node does, in a process of its own: PATH [BYTES_PER_S]; prints its port."""

import sys
import threading
from pathlib import Path

from tests.workers.mirror.shelves import OneModel
from workers.mirror.limiting import TokenBucket
from workers.mirror.serving import MirrorServer
from workers.mirror.shelf import FileBlob

DIGEST = "sha256:" + "a" * 64


def main() -> None:
    """Serve until it is killed."""
    path = Path(sys.argv[1])
    limiter = TokenBucket(float(sys.argv[2]) if len(sys.argv) > 2 else None)
    blob = FileBlob(path=path, size_bytes=path.stat().st_size, limiter=limiter)
    with MirrorServer(OneModel(blobs={DIGEST: blob}), host="127.0.0.1", port=0) as server:
        sys.stdout.write(f"{server.port}\n")
        sys.stdout.flush()
        threading.Event().wait()


if __name__ == "__main__":
    main()
