"""A plan as files and commands: Modelfiles, ``ollama`` and ``llama-server``.

Options of llama-server are named as in llama.cpp's ``common/arg.cpp`` and the list in
``tools/server/README.md``; ``ollama run MODEL ""`` loads a model without asking it anything.
"""

import json
from collections.abc import Iterator

from labdash.planner.lab import Instance, Lab, Node
from labdash.planner.placing.inventory import is_installed
from labdash.planner.plan import Choice, Placement, Plan
from labdash.planner.telling import names
from labdash.planner.telling.quoting import command, comment, modelfile_value, shell
from labdash.planner.telling.sight import card_makers, visible_lines
from labdash.planner.telling.words import gib, tokens

FOREVER = "-1s"
END_OF_FILE = "END_OF_MODELFILE"
# `ollama show --modelfile` names the file of the weights first, then that of the projector.
FILE_OF = "sed -n 's/^FROM //p'"


def modelfile(placement: Placement) -> str:
    """Write the Modelfile of the derived model that holds a placement's options."""
    choice = placement.choice
    lines = [
        comment(f"{placement.deployment.name} on {choice.instance}, as planned by LabDash"),
        f"FROM {modelfile_value(choice.variant.name)}",
        *(f"PARAMETER {name} {value}" for name, value in options(choice).items()),
    ]
    return "\n".join([*lines, ""])


def options(choice: Choice) -> dict[str, int]:
    """Tell Ollama's options of a choice, those that stay unset left out."""
    found = {"num_ctx": choice.ctx, "num_batch": choice.num_batch}
    if choice.num_gpu is not None:
        found["num_gpu"] = choice.num_gpu
    if choice.main_gpu is not None:
        found["main_gpu"] = choice.main_gpu
    return found


def ollama_commands(lab: Lab, placement: Placement) -> str:
    """Write the commands that download, create and load a placement, from any machine."""
    node, instance = lab.homes[placement.choice.instance]
    return "\n".join([*_host(instance), *_ollama(node, instance, placement), ""])


def plan_commands(lab: Lab, plan: Plan) -> str:
    """Write the commands of a whole plan, each instance in its order of loading."""
    lines = ["#!/bin/sh", "set -e"]
    for name, (node, instance) in lab.homes.items():
        placed = [each for each in plan.placements if each.choice.instance == name]
        if not placed:
            continue
        lines += ["", comment(name), *_host(instance)]
        for placement in sorted(placed, key=lambda each: each.load_order):
            lines += _ollama(node, instance, placement)
    return "\n".join([*lines, ""])


def _host(instance: Instance) -> Iterator[str]:
    if instance.url:
        yield f"export OLLAMA_HOST={shell(instance.url)}"


def _ollama(node: Node, instance: Instance, placement: Placement) -> Iterator[str]:
    choice, name = placement.choice, names.served(placement)
    yield comment(_summary(placement))
    if not is_installed(choice.variant, instance):
        yield command(["ollama", "pull", choice.variant.name])
    file = f"{name.replace('/', '-').replace(':', '-')}.Modelfile"
    yield f"cat > {shell(file)} <<'{END_OF_FILE}'"
    yield from modelfile(placement).splitlines()
    yield END_OF_FILE
    yield command(["ollama", "create", name, "-f", file])
    if placement.deployment.resident and not node.away:
        yield _load(instance, placement)


def _load(instance: Instance, placement: Placement) -> str:
    name = names.served(placement)
    if not placement.choice.variant.embedding:
        return f"{command(['ollama', 'run', f'--keepalive={FOREVER}', name])} ''"
    # The command line takes no empty text for a model that only embeds.
    url = (instance.url or "http://127.0.0.1:11434").rstrip("/")
    body = json.dumps({"model": name, "input": [], "keep_alive": -1})
    return command(["curl", "--fail", "--silent", f"{url}/api/embed", "-d", body])


