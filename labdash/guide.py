"""The chapters of the guide: one appears on its pages and in the search by its line here."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """A page of the guide, whose template is ``guide/<template>.html``.

    ``words`` are what somebody may look for that the page itself does not say.
    """

    slug: str
    title: str
    sentence: str
    words: str = ""

    @property
    def url_name(self) -> str:
        return f"guide_{self.template}"

    @property
    def template(self) -> str:
        return self.slug.replace("-", "_")


# In the order in which they are read.
CHAPTERS: tuple[Chapter, ...] = (
    Chapter(
        slug="memory",
        title="Why memory decides",
        sentence="A model runs fast only where all of it fits: bits times parameters say how much.",
        words="VRAM graphics card size GB GiB quantization fp8 float half precision context window "
        "7B 13B 70B flash attention",
    ),
    Chapter(
        slug="quality",
        title="What it costs in quality",
        sentence="Measured losses by type, which parts of a model are sensitive, and why it works.",
        words="accuracy degradation QAT PTQ calibration perplexity imatrix best quant",
    ),
    Chapter(
        slug="names",
        title="Names decoded",
        sentence="Paste a name and read what it says; the whole ladder of quants of a model.",
        words="tag suffix Q4_K_M Q8_0 IQ4_XS UD XL decode filename which quant",
    ),
    Chapter(
        slug="formats",
        title="Formats and who runs them",
        sentence="GGUF, GPTQ, AWQ, MLX, safetensors: what each takes, and which engine reads it.",
        words="vllm exllama exl2 lm studio coreml core ml litert ai edge executorch android iphone",
    ),
    Chapter(
        slug="hardware",
        title="What to run where",
        sentence="Models of all sizes on your machines and on usual ones: file, context, speed.",
        words="rtx 3060 3080 3090 4060 4090 5090 p40 8 10 12 16 24 32 64 GB mac m1 m2 m3 m4 pro "
        "max unified memory wired limit sysctl "
        "no without graphics card gpu computer laptop macbook nvlink phone android iphone mini-pc "
        "cpu offload layers moe",
    ),
    Chapter(
        slug="one-model",
        title="One model, all ways",
        sentence="VibeThinker 3B, or any other, in 16, 8 and 4 bits: memory, and what carries it.",
        words="bf16 q8_0 q4_k_m vibethinker fp16 download size",
    ),
    Chapter(
        slug="start",
        title="Start in a minute",
        sentence="What to pull, where it answers, and the same by hand with other programs.",
        words="ollama llama.cpp llama-server lm studio lms mlx command openai api base url port "
        "install download begin first chat chatbot app terminal windows linux file "
        "11434 autogptq autoawq gptqmodel llm-compressor convert quantize privacy",
    ),
    Chapter(
        slug="mistakes",
        title="Mistakes people make",
        sentence="What is often said and wrong, each with the number that is right.",
        words="myth wrong claim folklore nvlink pool unified memory wired limit moe offload",
    ),
)

# The chapters at which the tour halts.
TOUR = ("memory", "quality", "names", "start")


def find_chapter(slug: str) -> Chapter:
    """Find a chapter, of which there must be one."""
    return next(each for each in CHAPTERS if each.slug == slug)
