"""Commands of llama.cpp that make a file of a type: to be copied, not run by LabDash.

Options as in tools/quantize/README.md and convert_hf_to_gguf.py of llama.cpp.
"""

from collections.abc import Iterable

from labdash.planner.telling.quoting import command

PLAIN = "model-BF16.gguf"
CONVERTED = frozenset(("F32", "F16", "BF16"))


def make_command(quant: str, *, imatrix: bool = False, options: Iterable[str] = ()) -> str:
    """Write how a file type is made: of the published weights in 32 or 16 bits, else of BF16."""
    if quant in CONVERTED:
        outfile = f"model-{quant}.gguf"
        words = ["python", "convert_hf_to_gguf.py", "MODEL_FOLDER", "--outtype", quant.lower()]
        return command([*words, "--outfile", outfile])
    chosen = [*(["--imatrix", "imatrix.gguf"] if imatrix else []), *options]
    return command(["llama-quantize", *chosen, PLAIN, f"model-{quant}.gguf", quant])
