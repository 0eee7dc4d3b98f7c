"""Layers, widths and heads of a model, read from its metadata.

Keys are those of GGUF without the architecture before them. Sources of the defaults: the
``load_arch_hparams`` of each model in llama.cpp's ``src/models``.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from labdash.planner.errors import PlannerError
from labdash.planner.facts import Facts, Length, Value


@dataclass(frozen=True, slots=True)
class Mla:
    """Attention over one compressed row a token: DeepSeek's multi-head latent attention."""

    kv_lora_rank: int
    rope_dim: int
    key_length: int
    value_length: int


@dataclass(frozen=True, slots=True)
class Recurrent:
    """State of the layers without a cache, in elements a slot: never grows with the context."""

    conv_elements: int
    state_elements: int


@dataclass(frozen=True, slots=True)
class Experts:
    """A mixture of experts. ``shared_ff`` is 0 where no expert is always used.

    ``gating`` is GGUF's number for how they are weighed (1 softmax, 2 sigmoid, 3 softmax of the
    chosen ones); ``normed`` whether their weights are divided by their sum, ``scaled`` whether
    they are scaled; ``groups`` how many groups of them are chosen among first.
    """

    count: int
    used: int
    ff: int
    shared_ff: int
    gating: int = 1
    normed: bool = True
    scaled: bool = False
    groups: int = 0


@dataclass(frozen=True, slots=True)
class Layer:
    """One block. ``key_length`` and ``value_length`` are widths of one head.

    A block has a cache (``attention``, of the last tokens only where ``window``), a state
    (``recurrent``), both or neither. ``owns_cache`` is false where it reads an earlier block's,
    ``rotated`` where attention does not see positions.
    ``ff`` is the width of its dense feed-forward part, 0 where it has none or only experts.
    """

    attention: bool
    window: bool
    recurrent: bool
    heads: int
    heads_kv: int
    key_length: int
    value_length: int
    ff: int
    experts: bool
    owns_cache: bool = True
    rotated: bool = True

    @property
    def key_width(self) -> int:
        """Elements of a token's row in the K cache."""
        return self.heads_kv * self.key_length

    @property
    def value_width(self) -> int:
        """Elements of a token's row in the V cache."""
        return self.heads_kv * self.value_length


@dataclass(frozen=True, slots=True)
class Shape:
    """``layers`` are the blocks of the trunk; ``nextn`` more predict further tokens.

    ``window`` is the number of tokens that windowed layers look back, 0 where there are none.
    ``per_layer`` is the width of embeddings that each layer has of its own, ``deepstack`` how many
    layers take further features of an image; ``scales_with_position`` where queries of far tokens
    are scaled, ``streams`` the hidden states that run side by side.
    """

    arch: str
    embd: int
    vocab: int
    ctx_train: int
    layers: tuple[Layer, ...]
    nextn: int
    window: int
    tied: bool
    experts: Experts | None
    mla: Mla | None
    recurrent: Recurrent | None
    per_layer: int = 0
    deepstack: int = 0
    scales_with_position: bool = False
    streams: int = 1

    @property
    def block_count(self) -> int:
        """Blocks that the file holds."""
        return len(self.layers) + self.nextn


