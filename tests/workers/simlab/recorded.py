"""The recordings' models and registry, rebuilt, and what has to be done before single exchanges."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.simlab import OllamaLab
from workers.simlab.machine import Loaded, LoadRequest, Machine
from workers.simlab.ollama.body import go_json
from workers.simlab.ollama.manifest import Layer, write_manifest
from workers.simlab.ollama.names import parse
from workers.simlab.ollama.weights import Weights, by_digest
from workers.simlab.registry import CONFIG_TYPE, LAYER_TYPE, Blob, real_blob

FIXTURES = Path(__file__).parents[2] / "fixtures" / "ollama-recorded"
HOST = "registry.local:5000"
VERSION = "0.33.0"


class RoomyMachine(Machine):
    """A machine that takes models which are not in the catalog: those of the recordings."""

    def __post_init__(self) -> None:
        """Begin with no process."""
        super().__post_init__()
        self._alive: set[int] = set()

    def load(self, request: LoadRequest) -> Loaded:
        """Take no memory; the sizes are not compared."""
        self._next_pid += 1
        self._alive.add(self._next_pid)
        return Loaded(
            pid=self._next_pid,
            size_bytes=100_000_000,
            size_vram_bytes=0,
            context_length=request.context_length,
            bytes_by_gpu=(),
            ram_bytes=0,
            gpu_layers=0,
            layers=0,
        )

    def unload(self, pid: int) -> None:
        """End a process."""
        self._alive.discard(pid)

    def runs(self, pid: int) -> bool:
        """Whether a process still runs."""
        return pid in self._alive

    def must_evict(self, request: LoadRequest) -> bool:
        """Never, as far as memory is concerned."""
        return False

    def load_s(self, request: LoadRequest) -> float:
        """Give the recordings' typical load."""
        return 0.3

    def tokens_per_s(self, pid: int) -> float:
        """Answer fast."""
        return 400.0


def facts() -> dict[str, Any]:
    """Give what the recordings tell of their models."""
    return dict(json.loads((FIXTURES / "models.json").read_text()))


def weights() -> dict[str, Weights]:
    """Give the recordings' model files by digest, the quantized ones too."""
    found = [_weights(entry) for entry in facts().values()]
    tiny, smollm2 = facts()["tiny"], facts()["smollm2"]
    found += [
        _weights(tiny | {"quant": quant, "digest": digest}) for quant, digest in QUANTIZED.items()
    ]
    found += [_weights(smollm2 | {"digest": digest}) for digest in (BIG, MID, SMOL, TINY)]
    return by_digest(found)


QUANTIZED = {
    "Q8_0": "sha256:172d15ea86f95834595581fe1834c8523f6434f8a70a63d908ded9c436d25547",
    "Q4_K_M": "sha256:3a1be7087edcb098d2540264c79ac8a1aea9dc0af55d40e7bee48828690525ce",
}
_STOP = {"stop": ["<|im_start|>", "<|im_end|>"]}
_SMOL = {"system": "You are a helpful AI assistant.", "license": "Apache-2.0"}


def install_all(lab: OllamaLab) -> None:
    """Install every model that the recordings have."""
    all_facts = facts()
    projector = all_facts["tiny"]["projector_info"]
    assert projector
    _install(lab, "smollm2:135m", all_facts["smollm2"], {"temperature": 0.2} | _STOP, _SMOL)
    _install(lab, "smollm2-plain", all_facts["smollm2"], _STOP, {})
    for name, key in (("tinymoe", "tinymoe"), ("tinymoe2", "tinymoe"), ("tiny:f16", "tiny")):
        _install(lab, name, all_facts[key], _STOP, {})
    for quant, digest in QUANTIZED.items():
        entry = all_facts["tiny"] | {"quant": quant, "digest": digest}
        _install(lab, f"tiny:{quant.lower()}", entry, _STOP, {})
    _install(lab, "tinyvision", all_facts["tiny"], _STOP, {}, has_projector=True)
    _install(lab, "tinybert", all_facts["tinybert"], {}, {})
    _install(lab, "gemma3:270m", all_facts["gemma3"], {}, {})
    options = {"num_ctx": 2048, "num_gpu": 99, "main_gpu": 0}
    _install(lab, "smollm2-g0", all_facts["smollm2"], options, _SMOL, origin="smollm2:135m")
    options["num_ctx"] = 4096
    _install(lab, "smollm2-g1", all_facts["smollm2"], options, _SMOL, origin="smollm2-g0:latest")


