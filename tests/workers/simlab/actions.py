"""What happens around recorded exchanges: to the registry, the store, the disk, the runners."""

import threading
import time
from collections.abc import Callable

from tests.simlab import OllamaLab
from tests.workers.simlab.recorded import (
    BIG,
    HOST,
    MID,
    NEW_SMOL,
    QUANTIZED,
    SMOL,
    publish,
)
from tests.workers.simlab.replay import send
from workers.simlab.registry import Fault

type Action = Callable[[OllamaLab], None]

SETTLE_S = 5


def order(fault: Fault, name: str = "mid") -> Action:
    """Let the registry fail in that way."""
    return lambda lab: lab.registry.order(name, fault)


def mend(name: str = "mid") -> Action:
    """End the registry's fault."""
    return lambda lab: lab.registry.order(name, None)


def forget(name: str) -> Action:
    """Delete a model and what was begun of it."""

    def act(lab: OllamaLab) -> None:
        body = {"model": f"{HOST}/library/{name}"}
        send(lab.url, {"method": "DELETE", "path": "/api/delete", "body": body})
        lab.registry.order(name, None)
        for digest in (BIG, MID):
            lab.server.store.partials.drop(digest)

    return act


def speed(bytes_per_s: float | None) -> Action:
    """Limit the registry."""

    def act(lab: OllamaLab) -> None:
        lab.registry.bytes_per_s = bytes_per_s

    return act


def spoil(digest: str) -> Action:
    """Leave an empty part file."""
    return lambda lab: lab.server.store.partials.spoil(digest)


def fill_disk(free_bytes: int) -> Action:
    """Leave that much of the disk."""

    def act(lab: OllamaLab) -> None:
        lab.server.machine.disk_free_bytes = free_bytes

    return act


def put_mid(lab: OllamaLab) -> None:
    """Do what a POST of that blob would."""
    lab.server.store.put_virtual(MID, 30_000_000)
    lab.server.store.partials.drop(MID)


def wait(seconds: float) -> Action:
    """Let time pass, as the recorder did."""
    return lambda _lab: time.sleep(seconds)


def copy(source: str, *names: str) -> Action:
    """Give a model further names."""

    def act(lab: OllamaLab) -> None:
        for name in names:
            body = {"source": source, "destination": name}
            send(lab.url, {"method": "POST", "path": "/api/copy", "body": body})

    return act


def load(model: str) -> Action:
    """Load a model."""
    request = {"method": "POST", "path": "/api/generate", "body": {"model": model}}

    def act(lab: OllamaLab) -> None:
        send(lab.url, request)

    return act


def when(condition: Callable[[OllamaLab], bool], action: Action) -> Action:
    """Let something happen in the middle of the exchange: a moment after the condition holds."""

    def wait_and_act(lab: OllamaLab) -> None:
        deadline = time.monotonic() + SETTLE_S
        while not condition(lab) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)
        action(lab)

    return lambda lab: threading.Thread(target=wait_and_act, args=[lab], daemon=True).start()


def generating(lab: OllamaLab) -> bool:
    """Whether a model works."""
    return any(runner.busy for runner in list(lab.server.scheduler._runners.values()))


def loading(lab: OllamaLab) -> bool:
    """Whether a model is being loaded."""
    return lab.server.scheduler._lane.locked()


def transferring(lab: OllamaLab) -> bool:
    """Whether bytes flow."""
    return lab.registry.transfers > 0


def blink(lab: OllamaLab) -> None:
    """Take the registry away for a moment."""
    lab.stop_registry()
    time.sleep(0.1)
    lab.start_registry()


def kill_runners(lab: OllamaLab) -> None:
    """Kill every llama-server from outside, one that is just loading too."""
    scheduler = lab.server.scheduler
    for digest in (*scheduler._runners, "loading"):
        lab.loop.call_soon_threadsafe(scheduler.kill, digest)


def break_manifest(lab: OllamaLab) -> None:
    """Put a broken manifest into the store by hand."""
    path = lab.server.store.folder / "manifests/registry.ollama.ai/library/tiny/broken"
    path.write_text("{not json")


def lose_blob(lab: OllamaLab) -> None:
    """Remove the weights of tiny:q8_0 behind the server's back."""
    lab.server.store.drop_blob(QUANTIZED["Q8_0"])


def renew_smol(lab: OllamaLab) -> None:
    """Publish a new version whose model layer is unchanged."""
    publish(lab, "smol", SMOL, 98_362_432, NEW_SMOL)


def renew_tiny(lab: OllamaLab) -> None:
    """Publish a new version that is another file."""
    publish(lab, "tiny", QUANTIZED["Q8_0"], 281_664, {})
