"""`chipctl fault`: the fault that the board has latched, and the clearing of it."""

from typing import Annotated

import typer

from chipctl.cli.options import AsJson, ChipAddress, open_chip
from chipctl.cli.screen import print_json, remark, results
from chipctl.settings import Settings
from firmware_protocol.status import Fault

EXIT_LATCHED = 1


def declare(app: typer.Typer) -> None:
    """Add the command."""
    app.command("fault")(fault_command)


def fault_command(
    chip: ChipAddress,
    clear: Annotated[
        bool, typer.Option("--clear", help="Clear it, so that pulses are possible again.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print the fault that the board has latched; exit status 1 if there is one after this command.

    A board that latched a fault has zeroed its outputs and gives no pulse. `chipctl log` shows what was
    under way: read the devices concerned before going on. A fault whose cause lasts comes back at once.
    """
    with open_chip(chip, Settings()) as opened:
        found = opened.clear_fault() if clear else Fault(opened.board.state().fault)
        now = Fault(opened.board.state().fault)
    if as_json:
        print_json({"fault": now.name.lower(), "cleared": found.name.lower() if clear else None})
    else:
        results.print(now.name.lower())
    if clear and found is not Fault.NONE:
        remark(f"{found.name.lower()} was cleared" if now is Fault.NONE else "it came back: see to its cause")
    if now is not Fault.NONE:
        raise typer.Exit(EXIT_LATCHED)
