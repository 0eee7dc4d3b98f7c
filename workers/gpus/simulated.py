"""Hardware of the simulated lab, read over HTTP."""

import httpx
from pydantic import BaseModel, Field, ValidationError

from workers.gpus.base import HardwareReading
from workers.wire import DiskReading, DriverReading, GpuReading, HostReading, Setting

TIMEOUT_S = 2.0


class _Answer(BaseModel):
    driver: DriverReading
    gpus: tuple[GpuReading, ...]
    host: HostReading
    disk: DiskReading | None = None
    settings: dict[int, dict[str, str]] = Field(default_factory=dict)


class SimulatedSource:
    """Reads one machine of the simulated lab from its address."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._settings: dict[int, dict[str, str]] = {}
        no_idle = httpx.Limits(max_keepalive_connections=0)
        self._http = httpx.Client(timeout=TIMEOUT_S, trust_env=False, limits=no_idle)

    def read(self) -> HardwareReading:
        """Return the simulated machine; while the simulation is away, its driver has an error."""
        try:
            answer = self._http.get(self._url).raise_for_status()
            parsed = _Answer.model_validate_json(answer.content)
        except (httpx.HTTPError, ValidationError) as error:
            reason = f"the simulated machine does not answer: {error}"
            driver = DriverReading(state="error", reason=reason)
            return HardwareReading(driver=driver, gpus=(), host=HostReading())
        self._settings = parsed.settings
        return HardwareReading(
            driver=parsed.driver, gpus=parsed.gpus, host=parsed.host, disk=parsed.disk
        )

    def settings(self, port: int) -> tuple[Setting, ...]:
        """Return what the simulated server on a port was started with, as last read."""
        found = self._settings.get(port, {})
        return tuple(Setting(name=name, value=value) for name, value in found.items())

    def log(self, port: int) -> list[str]:
        """Return the log of the simulated server on a port. Raises ``OSError``."""
        try:
            answer = self._http.get(self._url.replace("/hardware", f"/logs/{port}"))
            return answer.raise_for_status().text.splitlines()
        except httpx.HTTPError as error:
            raise OSError("the simulated machine does not answer") from error
