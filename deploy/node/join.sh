# The rest of what the hub answers to the line of a node's page: it finds a Python and runs join.py.
set -eu

command -v python3 >/dev/null 2>&1 || {
    echo "labdash: python3 is missing here: install it (on Debian or Ubuntu, as root:" \
        "apt-get install python3) and run the line again" >&2
    exit 2
}
