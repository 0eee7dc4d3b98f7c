"""Fetches what a machine will want when it wakes: one file at a time, beside what is asked for."""

import logging
import threading
import time

from workers.cache.addresses import Address
from workers.cache.arrivals import CannotArrive
from workers.cache.cache import Cache
from workers.mirror.shelf import Refusal

STEP_S = 0.5
# A registry that refused is asked again after this, and whether there is a newer file.
ASK_AGAIN_S = 120.0
RENEW_S = 3600.0
REFUSALS = {
    401: "it is given to signed-in users only",
    403: "it is given to signed-in users only",
    404: "there is no such model or tag",
    412: "it needs a newer Ollama",
}

log = logging.getLogger(__name__)


class Ahead:
    """What is fetched ahead. ``reasons`` say by model why it does not come."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._due_at: dict[Address, float] = {}
        self.reasons: dict[Address, str] = {}

    def run(self, stopping: threading.Event) -> None:
        """Take step by step until the end."""
        while not stopping.wait(STEP_S):
            try:
                self.step()
            except Exception:
                log.exception("fetching ahead failed")

    def step(self) -> None:
        """Begin the next file that is missing, if none is on its way."""
        wishes = self._cache.ahead
        for gone in set(self._due_at) - set(wishes):
            del self._due_at[gone]
            self.reasons.pop(gone, None)
        for address, version in wishes.items():
            if self._advance(address, version):
                return

    def _advance(self, address: Address, version: str) -> bool:
        """Carry one model on; tell whether it is under way, so that the next one waits."""
        if self._cache.arrivals.of(address):
            return True
        if time.monotonic() >= self._due_at.get(address, 0.0):
            self._look_up(address, version)
        manifest = self._cache.files.find(address)
        if manifest is None:
            return False
        missing = [blob for blob in manifest.blobs if not self._cache.files.has(blob)]
        if not missing:
            return False
        try:
            self._cache.arrivals.begin(address, missing[0])
        except (CannotArrive, OSError) as error:
            self.reasons[address] = str(error)
            return False
        self.reasons.pop(address, None)
        return True

    def _look_up(self, address: Address, version: str) -> None:
        # So the registry tells now whether that Ollama is too old for the model.
        user_agent = f"ollama/{version} labdash" if version else "labdash"
        found = self._cache.look_up(address, user_agent)
        is_refused = isinstance(found, Refusal)
        self._due_at[address] = time.monotonic() + (ASK_AGAIN_S if is_refused else RENEW_S)
        self.reasons.pop(address, None)
        if isinstance(found, Refusal):
            self.reasons[address] = REFUSALS.get(found.status, " ".join(found.text.split()))
