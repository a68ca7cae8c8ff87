"""Fixtures for tests against a chip: a board on the bench or the virtual chip, by `--chip ADDRESS`."""

from collections.abc import Iterator

import pytest

from chipctl.chip import Chip, connect

VIRTUAL = "sim://?preset=good&seed=7"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare `--chip`."""
    parser.addoption(
        "--chip",
        default=VIRTUAL,
        metavar="ADDRESS",
        help=f"chip that the `chip` fixture connects to (default: {VIRTUAL}); its devices are changed",
    )


@pytest.fixture
def chip_address(request: pytest.FixtureRequest) -> str:
    """The address that `--chip` names."""
    return str(request.config.getoption("--chip"))


@pytest.fixture
def chip(chip_address: str) -> Iterator[Chip]:
    """An open chip, in its safe state before and after the test."""
    with connect(chip_address) as opened:
        opened.safe()
        yield opened
