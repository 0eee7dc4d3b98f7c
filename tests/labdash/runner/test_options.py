"""The command line of ``deploy/up``."""

import pytest

from labdash.runner.options import DEFAULT_PORT, Options, parse_options


def test_no_arguments_mean_the_whole_lab_on_the_default_port() -> None:
    assert parse_options([]) == Options(port=DEFAULT_PORT, local_node=True)


def test_all_arguments_are_read() -> None:
    options = parse_options(["--host", "::1", "--port", "9000", "--demo", "--no-local-node"])
    assert options == Options(host="::1", port=9000, demo=True, local_node=False)


@pytest.mark.parametrize("port", ["0", "65536", "http", "-1"])
def test_a_port_that_is_none_ends_with_2_and_a_line(
    port: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_options([f"--port={port}"])
    assert ended.value.code == 2
    assert f"'{port}' is not a port: write 1 to 65535" in capsys.readouterr().err


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_options(["--help"])
    told = capsys.readouterr().out
    names = ("--host", "--port", "--demo", "--no-local-node", "--reset-owner", "--install")
    assert all(name in told for name in names)
