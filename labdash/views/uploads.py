"""Files that browsers send: their first bytes are read as a GGUF header, and nothing is kept."""

from dataclasses import dataclass, field
from typing import Any

from django.core.files.uploadhandler import FileUploadHandler, SkipFile

from labdash.planner.errors import PlannerError
from labdash.planner.gguf import Header, HeaderReader
from labdash.serve import UPLOAD_BYTES
from labdash.wording import size


def _reader() -> HeaderReader:
    return HeaderReader(limit_bytes=UPLOAD_BYTES)


@dataclass(kw_only=True)
class Upload:
    """What came of a file so far. ``error`` is why it is no header."""

    name: str
    received: int = 0
    error: PlannerError | None = None
    reader: HeaderReader = field(default_factory=_reader)

    def feed(self, portion: bytes) -> None:
        """Take in the next bytes; those after the header, and after a fault, only count."""
        self.received += len(portion)
        if self.error is None:
            try:
                self.reader.feed(portion)
            except PlannerError as error:
                self.error = error

    def wanted_bytes(self, file_bytes: int) -> int:
        """Return how long a beginning of the file is wanted, 0 where this one is enough."""
        most = min(file_bytes, UPLOAD_BYTES)
        if self.error or self.reader.header or self.received >= most:
            return 0
        return min(most, self.received + max(self.reader.needs, self.received))

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