# Every n-th layer looks at all tokens, the others at a window: the architectures that load such a
# pattern, with the period that they assume where the file gives none.
WINDOW_PERIODS = {
    "afmoe": 4,
    "cohere2": 4,
    "cohere2moe": 4,
    "exaone-moe": 4,
    "exaone4": 4,
    "gemma2": 2,
    "gemma3": 6,
    "gemma3n": 5,
    "gpt-oss": 2,
    "laguna": 4,
    "llama4": 4,
    "mellum": 4,
    "muse-glimmer": 4,
    "olmo2": 4,
    "plamo3": 8,
    "smallthinker": 4,
}
FULL_FIRST = frozenset(("cohere2moe", "laguna", "smallthinker"))
# Those whose files always say it layer by layer.
LISTED_WINDOWS = frozenset(
    ("gemma4", "mimo2", "step35", "granite-swa", "maple", "spark2-5", "dots3note")
)
# A window that the file need not give.
DEFAULT_WINDOWS = {"gemma2": 4096, "exaone4": 4096, "exaone-moe": 128, "llama4": 8192}
# Every layer but each n-th keeps a state in place of a cache.
INTERVAL_HYBRIDS = frozenset(("qwen3next", "qwen35", "qwen35moe", "qwen4exp", "minimax-01"))
# A layer without KV heads keeps a state.
LISTED_HYBRIDS = frozenset(
    (
        "bailingmoe3", "glm5-next", "granitehybrid", "jamba", "kimi-k3", "kimi-linear", "lfm2",
        "lfm2moe", "nemotron_h", "nemotron_h_moe", "plamo2",
    )
)  # fmt: skip
PURE_RECURRENT = frozenset(("mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"))
GEMMA3N_CACHED_LAYERS = 20
# llama-model.cpp, create_memory: they see all tokens at once, or fill them in, and keep none.
UNCACHED = frozenset(
    (
        "bert", "clef", "dream", "eurobert", "gemma-embedding", "jina-bert-v2", "jina-bert-v3",
        "llada", "llada-moe", "modern-bert", "neo-bert", "nomic-bert", "nomic-bert-moe", "rnd1",
    )
)  # fmt: skip


def read_shape(metadata: Mapping[str, Value], tensors: Mapping[str, tuple[int, ...]]) -> Shape:
    """Read the shape. ``tensors`` gives names and shapes, for what the metadata leave out."""
    facts = Facts(metadata)
    nextn = facts.number("nextn_predict_layers", 0)
    count = facts.number("block_count") - nextn
    if not 0 < count <= MOST_LAYERS:
        raise PlannerError(f"{facts.arch}.block_count is {count + nextn}, which no model has")
    window = _window(facts)
    experts = _experts(facts, tensors)
    return Shape(
        arch=facts.arch,
        embd=facts.number("embedding_length"),
        vocab=_vocab(facts, metadata, tensors),
        ctx_train=facts.number("context_length", 0),
        layers=tuple(_layers(facts, tensors, count, window, experts)),
        nextn=nextn,
        window=window,
        tied=_is_tied(facts, tensors),
        experts=experts,
        mla=_mla(facts),
        recurrent=_recurrent(facts),
        per_layer=facts.number("embedding_length_per_layer_input", 0),
        deepstack=facts.number("n_deepstack_layers", 0),
        streams=facts.number("altup.num_inputs", 1),
        scales_with_position=facts.value("attention.temperature_scale") not in (None, 0.0),
    )


def _is_tied(facts: Facts, tensors: Mapping[str, tuple[int, ...]]) -> bool:
    """Tell whether the table of tokens is loaded a second time, as the output layer."""
    table = "token_embd.weight" in tensors and "output.weight" not in tensors
    return table and facts.arch not in ONE_TABLE


# These multiply by the table that tokens are looked up in, or end in embeddings.
ONE_TABLE = frozenset(("bitnet", "bert", "nomic-bert"))
# llama.cpp, LLAMA_MAX_LAYERS
MOST_LAYERS = 512


def _vocab(
    facts: Facts, metadata: Mapping[str, Value], tensors: Mapping[str, tuple[int, ...]]
) -> int:
    if "token_embd.weight" in tensors and len(tensors["token_embd.weight"]) > 1:
        return tensors["token_embd.weight"][1]
    tokens = metadata.get("tokenizer.ggml.tokens")
    if isinstance(tokens, Length):
        return tokens.count
    return len(tokens) if isinstance(tokens, tuple) else facts.number("vocab_size")


def _window(facts: Facts) -> int:
    known = facts.arch in WINDOW_PERIODS or facts.arch in LISTED_WINDOWS
    return facts.number("attention.sliding_window", _default_window(facts)) if known else 0


