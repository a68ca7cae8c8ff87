"""`chipctl program`: bring an array to a map of targets."""

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer

from chipctl.chip import Siemens
from chipctl.cli.options import ArrayIndex, AsJson, ChipAddress, Config, Profile, open_chip
from chipctl.cli.screen import Bars, print_json, print_table
from chipctl.programming import ProgramReport, check_targets, program
from chipctl.settings import Settings
from chipctl.tables import load_map

EXIT_INCOMPLETE = 1
"""Exit status when fewer devices than asked for were verified."""


def declare(app: typer.Typer) -> None:
    """Add the command."""
    app.command("program")(program_command)


def program_command(
    targets: Annotated[
        Path, typer.Argument(metavar="TARGETS", help="Map of targets, .npy or .csv; nan skips a device.")
    ],
    chip: ChipAddress,
    array: ArrayIndex = 0,
    unit: Annotated[Literal["S", "uS"], typer.Option(help="Unit of the numbers in the file.")] = "S",
    least: Annotated[
        float,
        typer.Option(metavar="SHARE", min=0, max=1, help="Share verified below which the exit status is 1."),
    ] = 0.9,
    config: Config = None,
    profile: Profile = None,
    as_json: AsJson = False,
) -> None:
    """Write-and-verify every device of an array to its target, ±5 µS unless --config says otherwise.

    Devices whose target is nan, and those that the profile's fault map names, are not touched.
    """
    settings = Settings.load(config)
    target = load_map(targets) * {"S": 1.0, "uS": 1e-6}[unit]
    with open_chip(chip, settings, profile) as opened, Bars().shown() as bars:
        mask = ~np.isnan(target)
        if not mask.any():
            raise ValueError(f"{targets} names no device: every target is nan")
        check_targets(opened, array, target, mask)
        mask &= ~opened.profile.fault_map(array).stuck
        if opened.profile.arrays[array].zero_codes is None:
            opened.measure_zero(array)
        with bars.stage(f"program array {array}", int(np.count_nonzero(mask))) as tell:
            report = program(
                opened,
                array,
                target,
                mask=mask,
                schedule=settings.programming,
                on_progress=lambda p: tell(p.verified, f"round {p.round}, {p.pulses} pulses"),
            )
        readback = opened.read(array, gain=settings.programming.gain)
    facts = summary(report, readback, settings.programming.tolerance)
    if as_json:
        print_json(facts)
    else:
        rows = [(name.replace("_", " "), _shown(name, value)) for name, value in facts.items()]
        print_table(f"array {array} programmed", ("", ""), rows)
    if facts["converged"] < least * facts["devices"]:
        raise typer.Exit(EXIT_INCOMPLETE)


def summary(report: ProgramReport, readback: Siemens, tolerance: float) -> dict[str, Any]:
    """What programming reached on one array, for machines; counts and siemens.

    `converged` counts devices whose last verify read was within tolerance, `within_tolerance` those
    whose readback was, after the whole array was done.
    """
    errors = (readback - report.target)[report.mask]
    known = errors.size > 0
    return {
        "array": report.array,
        "devices": report.devices,
        "converged": int(np.count_nonzero(report.verified & report.mask)),
        "within_tolerance": int(np.count_nonzero(np.abs(errors) <= tolerance)),
        "error_mean_siemens": float(errors.mean()) if known else 0.0,
        "error_std_siemens": float(errors.std()) if known else 0.0,
        "pulses_mean": float(report.pulses[report.mask].mean()) if known else 0.0,
        "reads_mean": report.reads / report.devices if known else 0.0,
        "rounds": report.rounds,
    }


def _shown(name: str, value: float) -> str:
    if name.endswith("_siemens"):
        return f"{value * 1e6:+.3f} µS"
    return f"{value:.1f}" if isinstance(value, float) else str(value)
