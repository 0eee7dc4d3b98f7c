"""Make workers/simlab/data from GGUF headers and recorded runs of llama.cpp; run by hand.

python tests/make_simlab_data.py FOLDER_OF_HEADERS ORACLE_FILE

FOLDER_OF_HEADERS holds GGUF files cut after their header, ``MODEL.QUANT.gguf``. ORACLE_FILE is
gzipped JSON lines, one run each: settings, and MiB of compute buffer per device and on the host.
"""

import gzip
import json
import struct
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
OUT = HERE.parent / "workers" / "simlab" / "data"
SAMPLE = HERE / "fixtures" / "simlab" / "rows.json"
SAMPLE_STEP, RARE_STEP = 19, 7
FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q"}
STRING, ARRAY = 8, 9
# GGML type ids that occur in the headers: name, elements per block, bytes per block.
TYPES = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    20: ("IQ4_NL", 32, 18),
    30: ("BF16", 1, 2),
    39: ("MXFP4", 32, 17),
}
# A vocabulary with its merges and scores takes about this much of a real file's header.
VOCAB_ENTRY_BYTES = 61
# Values that the headers fill in because no size depends on them.
FILLERS = (".layer_norm_rms_epsilon", ".freq_base", "general.name", "general.file_type")

LICENSES = {
    "llama": "LLAMA COMMUNITY LICENSE AGREEMENT",
    "gemma": "Gemma Terms of Use",
    "qwen2.5-72b": "Qwen LICENSE AGREEMENT",
    "phi": "MIT License",
}
TALK, TOOLS, THINK = ("completion",), ("completion", "tools"), ("completion", "tools", "thinking")
# Key of the model, capabilities, and its names in the registry with their quants: those that
# can be loaded on each machine of the demo, as far as buffers were recorded.
MODELS: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "gemma-2-9b": (
        TALK,
        {"gemma2:latest": "Q4_0", "gemma2:9b": "Q4_0", "gemma2:9b-instruct-q4_K_M": "Q4_K_M"},
    ),
    "gemma-3-1b": (TALK, {"gemma3:1b": "Q4_K_M", "gemma3:1b-it-q8_0": "Q8_0"}),
    "gemma-3-4b": (
        TALK,
        {"gemma3:latest": "Q4_K_M", "gemma3:4b": "Q4_K_M", "gemma3:4b-it-q8_0": "Q8_0"},
    ),
    "gemma-3-12b": (TALK, {"gemma3:12b": "Q4_K_M", "gemma3:12b-it-q8_0": "Q8_0"}),
    "gpt-oss-20b": (THINK, {"gpt-oss:latest": "MXFP4", "gpt-oss:20b": "MXFP4"}),
    "llama-3.1-8b": (
        TOOLS,
        {
            "llama3.1:latest": "Q4_K_M",
            "llama3.1:8b": "Q4_K_M",
            "llama3.1:8b-instruct-q6_K": "Q6_K",
            "llama3.1:8b-instruct-q8_0": "Q8_0",
            "llama3.1:8b-instruct-fp16": "F16",
        },
    ),
    "llama-3.2-1b": (TOOLS, {"llama3.2:1b": "Q8_0", "llama3.2:1b-instruct-q4_K_M": "Q4_K_M"}),
    "llama-3.3-70b": (TOOLS, {"llama3.3:70b-instruct-q3_K_M": "Q3_K_M"}),
    "mixtral-8x7b": (TOOLS, {"mixtral:latest": "Q4_0", "mixtral:8x7b": "Q4_0"}),
    "phi-4": (TALK, {"phi4:latest": "Q4_K_M", "phi4:14b": "Q4_K_M", "phi4:14b-q8_0": "Q8_0"}),
    "qwen2.5-0.5b": (TOOLS, {"qwen2.5:0.5b": "Q4_K_M"}),
    "qwen2.5-7b": (
        TOOLS,
        {"qwen2.5:latest": "Q4_K_M", "qwen2.5:7b": "Q4_K_M", "qwen2.5:7b-instruct-q8_0": "Q8_0"},
    ),
    "qwen2.5-14b": (TOOLS, {"qwen2.5:14b": "Q4_K_M", "qwen2.5:14b-instruct-q6_K": "Q6_K"}),
    "qwen3-0.6b": (THINK, {"qwen3:0.6b": "Q4_K_M", "qwen3:0.6b-q8_0": "Q8_0"}),
    "qwen3-4b": (
        THINK,
        {"qwen3:4b": "Q4_K_M", "qwen3:4b-q4_K_M": "Q4_K_M", "qwen3:4b-q8_0": "Q8_0"},
    ),
    "qwen3-8b": (THINK, {"qwen3:latest": "Q4_K_M", "qwen3:8b": "Q4_K_M", "qwen3:8b-q8_0": "Q8_0"}),
    "qwen3-30b-a3b": (
        THINK,
        {"qwen3:30b": "Q4_K_M", "qwen3:30b-a3b": "Q4_K_M", "qwen3:30b-a3b-q4_K_M": "Q4_K_M"},
    ),
    "qwen3-32b": (THINK, {"qwen3:32b": "Q4_K_M", "qwen3:32b-q8_0": "Q8_0"}),
    "tinyllama-1.1b": (TALK, {"tinyllama:latest": "Q4_0", "tinyllama:1.1b": "Q4_0"}),
}
# The quant matters only where some weights lie on the host: they pass through the buffer.
SERIES_KEYS = (
    "type_k",
    "type_v",
    "n_seq",
    "n_ubatch",
    "fa",
    "n_outputs_max",
    "n_devices",
    "ngl",
    "quant",
)


