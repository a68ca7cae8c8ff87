"""`chipctl sweep`: the DC current-voltage curve of one device."""

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer
from numpy.typing import NDArray

from chipctl.chip import Amps, Volts
from chipctl.cli.options import ArrayIndex, AsJson, ChipAddress, Config, Profile, Runs, open_journaled
from chipctl.cli.screen import print_json, remark, results
from chipctl.files import replace_file
from chipctl.settings import Settings
from firmware_protocol.messages import RESET, SET

_DIRECTIONS = {"set": SET, "reset": RESET}
_BAR_WIDTH = 40


def declare(app: typer.Typer) -> None:
    """Add the command."""
    app.command("sweep")(sweep_command)


def sweep_command(
    chip: ChipAddress,
    row: Annotated[int, typer.Option(metavar="N", help="Row of the device.")],
    col: Annotated[int, typer.Option(metavar="N", help="Column of the device.")],
    to: Annotated[float, typer.Option("--to", metavar="VOLTS", help="Highest voltage.")],
    array: ArrayIndex = 0,
    direction: Annotated[
        Literal["set", "reset"], typer.Option(help="Polarity: what the staircase does to the device.")
    ] = "set",
    step: Annotated[float, typer.Option(metavar="VOLTS", help="Height of a step.")] = 0.05,
    gate: Annotated[float, typer.Option(metavar="VOLTS", help="Gate voltage; limits a SET.")] = 1.1,
    dwell: Annotated[float, typer.Option(metavar="SECONDS", help="Time at each voltage.")] = 1e-3,
    back: Annotated[bool, typer.Option("--back/--up-only", help="Also step down to zero again.")] = True,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Draw the curve as .svg.")
    ] = None,
    runs: Runs = Path("runs"),
    config: Config = None,
    profile: Profile = None,
    as_json: AsJson = False,
) -> None:
    """Step one device through DC voltages from zero to --to and back, and print its current at each.

    **This changes the device**, as pulses of the dwell's width do.
    """
    volts = staircase(to, step, back=back)
    if plot and plot.suffix != ".svg":
        raise ValueError(f"--plot draws an .svg file, not {plot.name}")
    settings = Settings.load(config)
    with open_journaled(chip, settings, profile, runs) as opened:
        if opened.profile.arrays.get(array) and opened.profile.arrays[array].zero_codes is None:
            opened.measure_zero(array)
        amps = opened.sweep(array, row, col, _DIRECTIONS[direction], volts, gate, dwell)
    if plot:
        replace_file(plot, _drawn(volts, amps, f"{direction.upper()} staircase").encode())
        remark(f"written to {plot}")
    if as_json:
        print_json({"array": array, "row": row, "col": col, "volts": volts.tolist(), "amps": amps.tolist()})
        return
    results.print(f"{direction.upper()} staircase, array {array}, row {row}, column {col}", style="bold")
    longest = max(float(amps.max()), 1e-12)
    for at, current in zip(volts, amps, strict=True):
        bar = "█" * round(_BAR_WIDTH * max(float(current), 0.0) / longest)
        results.print(f"{at:8.3f} V {current * 1e6:11.3f} µA  {bar}", soft_wrap=True)


def staircase(top: float, step: float, *, back: bool) -> NDArray[np.float64]:
    """Voltages from zero to `top`, both included, and back if wanted.

    Raises:
        ValueError: It would not rise, or not end.
    """
    if not (0 < step <= top < float("inf")):
        raise ValueError(f"steps of {step:g} V do not lead from 0 to {top:g} V")
    up = np.linspace(0, top, round(top / step) + 1)
    return np.concatenate([up, up[-2::-1]]) if back else up


def _drawn(volts: Volts, amps: Amps, title: str) -> str:
    from chipctl.runs.drawing import BLUE, canvas

    with canvas(4.6, 3.2, title) as drawing:
        axes = drawing.figure.subplots()
        axes.plot(volts, amps * 1e6, ".-", color=BLUE)
        axes.set(xlabel="voltage / V", ylabel="current / µA", title=title)
    svg = str(drawing.markup).replace("currentColor", "#1b1f24")
    return svg if "xmlns=" in svg else svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
