"""``/api/tags`` and ``/api/show``: what is installed, told as the real server tells it."""

import json
import random
from collections.abc import Mapping
from typing import Any

from workers.simlab.ollama.gotime import rfc3339
from workers.simlab.ollama.manifest import Installed
from workers.simlab.ollama.server import OllamaServer
from workers.simlab.ollama.weights import Weights

# Where the text of a parameter's value begins.
_COLUMN = 30


def tag_entry(server: OllamaServer, model: Installed) -> dict[str, Any]:
    """Describe a name for ``/api/tags``."""
    weights = server.weights_of(model)
    config = _config(server, model)
    entry: dict[str, Any] = {"name": model.name.short, "model": model.name.short}
    entry |= {key: config[key] for key in ("remote_model", "remote_host") if config.get(key)}
    entry |= {
        "modified_at": rfc3339(model.modified_ns),
        "size": model.manifest.size_bytes,
        "digest": model.manifest.digest,
        "details": details(server, model, parent=True),
    }
    if weights and server.is_new_engine:
        lengths = ("context_length", "embedding_length")
        entry["details"] |= {key: getattr(weights, key) for key in lengths}
        entry["capabilities"] = list(capabilities(model, weights))
    return entry


def details(server: OllamaServer, model: Installed, *, parent: bool) -> dict[str, Any]:
    """Give the ``details`` that tags, ps and show share; ps never names a parent."""
    config = _config(server, model)
    layer = model.manifest.layer("model")
    return {
        "parent_model": layer.origin if layer and parent else "",
        "format": config.get("model_format", ""),
        "family": config.get("model_family", ""),
        "families": config.get("model_families"),
        "parameter_size": config.get("model_type", ""),
        "quantization_level": config.get("file_type", ""),
    }


def capabilities(model: Installed, weights: Weights) -> tuple[str, ...]:
    """Tell what a model can do; a projector makes it see."""
    vision = ("vision",) if model.manifest.layer("projector") else ()
    return (*weights.capabilities, *(each for each in vision if each not in weights.capabilities))


def show(server: OllamaServer, model: Installed, body: Mapping[str, Any]) -> dict[str, Any]:
    """Give the answer of ``/api/show`` to the request ``body``."""
    weights = server.weights_of(model)
    verbose = body.get("verbose", False)
    parameters = model_parameters(server, model)
    texts = {
        kind: server.read_layer(model.manifest.layer(kind))
        for kind in ("license", "template", "system")
    }
    texts["template"] = texts["template"] or "{{ .Prompt }}"
    texts["modelfile"] = _modelfile(server, model, texts, parameters | body.get("options", {}))
    texts["parameters"] = _parameter_lines(parameters)
    answer: dict[str, Any] = {key: text for key, text in texts.items() if text}
    answer["details"] = details(server, model, parent=True)
    if weights:
        answer |= _header(weights, verbose=verbose)
        if model.manifest.layer("projector"):
            answer["projector_info"] = _plain(weights.projector_info, verbose=verbose)
        answer["capabilities"] = list(capabilities(model, weights))
    config = _config(server, model)
    answer |= {key: config[key] for key in ("remote_model", "remote_host") if config.get(key)}
    return answer | {"modified_at": rfc3339(model.modified_ns)}


def model_parameters(server: OllamaServer, model: Installed) -> dict[str, Any]:
    """Give the options that are stored in a model."""
    text = server.read_layer(model.manifest.layer("params"))
    return dict(json.loads(text)) if text else {}


def is_cloud(server: OllamaServer, model: Installed) -> bool:
    """Whether a name only stands for a model that runs elsewhere."""
    return bool(_config(server, model).get("remote_host"))


def _header(weights: Weights, *, verbose: bool) -> dict[str, Any]:
    return {
        "model_info": _plain(_named(weights.info), verbose=verbose),
        "tensors": list(weights.tensors),
    }


def _named(info: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in info.items() if key != "general.name"}


def _plain(info: Mapping[str, Any], *, verbose: bool) -> dict[str, Any]:
    """Sort the keys of a header; arrays are emptied unless all was asked for."""
    kept = {key: info[key] for key in sorted(info)}
    if verbose:
        return kept
    return {key: None if isinstance(value, list) else value for key, value in kept.items()}


def _config(server: OllamaServer, model: Installed) -> dict[str, Any]:
    text = server.read_layer(model.manifest.config)
    return dict(json.loads(text)) if text else {}


def _parameter_lines(parameters: Mapping[str, Any]) -> str:
    """Write the parameters, in an order that is new at each call as in the real server."""
    names = list(parameters)
    random.shuffle(names)
    return "\n".join(
        f"{name:<{_COLUMN}} {_go(value)}" for name in names for value in _as_list(parameters[name])
    )


def _modelfile(
    server: OllamaServer, model: Installed, texts: Mapping[str, str], options: Mapping[str, Any]
) -> str:
    name = model.name.short
    lines = [
        '# Modelfile generated by "ollama show"',
        "# To build a new Modelfile based on this, replace FROM with:",
        f"# FROM {name}",
        "",
    ]
    lines += [
        f"FROM {server.store.shown_path(layer.digest)}"
        for layer in model.manifest.layers
        if layer.kind in {"model", "projector"}
    ]
    lines.append(f"TEMPLATE {_quoted(texts['template'])}")
    if texts["system"]:
        lines.append(f"SYSTEM {_quoted(texts['system'])}")
    for key in sorted(options):
        lines += [f"PARAMETER {key} {_bare(value)}" for value in _as_list(options[key])]
    if texts["license"]:
        lines.append(f"LICENSE {_quoted(texts['license'])}")
    return "\n".join(lines) + "\n"


def _as_list(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _go(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else _bare(value)


def _bare(value: object) -> str:
    if value is None:
        return "<nil>"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _quoted(text: str) -> str:
    if '"' in text:
        return f'"""{text}"""'
    return f'"{text}"' if "\n" in text or text != text.strip() else text
