"""`chipctl pulse`: equal pulses on one device, a rectangle, or a whole array."""

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer
from numpy.typing import NDArray

from chipctl.board import Region
from chipctl.chip import Chip, PulseShape
from chipctl.cli.options import ArrayIndex, AsJson, ChipAddress, Config, Runs, open_journaled
from chipctl.cli.ranges import region_of
from chipctl.cli.screen import print_json, remark, results
from chipctl.settings import Settings
from chipctl.tables import load_map
from firmware_protocol.messages import RESET, SET

Flags = NDArray[np.bool_]

_DIRECTIONS = {"set": SET, "reset": RESET}


def declare(app: typer.Typer) -> None:
    """Add the command."""
    app.command("pulse")(pulse_command)


def pulse_command(
    chip: ChipAddress,
    rows: Annotated[str, typer.Option(metavar="A:B", help="Rows A to B-1; one number is one row, : all.")],
    cols: Annotated[str, typer.Option(metavar="A:B", help="Columns, likewise.")],
    direction: Annotated[
        Literal["set", "reset"], typer.Option(help="SET raises conductance, RESET lowers it.")
    ],
    volts: Annotated[float, typer.Option(metavar="VOLTS", help="Amplitude, positive either way.")],
    gate: Annotated[float, typer.Option(metavar="VOLTS", help="Gate voltage; limits the current of a SET.")],
    array: ArrayIndex = 0,
    width: Annotated[float, typer.Option(metavar="SECONDS", help="Width of each pulse.")] = 1e-6,
    count: Annotated[int, typer.Option(metavar="N", help="Pulses for each device.")] = 1,
    reads: Annotated[
        int, typer.Option(metavar="N", help="Reads averaged before and after; 0 reads nothing.")
    ] = 4,
    mask: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Of these devices only those not 0 in this map of the array."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and print the plan only.")] = False,
    runs: Runs = Path("runs"),
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Give every device of a rectangle, or those of a map inside it, the same pulses, one after the other.

    **This changes the devices.** The plan is printed first; a voltage, width or number of pulses above
    the board's limits (`chipctl info`) is refused before anything is sent. A pulse width is a multiple of
    20 ns up to 5.08 µs (5.06 µs by an A0 board), of 1 µs above.

    For instance `chipctl pulse --rows 3 --cols 5 --direction set --volts 1.5 --gate 1.1` for one device,
    `--rows : --cols :` for all of an array.
    """
    shape = PulseShape(_DIRECTIONS[direction], volts, gate, width)
    with open_journaled(chip, Settings.load(config), None, None if dry_run else runs) as opened:
        region = region_of(rows, cols, opened.rows, opened.cols)
        opened.rules.pulse(array, shape, region, count)
        chosen = None if mask is None else _chosen(opened, mask, region)
        plan = _plan(
            array, region, shape, count, region.rows * region.cols if chosen is None else chosen.sum()
        )
        remark(_sentence(plan, direction))
        if dry_run:
            given, before, after = 0, None, None
        else:
            before = _median(opened, array, region, reads, chosen)
            given = _give(opened, array, shape, region, count, chosen)
            after = _median(opened, array, region, reads, chosen)
    facts = plan | {"pulses_given": given, "median_before_siemens": before, "median_after_siemens": after}
    if as_json:
        print_json(facts)
    elif not dry_run:
        results.print(f"{given} pulses given" + _change(before, after))


def _chosen(chip: Chip, path: Path, region: Region) -> Flags:
    """The devices of the region that a map names, shape of the array.

    Raises:
        ValueError: The map has another shape, or names none of them.
    """
    named = load_map(path)
    if named.shape != (chip.rows, chip.cols):
        raise ValueError(f"{path} is a map of {named.shape}, an array has {(chip.rows, chip.cols)} devices")
    chosen = np.zeros(named.shape, np.bool_)
    chosen[region.slices] = named[region.slices] != 0
    if not chosen.any():
        raise ValueError(f"{path} names no device of these rows and columns")
    return chosen


def _give(chip: Chip, array: int, shape: PulseShape, region: Region, count: int, chosen: Flags | None) -> int:
    """Pulses given: to the rectangle in one request, or one a device of a map in each of `count`."""
    if chosen is None:
        return chip.pulse(array, shape, region, count)
    volts = np.where(chosen, shape.volts, np.nan)
    gate_volts = np.full(chosen.shape, shape.gate_volts)
    return sum(
        chip.pulse_each(array, shape.direction, volts, gate_volts, shape.width_seconds) for _ in range(count)
    )


def _median(chip: Chip, array: int, region: Region, reads: int, chosen: Flags | None) -> float | None:
    if not reads:
        return None
    found = chip.read(array, region, reads=reads)
    return float(np.median(found if chosen is None else found[chosen[region.slices]]))


def _plan(array: int, region: Region, shape: PulseShape, count: int, devices: int) -> dict[str, Any]:
    return {
        "array": array,
        "region": vars(region),
        "direction": "set" if shape.direction == SET else "reset",
        "volts": shape.volts,
        "gate_volts": shape.gate_volts,
        "width_seconds": shape.width_seconds,
        "pulses_per_device": count,
        "devices": int(devices),
        "pulses": count * int(devices),
    }


def _sentence(plan: dict[str, Any], direction: str) -> str:
    area = plan["region"]
    rows, cols = (f"{area[k]} to {area[k] + area[f'{k}s'] - 1}" for k in ("row", "col"))
    return (
        f"plan: {plan['pulses']} {direction.upper()} pulses of {plan['volts']:g} V, "
        f"gate {plan['gate_volts']:g} V, {plan['width_seconds'] * 1e6:g} µs on array {plan['array']}, "
        f"rows {rows}, columns {cols}, {plan['devices']} devices, {plan['pulses_per_device']} each"
    )


def _change(before: float | None, after: float | None) -> str:
    if before is None or after is None:
        return ""
    return f"; median {before * 1e6:.2f} µS before, {after * 1e6:.2f} µS after"
