"""`chipctl wait`: the chip rests, by its own clock."""

from typing import Annotated

import typer

from chipctl.cli.options import AsJson, ChipAddress, open_chip
from chipctl.cli.screen import print_json, results
from chipctl.settings import Settings


def declare(app: typer.Typer) -> None:
    """Add the command."""
    app.command("wait")(wait_command)


def wait_command(
    chip: ChipAddress,
    seconds: Annotated[float, typer.Argument(metavar="SECONDS", min=0, help="How long, on a grid of 1 ms.")],
    as_json: AsJson = False,
) -> None:
    """Let the chip rest, and print its clock: 0 prints the clock alone.

    Devices relax meanwhile. Hardware takes the time; a virtual chip moves its clock at once, by years if
    asked to, and keeps it if it is kept in a file (`state=FILE`).
    """
    with open_chip(chip, Settings()) as opened:
        clock = opened.wait(seconds) if seconds else opened.book().seconds
    if as_json:
        print_json({"waited_seconds": seconds, "clock_seconds": clock})
    else:
        results.print(f"the chip's clock is at {clock:.6g} s")
