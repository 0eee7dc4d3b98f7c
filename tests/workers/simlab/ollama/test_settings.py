"""The environment of a server."""

import pytest

from workers.simlab.ollama.gotime import FOREVER_NS, SECOND_NS
from workers.simlab.ollama.settings import Environment


def test_variables_are_read_as_the_server_reads_them() -> None:
    environment = Environment.read(
        {
            "OLLAMA_NUM_PARALLEL": "3",
            "OLLAMA_CONTEXT_LENGTH": "1536",
            "OLLAMA_KV_CACHE_TYPE": "q8_0",
            "OLLAMA_FLASH_ATTENTION": "0",
            "OLLAMA_NOPRUNE": "1",
            "OLLAMA_HOST": "0.0.0.0:11434",
            "PATH": "/bin",
        }
    )
    assert environment.num_parallel == 3
    assert environment.context_length == 1536
    assert environment.kv_cache_type == "q8_0"
    assert not environment.flash_attention
    assert environment.no_prune
    assert environment.host == "0.0.0.0"  # noqa: S104 - a value that is read


@pytest.mark.parametrize(
    ("text", "length"), [("10m", 600 * SECOND_NS), ("30", 30 * SECOND_NS), ("-1", FOREVER_NS)]
)
def test_keep_alive_may_be_plain_seconds(text: str, length: int) -> None:
    assert Environment.read({"OLLAMA_KEEP_ALIVE": text}).keep_alive_ns == length


def test_a_variable_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="many"):
        Environment.read({"OLLAMA_NUM_PARALLEL": "many"})


@pytest.mark.parametrize(
    ("text", "gpus"), [("0,2", (0, 2)), ("1", (1,)), ("-1", ()), ("", ()), ("1,x,0", (1,))]
)
def test_gpus_are_counted_as_cuda_counts_them(text: str, gpus: tuple[int, ...]) -> None:
    assert Environment.read({"CUDA_VISIBLE_DEVICES": text}).gpus == gpus
    assert Environment.read({}).gpus is None