def _summary(placement: Placement) -> str:
    choice = placement.choice
    held = ", ".join(f"{gib(choice.bytes[each])} on {each}" for each in choice.gpu_devices)
    host = f"{gib(choice.host_bytes)} in RAM" if choice.host_bytes else ""
    where = ", ".join(each for each in (held, host) if each)
    what = f"{choice.variant.quant} at {tokens(choice.ctx)}"
    return f"{placement.deployment.name}: {what}, {where}"


def llama_server(lab: Lab, placement: Placement, *, port: int = 8080) -> str:
    """Write the command that serves a placement with llama.cpp alone, on the node itself."""
    node, instance = lab.homes[placement.choice.instance]
    choice = placement.choice
    lines = [
        comment(_summary(placement)),
        comment("The file is the one that this Ollama has: run this on the node itself."),
        *_on_projector(choice),
        *_host(instance),
        " ".join(
            [*_visible(node, instance), *_server(choice, instance), *_serving(placement, port)]
        ),
    ]
    return "\n".join([*lines, ""])


def _on_projector(choice: Choice) -> Iterator[str]:
    if choice.variant.projector_bytes:
        yield comment("Leave --mmproj out where `ollama show` names one file only.")


def _visible(node: Node, instance: Instance) -> Iterator[str]:
    """Yield assignments that number the GPUs as the instance does."""
    if len(node.cards) > 1 or len(instance.gpus) > 1:
        yield from visible_lines(card_makers(node, instance), instance.gpus)


def _server(choice: Choice, instance: Instance) -> Iterator[str]:
    yield "llama-server"
    yield f'-m "$({_file(choice, 1)})"'
    if choice.variant.projector_bytes:
        yield f'--mmproj "$({_file(choice, 2)})"'
        if choice.num_gpu is not None and choice.cpu_layers:
            yield "--no-mmproj-offload"
    if not _is_left_to_engine(choice):
        yield f"-ngl {_offloaded(choice)}"
    yield from _split(choice, instance)
    yield f"-c {choice.ctx * choice.parallel} -np {choice.parallel}"
    yield f"-fa {'on' if choice.flash_attn else 'off'}"
    yield f"-ctk {shell(choice.kv_type)} -ctv {shell(choice.kv_type)}"
    yield f"-b {choice.num_batch} -ub {choice.num_batch}"


def _file(choice: Choice, line: int) -> str:
    show = command(["ollama", "show", "--modelfile", choice.variant.name])
    return f"{show} | {FILE_OF} | sed -n {line}p"


def _is_left_to_engine(choice: Choice) -> bool:
    """Whether llama.cpp's ``--fit``, on by default, chooses the layers as it does under Ollama."""
    return choice.form == "partial" and choice.num_gpu is None


def _offloaded(choice: Choice) -> int:
    return sum(choice.layers.values()) - choice.cpu_layers


def _split(choice: Choice, instance: Instance) -> Iterator[str]:
    """Yield what puts each layer where the plan has it."""
    if choice.form == "cpu":
        yield "--device none"
    elif choice.form == "gpus":
        devices = [f"{choice.node}/{index}" for index in instance.gpus]
        shares = ",".join(str(choice.layers.get(each, 0)) for each in devices)
        yield f"--split-mode layer --tensor-split {shares}"
    elif len(instance.gpus) > 1 and len(choice.gpu_devices) == 1:
        yield f"--split-mode none --main-gpu {_position(choice, instance)}"


def _position(choice: Choice, instance: Instance) -> int:
    """Tell the GPU's number as the instance lists them, of whatever maker."""
    devices = [f"{choice.node}/{index}" for index in instance.gpus]
    return next((devices.index(each) for each in choice.gpu_devices if each in devices), 0)


def _serving(placement: Placement, port: int) -> Iterator[str]:
    if placement.choice.variant.embedding:
        yield "--embeddings"
    yield f"--alias {shell(names.served(placement))} --port {port}"
