"""Options: types, what is settled, what reloads."""

from typing import Any

import pytest

from tests.simlab import machine
from workers.simlab.ollama.options import (
    LoadOptions,
    OptionError,
    checked,
    load_options,
    load_request,
)
from workers.simlab.ollama.settings import Environment
from workers.simlab.ollama.weights import blob_digest, catalog_weights


def settle(options: dict[str, Any], **changes: Any) -> LoadOptions:
    """Settle options for an 8B model that is trained for 131072 tokens."""
    environment = changes.pop("environment", Environment())
    weights = catalog_weights()[blob_digest("llama-3.1-8b", "Q4_K_M")]
    return load_options(
        checked(options), weights=weights, machine=machine(**changes), environment=environment
    )


@pytest.mark.parametrize(
    ("changes", "context"),
    [
        ({"cards": ("rtx-3090", "rtx-3090")}, 131072),
        ({"cards": ("rtx-3090",)}, 32768),
        ({"cards": ("rtx-4070",)}, 4096),
        ({"cards": ()}, 4096),
    ],
)
def test_the_default_context_goes_by_total_gpu_memory(
    changes: dict[str, Any], context: int
) -> None:
    assert settle({}, **changes).num_ctx == context


def test_the_environment_sets_the_default_context() -> None:
    assert settle({}, environment=Environment(context_length=8192)).num_ctx == 8192


@pytest.mark.parametrize(("asked", "settled"), [(10**6, 131072), (1, 4), (-5, 4), (0, 4)])
def test_a_context_out_of_range_is_clamped(asked: int, settled: int) -> None:
    assert settle({"num_ctx": asked}).num_ctx == settled


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"num_ctx": "512"}, 'option "num_ctx" must be of type integer'),
        ({"main_gpu": True}, 'option "main_gpu" must be of type integer'),
        ({"use_mmap": "x"}, 'option "use_mmap" must be of type boolean'),
        ({"stop": "a"}, 'option "stop" must be of type array'),
        ({"temperature": "hot"}, 'option "temperature" must be of type float32'),
    ],
)
def test_an_option_of_the_wrong_type_is_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        checked(options)


def test_fractions_are_cut_and_null_and_unknown_options_pass() -> None:
    assert checked({"num_gpu": 1.5, "num_ctx": None, "nonsense": 3}) == {"num_gpu": 1}


BASE = {"num_ctx": 2048}


@pytest.mark.parametrize(
    ("loaded", "asked", "reloads"),
    [
        (BASE, BASE, False),
        (BASE, BASE | {"temperature": 0.1, "seed": 3, "num_keep": 8}, False),
        (BASE, BASE | {"num_gpu": 10}, True),
        (BASE | {"num_gpu": 10}, BASE, False),
        (BASE | {"num_gpu": 10}, BASE | {"num_gpu": 12}, True),
        (BASE | {"num_gpu": 12}, BASE | {"num_gpu": -1}, False),
        (BASE, {"num_ctx": 8192}, True),
        ({"num_ctx": 131072}, {"num_ctx": 10**6}, False),
        (BASE, BASE | {"main_gpu": 0}, True),
        (BASE | {"main_gpu": 1}, BASE, True),
        (BASE, BASE | {"num_thread": 1}, True),
        (BASE, BASE | {"use_mmap": False}, True),
        (BASE, BASE | {"num_batch": 256}, True),
    ],
)
def test_what_reloads_a_loaded_model(
    loaded: dict[str, Any], asked: dict[str, Any], reloads: bool
) -> None:
    assert settle(asked).needs_reload(settle(loaded)) is reloads


def test_context_shift_reloads() -> None:
    assert LoadOptions(num_ctx=4, shift=False).needs_reload(LoadOptions(num_ctx=4))


@pytest.mark.parametrize(
    ("version", "context", "parallel", "batch"),
    [
        ("0.32.15", 4096, 1, 512),
        ("0.32.15", 4096, 2, 1024),
        ("0.32.15", 131072, 1, 2048),
        ("0.24.0", 131072, 1, 512),
    ],
)
def test_an_automatic_batch_goes_by_the_context_of_all_slots(
    version: str, context: int, parallel: int, batch: int
) -> None:
    environment = Environment(num_parallel=parallel)
    lab_machine = machine(version=version)
    weights = catalog_weights()[blob_digest("llama-3.1-8b", "Q4_K_M")]
    request = load_request(
        LoadOptions(num_ctx=context),
        name="x",
        weights=weights,
        machine=lab_machine,
        environment=environment,
    )
    assert (request.batch, request.parallel) == (batch, parallel)
