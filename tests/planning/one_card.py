"""One card that has room for one of two models."""

from labdash.planner.lab import Lab
from labdash.queries.lab_file import parse

TEXT = """
[[node]]
name = "rog"
ram_gib = 32
  [[node.gpu]]
  name = "RTX 3090"
  vram_gib = 24
  used_gib = {used}
  [[node.instance]]
  ollama = "0.32.15"

[[deployment]]
name = "chat"
model = "qwen3:8b"
ctx = {{ floor = 4096, wish = 8192 }}

[[deployment]]
name = "huge"
model = "llama3.1:70b"
ctx = {{ floor = 4096, wish = 4096 }}
"""


def one_card(used: float = 1.0) -> Lab:
    """Return the lab, of whose card other programs hold ``used`` GiB."""
    return parse(TEXT.format(used=used))
