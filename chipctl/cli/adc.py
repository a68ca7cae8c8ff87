"""`chipctl adc`: what each ADC makes of the voltage at its test input."""

from typing import Annotated

import typer

from chipctl.board import Region
from chipctl.cli.options import AsJson, ChipAddress, open_chip
from chipctl.cli.screen import print_json, print_table
from chipctl.converters import adcs_of_array
from chipctl.settings import Settings
from firmware_protocol.rails import Rail


def declare(app: typer.Typer) -> None:
    """Add the command."""
    app.command("adc")(adc_command)


def adc_command(
    chip: ChipAddress,
    volts: Annotated[float, typer.Option(metavar="VOLTS", help="At the test input of all ADCs.")] = 1.0,
    reads: Annotated[int, typer.Option(metavar="N", min=1, max=4096, help="Conversions averaged.")] = 64,
    as_json: AsJson = False,
) -> None:
    """Put a voltage on the ADCs' test input and print what each of them makes of it, by its nominal scale.

    The arrays are not connected meanwhile: nothing on the chip changes. `chipctl self-test` steps the
    whole range and judges.
    """
    with open_chip(chip, Settings()) as opened:
        opened.read(0, Region(0, 1, 0, 1))
        applied = opened.set_rail(Rail.ADC_TEST, volts)[Rail.ADC_TEST].measured_volts
        owners = {adc: array for array in range(opened.arrays) for adc in adcs_of_array(array)}
        adcs = sorted(owners)
        found = [opened.test_input_volts(adc, reads) for adc in adcs]
    if as_json:
        print_json({"applied_volts": applied, "adcs": adcs, "converted_volts": found})
        return
    rows = [
        (f"{adc}, array {owners[adc]}", f"{value:.4f}", f"{(value - applied) * 1e3:+.1f}")
        for adc, value in zip(adcs, found, strict=True)
    ]
    print_table(f"test input at {applied:.4f} V", ("ADC", "converted / V", "off by / mV"), rows)
