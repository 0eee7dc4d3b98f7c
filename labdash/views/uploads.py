"""Files that browsers send: a GGUF file's first bytes, or a saved show. Nothing is kept."""

import codecs
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.core.files.uploadhandler import FileUploadHandler, SkipFile

from labdash.planner.errors import PlannerError
from labdash.planner.gguf import Header, HeaderReader
from labdash.serve import UPLOAD_BYTES
from labdash.wording import size

# An answer of /api/show with its vocabulary takes 25 MiB.
SHOW_BYTES = 32 * 2**20


def _reader() -> HeaderReader:
    return HeaderReader(limit_bytes=UPLOAD_BYTES)


@dataclass(kw_only=True)
class Upload:
    """What came of a file so far. ``error`` is why it is no header.

    ``text`` is what came of a JSON document, None of any other file.
    """

    name: str
    received: int = 0
    error: PlannerError | None = None
    text: bytearray | None = None
    reader: HeaderReader = field(default_factory=_reader)

    def feed(self, portion: bytes) -> None:
        """Take in the next bytes; those after the header, and after a fault, only count."""
        if not self.received and portion.removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b"{":
            self.text = bytearray()
        self.received += len(portion)
        if self.text is not None:
            self.text += portion[: max(0, SHOW_BYTES + 1 - len(self.text))]
        elif self.error is None:
            try:
                self.reader.feed(portion)
            except PlannerError as error:
                self.error = error

    def wanted_bytes(self, file_bytes: int) -> int:
        """Return how long a beginning of the file is wanted, 0 where this one is enough."""
        most = min(file_bytes, UPLOAD_BYTES)
        if self.text is not None:
            return file_bytes if self.received < file_bytes <= SHOW_BYTES else 0
        if self.error or self.reader.header or self.received >= most:
            return 0
        return min(most, self.received + max(self.reader.needs, self.received))

    def show(self) -> Mapping[str, Any]:
        """Return a saved answer of ``/api/show``. Raises ``PlannerError`` where it is none."""
        text = self.text or b""
        if len(text) > SHOW_BYTES:
            raise PlannerError(f"it is longer than the {size(SHOW_BYTES)} that a saved show takes")
        try:
            found = json.loads(text.decode("utf-8-sig"))
        except RecursionError:
            raise PlannerError("it is no answer of /api/show: it nests too deeply") from None
        except ValueError as error:
            raise PlannerError(f"it is no JSON: {error}".splitlines()[0]) from None
        if not isinstance(found, dict):
            raise PlannerError("it is no answer of /api/show")
        return found

    def header(self) -> Header:
        """Return the header. Raises ``PlannerError`` where there is none."""
        if self.error:
            raise self.error
        if self.reader.header is None and self.received >= UPLOAD_BYTES:
            raise PlannerError(
                f"its header is longer than the {size(UPLOAD_BYTES)} that are read of a file"
            )
        return self.reader.finish()


class HeaderHandler(FileUploadHandler):
    """The only handler of this site: it has no memory and no temporary file."""

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        """Begin to read what somebody who signed in sends."""
        super().new_file(*args, **kwargs)
        request: Any = self.request
        if not request.user.is_authenticated:
            raise SkipFile
        self.upload = Upload(name=self.file_name or "")
        request.upload = self.upload

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:  # noqa: ARG002 - Django's signature
        """Feed the reader and pass nothing on."""
        self.upload.feed(raw_data)

    def file_complete(self, file_size: int) -> None:
        """Leave ``request.FILES`` empty: what was read stands in ``request.upload``."""
