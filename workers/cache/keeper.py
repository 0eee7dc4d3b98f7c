"""What the hub wants is read and how the cache stands is told, once a second."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

from pydantic import ValidationError

from workers.cache.addresses import Address, BadAddress, address_of
from workers.cache.ahead import Ahead
from workers.cache.cache import Cache
from workers.cache.ports import Ports
from workers.store import Store, StoreDown
from workers.wire.caching import (
    EVERYTHING,
    MOST_CACHED,
    SPECS_APART_S,
    STATE_KEPT_S,
    CachedModel,
    CacheSpec,
    CacheState,
    drops_key,
    rechecks_key,
    spec_key,
    state_key,
)

STEP_S = 1.0
SAVE_EVERY_S = 5.0
_MOST_TAKEN = 1000

log = logging.getLogger(__name__)


class CacheStore(Store):
    """The store as the cache sees it."""

    def take(self, key: str) -> set[str]:
        """Return the members of a set, once. Raises ``StoreDown``."""
        found = self._call("SPOP", key, _MOST_TAKEN)
        return {str(each) for each in found} if isinstance(found, list | set) else set()


class Keeper:
    """Keeps a cache to its spec. While the store is away, the last one holds."""

    def __init__(self, cache: Cache, *, store: CacheStore, ports: Ports) -> None:
        self._cache, self._store, self._ports = cache, store, ports
        self.ahead = Ahead(cache)
        self._text: str | None = None
        self._spec: CacheSpec | None = None
        self._reading = threading.Lock()
        cache.reread = self.read_spec
        self._rates: dict[Address, tuple[float, int, float]] = {}
        self._saved_at = time.monotonic()
        self._rechecking: set[Address] = set()
        self._rereading = threading.Lock()

    def run(self, stopping: threading.Event) -> None:
        """Take step by step until the end."""
        ahead = threading.Thread(target=self.ahead.run, args=(stopping,), daemon=True)
        ahead.start()
        while not stopping.is_set():
            try:
                self.step()
            except Exception:
                # A full disk or an odd answer must not end what others are served by.
                log.exception("a step failed")
            stopping.wait(STEP_S)
        self._ports.close()
        self._cache.close()
        self._cache.count.save()

    def step(self) -> None:
        """Follow the spec, delete what shall go, and tell how things stand."""
        self.read_spec()
        if self._spec is None:
            return
        self._ports.follow(plain=self._spec.plain_port)
        try:
            self._drop(self._store.take(drops_key()))
            self._recheck(self._store.take(rechecks_key()))
            told = self.state().model_dump_json()
            self._store.write(state_key(), told, keep_s=STATE_KEPT_S)
        except StoreDown:
            pass
        if time.monotonic() - self._saved_at > SAVE_EVERY_S:
            self._saved_at = time.monotonic()
            self._cache.count.save()

    def read_spec(self) -> None:
        """Take up a newer spec; one that makes no sense, or none, leaves the last one in force."""
        with self._reading:
            try:
                text = self._store.read(spec_key())
            except StoreDown:
                return
            if text is None or text == self._text:
                return
            try:
                spec = CacheSpec.model_validate_json(text)
                if self._spec and 0 < self._spec.made_at - spec.made_at < SPECS_APART_S:
                    return
                self._cache.follow(spec)
            except ValidationError as error:
                log.warning("the hub's wishes are not understood: %s", type(error).__name__)
                return
            self._text, self._spec = text, spec

    def state(self) -> CacheState:
        """Tell how the cache stands."""
        cache = self._cache
        models = [self._model(e.address, e.used_at) for e in cache.files.entries()[:MOST_CACHED]]
        known = {each.model for each in models}
        waiting = [
            CachedModel(model=at.shown, here_bytes=0, total_bytes=0, used_at=0, reason=reason)
            for at, reason in list(self.ahead.reasons.items())
            if at.shown not in known
        ]
        return CacheState(
            ports=self._ports.open,
            errors={str(port): why for port, why in self._ports.errors.items()},
            used_bytes=cache.arrivals.used_bytes(),
            room_bytes=cache.arrivals.room_bytes(),
            upstream_bytes=cache.count.upstream_bytes,
            given_bytes=cache.count.given_bytes,
            saved_bytes=cache.count.saved_bytes,
            since=cache.count.since,
            models=(*models, *waiting),
        )

    def _model(self, address: Address, used_at: float) -> CachedModel:
        files, arrivals = self._cache.files, self._cache.arrivals
        manifest = files.find(address)
        blobs = manifest.blobs if manifest else ()
        running = {each.blob.digest: each.here_bytes for each in arrivals.of(address)}
        here = sum(max(files.here_bytes(b), running.get(b.digest, 0)) for b in blobs)
        late = () if running else blobs
        reasons = (arrivals.why_not(blob) for blob in late if not files.has(blob))
        return CachedModel(
            model=address.shown,
            here_bytes=here,
            total_bytes=sum(blob.size_bytes for blob in blobs),
            used_at=used_at,
            is_arriving=bool(running),
            is_wanted=address in self._cache.wanted,
            bytes_per_s=self._rate(address, here) if running else None,
            reason=self.ahead.reasons.get(address) or next(filter(None, reasons), None),
        )

    def _rate(self, address: Address, here: int) -> float:
        """Return the speed since a second or more ago, smoothed."""
        now = time.monotonic()
        at, before, rate = self._rates.get(address, (now, here, 0.0))
        if now - at >= STEP_S / 2:
            fresh = max(0, here - before) / (now - at)
            at, before, rate = now, here, (fresh if not rate else 0.7 * rate + 0.3 * fresh)
        self._rates[address] = (at, before, rate)
        return rate

    def _recheck(self, names: set[str]) -> None:
        """Read models again, apart and one after the other: a large one takes a minute."""
        for address in set(_addresses(names)) - self._rechecking:
            self._rechecking.add(address)
            threading.Thread(target=self._read_again, args=(address,), daemon=True).start()

    def _read_again(self, address: Address) -> None:
        try:
            with self._rereading:
                self._cache.recheck(address)
        finally:
            self._rechecking.discard(address)

    def _drop(self, names: set[str]) -> None:
        """Delete models, and with ``EVERYTHING`` all that nobody is served."""
        spared, busy = self._cache.wanted, self._cache.arrivals.busy()
        if EVERYTHING in names:
            self._cache.files.clear_up(2**63, spared=spared, busy=busy)
        for address in set(_addresses(names)) - spared:
            self._cache.files.forget(address, spared=busy)


def _addresses(names: set[str]) -> Iterator[Address]:
    for name in names:
        with suppress(BadAddress):
            yield address_of(name)