class Header:
    """What a GGUF file says before its data. Trusts the file: these are ours."""

    def __init__(self, path: Path) -> None:
        self.data, self.at = path.read_bytes(), 8
        tensors, keys = self.number("q"), self.number("q")
        self.metadata = dict(self.pair() for _ in range(keys))
        self.tensors = [self.tensor() for _ in range(tensors)]

    def number(self, code: str) -> Any:
        value = struct.unpack_from("<" + code, self.data, self.at)[0]
        self.at += struct.calcsize(code)
        return value

    def text(self) -> str:
        size = self.number("Q")
        self.at += size
        return self.data[self.at - size : self.at].decode()

    def pair(self) -> tuple[str, Any]:
        return self.text(), self.value(self.number("i"))

    def value(self, kind: int) -> Any:
        if kind == STRING:
            return self.text()
        if kind == ARRAY:
            item, count = self.number("i"), self.number("Q")
            return [self.value(item) for _ in range(count)]
        return self.number(FORMATS[kind])

    def tensor(self) -> tuple[str, list[int], str]:
        name, dimensions = self.text(), self.number("I")
        shape = [self.number("q") for _ in range(dimensions)]
        kind, _offset = self.number("i"), self.number("Q")
        return name, shape, TYPES[kind][0]


def elements(shape: list[int]) -> int:
    """Multiply the dimensions."""
    count = 1
    for length in shape:
        count *= length
    return count


