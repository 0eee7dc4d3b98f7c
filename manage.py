#!/usr/bin/env python3
"""Django's entry point, with LabDash's own way of saying that a setting is wrong."""

import os
import sys

from django.core.management import execute_from_command_line
from django.db import OperationalError

from labdash.env import BadSetting, choose_data_dir


def main() -> None:
    """Run one command."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "labdash.settings")
    try:
        execute_from_command_line(choose_data_dir(sys.argv))
    except (BadSetting, OperationalError) as error:
        sys.stderr.write(f"labdash: {str(error).splitlines()[0]}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
