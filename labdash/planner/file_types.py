"""File types of llama.cpp: what a whole GGUF file is called by ("Q4_K_M")."""

from dataclasses import dataclass

from labdash.planner.errors import PlannerError


@dataclass(frozen=True, slots=True)
class FileType:
    """``name`` as llama-quantize prints it; ``base`` is the tensor type that most tensors get."""

    name: str
    id: int
    base: str


# The order is that of llama-quantize's help, smallest ids first where it groups none. Ids are
# those of ``general.file_type``. NVFP4 (39) is read from files and made by no llama-quantize.
FILE_TYPES = {
    kind.name: kind
    for kind in (
        FileType("F32", 0, "f32"),
        FileType("F16", 1, "f16"),
        FileType("BF16", 32, "bf16"),
        FileType("Q8_0", 7, "q8_0"),
        FileType("Q6_K", 18, "q6_K"),
        FileType("Q5_K_M", 17, "q5_K"),
        FileType("Q5_K_S", 16, "q5_K"),
        FileType("Q5_1", 9, "q5_1"),
        FileType("Q5_0", 8, "q5_0"),
        FileType("Q4_K_M", 15, "q4_K"),
        FileType("Q4_K_S", 14, "q4_K"),
        FileType("Q4_1", 3, "q4_1"),
        FileType("Q4_0", 2, "q4_0"),
        FileType("IQ4_NL", 25, "iq4_nl"),
        FileType("IQ4_XS", 30, "iq4_xs"),
        FileType("MXFP4_MOE", 38, "mxfp4"),
        FileType("Q3_K_L", 13, "q3_K"),
        FileType("Q3_K_M", 12, "q3_K"),
        FileType("Q3_K_S", 11, "q3_K"),
        FileType("IQ3_M", 27, "iq3_s"),
        FileType("IQ3_S", 26, "iq3_s"),
        FileType("IQ3_XS", 22, "iq3_s"),
        FileType("IQ3_XXS", 23, "iq3_xxs"),
        FileType("Q2_K", 10, "q2_K"),
        FileType("Q2_K_S", 21, "q2_K"),
        FileType("Q2_0", 41, "q2_0"),
        FileType("IQ2_M", 29, "iq2_s"),
        FileType("IQ2_S", 28, "iq2_xs"),
        FileType("IQ2_XS", 20, "iq2_xs"),
        FileType("IQ2_XXS", 19, "iq2_xxs"),
        FileType("TQ2_0", 37, "tq2_0"),
        FileType("TQ1_0", 36, "tq1_0"),
        FileType("IQ1_M", 31, "iq1_m"),
        FileType("IQ1_S", 24, "iq1_s"),
        FileType("Q1_0", 40, "q1_0"),
    )
}
FILE_TYPES_BY_ID = {kind.id: kind for kind in FILE_TYPES.values()}
# Set in ``general.file_type`` where the loader guessed it from the tensors.
GUESSED = 1024

# llama-quantize's own short names, and what Ollama and model pages write for the same files.
_ALIASES = {
    "Q3_K": "Q3_K_M",
    "Q4_K": "Q4_K_M",
    "Q5_K": "Q5_K_M",
    "FP16": "F16",
    "FP32": "F32",
    "MXFP4": "MXFP4_MOE",
}


def find_file_type(name: str) -> FileType:
    """Find a file type by any spelling of its name."""
    wanted = name.strip().upper()
    found = FILE_TYPES.get(_ALIASES.get(wanted, wanted))
    if found is None:
        raise PlannerError(f'"{name}" is no quant that llama-quantize makes: {_known()}')
    return found


def name_of_id(file_type_id: int) -> str | None:
    """Name what ``general.file_type`` says, None for an id that is not known."""
    found = FILE_TYPES_BY_ID.get(file_type_id & ~GUESSED)
    return found.name if found else None


def _known() -> str:
    return ", ".join(FILE_TYPES)
