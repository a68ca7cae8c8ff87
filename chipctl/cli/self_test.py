"""`chipctl self-test`: what a board can find out about itself without moving a device."""

from dataclasses import asdict

import typer

from chipctl.cli.options import AsJson, ChipAddress, open_chip
from chipctl.cli.screen import print_json, print_table
from chipctl.self_test import self_test
from chipctl.settings import Settings

EXIT_FAILED = 1


def declare(app: typer.Typer) -> None:
    """Add the command."""
    app.command("self-test")(self_test_command)


def self_test_command(chip: ChipAddress, as_json: AsJson = False) -> None:
    """Test line, rails, ADCs, zeros and reads of a board; exit status 1 if something fails.

    Changes no device. The ADCs are judged by their test input: gain against nominal, offset, and the
    largest distance from a straight line (INL). When the command ends all rails are at 0 V again.
    """
    with open_chip(chip, Settings()) as opened:
        items = list(self_test(opened))
    if as_json:
        print_json([asdict(item) for item in items])
    else:
        rows = [(item.name, "pass" if item.passed else "FAIL", item.found) for item in items]
        print_table("self-test", ("", "", "found"), rows)
    if not all(item.passed for item in items):
        raise typer.Exit(EXIT_FAILED)
