"""The tensors of a model whose file is not at hand: names and shapes from its metadata.

As convert_hf_to_gguf.py writes them: matrices in f16, vectors and routers in f32. Source of what
each architecture has: the ``load_arch_tensors`` of src/models in llama.cpp.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from labdash.planner.encoders import ENCODERS, encoder
from labdash.planner.errors import PlannerError
from labdash.planner.facts import Value, count_or
from labdash.planner.ggml import tensor_bytes
from labdash.planner.model import Tensor
from labdash.planner.shape import UNCACHED, Layer, Shape, read_shape

type Named = Iterator[tuple[str, tuple[int, ...]]]

# Matrices that stay f32.
PLAIN_MATRICES = (
    "ffn_gate_inp.weight", "ssm_conv1d.weight", "shortconv.conv.weight", "position_embd.weight",
    "token_types.weight",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Has:
    """What a block has beside LLaMA's matrices and norms.

    ``qkv`` one matrix for Q, K and V; ``qkv_bias`` biases of them; ``head_norm`` norms of Q and
    K by head, ``wide_norm`` over all heads; ``post_norms`` norms after attention and after the
    feed-forward part; ``joined`` gate and up in one matrix; ``plain`` no gate at all; ``biases``
    a bias everywhere; ``one_norm`` attention and feed-forward share one norm; ``factors`` the
    table of rope_freqs.
    """

    qkv: bool = False
    qkv_bias: bool = False
    head_norm: bool = False
    wide_norm: bool = False
    pre_norms: bool = True
    post_norms: bool = False
    joined: bool = False
    plain: bool = False
    biases: bool = False
    norm_bias: bool = False
    one_norm: bool = False
    sinks: bool = False
    factors: bool = False
    scale: bool = False
    expert_bias: bool = False


LLAMA = Has()
KNOWN = {
    "llama": LLAMA,
    "mistral3": LLAMA,
    "smollm3": LLAMA,
    "granite": LLAMA,
    "granitemoe": LLAMA,
    "gemma": LLAMA,
    "deepseek2": LLAMA,
    "llama4": Has(factors=True),
    "qwen2": Has(qkv_bias=True),
    "qwen2vl": Has(qkv_bias=True),
    "qwen2moe": Has(qkv_bias=True),
    "seed_oss": Has(qkv_bias=True),
    "qwen3": Has(head_norm=True),
    "qwen3vl": Has(head_norm=True),
    "qwen3moe": Has(head_norm=True),
    "qwen3vlmoe": Has(head_norm=True),
    "minimax-m2": Has(wide_norm=True, expert_bias=True),
    "gemma2": Has(post_norms=True),
    "gemma3": Has(post_norms=True, head_norm=True),
    "gemma-embedding": Has(post_norms=True, head_norm=True),
    "gemma4": Has(post_norms=True, head_norm=True, factors=True, scale=True),
    "phi3": Has(qkv=True, joined=True),
    "chatglm": Has(qkv=True, qkv_bias=True, joined=True),
    "glm4": Has(post_norms=True, joined=True),
    "glm4moe": Has(qkv_bias=True, expert_bias=True),
    "gpt-oss": Has(qkv_bias=True, sinks=True),
    "command-r": Has(one_norm=True),
    "cohere2": Has(one_norm=True),
    "olmo2": Has(wide_norm=True, pre_norms=False, post_norms=True),
    "starcoder2": Has(qkv_bias=True, plain=True, biases=True, norm_bias=True),
    "nemotron": Has(plain=True, norm_bias=True),
    "qwen3next": Has(head_norm=True),
    "qwen35": Has(head_norm=True),
    "qwen35moe": Has(head_norm=True),
    "lfm2": Has(head_norm=True),
    "lfm2moe": Has(head_norm=True, expert_bias=True),
}  # fmt: skip
# The norm before the feed-forward part is named after the attention before it.
POST_ATTENTION = frozenset(("gpt-oss", "qwen3next", "qwen35", "qwen35moe", "glm4moe", "seed_oss"))
# The last norm is the table's by name.
EMBD_NORM_LAST = frozenset(("lfm2", "lfm2moe"))
GATED_QUERIES = frozenset(("qwen3next", "qwen35", "qwen35moe"))
GATED_SHARED_EXPERT = GATED_QUERIES | {"qwen2moe"}
# Llama 3's tokens, with room for those that fine-tuned models add.
LLAMA_3_VOCABS = range(128_256, 128_320)
LLAMA_3_CONTEXT = 8192


def tensors_of(metadata: Mapping[str, Value], *, tied: bool) -> tuple[Tensor, ...]:
    """List a model's tensors in the order of its file. Raises ``PlannerError``.

    ``tied`` where the output layer is the table of tokens.
    """
    shape = read_shape(metadata, {})
    if shape.arch in ENCODERS:
        return tuple(_tensor(name, dims) for name, dims in encoder(shape))
    has = KNOWN.get(shape.arch)
    if has is None:
        raise PlannerError(
            f"the tensors of {shape.arch} are not known by heart: give the model's GGUF file"
        )
    facts = _Reader(metadata, shape, has)
    return tuple(_tensor(name, dims) for name, dims in facts.model(tied=tied))


def _tensor(name: str, shape: tuple[int, ...]) -> Tensor:
    plain = len(shape) == 1 or name.endswith(PLAIN_MATRICES) or not name.endswith("weight")
    kind = "f32" if plain else "f16"
    return Tensor(name, shape, kind, tensor_bytes(kind, shape))


class _Reader:
    """Names and shapes of one model."""

    def __init__(self, metadata: Mapping[str, Value], shape: Shape, has: Has) -> None:
        self._metadata = metadata
        self._shape = shape
        self._has = has

    def model(self, *, tied: bool) -> Named:
        shape, embd = self._shape, self._shape.embd
        yield "token_embd.weight", (embd, shape.vocab)
        if not tied:
            yield "output.weight", (embd, shape.vocab)
        last = "token_embd_norm" if self._shape.arch in EMBD_NORM_LAST else "output_norm"
        yield from self._norm(last, embd)
        if self._has.factors or self._is_llama_3_1():
            yield "rope_freqs.weight", (self._head() // 2,)
        per_layer = self._number("embedding_length_per_layer_input")
        if per_layer:
            count = len(shape.layers)
            yield "per_layer_token_embd.weight", (per_layer * count, shape.vocab)
            yield "per_layer_model_proj.weight", (embd, per_layer * count)
            yield "per_layer_proj_norm.weight", (per_layer,)
        for index, layer in enumerate(shape.layers):
            for name, dims in self._block(layer, per_layer):
                yield f"blk.{index}.{name}", dims

    def _is_llama_3_1(self) -> bool:
        """Tell Llama 3.1 and its kin, whose table of rope_freqs no metadata announces."""
        shape = self._shape
        known = shape.arch == "llama" and shape.vocab in LLAMA_3_VOCABS
        return known and shape.ctx_train > LLAMA_3_CONTEXT

    def _head(self) -> int:
        return max(layer.key_length for layer in self._shape.layers)

    def _number(self, key: str, default: int = 0) -> int:
        return count_or(self._metadata.get(f"{self._shape.arch}.{key}"), default)

    def _norm(self, name: str, width: int) -> Named:
        yield f"{name}.weight", (width,)
        if self._has.norm_bias:
            yield f"{name}.bias", (width,)

    def _block(self, layer: Layer, per_layer: int) -> Named:
        embd, has = self._shape.embd, self._has
        if has.pre_norms:
            yield from self._norm("attn_norm", embd)
        yield from self._mixer(layer)
        if has.post_norms or self._shape.arch in POST_ATTENTION:
            yield "post_attention_norm.weight", (embd,)
        if has.pre_norms and not has.one_norm and self._shape.arch not in POST_ATTENTION:
            yield from self._norm("ffn_norm", embd)
        if has.post_norms:
            yield "post_ffw_norm.weight", (embd,)
        if has.scale:
            yield "layer_output_scale.weight", (1,)
        if per_layer:
            yield "inp_gate.weight", (embd, per_layer)
            yield "proj.weight", (per_layer, embd)
            yield "post_norm.weight", (embd,)
        yield from self._feed_forward(layer)

    # -- mixing tokens

    def _mixer(self, layer: Layer) -> Named:
        if layer.recurrent and self._shape.arch in GATED_QUERIES:
            yield from self._delta_net()
        elif layer.recurrent:
            yield from self._short_convolution()
        elif self._shape.mla is not None:
            yield from self._latent(layer)
        else:
            yield from self._attention(layer)

    def _attention(self, layer: Layer) -> Named:
        embd, has = self._shape.embd, self._has
        parts = self._projections(layer)
        for name, rows in parts:
            yield f"{name}.weight", (embd, rows)
        if has.qkv_bias:
            for name, rows in parts:
                yield f"{name}.bias", (rows,)
        yield "attn_output.weight", (layer.heads * layer.value_length, embd)
        if has.sinks or has.biases:
            yield "attn_output.bias", (embd,)
        if has.sinks:
            yield "attn_sinks.weight", (layer.heads,)
        if has.head_norm or has.wide_norm:
            wide = (layer.heads * layer.key_length, layer.key_width)
            q, k = wide if has.wide_norm else (layer.key_length, layer.key_length)
            yield "attn_q_norm.weight", (q,)
            if not self._reads_another(layer):
                yield "attn_k_norm.weight", (k,)

    def _projections(self, layer: Layer) -> list[tuple[str, int]]:
        """Name the matrices that make Q, K and V, with their rows."""
        q, k, v = layer.heads * layer.key_length, layer.key_width, layer.value_width
        if self._shape.arch in GATED_QUERIES:
            q *= 2
        if self._has.qkv:
            return [("attn_qkv", q + k + v)]
        parts = [("attn_q", q), ("attn_k", k), ("attn_v", v)]
        if self._reads_another(layer):
            return parts[:1]
        return parts[:2] if self._shares_value(layer) else parts

    def _reads_another(self, layer: Layer) -> bool:
        """Tell the layers that make no K and V, as they use an earlier one's."""
        return not layer.owns_cache and self._shape.arch not in UNCACHED

    def _shares_value(self, layer: Layer) -> bool:
        """Tell the layers of gemma4 that look at all tokens with few heads: V is K."""
        others = (each.heads_kv for each in self._shape.layers if each.window)
        return (
            self._shape.arch == "gemma4"
            and not layer.window
            and layer.heads_kv < max(others, default=0)
        )

    def _latent(self, layer: Layer) -> Named:
        mla, embd = self._shape.mla, self._shape.embd
        assert mla is not None  # noqa: S101 - the caller looked
        rank, heads = self._number("attention.q_lora_rank"), layer.heads
        width = heads * mla.key_length
        if rank:
            yield "attn_q_a.weight", (embd, rank)
            yield "attn_q_a_norm.weight", (rank,)
            yield "attn_q_b.weight", (rank, width)
        else:
            yield "attn_q.weight", (embd, width)
        nope = mla.key_length - mla.rope_dim
        yield "attn_kv_a_norm.weight", (mla.kv_lora_rank,)
        yield "attn_kv_a_mqa.weight", (embd, mla.kv_lora_rank + mla.rope_dim)
        yield "attn_k_b.weight", (nope, mla.kv_lora_rank, heads)
        yield "attn_v_b.weight", (mla.kv_lora_rank, mla.value_length, heads)
        yield "attn_output.weight", (heads * mla.value_length, embd)

    def _delta_net(self) -> Named:
        embd = self._shape.embd
        inner, state = self._number("ssm.inner_size"), self._number("ssm.state_size")
        heads, groups = self._number("ssm.time_step_rank"), self._number("ssm.group_count")
        if not inner or not heads:
            raise PlannerError("the state of this model is not known: give its GGUF file")
        channels = inner + 2 * groups * state
        yield "attn_qkv.weight", (embd, channels)
        yield "attn_gate.weight", (embd, inner)
        yield "ssm_conv1d.weight", (self._number("ssm.conv_kernel"), channels)
        yield "ssm_dt.bias", (heads,)
        yield "ssm_a", (heads,)
        if self._shape.arch == "qwen3next":
            yield "ssm_ba.weight", (embd, 2 * heads)
        else:
            yield "ssm_beta.weight", (embd, heads)
            yield "ssm_alpha.weight", (embd, heads)
        yield "ssm_norm.weight", (inner // heads,)
        yield "ssm_out.weight", (inner, embd)

    def _short_convolution(self) -> Named:
        embd = self._shape.embd
        yield "shortconv.conv.weight", (self._number("shortconv.l_cache"), embd)
        yield "shortconv.in_proj.weight", (embd, 3 * embd)
        yield "shortconv.out_proj.weight", (embd, embd)

    # -- feed-forward

    def _feed_forward(self, layer: Layer) -> Named:
        if not layer.experts:
            yield from self._dense(layer.ff)
        elif self._shape.arch == "gemma4":
            yield from self._dense(self._number("feed_forward_length"))
            yield from self._experts_beside()
        else:
            yield from self._experts()

    def _experts_beside(self) -> Named:
        """Yield the experts of gemma4, which has them beside a dense part."""
        known, embd = self._shape.experts, self._shape.embd
        assert known is not None  # noqa: S101 - a layer has experts only where the shape has
        yield "ffn_gate_inp.weight", (embd, known.count)
        yield "ffn_gate_inp.scale", (embd,)
        for name in ("pre_ffw_norm_2", "post_ffw_norm_1", "post_ffw_norm_2"):
            yield f"{name}.weight", (embd,)
        yield "ffn_gate_up_exps.weight", (embd, 2 * known.ff, known.count)
        yield "ffn_down_exps.weight", (known.ff, embd, known.count)
        yield "ffn_down_exps.scale", (known.count,)

    def _dense(self, ff: int, suffix: str = "") -> Named:
        embd, has = self._shape.embd, self._has
        if not has.plain and not has.joined:
            yield f"ffn_gate{suffix}.weight", (embd, ff)
        yield f"ffn_down{suffix}.weight", (ff, embd)
        yield f"ffn_up{suffix}.weight", (embd, 2 * ff if has.joined else ff)
        if has.biases:
            yield f"ffn_down{suffix}.bias", (embd,)
            yield f"ffn_up{suffix}.bias", (ff,)

    def _experts(self) -> Named:
        known, embd = self._shape.experts, self._shape.embd
        assert known is not None  # noqa: S101 - a layer has experts only where the shape has
        yield "ffn_gate_inp.weight", (embd, known.count)
        if self._has.sinks:
            yield "ffn_gate_inp.bias", (known.count,)
        if self._has.expert_bias or self._number("expert_gating_func") == SIGMOID:
            yield "exp_probs_b.bias", (known.count,)
        for part, dims in (
            ("gate", (embd, known.ff)),
            ("down", (known.ff, embd)),
            ("up", (embd, known.ff)),
        ):
            yield f"ffn_{part}_exps.weight", (*dims, known.count)
            if self._has.sinks:
                yield f"ffn_{part}_exps.bias", (dims[1], known.count)
        shared = self._number("expert_shared_feed_forward_length")
        shared = shared or self._number("expert_shared_count") * known.ff
        if shared:
            if self._shape.arch in GATED_SHARED_EXPERT:
                yield "ffn_gate_inp_shexp.weight", (embd,)
            yield from self._dense(shared, "_shexp")


# GGUF's expert_gating_func
SIGMOID = 2
