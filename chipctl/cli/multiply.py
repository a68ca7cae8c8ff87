"""`chipctl multiply`: vectors of row voltages times the conductances of an array."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from chipctl.chip import Amps, Chip, Volts
from chipctl.cli.options import ArrayIndex, AsJson, ChipAddress, Profile, open_chip
from chipctl.cli.screen import print_json, remark, results
from chipctl.corrections import PRODUCTS
from chipctl.files import replace_file
from chipctl.products import Measure
from chipctl.settings import Settings
from chipctl.tables import load_map, to_csv, to_npy


def declare(app: typer.Typer) -> None:
    """Add the command."""
    app.command("multiply")(multiply_command)


def multiply_command(
    chip: ChipAddress,
    vectors: Annotated[
        Path | None,
        typer.Argument(
            metavar="[VECTORS]",
            help="Vectors, .npy or .csv, one a line, a number between -1 and 1 for each row; 1 is the full "
            "read voltage. Without a file one vector of all ones.",
        ),
    ] = None,
    array: ArrayIndex = 0,
    bits: Annotated[
        int, typer.Option(metavar="N", help="Bits of each input's magnitude, sent in turn by drivers of one.")
    ] = 1,
    reads: Annotated[int, typer.Option(metavar="N", help="Products averaged.")] = 1,
    gain: Annotated[
        int | None,
        typer.Option(metavar="N", help="TIA gain index; by default one at which no column saturates."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Save as .npy or .csv, in amperes.")
    ] = None,
    profile: Profile = None,
    as_json: AsJson = False,
) -> None:
    """Multiply vectors by the conductances of an array in one analog step each: column currents.

    Reading at the read voltage changes no device. The zero of every column is measured first unless the
    profile knows it; what else a calibrated profile knows of converters and wires is made good. Currents are
    printed in µA, a line for each vector; files and JSON are in amperes.
    """
    with open_chip(chip, Settings(), profile) as opened:
        row_volts = _row_volts(opened, vectors)
        known = opened.profile.arrays.get(array)
        if known is not None and known.zero_codes is None:
            opened.measure_zero(array)
        first, least = (opened.sensitive_gain, 0) if gain is None else (gain, gain)
        found = opened.calibrated_product(array, row_volts, Measure(first, least, bits, reads))
        _tell_what_is_not_made_good(opened, array)
    amps = found.amps
    if out:
        replace_file(out, to_npy(amps) if out.suffix == ".npy" else to_csv(amps))
        remark(f"written to {out}")
    if as_json:
        print_json({"array": array, "gain": found.gain, "amps": amps.tolist()})
    elif not out:
        _print_currents(amps)


def _tell_what_is_not_made_good(chip: Chip, array: int) -> None:
    """Say that the wires take some ten percent where a calibration of products is there but out of use."""
    known = chip.profile.result(PRODUCTS, array)
    if known is None or chip.product_line(array) is not None:
        return
    why = (
        "it has been pulsed since its products were calibrated" if known.usable else "that result is in doubt"
    )
    remark(
        f"array {array}: the resistance of the wires is not made good, as {why}; "
        f"`chipctl calibrate products -a {array}` measures it anew"
    )


def _row_volts(chip: Chip, path: Path | None) -> Volts:
    shares = np.ones((1, chip.rows)) if path is None else load_map(path)
    if shares.shape[1] != chip.rows:
        raise ValueError(f"each vector has {chip.rows} numbers, those in {path} have {shares.shape[1]}")
    if not np.all(np.abs(shares) <= 1):
        raise ValueError(f"inputs lie between -1 and 1, the full read voltage; {path} goes beyond")
    return np.asarray(shares * chip.readout.read_volts)


def _print_currents(amps: Amps) -> None:
    for vector in amps * 1e6:
        results.print(" ".join(f"{current:8.2f}" for current in vector), soft_wrap=True)
    remark(f"{len(amps)} vectors, {amps.shape[1]} columns, µA")
