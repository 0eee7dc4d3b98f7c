"""The browser of the tests: the system's Chromium, else the one that Playwright installed."""

import os
import shutil
import sys

# The first shows no window to anybody, and so takes half as long for each page.
NAMES = (
    *("chromium-headless-shell", "chromium", "chromium-browser"),
    *("google-chrome", "google-chrome-stable"),
)
# None of these reaches out by itself: a closed network would make each start slow.
QUIET = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)


def chromium_path() -> str | None:
    """Return the Chromium of the system, or None where Playwright's own must serve."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def chromium_arguments() -> list[str]:
    """Return how to start it: as root it refuses to make its sandbox, and only then has none."""
    return [*QUIET, "--no-sandbox"] if os.getuid() == 0 else list(QUIET)


def main() -> int:
    """Tell, by the exit code, whether there is a browser that starts."""
    from playwright.sync_api import Error, sync_playwright  # noqa: PLC0415 - slow, and only here

    try:
        with sync_playwright() as playwright:
            playwright.chromium.launch(
                executable_path=chromium_path(), args=chromium_arguments()
            ).close()
    except Error as error:
        print(error, file=sys.stderr)  # noqa: T201 - a program of the shell script
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
