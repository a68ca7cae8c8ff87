"""`chipctl read`: the conductances of an array."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from chipctl.chip import Siemens
from chipctl.cli.options import ArrayIndex, AsJson, ChipAddress, Profile, open_chip
from chipctl.cli.ranges import region_of
from chipctl.cli.screen import print_json, remark, results
from chipctl.files import replace_file
from chipctl.settings import Settings
from chipctl.tables import to_csv, to_npy
from firmware_protocol.messages import AUTO_GAIN


def declare(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(read)


def read(
    chip: ChipAddress,
    array: ArrayIndex = 0,
    rows: Annotated[str, typer.Option(metavar="A:B", help="Rows A to B-1; all by default.")] = ":",
    cols: Annotated[str, typer.Option(metavar="A:B", help="Columns A to B-1.")] = ":",
    reads: Annotated[int, typer.Option(metavar="N", min=1, max=4096, help="Reads averaged per device.")] = 1,
    gain: Annotated[
        int, typer.Option(metavar="N", help="TIA gain index; 7 lets the chip choose per device.")
    ] = AUTO_GAIN,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Save as .npy or .csv, in siemens.")
    ] = None,
    profile: Profile = None,
    as_json: AsJson = False,
) -> None:
    """Read the conductance of every device of an array, one by one, at the read voltage.

    Reading changes nothing on the chip. The printed map is in µS; files and JSON are in siemens.
    """
    if out and out.suffix not in (".npy", ".csv"):
        raise ValueError(f"{out}: a map is saved as .npy or .csv")
    with open_chip(chip, Settings(), profile) as opened:
        region = region_of(rows, cols, opened.rows, opened.cols)
        conductance = opened.read(array, region, reads=reads, gain=gain)
    if out:
        replace_file(out, to_npy(conductance) if out.suffix == ".npy" else to_csv(conductance))
        remark(f"written to {out}")
    if as_json:
        print_json({"array": array, "region": vars(region), "siemens": conductance.tolist()})
    elif not out:
        _print_map(conductance)


def _print_map(conductance: Siemens) -> None:
    for row in conductance * 1e6:
        results.print(" ".join(f"{value:6.1f}" for value in row), soft_wrap=True)
    low, middle, high = np.percentile(conductance * 1e6, (0, 50, 100))
    remark(f"{conductance.size} devices, µS: lowest {low:.1f}, median {middle:.1f}, highest {high:.1f}")
