"""How much a quantization loses, as measured on two models."""

from dataclasses import dataclass
from functools import cache

from labdash.catalog.files import read_json


@dataclass(frozen=True, slots=True)
class Quality:
    """``kld`` is the mean KL divergence from F16 of Llama-3-8B, the ``ppl`` are perplexities.

    ``ppl_70b`` is None where the table of the 70B model lacks the quantization.
    """

    quant: str
    imatrix: bool
    kld: float
    ppl_8b: float
    delta_ppl_8b: float
    rms_delta_p: float
    ppl_70b: float | None = None

    @property
    def rise_8b(self) -> float:
        """Tell by which share the perplexity is above that of F16."""
        return self.ppl_8b / next(row.ppl_8b for row in qualities() if row.quant == "F16") - 1


@cache
def qualities() -> tuple[Quality, ...]:
    """Return all rows, best first."""
    rows = [Quality(**row) for row in read_json("quality.json")["rows"]]
    return tuple(sorted(rows, key=lambda row: row.kld))


def find_quality(quant: str, *, imatrix: bool | None = None) -> Quality | None:
    """Find the row of a quantization, None where nobody measured it.

    Without a word on the matrix the row with one is taken: most published files have one.
    """
    rows = [row for row in qualities() if row.quant == quant.upper()]
    fitting = [row for row in rows if imatrix is None or row.imatrix == imatrix]
    return next(iter(fitting or rows), None)
