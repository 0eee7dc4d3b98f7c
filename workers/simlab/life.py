"""Some life in the simulated lab: models that are loaded at start, and now and then a question.

Everything goes through the fake servers' own API, as any other client's requests do.
"""

import asyncio
import logging
import random
from collections.abc import Mapping
from typing import Any

import aiohttp

from workers.simlab.lab import Place
from workers.simlab.scenario import FOREVER, StartLoad

log = logging.getLogger(__name__)

LOAD_TIMEOUT_S = 300
# A question every so often, and an answer of about so many seconds.
PAUSE_S = (12.0, 40.0)
ANSWER_S = (2.0, 7.0)


async def live(place: Place) -> None:
    """Load what the plan of a machine says, then ask its models something until cancelled."""
    url = place.servers[0].url
    dice = random.Random(place.plan.slug)  # noqa: S311 - a demo, the same one each time
    timeout = aiohttp.ClientTimeout(total=LOAD_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        for load in place.plan.loads:
            await _post(session, url, {"model": load.model, "options": load.options})
        while place.plan.loads:
            await asyncio.sleep(dice.uniform(*PAUSE_S))
            load = dice.choice(place.plan.loads)
            if await _is_loaded(session, url, load):
                await _ask(session, place, load, dice.uniform(*ANSWER_S))


async def _ask(session: aiohttp.ClientSession, place: Place, load: StartLoad, s: float) -> None:
    """Ask for an answer of about ``s`` seconds."""
    pid = place.machine.pid_of(load.model)
    tokens = max(int(place.machine.tokens_per_s(pid) * s), 4) if pid else 4
    body = {"model": load.model, "prompt": "Tell me about the weather on Titan.", "stream": False}
    options = {**load.options, "num_predict": tokens}
    await _post(session, place.servers[0].url, {**body, "options": options})


async def _is_loaded(session: aiohttp.ClientSession, url: str, load: StartLoad) -> bool:
    """Whether the model is still loaded as it was at start; it is not to be loaded anew."""
    try:
        async with session.get(f"{url}/api/ps") as answer:
            models = (await answer.json())["models"]
    except aiohttp.ClientError:
        return False
    wanted = (load.model, load.options["num_ctx"])
    return wanted in [(each["name"], each["context_length"]) for each in models]


async def _post(session: aiohttp.ClientSession, url: str, body: Mapping[str, Any]) -> None:
    """Send a request whose failure is part of the demo: the server may be stopped just now."""
    try:
        body = {"keep_alive": FOREVER, **body}
        async with session.post(f"{url}/api/generate", json=body) as answer:
            if not answer.ok:
                log.warning("%s said %s: %s", url, answer.status, await answer.text())
    except (aiohttp.ClientError, TimeoutError) as error:
        log.warning("%s did not answer: %s", url, error)
