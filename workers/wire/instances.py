"""What a node reports of its Ollama servers."""

from typing import Annotated, Literal

from pydantic import Field

from workers.values import Count, Each, Identity, Maybe, Medium, Moment, Name, Text, or_else
from workers.wire.base import Message
from workers.wire.hardware import DiskReading
from workers.wire.shelf import MOST_LAYERS, Layer

# More than a machine can hold is noise that would fill the database.
MOST_INSTANCES = 100
MOST_SETTINGS = 100
MOST_LOADED = 250
MOST_MODELS = 10_000


class LoadedModel(Message):
    """An entry of ``/api/ps``. ``context_length`` counts tokens per slot.

    ``is_deleted``: no name of the server stands for it any more. ``leaves_out_context``: its sizes
    lack a part of the memory of its context, which Ollama does not count.
    """

    name: Name
    digest: Text
    size_bytes: Count
    size_vram_bytes: Maybe[Count]
    context_length: Maybe[Medium] = None
    expires_at: Maybe[Moment] = None
    is_deleted: bool = False
    leaves_out_context: bool = False


class Setting(Message):
    """A variable of a server's environment. A value that may be secret was taken out."""

    name: Text
    value: Text


class InstanceReading(Message):
    """One Ollama server at one moment.

    ``refused``: the machine answers and nothing listens. ``unreachable``: no answer at all.
    ``home``: where the server seems to run; ``container``: its port answers on this machine, but
    neither its process nor its files are to be seen. ``installed``: whether an ``ollama``
    program lies on this machine (``None`` where that cannot be told). ``listens``: whether its port
    is open to other machines; a firewall may still close it. ``settings``: what its process was
    started with, of what steers Ollama (``None`` where that cannot be read).
    """

    name: Text
    url: Text
    state: Annotated[Literal["ok", "refused", "unreachable", "timeout", "error"], or_else("error")]
    reason: Maybe[Text] = None
    version: Maybe[Text] = None
    home: Maybe[Literal["process", "container", "remote"]] = None
    installed: Maybe[bool] = None
    listens: Maybe[Literal["loopback", "network"]] = None
    loaded: Maybe[Annotated[tuple[Each[LoadedModel], ...], Field(max_length=MOST_LOADED)]] = None
    disk: Maybe[DiskReading] = None
    settings: Maybe[Annotated[tuple[Each[Setting], ...], Field(max_length=MOST_SETTINGS)]] = None


class InstalledModel(Message):
    """A name in ``/api/tags`` with what ``/api/show`` adds to it.

    ``digest`` is that of the manifest; ``blob_digest`` that of the weights, by which names that
    share one file are told. ``size_bytes`` counts shared blobs once per name. A cloud stub has
    no weights here and must not be counted. ``layers`` are all of its files, ``None`` where its
    manifest cannot be read.
    """

    name: Name
    digest: Text
    size_bytes: Count
    modified_at: Moment
    is_cloud: bool = False
    format: Maybe[Text] = None
    architecture: Maybe[Text] = None
    parameter_size: Maybe[Text] = None
    parameter_count: Maybe[Count] = None
    quant: Maybe[Text] = None
    context_length: Maybe[Medium] = None
    block_count: Maybe[Medium] = None
    parent_model: Maybe[Name] = None
    blob_digest: Maybe[Identity] = None
    capabilities: tuple[Text, ...] = ()
    layers: Maybe[Annotated[tuple[Each[Layer], ...], Field(max_length=MOST_LAYERS)]] = None
