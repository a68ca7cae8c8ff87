"""`chipctl rails`: the board's supply and reference voltages."""

from typing import Annotated

import typer

from chipctl.board import Region
from chipctl.chip import RailState
from chipctl.cli.options import AsJson, ChipAddress, open_chip
from chipctl.cli.screen import print_json, print_table
from chipctl.settings import Settings
from firmware_protocol.rails import PULSE_RAILS, Rail


def declare(app: typer.Typer) -> None:
    """Add the command."""
    app.command("rails")(rails_command)


def rails_command(
    chip: ChipAddress,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VOLTS", help="Set this rail first; may be given again."),
    ] = None,
    at_rest: Annotated[
        bool, typer.Option("--at-rest", help="As the board is found, not brought to its levels for reading.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print what every rail was set to, what the board reads back, and within what it may be set.

    The chip is brought to its levels for reading first, which changes no device; a rail given with
    --set follows. Names are those that are printed, for instance `--set adc_test=2.0`. When the
    command ends all rails are at 0 V again.
    """
    wanted = [_setting(text) for text in settings or []]
    if at_rest and wanted:
        raise ValueError("--set needs a board that is awake; leave out --at-rest")
    with open_chip(chip, Settings()) as opened:
        if not at_rest:
            opened.read(0, Region(0, 1, 0, 1))
        for rail, volts in wanted:
            opened.set_rail(rail, volts)
        states = opened.rails()
    if as_json:
        print_json([vars(state) | {"rail": state.rail.name.lower()} for state in states])
    else:
        columns = ("rail / V", "channel", "set", "measured", "lowest", "highest")
        print_table("rails", columns, [_row(state) for state in states])


def _setting(text: str) -> tuple[Rail, float]:
    name, equals, volts = text.partition("=")
    try:
        if equals:
            return Rail[name.strip().upper()], float(volts)
    except (KeyError, ValueError):
        pass
    names = ", ".join(rail.name.lower() for rail in Rail)
    raise ValueError(f"a rail is set as NAME=VOLTS, not {text!r}; there are {names}")


def _row(state: RailState) -> list[object]:
    name = state.rail.name.lower() + (" *" if state.rail in PULSE_RAILS else "")
    volts = (state.set_volts, state.measured_volts, state.low_volts, state.high_volts)
    return [name, int(state.rail), *(f"{value:.4f}" for value in volts)]