def _default_window(facts: Facts) -> int:
    # Only the exaone4 with 64 layers has a window.
    if facts.arch == "exaone4" and facts.number("block_count") != EXAONE4_WINDOWED_LAYERS:
        return 0
    return DEFAULT_WINDOWS.get(facts.arch, 0)


EXAONE4_WINDOWED_LAYERS = 64


def _windowed(facts: Facts, count: int, window: int) -> list[bool]:
    if not window:
        return [False] * count
    pattern = facts.value("attention.sliding_window_pattern")
    if isinstance(pattern, tuple):
        return [bool(each) for each in facts.per_layer("attention.sliding_window_pattern", count)]
    period = int(pattern) if isinstance(pattern, int) else WINDOW_PERIODS.get(facts.arch, 0)
    if facts.arch in FULL_FIRST:
        return [period == 0 or layer % period != 0 for layer in range(count)]
    return [period == 0 or layer % period < period - 1 for layer in range(count)]


def _stateful(facts: Facts, count: int, heads_kv: list[int], ff: list[int]) -> list[bool]:
    if facts.arch in PURE_RECURRENT or facts.arch == "falcon-h1":
        return [True] * count
    if facts.arch in INTERVAL_HYBRIDS:
        if isinstance(facts.value("attention.recurrent_layers"), tuple):
            listed = facts.per_layer("attention.recurrent_layers", count)
            return [bool(each) for each in listed]
        interval = facts.number("full_attention_interval", 4) or 1
        return [(layer + 1) % interval != 0 for layer in range(count)]
    if facts.arch.startswith("nemotron_h"):
        return [not heads_kv[layer] and not ff[layer] for layer in range(count)]
    if facts.arch in LISTED_HYBRIDS:
        return [not heads for heads in heads_kv]
    return [False] * count


def _layers(
    facts: Facts,
    tensors: Mapping[str, tuple[int, ...]],
    count: int,
    window: int,
    experts: Experts | None,
) -> list[Layer]:
    heads = facts.per_layer("attention.head_count", count, 0)
    heads_kv = facts.per_layer("attention.head_count_kv", count, max(heads))
    ff = facts.per_layer("feed_forward_length", count, 0)
    windowed = _windowed(facts, count, window)
    stateful = _stateful(facts, count, heads_kv, ff)
    cached = _cached_layers(facts, count)
    layers = []
    for index in range(count):
        key, value = _head_widths(facts, heads[index] or max(heads), windowed=windowed[index])
        routed = _is_routed(facts, tensors, index, experts)
        shadowed = stateful[index] and facts.arch != "falcon-h1"
        layers.append(
            Layer(
                attention=heads_kv[index] > 0 and not shadowed,
                window=windowed[index],
                recurrent=stateful[index],
                heads=heads[index],
                heads_kv=heads_kv[index],
                key_length=key,
                value_length=value,
                ff=0 if routed else ff[index],
                experts=routed,
                owns_cache=index < cached,
                rotated=_is_rotated(facts, index, window=window, windowed=windowed[index]),
            )
        )
    return layers


# These rotate all layers but each fourth, or where some look at a window, only those.
ROTATED_THREE, ROTATED_WINDOWS = frozenset(("llama4", "smollm3")), frozenset(("cohere2", "exaone4"))
UNROTATED_PERIOD = 4
UNROTATED = frozenset(("nemotron_h", "nemotron_h_moe"))


def _is_rotated(facts: Facts, index: int, *, window: int, windowed: bool) -> bool:
    if facts.arch in ROTATED_THREE:
        return (index + 1) % UNROTATED_PERIOD != 0
    if facts.arch in UNROTATED or facts.value("rope.scaling.finetuned") is False:
        return False
    return windowed or not window or facts.arch not in ROTATED_WINDOWS


