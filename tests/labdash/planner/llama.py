"""Tensors of models of the Llama kind, by their widths."""

from dataclasses import dataclass

from labdash.planner.model import Tensor


@dataclass(frozen=True)
class Llama:
    """``kv`` is the width of all keys of a token. ``experts`` 0 is a dense model."""

    embd: int
    ff: int
    vocab: int
    layers: int
    kv: int
    q: int = 0
    experts: int = 0
    tied: bool = False
    qk_norm: int = 0
    qkv_bias: bool = False

    def tensors(self) -> tuple[Tensor, ...]:
        """List them as a file does."""
        shapes = {"token_embd": (self.embd, self.vocab), "output_norm": (self.embd,)}
        if not self.tied:
            shapes["output"] = (self.embd, self.vocab)
        for index in range(self.layers):
            shapes |= {f"blk.{index}.{name}": shape for name, shape in self._block().items()}
        return tuple(
            Tensor(name if "bias" in name else f"{name}.weight", shape, "f16", 0)
            for name, shape in shapes.items()
        )

    def _block(self) -> dict[str, tuple[int, ...]]:
        q = self.q or self.embd
        block: dict[str, tuple[int, ...]] = {
            "attn_norm": (self.embd,),
            "ffn_norm": (self.embd,),
            "attn_q": (self.embd, q),
            "attn_k": (self.embd, self.kv),
            "attn_v": (self.embd, self.kv),
            "attn_output": (q, self.embd),
        }
        if self.qk_norm:
            block |= {"attn_q_norm": (self.qk_norm,), "attn_k_norm": (self.qk_norm,)}
        if self.qkv_bias:
            block |= {"attn_q.bias": (q,), "attn_k.bias": (self.kv,), "attn_v.bias": (self.kv,)}
        return block | self._feed_forward()

    def _feed_forward(self) -> dict[str, tuple[int, ...]]:
        if not self.experts:
            up, down = (self.embd, self.ff), (self.ff, self.embd)
            return {"ffn_gate": up, "ffn_up": up, "ffn_down": down}
        wide = (self.embd, self.ff, self.experts)
        return {
            "ffn_gate_inp": (self.embd, self.experts),
            "ffn_gate_exps": wide,
            "ffn_up_exps": wide,
            "ffn_down_exps": (self.ff, self.embd, self.experts),
        }


LLAMA_2_7B = Llama(4096, 11_008, 32_000, 32, 4096)
LLAMA_2_13B = Llama(5120, 13_824, 32_000, 40, 5120)
LLAMA_2_70B = Llama(8192, 28_672, 32_000, 80, 1024)
CODELLAMA_34B = Llama(8192, 22_016, 32_000, 48, 1024)
LLAMA_3_1_8B = Llama(4096, 14_336, 128_256, 32, 1024)
LLAMA_3_2_1B = Llama(2048, 8192, 128_256, 16, 512, tied=True)
LLAMA_3_2_3B = Llama(3072, 8192, 128_256, 28, 1024, tied=True)
LLAMA_3_3_70B = Llama(8192, 28_672, 128_256, 80, 1024)
MISTRAL_7B = Llama(4096, 14_336, 32_000, 32, 1024)
TINYLLAMA = Llama(2048, 5632, 32_000, 22, 256)
SMOLLM2_135M = Llama(576, 1536, 49_152, 30, 192, tied=True)
QWEN3_CODER_30B = Llama(2048, 768, 151_936, 48, 512, q=4096, experts=128, qk_norm=128)
