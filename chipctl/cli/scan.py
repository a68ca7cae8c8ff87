"""`chipctl scan`: which devices are stuck."""

from typing import Annotated, Any

import numpy as np
import typer

from chipctl.cli.options import AsJson, ChipAddress, Config, OnBoard, Profile, open_chip
from chipctl.cli.screen import Bars, print_json, print_table, remark
from chipctl.faults import ScanReport, scan
from chipctl.profile import FaultKind
from chipctl.settings import Settings


def declare(app: typer.Typer) -> None:
    """Add the command."""
    app.command("scan")(scan_command)


def scan_command(
    chip: ChipAddress,
    array: Annotated[
        list[int] | None, typer.Option("--array", "-a", metavar="N", help="Array index; all by default.")
    ] = None,
    config: Config = None,
    profile: Profile = None,
    on_board: OnBoard = False,
    as_json: AsJson = False,
) -> None:
    """Find stuck devices by pulsing every device both ways and reading after each pulse.

    **This changes every healthy device**: the arrays are left at low conductance. With --profile the
    fault maps and zeros are kept for `program` and `recall`.
    """
    settings = Settings.load(config)
    with open_chip(chip, settings, profile) as opened, Bars().shown() as bars:
        reports = []
        for index in array or range(opened.arrays):
            opened.measure_zero(index)
            with bars.stage(f"scan array {index}", 2 * len(settings.scan.set_volts)) as tell:
                report = scan(
                    opened,
                    index,
                    settings.scan,
                    lambda p, tell=tell: tell(p.step),  # type: ignore[misc]
                    on_board=on_board,
                )
            reports.append(report)
            if profile:
                opened.profile.save(profile)
    if profile:
        remark(f"fault maps written to {profile}")
    if as_json:
        print_json([summary(report) for report in reports])
    else:
        columns = ("array", "stuck low", "stuck high", "stuck between", "pulses a device", "reads a device")
        print_table("stuck devices", columns, [_row(report) for report in reports])


def summary(report: ScanReport) -> dict[str, Any]:
    """What a scan found, for machines; siemens."""
    faults = report.faults
    return {
        "array": report.array,
        "devices": int(faults.kinds.size),
        "pulses": report.pulses,
        "reads": report.reads,
        "stuck": [
            {
                "row": int(row),
                "col": int(col),
                "kind": FaultKind(faults.kinds[row, col]).name.lower(),
                "siemens": float(faults.conductance[row, col]),
            }
            for row, col in np.argwhere(faults.stuck)
        ],
    }


def _row(report: ScanReport) -> list[object]:
    kinds = report.faults.kinds
    stuck = [FaultKind.STUCK_LOW, FaultKind.STUCK_HIGH, FaultKind.STUCK_BETWEEN]
    counts = [int(np.count_nonzero(kinds == kind)) for kind in stuck]
    return [report.array, *counts, f"{report.pulses / kinds.size:.1f}", f"{report.reads / kinds.size:.0f}"]