def _weights(entry: Mapping[str, Any]) -> Weights:
    known = {key: entry[key] for key in entry if key in Weights.__dataclass_fields__}
    known |= {"capabilities": tuple(entry["capabilities"]), "tensors": tuple(entry["tensors"])}
    return Weights(model="recorded", **known)


def _install(  # noqa: PLR0913 - the parts of a manifest
    lab: OllamaLab,
    name: str,
    entry: Mapping[str, Any],
    parameters: Mapping[str, Any],
    texts: Mapping[str, str],
    *,
    origin: str = "",
    has_projector: bool = False,
) -> None:
    store = lab.server.store
    store.put_virtual(entry["digest"], entry["size_bytes"])
    weights_ = _weights(entry)
    layers = [_layer("model", entry["digest"], entry["size_bytes"], origin)]
    if has_projector:
        digest = store.put_blob(b"a projector")
        layers.append(_layer("projector", digest, 11, origin))
    texts = {"template": entry["template"]} | dict(texts)
    if entry["template"] == "{{ .Prompt }}":
        del texts["template"]
    if parameters:
        texts["params"] = go_json(parameters)
    for kind, text in texts.items():
        layers.append(_layer(kind, store.put_blob(text.encode()), len(text), origin))
    config = json.dumps(weights_.config()).encode()
    config_layer = _layer("config", store.put_blob(config), len(config), "")
    store.write(parse(name), write_manifest(config_layer, layers))


def _layer(kind: str, digest: str, size_bytes: int, origin: str) -> Layer:
    return Layer(media_type=LAYER_TYPE + kind, digest=digest, size_bytes=size_bytes, origin=origin)


# --- the recordings' registry ------------------------------------------------------------------

BIG = "sha256:cba505d5faa0d0a38a7e19f2093eac1e9128b565ad2db55176d25710631d5518"
MID = "sha256:f7604f4f63c55c5601741f161fb4666ecc7ba52b08b120f6a9751485dd483791"
SMOL = "sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
TINY = "sha256:a5871577a2c772e088df57d1cab0e27d3121a051b655cf7761f74ae94397be87"


OLD_SMOL = {
    "template": "{{ .Prompt }}",
    "license": "Apache-2.0",
    "params": '{"stop":["<|im_end|>"]}',
}
NEW_SMOL = OLD_SMOL | {"template": "{{ .Prompt }}\n", "params": '{"stop":["<|im_end|>"],"seed":1}'}


def publish_all(lab: OllamaLab) -> None:
    """Publish what the recordings pulled."""
    for name, digest, size, extra in (
        ("big", BIG, 350_000_000, {}),
        ("mid", MID, 30_000_000, {}),
        ("tiny", TINY, 31_664_992, {"template": "{{ .Prompt }}"}),
        ("smol", SMOL, 98_362_432, OLD_SMOL),
    ):
        publish(lab, name, digest, size, extra)


def publish(
    lab: OllamaLab, name: str, digest: str, size_bytes: int, texts: Mapping[str, str]
) -> None:
    """Publish one model of the recordings' registry."""
    entry = _weights(facts()["smollm2"])
    model = Blob(media_type=f"{LAYER_TYPE}model", digest=digest, size_bytes=size_bytes)
    layers = [model, *(real_blob(LAYER_TYPE + kind, text.encode()) for kind, text in texts.items())]
    config = real_blob(CONFIG_TYPE, json.dumps(entry.config()).encode())
    lab.registry.publish(name, config=config, layers=layers)
