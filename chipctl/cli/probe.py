"""`chipctl probe`: an internal node at the probe pad, for a scope."""

import time
from typing import Annotated, Literal

import typer

from chipctl.board import Region
from chipctl.cli.options import ArrayIndex, AsJson, ChipAddress, open_chip
from chipctl.cli.screen import print_json, remark
from chipctl.settings import Settings
from firmware_protocol.messages import AUTO_GAIN
from firmware_protocol.rails import ProbePoint

_PAUSE_S = 0.05
"""Between two reads while the node is at the pad."""


def declare(app: typer.Typer) -> None:
    """Add the command."""
    app.command("probe")(probe_command)


def probe_command(
    chip: ChipAddress,
    point: Annotated[
        Literal["tia_output", "held_sample", "vref_tia", "vref_hi_cmp"],
        typer.Argument(help="The node: output of a column's amplifier, its held sample, or a reference."),
    ],
    array: ArrayIndex = 0,
    col: Annotated[int, typer.Option(metavar="N", help="Column, of nodes that each column has.")] = 0,
    row: Annotated[
        int | None, typer.Option(metavar="N", help="Read this row's device over and over meanwhile.")
    ] = None,
    gain: Annotated[int, typer.Option(metavar="N", help="TIA gain index of these reads.")] = AUTO_GAIN,
    seconds: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=0, help="For so long; else until Ctrl-C.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Route an internal node to the chip's probe pad and keep it there, until Ctrl-C or for --seconds.

    With --row the device of that row and of --col is read again and again, so that there is something to
    see. When the command ends the pad is released. A virtual chip has no pad, and only says what would
    be there. Changes nothing on the chip.
    """
    with open_chip(chip, Settings()) as opened:
        opened.probe(array, ProbePoint[point.upper()], col)
        end_s = float("inf") if seconds is None else time.monotonic() + seconds
        remark(f"{point} of array {array}, column {col}, is at the probe pad" + _until(seconds))
        reads = 0
        while (left_s := end_s - time.monotonic()) > 0 or reads == 0:
            if row is not None:
                opened.read(array, Region(row, 1, col, 1), gain=gain)
            reads += 1
            time.sleep(max(0.0, min(_PAUSE_S, left_s)))
    if as_json:
        print_json({"point": point, "array": array, "col": col, "reads": reads if row is not None else 0})


def _until(seconds: float | None) -> str:
    return " until Ctrl-C" if seconds is None else f" for {seconds:g} s"
