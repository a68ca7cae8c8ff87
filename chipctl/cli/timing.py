"""`chipctl timing`: when the amplifiers' outputs are sampled, and what a device reads at other times."""

from typing import Annotated, Any

import typer

from chipctl.board import Region
from chipctl.chip import Chip
from chipctl.cli.options import ArrayIndex, AsJson, ChipAddress, Profile, open_chip
from chipctl.cli.screen import print_json, print_table
from chipctl.errors import SaturationError
from chipctl.settings import Settings


def declare(app: typer.Typer) -> None:
    """Add the command."""
    app.command("timing")(timing_command)


def timing_command(
    chip: ChipAddress,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="GAIN=SECONDS", help="Sample so late first; may be given again."),
    ] = None,
    row: Annotated[int | None, typer.Option(metavar="N", help="Row of a device to read.")] = None,
    col: Annotated[int | None, typer.Option(metavar="N", help="Its column.")] = None,
    array: ArrayIndex = 0,
    reads: Annotated[int, typer.Option(metavar="N", min=1, max=4096, help="Reads averaged.")] = 16,
    profile: Profile = None,
    as_json: AsJson = False,
) -> None:
    """Print how long after the rows are driven each gain is sampled, and what one device reads so.

    With --row and --col that device is read at every gain. Sampled before the amplifier has settled it
    reads too low: for instance `--row 3 --col 5 --set 2=100e-9`, until the conductance stays. Times are
    as designed again when the command ends; nothing on the chip changes.
    """
    wanted = [_setting(text) for text in settings or []]
    if (row is None) != (col is None):
        raise ValueError("a device has a row and a column: give both --row and --col, or neither")
    with open_chip(chip, Settings(), profile) as opened:
        for gain, seconds in wanted:
            opened.set_sample_seconds(gain, seconds)
        device = None if row is None or col is None else Region(row, 1, col, 1)
        facts = [_facts(opened, gain, array, device, reads) for gain in range(len(opened.readout.gain_ohms))]
    if as_json:
        print_json(facts)
    else:
        columns = ("gain", "kΩ", "sampled after / ns", "device / µS")
        print_table("timing", columns, [_row(line, device) for line in facts])


def _setting(text: str) -> tuple[int, float]:
    gain, equals, seconds = text.partition("=")
    try:
        if equals:
            return int(gain), float(seconds)
    except ValueError:
        pass
    raise ValueError(f"a sampling time is set as GAIN=SECONDS, like 2=400e-9, not {text!r}")


def _facts(chip: Chip, gain: int, array: int, device: Region | None, reads: int) -> dict[str, Any]:
    facts = {
        "gain": gain,
        "gain_ohms": chip.readout.gain_ohms[gain],
        "sample_seconds": chip.sample_seconds[gain],
    }
    if device is None:
        return facts
    try:
        siemens = float(chip.read(array, device, reads=reads, gain=gain)[0, 0])
    except SaturationError:
        siemens = None
    return facts | {"siemens": siemens}


def _row(facts: dict[str, Any], device: Region | None) -> list[object]:
    siemens = facts.get("siemens")
    beyond = "" if device is None else "beyond its range"
    shown = beyond if siemens is None else f"{siemens * 1e6:.2f}"
    return [facts["gain"], f"{facts['gain_ohms'] / 1e3:g}", f"{facts['sample_seconds'] * 1e9:.0f}", shown]