def file_bytes(header: Header) -> int:
    """Size of the real file: header, vocabulary, and tensors padded to 32 bytes."""
    sizes = {name: (block, size) for name, block, size in TYPES.values()}
    total = len(header.data)
    for _, shape, kind in header.tensors:
        block, size = sizes[kind]
        total += -(-elements(shape) // block * size // 32) * 32
    vocab = next(v for k, v in header.metadata.items() if k.endswith(".vocab_size"))
    return total + int(vocab) * VOCAB_ENTRY_BYTES


def model_entry(key: str, folder: Path, compute: list[dict[str, Any]]) -> dict[str, Any]:
    """Everything about one model, in the form that ``catalog.py`` reads."""
    quants = sorted(set(MODELS[key][1].values()))
    headers = {quant: as_in_library(Header(folder / f"{key}.{quant}.gguf")) for quant in quants}
    first = next(iter(headers.values()))
    metadata = {k: v for k, v in first.metadata.items() if not k.endswith(FILLERS)}
    arch = metadata["general.architecture"]
    return {
        "key": key,
        "architecture": arch,
        "parameter_count": sum(elements(shape) for _, shape, _ in first.tensors),
        "block_count": metadata[f"{arch}.block_count"],
        "context_length": metadata[f"{arch}.context_length"],
        "embedding_length": metadata[f"{arch}.embedding_length"],
        "capabilities": MODELS[key][0],
        "license": next((t for k, t in LICENSES.items() if key.startswith(k)), "Apache-2.0"),
        "metadata": metadata,
        "tensors": [(name, shape) for name, shape, _ in first.tensors],
        "variants": [variant_entry(quant, header) for quant, header in headers.items()],
        "compute": compute,
    }


def as_in_library(header: Header) -> Header:
    """Give gpt-oss its library's types: 16 bits where llama-quantize writes Q8_0, by its size."""
    if header.metadata["general.architecture"] == "gpt-oss":
        header.tensors = [
            (name, shape, "BF16" if kind == "Q8_0" else kind)
            for name, shape, kind in header.tensors
        ]
    return header


def variant_entry(quant: str, header: Header) -> dict[str, Any]:
    """One file of the model; the tensors' names and shapes are the model's."""
    return {
        "quant": quant,
        "file_type": header.metadata["general.file_type"],
        "file_bytes": file_bytes(header),
        "types": [kind for _, _, kind in header.tensors],
    }


def plain(row: dict[str, Any]) -> bool:
    """Whether the run has nothing that Ollama does not ask for; its outputs may differ."""
    return (
        row["backend"] == "cuda-stand-in (no_alloc)"
        and "devices" in row
        and row["model"] in MODELS
        and row["type_k"] == row["type_v"]
        and row["pipeline_capable"]
        and row["offload_kqv"]
        and row["op_offload"]
        and not (row["kv_unified"] or row["swa_full"] or row.get("override_to_cpu"))
        and not row.get("tensor_split")
    )


def usable(row: dict[str, Any]) -> bool:
    """Whether Ollama could have asked for this run: as many outputs as slots, equal cards."""
    return row["n_outputs_max"] == row["n_seq"] and "," not in row["device_mem_MiB"]


def plain_rows(oracle: Path) -> list[dict[str, Any]]:
    """Read the plain runs; layers beyond the last mean all."""
    rows = map(json.loads, gzip.decompress(oracle.read_bytes()).splitlines())
    found = [row for row in rows if plain(row)]
    for row in found:
        row["ngl"] = min(row["ngl"], row["hparams"]["n_layer"] + 1)
    return found


def recorded(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Group the rows of each model in series: settings, then context → MiB."""
    series: dict[tuple[Any, ...], dict[int, list[float]]] = defaultdict(dict)
    for row in rows:
        whole = row["ngl"] > row["hparams"]["n_layer"]
        settings = {**row, "quant": None if whole else row["quant"]}
        key = (row["model"], *(settings[name] for name in SERIES_KEYS))
        series[key][row["n_ctx_actual"]] = buffers(row)
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for (model, *values), points in sorted(series.items(), key=str):
        entry = dict(zip(SERIES_KEYS, values, strict=True))
        found[model].append({**entry, "points": sorted(points.items())})
    return found


def sample(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Take some rows whole, for the tests to check sums and buffers against."""
    names = ("id", "model", *SERIES_KEYS, "device_mem_MiB", "n_ctx_actual", "devices", "host")
    offered = [row for row in rows if row["quant"] in MODELS[row["model"]][1].values()]
    common = [row for row in offered if usable(row)]
    rare = [row for row in offered if row["quant"] != "Q4_K_M" or "," in row["device_mem_MiB"]]
    taken = {row["id"]: row for row in [*common[::SAMPLE_STEP], *rare[::RARE_STEP]]}
    return [{name: row[name] for name in names} for row in taken.values()]


def buffers(row: dict[str, Any]) -> list[float]:
    """MiB of compute buffer: each GPU in order, the host last."""
    gpus = [row["devices"].get(f"GPU{i}", {}).get("compute", 0) for i in range(row["n_devices"])]
    return [*gpus, sum(buffer["compute"] for buffer in row["host"].values())]


def main(folder: Path, oracle: Path) -> None:
    """Write one file a model, and the list of names."""
    rows = plain_rows(oracle)
    compute = recorded([row for row in rows if usable(row)])
    OUT.mkdir(exist_ok=True)
    for key in MODELS:
        text = json.dumps(model_entry(key, folder, compute[key]), separators=(",", ":"))
        (OUT / f"{key}.json.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    offers = [(key, *offer) for key, (_, names) in MODELS.items() for offer in names.items()]
    SAMPLE.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in sample(rows))
    SAMPLE.write_text(f"[\n{lines}\n]\n")
    names = sorted((name, key, quant) for key, name, quant in offers)
    (OUT / "offers.json").write_text(json.dumps(names, indent=0) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
