"""Orders to give a model to a neighbour: the port is open while there is one, and no longer."""

import logging
import threading
import time
from datetime import UTC, datetime
from typing import Any

from workers.config import NodeConfig
from workers.mirror.addresses import own_addresses
from workers.mirror.offers import CannotGive, Offer, Offers, make_offer
from workers.mirror.serving import MirrorServer
from workers.store import Store
from workers.telemetry import Telemetry
from workers.wire.sharing import ShareOrder, SharePhase, ShareProgress

# So often it is looked whether a lease has ended.
LOOK_EVERY_S = 1.0

log = logging.getLogger(__name__)


class Sharing:
    """Carries such orders out until ``stopping`` is set."""

    def __init__(
        self, config: NodeConfig, *, telemetry: Telemetry, store: Store, stopping: threading.Event
    ) -> None:
        self._config = config
        self._telemetry = telemetry
        self._store = store
        self._stopping = stopping
        self._offers = Offers()
        # Guards the server and changes of what it offers: orders come in threads of their own.
        self._guard = threading.Lock()
        self._server: MirrorServer | None = None

    @property
    def is_open(self) -> bool:
        """Whether the port is open."""
        return self._server is not None

    def carry_out(self, order: ShareOrder) -> None:
        """Begin to give, go on, or end; tell the hub how that went."""
        if not order.lease_s:
            with self._guard:
                self._offers.end(order.secret)
            self._close_if_idle()
            return
        if self._offers.has_ended(order.secret):
            return
        try:
            port = self._give(order)
        except CannotGive as refusal:
            log.info("not given job=%d reason=%s", order.job_id, refusal)
            self._tell(order, "refused", reason=f"{order.node} {refusal}.")
            return
        self._tell(order, "open", port=port, hosts=own_addresses(self._config))

    def _give(self, order: ShareOrder) -> int:
        """Return the port at which it is given. Raises ``CannotGive``."""
        offer = self._offers.find(order.secret) or self._offer(order)
        offer.limiter.bytes_per_s = order.bytes_per_s
        with self._guard:
            self._offers.put(order.secret, offer, lease_s=order.lease_s)
            if self._server is None:
                self._server = self._open(order)
            return self._server.port

    def _offer(self, order: ShareOrder) -> Offer:
        node = self._telemetry.find(order.node)
        watch = node.find(order.instance_url) if node else None
        if watch is None:
            raise CannotGive(f"has no Ollama server at {order.instance_url}")
        files = watch.files()
        if files is None:
            raise CannotGive("does not see the files of its Ollama server")
        return make_offer(files, order.model, digest=order.digest, bytes_per_s=order.bytes_per_s)

    def _open(self, order: ShareOrder) -> MirrorServer:
        config = self._config
        server = MirrorServer(self._offers, host=config.mirror_host, port=config.mirror_port)
        try:
            server.start()
        except OSError as error:
            self._offers.end(order.secret)
            why = f"cannot open port {config.mirror_port} ({error.strerror})"
            raise CannotGive(f"{why}; LABDASH_MIRROR_PORT sets another") from error
        log.info("port %d is open for neighbours", server.port)
        threading.Thread(target=self._look, name="mirror-lease", daemon=True).start()
        return server

    def _look(self) -> None:
        while not self._close_if_idle():
            time.sleep(LOOK_EVERY_S)

    def _close_if_idle(self) -> bool:
        """Close the port once nothing is given; tell whether it is closed."""
        with self._guard:
            if self._server and (self._stopping.is_set() or self._offers.are_none):
                log.info("port %d is closed", self._server.port)
                self._server.stop()
                self._server = None
            return self._server is None

    def _tell(self, order: ShareOrder, phase: SharePhase, **told: Any) -> None:
        common = {"node": order.node, "job_id": order.job_id, "secret": order.secret}
        self._store.send(ShareProgress(sent_at=datetime.now(UTC), phase=phase, **common, **told))