def _head_widths(facts: Facts, heads: int, *, windowed: bool) -> tuple[int, int]:
    default = facts.number("embedding_length") // heads if heads else 0
    key = facts.number("attention.key_length", default)
    value = facts.number("attention.value_length", default)
    if not windowed:
        return key, value
    return (
        facts.number("attention.key_length_swa", key),
        facts.number("attention.value_length_swa", value),
    )


def _cached_layers(facts: Facts, count: int) -> int:
    if facts.arch in UNCACHED:
        return 0
    if facts.arch == "gemma3n":
        return GEMMA3N_CACHED_LAYERS
    return count - facts.number("attention.shared_kv_layers", 0)


def _is_routed(
    facts: Facts, tensors: Mapping[str, tuple[int, ...]], index: int, experts: Experts | None
) -> bool:
    if experts is None:
        return False
    if tensors:
        return f"blk.{index}.ffn_down_exps.weight" in tensors
    step = facts.number("interleave_moe_layer_step", 1) or 1
    leading = facts.number("leading_dense_block_count", 0)
    return index >= leading and (index + 1) % step == 0


# Where the file does not say it, these leave the experts' weights as they are.
UNNORMED_EXPERTS = frozenset(
    ("deepseek", "deepseek2", "dots1", "gpt-oss", "olmoe", "qwen2moe", "arctic", "dbrx", "llama4")
)


# What these use where the file does not say it.
GATING = {"gpt-oss": 3, "llama4": 2}


def _experts(facts: Facts, tensors: Mapping[str, tuple[int, ...]]) -> Experts | None:
    count = facts.number("expert_count", 0)
    if not count:
        return None
    down = next((tensors[n] for n in tensors if n.endswith("ffn_down_exps.weight")), None)
    ff = facts.number("feed_forward_length", 0) if down is None else down[0]
    shared = next((tensors[n] for n in tensors if n.endswith("ffn_down_shexp.weight")), None)
    normed = facts.value("expert_weights_norm")
    normed = facts.arch not in UNNORMED_EXPERTS if normed is None else bool(normed)
    return Experts(
        count=count,
        used=facts.number("expert_used_count", 1),
        ff=facts.number("expert_feed_forward_length", ff) if down is None else ff,
        shared_ff=shared[0] if shared else 0,
        gating=facts.number("expert_gating_func", GATING.get(facts.arch, 1)),
        normed=normed,
        scaled=facts.value("expert_weights_scale") not in (None, 0.0, 1.0),
        groups=facts.number("expert_group_count", 0),
    )


def _mla(facts: Facts) -> Mla | None:
    """Tell the compressed cache: files of before it say only the full widths."""
    key = facts.number("attention.key_length_mla", 0)
    if not key:
        return None
    return Mla(
        kv_lora_rank=facts.number("attention.kv_lora_rank"),
        rope_dim=facts.number("rope.dimension_count"),
        key_length=key,
        value_length=facts.number("attention.value_length_mla"),
    )


def _recurrent(facts: Facts) -> Recurrent | None:
    """Size the state: llama-hparams.cpp, n_embd_r and n_embd_s."""
    embd = facts.number("embedding_length")
    if head := facts.number("wkv.head_size", 0):
        return Recurrent(facts.number("token_shift_count", 2) * embd, embd * head)
    if width := facts.number("shortconv.l_cache", 0):
        return Recurrent(embd * (width - 1), 0)
    conv = facts.number("ssm.conv_kernel", 0)
    heads = facts.number("attention.head_count", 0)
    if head := facts.number("kda.head_dim", 0):
        return Recurrent(3 * (conv - 1 if conv else 3) * heads * head, head * head * heads)
    state, inner = facts.number("ssm.state_size", 0), facts.number("ssm.inner_size", 0)
    if not inner:
        return None
    groups = facts.number("ssm.group_count", 0)
    return Recurrent(max(conv - 1, 0) * (inner + 2 * groups * state), state * inner)
