"""Where each Ollama server of the lab is reached, and the lines that other programs need."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from urllib.parse import urlsplit

from labdash.hosts import is_loopback
from labdash.models import InstalledModel, Instance, Membership
from labdash.queries.joining import hub_hosts
from labdash.queries.lab import LabView, NodeView, read_lab
from labdash.queries.library import plain_name
from labdash.queries.problems import ProblemView, find_problems
from labdash.queries.trying import may_be_named
from workers import wire

type Reach = Literal["open", "closed", "unknown", "down"]

# A node may report any host name, and these lines are run in a shell.
_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,250}[A-Za-z0-9])?")


@dataclass(frozen=True, kw_only=True)
class Line:
    """Something to copy. ``id`` tells its element on the page."""

    id: str
    title: str
    text: str


# A drop-in of its own: the service's file is replaced by each update.
OPENING = (
    Line(
        id="open-linux",
        title="Linux, where Ollama is a systemd service",
        text=(
            "sudo mkdir -p /etc/systemd/system/ollama.service.d\n"
            "printf '[Service]\\nEnvironment=\"OLLAMA_HOST=0.0.0.0\"\\n'"
            " | sudo tee /etc/systemd/system/ollama.service.d/labdash.conf\n"
            "sudo systemctl daemon-reload && sudo systemctl restart ollama"
        ),
    ),
    Line(
        id="open-mac",
        title="Mac, until it is restarted: then quit Ollama in the menu bar and start it again",
        text='launchctl setenv OLLAMA_HOST "0.0.0.0"',
    ),
    Line(
        id="open-windows",
        title="Windows: then quit Ollama in the tray and start it again",
        text="setx OLLAMA_HOST 0.0.0.0",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Address:
    """An Ollama server as other machines reach it.

    ``url`` is empty where no address of its machine is known. ``is_measured``: its machine saw
    where it listens.
    """

    instance: Instance
    url: str
    reach: Reach
    is_measured: bool
    models: tuple[str, ...]
    lines: tuple[Line, ...]

    @property
    def openai_url(self) -> str:
        """Where programs that speak OpenAI's API find it."""
        return f"{self.url}/v1" if self.url else ""


@dataclass(frozen=True, kw_only=True)
class AddressesView:
    """All servers. ``left_out`` are those that ``lines`` do not name, since nobody reaches them."""

    lab: LabView
    problems: tuple[ProblemView, ...]
    addresses: tuple[Address, ...]
    lines: tuple[Line, ...]
    left_out: tuple[Address, ...]


def read_addresses(*, asked_by: str, now: datetime) -> AddressesView:
    """Return all addresses; ``asked_by`` is the Host by which the page was opened."""
    lab = read_lab(now=now)
    hub = hub_hosts(asked_by)[0]
    joined_from = dict(Membership.objects.values_list("node_id", "address"))
    installed = _installed()
    addresses = tuple(
        _address(view, instance, _host(view, instance, hub, joined_from), installed[instance.pk])
        for view in lab.nodes
        for instance in view.node.instances.all()
    )
    named = [each for each in addresses if each.url and each.reach != "closed"]
    return AddressesView(
        lab=lab,
        problems=find_problems(lab),
        addresses=addresses,
        lines=_webui([each.url for each in named]),
        left_out=tuple(each for each in addresses if each not in named),
    )


def _installed() -> defaultdict[int, list[InstalledModel]]:
    found: defaultdict[int, list[InstalledModel]] = defaultdict(list)
    for row in InstalledModel.objects.in_use().filter(is_cloud=False).order_by("name"):
        found[row.instance_id].append(row)
    return found


def _host(view: NodeView, instance: Instance, hub: str, joined_from: Mapping[int, str]) -> str:
    """Return the host under which others reach a server; nothing where none is known."""
    own = urlsplit(instance.url).hostname or ""
    if not is_loopback(own):
        return own
    if view.node.agentless or view.node.started_with:
        return hub
    address = joined_from.get(view.node.pk, "")
    if address and not is_loopback(address):
        return address
    told = (view.sample.host.hostname if view.sample else None) or ""
    return told if _HOST_NAME.fullmatch(told) and not is_loopback(told) else ""


def _address(
    view: NodeView, instance: Instance, host: str, installed: list[InstalledModel]
) -> Address:
    readings = view.sample.instances if view.sample else ()
    reading = next((each for each in readings if each.name == instance.name), None)
    url = _url(instance.url, host) if host else ""
    reach = _reach(view, instance, reading)
    model = _example(reading, installed)
    return Address(
        instance=instance,
        url=url,
        reach=reach,
        is_measured=reading is not None and reading.listens is not None,
        models=tuple(plain_name(row.name) for row in installed),
        lines=_programs(str(instance.pk), url, model) if url and model else (),
    )


def _url(url: str, host: str) -> str:
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}"


def _reach(view: NodeView, instance: Instance, reading: wire.InstanceReading | None) -> Reach:
    """Tell whether others reach it: by where it listens, or since the hub itself does."""
    if reading is None or reading.state != "ok" or view.liveness in {"silent", "never"}:
        return "down"
    if reading.listens is not None:
        return "open" if reading.listens == "network" else "closed"
    is_near = is_loopback(urlsplit(instance.url).hostname or "")
    return "open" if view.node.agentless and not is_near else "unknown"


def _example(reading: wire.InstanceReading | None, installed: Iterable[InstalledModel]) -> str:
    """Return a model that is really there: one in memory, else the smallest."""
    loaded = {each.name for each in (reading.loaded if reading else None) or ()}
    rows = [row for row in installed if may_be_named(row.name)]
    rows.sort(key=lambda row: (row.name not in loaded, row.size_bytes))
    return plain_name(rows[0].name) if rows else ""


def _programs(key: str, url: str, model: str) -> tuple[Line, ...]:
    ask = "Why is the sky blue?"
    message = f'[{{"role": "user", "content": "{ask}"}}]'
    by_ollama = (
        "from ollama import Client\n\n"
        f'client = Client(host="{url}")\n'
        f'answer = client.chat(model="{model}", messages={message})\n'
        "print(answer.message.content)"
    )
    by_openai = (
        "from openai import OpenAI\n\n"
        f'client = OpenAI(base_url="{url}/v1", api_key="ollama")\n'
        f'answer = client.chat.completions.create(model="{model}", messages={message})\n'
        "print(answer.choices[0].message.content)"
    )
    body = f'{{"model": "{model}", "messages": {message}, "stream": false}}'
    return (
        Line(id=f"ollama-{key}", title="Python, package ollama", text=by_ollama),
        Line(id=f"openai-{key}", title="Python, package openai", text=by_openai),
        Line(id=f"curl-{key}", title="curl", text=f"curl {url}/api/chat -d '{body}'"),
    )


def _webui(urls: list[str]) -> tuple[Line, ...]:
    """Return what Open WebUI is told: it takes several servers, with semicolons between them."""
    if not urls:
        return ()
    setting = f'OLLAMA_BASE_URLS="{";".join(urls)}"'
    run = (
        "docker run -d -p 3000:8080 --name open-webui --restart always"
        f" -e {setting} -v open-webui:/app/backend/data ghcr.io/open-webui/open-webui:main"
    )
    return (
        Line(id="webui-setting", title="Its setting", text=setting),
        Line(id="webui-run", title="A container of it", text=run),
    )
