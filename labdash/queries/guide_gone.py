"""Tools and files that many pages still name, and what took their place."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Gone:
    """What is named, what became of it, what does the same today, and the first line to type."""

    id: str
    old: str
    state: str
    new: str
    text: str


# Dates of releases are PyPI's.
GONE = (
    Gone(
        id="gone-gptq",
        old="AutoGPTQ",
        state="last release in March 2024",
        new="GPTQModel: makes GPTQ and AWQ on NVIDIA, AMD, Intel, Apple and CPUs",
        text="pip install gptqmodel",
    ),
    Gone(
        id="gone-awq",
        old="AutoAWQ",
        state="last release in May 2025; its own page calls it deprecated",
        new="llm-compressor of the vLLM project; on a Mac mlx_lm.awq",
        text="pip install llmcompressor",
    ),
    Gone(
        id="gone-vllm-gguf",
        old="GGUF inside vLLM",
        state="moved out of vLLM into a plug-in",
        new="the plug-in, beside vLLM and on GPUs alone; or llama.cpp",
        text="pip install vllm-gguf-plugin",
    ),
    Gone(
        id="gone-convert",
        old="convert.py, convert-hf-to-gguf.py",
        state="renamed or dropped by llama.cpp in 2024",
        new="convert_hf_to_gguf.py",
        text="python llama.cpp/convert_hf_to_gguf.py --help",
    ),
    Gone(
        id="gone-binaries",
        old="main, server, quantize, imatrix",
        state="renamed in llama.cpp in June 2024",
        new="llama-cli, llama-server, llama-quantize, llama-imatrix",
        text="llama-server --version",
    ),
    Gone(
        id="gone-ggml",
        old="GGML files, such as .ggmlv3.bin",
        state="no longer read since August 2023",
        new="GGUF: pull the model anew, or convert the original",
        text="ollama pull llama3.2:3b",
    ),
    Gone(
        id="gone-create",
        old="ollama create --quantize on a GGUF file",
        state="refused by Ollama 0.34 and later: it quantizes only what it imports for MLX",
        new="llama-quantize, then ollama create",
        text="llama-quantize model-BF16.gguf model-Q4_K_M.gguf Q4_K_M",
    ),
)
