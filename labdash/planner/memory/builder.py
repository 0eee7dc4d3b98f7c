"""What every graph of llama.cpp is made of: weights, norms, inputs, caches.

Source: llama-graph.cpp and llama-kv-cache.cpp. Shapes begin with the row, as in ggml; the last
dimension is the batch's tokens.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from labdash.planner.ggml import F16_BYTES, F32_BYTES, PLAIN_TYPES, row_bytes
from labdash.planner.memory.graph import Graph, Node, compute, given, stored, view
from labdash.planner.memory.padding import row_padding
from labdash.planner.shape import Layer, Shape

INDEX_BYTES, TOKEN_BYTES = 8, 4
# llama-kv-cache.cpp: quantised caches are rotated where a head is a multiple of this wide.
ROTATION = 64


@dataclass(frozen=True, slots=True)
class Batch:
    """The largest batch that memory is reserved for.

    ``cells`` and ``window_cells`` are the tokens that a stream's caches hold, ``streams`` the
    slots with a cache of their own, ``outputs`` the tokens that get logits.
    """

    tokens: int
    outputs: int
    streams: int
    slots: int
    cells: int
    window_cells: int
    flash_attn: bool
    type_k: str
    type_v: str


@dataclass(frozen=True, slots=True)
class Weight:
    """A tensor of the model: ``padding`` is what a GPU adds to its last row."""

    size: int
    padding: int
    home: int
    kind: str


@dataclass(frozen=True, slots=True)
class Place:
    """A layer, its tensors by short name, and where it and its cache lie."""

    index: int
    layer: Layer
    weights: Mapping[str, Weight]
    shapes: Mapping[str, tuple[int, ...]]
    cache_home: int
    device: int


@dataclass(frozen=True, slots=True)
class Traits:
    """What differs by build and by how the engine runs.

    ``mixed_batches``: the inputs of batches that mix tokens and embeddings are always there.
    ``keeps_sums`` and the like: what CUDA's fusions keep alive. ``scratch``: a GPU copies
    quantised caches to f16 in its compute buffer. ``kv_pairs``: its flash attention takes K and V
    of different types. ``pins_norms``: a layer's norms run on its own device. ``pins_attention``:
    what attention without its kernel makes of a cache on the host is put together there. A dry
    run forgets both (ggml-backend.cpp, ggml_backend_sched_reserve_size).
    """

    mixed_batches: bool
    keeps_sums: bool
    keeps_routing: bool
    groups_shared: bool
    scratch: bool
    kv_pairs: bool
    kv_offload: bool
    pins_norms: bool
    pins_attention: bool
    host: int


class Builder:
    """Builds one graph. Methods are named after those of llama.cpp that they replay."""

    def __init__(
        self, shape: Shape, batch: Batch, traits: Traits, *, layer_norm: bool = False
    ) -> None:
        """Make the inputs; each joins the graph where it is first used."""
        self.graph = Graph()
        self.shape = shape
        self.batch = batch
        self.traits = traits
        self.layer_norm = layer_norm
        self.windowed = any(layer.window for layer in shape.layers)
        tokens = batch.tokens
        self.positions = given("inp_pos", (tokens * _positions(shape.arch),), TOKEN_BYTES)
        self.out_ids = given("out_ids", (batch.outputs,), TOKEN_BYTES)
        mask_bytes = F16_BYTES if batch.flash_attn else F32_BYTES
        cells = (batch.cells, batch.window_cells)
        widest = max((layer.value_width for layer in shape.layers if layer.attention), default=1)
        self._k_ids = [given("k_idxs", (tokens,), INDEX_BYTES) for _ in cells]
        v_rows = tokens if batch.flash_attn else tokens * widest
        self._v_ids = [given("v_idxs", (v_rows,), INDEX_BYTES) for _ in cells]
        self._masks = [given("mask", (count, tokens), mask_bytes) for count in cells]
        self._rotations: dict[tuple[str, bool], Node] = {}
        self.temperature = given("attn_scale", (1, 1, tokens))
        self._slot_ids = given("s_copy", (batch.slots,), TOKEN_BYTES)
        self.slots_in_use = view("view", self._slot_ids, (batch.slots,))
        rest = batch.slots - 1
        self.slots_besides = view("view", self._slot_ids, (rest,), TOKEN_BYTES * rest)
        self._states: dict[tuple[int, str], Node] = {}
        self._weights: dict[tuple[int, str], Node] = {}
        self.place: Place

    def has(self, name: str) -> bool:
        """Tell whether the layer has a tensor."""
        return name in self.place.weights

    def weight(self, name: str) -> Node:
        """Take a tensor of the layer."""
        weight = self.place.weights[name]
        # Factors of the rotation are one tensor for all layers of a device.
        key = (-2 - weight.home if name.startswith("rope_") else self.place.index, name)
        if key not in self._weights:
            node = stored(name, weight.size, weight.home)
            node.extra = weight.padding
            self._weights[key] = node
        return self._weights[key]

    def multiply(self, name: str, source: Node, *shape: int) -> Node:
        """Multiply by a matrix and add its bias where it has one."""
        result = compute("mul_mat", shape, self.weight(f"{name}.weight"), source, rows=shape[1])
        return self.biased(f"{name}.bias", result)

    def biased(self, name: str, source: Node) -> Node:
        """Add a bias where the layer has it."""
        return compute("add", source.shape, source, self.weight(name)) if self.has(name) else source

    def norm(self, source: Node, name: str) -> Node:
        """Normalise and scale by a weight. LayerNorm, which has a bias, needs a new tensor."""
        kind = "norm" if self.layer_norm or self.has(f"{name}.bias") else "rms_norm"
        normed = compute(kind, source.shape, source)
        if self.traits.pins_norms and self.place.index >= 0:
            normed.pinned = self.place.device
        # falcon-h1 names one without the ending.
        weight = self.weight(name if self.has(name) else f"{name}.weight")
        result = compute("mul", source.shape, normed, weight)
        return self.biased(f"{name}.bias", result)

    def rows(self, source: Node) -> Node:
        """Keep the tokens that get logits."""
        return compute("get_rows", (source.shape[0], self.batch.outputs), source, self.out_ids)

    def rope(self, source: Node, factors: str | None = None) -> Node:
        """Rotate by position."""
        extra = () if factors is None else (self.weight(factors),)
        return compute("rope", source.shape, source, self.positions, *extra)

    def rotate(self, source: Node, which: str, head: int) -> Node:
        """Rotate for a quantised cache, where the head is wide enough for it."""
        kind = self.batch.type_k if which == "k" else self.batch.type_v
        if kind in PLAIN_TYPES or head % ROTATION:
            return source
        key = (which, self.place.layer.window)
        if key not in self._rotations:
            size = self._rotation_size(which)
            self._rotations[key] = given("rotation", (size, size))
        is_view = source.op == "view"
        flat = (
            compute("cont", source.shape, source)
            if is_view
            else view("reshape", source, source.shape)
        )
        turned = compute("mul_mat", source.shape, self._rotations[key], flat)
        return view("reshape", turned, source.shape)

    def _rotation_size(self, which: str) -> int:
        window = self.place.layer.window
        layers = (each for each in self.shape.layers if each.attention and each.window == window)
        widths = {layer.key_length for layer in layers}
        size = ROTATION
        if which == "k" and len(widths) == 1:
            width = widths.pop()
            while width % (2 * size) == 0:
                size *= 2
        return size

    def cache(self, which: str) -> Node:
        """View a layer's K or V cache as attention reads it."""
        layer, batch = self.place.layer, self.batch
        kind = batch.type_k if which == "k" else batch.type_v
        width = layer.key_width if which == "k" else layer.value_width
        cells = self.cells * batch.streams
        node = stored(which, row_bytes(kind, width) * cells, self.place.cache_home, weight=False)
        node.shape = (width, cells)
        head = layer.key_length if which == "k" else layer.value_length
        node.extra = row_padding(kind, head)
        return node

    @property
    def cells(self) -> int:
        """Tokens that a stream's cache of the layer's kind holds."""
        return self.batch.window_cells if self.place.layer.window else self.batch.cells

    @property
    def mask(self) -> Node:
        """The mask of the layer's kind of cache."""
        return self._masks[self.place.layer.window]

    def store(self, cache: Node, source: Node, which: str) -> None:
        """Write the batch's rows into a cache."""
        ids = (self._k_ids if which == "k" else self._v_ids)[self.place.layer.window]
        flat = view("view", source, (cache.shape[0], self.batch.tokens))
        written = Node("set_rows", cache.shape, cache.size, (flat, ids, cache), cache)
        written.rows = self.batch.tokens
        self.graph.expand(written)

    def state(self, which: str, elements: int) -> Node:
        """Gather the slots' states of a layer: llama-graph.cpp, build_rs."""
        states = self.cleared_state(which, elements)
        gathered = compute("get_rows", states.shape, states, self._slot_ids)
        current = view("view", gathered, states.shape)
        self.graph.expand(current)
        self.keep_other_states(which, gathered)
        return current

    def cleared_state(self, which: str, elements: int) -> Node:
        """Take the slots' states of a layer, of which one that begins anew is cleared."""
        held = self._state_of(which, elements)
        states = view("reshape", held, (elements, self.batch.slots))
        cleared = view("view", states, (elements,))
        self.graph.expand(Node("scale", cleared.shape, cleared.size, (cleared,), view_of=held))
        return states

    def keep_other_states(self, which: str, gathered: Node) -> None:
        """Write back the states of slots that the batch does not touch."""
        held = self._states[self.place.index, which]
        rest, place = (view("view", each, (gathered.shape[0], 0)) for each in (gathered, held))
        self.graph.expand(Node("cpy", rest.shape, 0, (rest, place), view_of=held))

    def keep_state(self, which: str, source: Node) -> None:
        """Write a layer's new state back."""
        held = self._states[self.place.index, which]
        place = view("view", held, source.shape)
        self.graph.expand(Node("cpy", source.shape, 0, (source, place), view_of=held))

    def _state_of(self, which: str, elements: int) -> Node:
        size = F32_BYTES * elements * self.batch.slots
        held = stored(which, size, self.place.cache_home, weight=False)
        self._states[self.place.index, which] = held
        return held


def _positions(arch: str) -> int:
    """Say how many positions a token has: llama-hparams.cpp, n_pos_per_embd."""
    return 4 if arch in MROPE else 1


MROPE = frozenset(("qwen2vl", "qwen3vl", "qwen3vlmoe", "qwen35", "qwen35moe", "glm4v", "glm4vmoe"))
