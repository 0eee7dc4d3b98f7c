"""Which nodes this worker serves: its own one, or all agentless nodes; kept true each second."""

import logging
import threading

from pydantic import TypeAdapter, ValidationError

from workers.config import NodeConfig
from workers.nodewatch import NodeWatch
from workers.store import Store, StoreDown
from workers.wire import NodeSpec, hub_nodes_key, spec_key

# So often the store is asked what is to be served.
TICK_S = 1.0

log = logging.getLogger(__name__)
_list: TypeAdapter[list[NodeSpec]] = TypeAdapter(list[NodeSpec])


class Telemetry:
    """Watches the nodes that the hub wants served; without the store, those it knew last."""

    def __init__(self, config: NodeConfig, store: Store) -> None:
        self._config = config
        self._store = store
        self._text: str | None = None
        self._watches: dict[str, NodeWatch] = {}
        # Guards the watches against an order that arrives while they change.
        self._changing = threading.Lock()
        self._stopped = threading.Event()

    def start(self) -> None:
        """Begin to serve."""
        if not self._config.serves_agentless:
            self._serve([self._config.own_spec])
        threading.Thread(target=self._run, name="telemetry", daemon=True).start()

    def stop(self) -> None:
        """End all threads after what they are about."""
        self._stopped.set()
        for watch in self._watches.values():
            watch.stop()

    def find(self, slug: str) -> NodeWatch | None:
        """Return a node that this worker serves, as the hub wants it at this moment."""
        self._follow()
        return self._watches.get(slug)

    def _run(self) -> None:
        while not self._stopped.wait(TICK_S):
            try:
                self._store.flush()
                self._follow()
            except StoreDown:
                continue
            except Exception:  # a fault of ours in one cycle must not end all later ones
                log.exception("cycle failed")

    def _follow(self) -> None:
        """Read what is wanted and do it, one thread at a time; without the store all stays."""
        with self._changing:
            try:
                text = self._store.read(self._key())
            except StoreDown:
                return
            if text is not None and text != self._text:
                self._text = text
                self._obey(text)

    def _obey(self, text: str) -> None:
        """Serve what is wanted; a wish that is not understood changes nothing."""
        try:
            self._serve(self._parse(text))
        except ValidationError as error:
            log.warning("wish of the hub not understood key=%s error=%s", self._key(), error)

    def _key(self) -> str:
        is_hub = self._config.serves_agentless
        return hub_nodes_key() if is_hub else spec_key(self._config.slug)

    def _parse(self, text: str) -> list[NodeSpec]:
        if self._config.serves_agentless:
            return _list.validate_json(text)
        spec = NodeSpec.model_validate_json(text)
        # A worker serves its own node and reports under no other name.
        return [spec.model_copy(update={"slug": self._config.slug, "declared": None})]

    def _serve(self, specs: list[NodeSpec]) -> None:
        wanted = {spec.slug: spec for spec in specs}
        for slug in [slug for slug, watch in self._watches.items() if _is_other(watch, wanted)]:
            self._watches.pop(slug).stop()
        for slug, spec in wanted.items():
            try:
                self._serve_one(slug, spec)
            except Exception:  # whatever is wrong with one node, the others are served
                log.exception("node not served node=%s", slug)

    def _serve_one(self, slug: str, spec: NodeSpec) -> None:
        if slug in self._watches:
            self._watches[slug].update(spec)
        else:
            self._watches[slug] = self._start(spec)

    def _start(self, spec: NodeSpec) -> NodeWatch:
        log.info("serving node=%s instances=%d", spec.slug, len(spec.instances))
        return NodeWatch(spec, store=self._store, simulated_url=self._config.simulated_url)


def _is_other(watch: NodeWatch, wanted: dict[str, NodeSpec]) -> bool:
    """Whether a node is no longer wanted, or its hardware was declared anew."""
    spec = wanted.get(watch.spec.slug)
    return spec is None or spec.declared != watch.spec.declared
