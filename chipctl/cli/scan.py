"""`chipctl scan`: which devices are stuck."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from chipctl.chip import Chip
from chipctl.cli.info import identity
from chipctl.cli.options import AsJson, ChipAddress, Config, OnBoard, Profile, Runs, open_chip
from chipctl.cli.screen import Bars, print_json, print_table, remark
from chipctl.faults import ScanSchedule, check_scan, in_doubt, scan
from chipctl.runs.journal import Journal
from chipctl.runs.record import RunRecord
from chipctl.runs.scanned import KIND, ScannedArray, keep, scan_page
from chipctl.runs.store import Run
from chipctl.settings import Settings
from chipctl.tables import load_map

EXIT_FAULTY = 1
"""Exit status when more is faulty than was allowed, or than was known."""

Arrays = Annotated[
    list[int] | None, typer.Option("--array", "-a", metavar="N", help="Array index; all by default.")
]
Earlier = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FILE",
        help="Map read earlier, S, .npy or .csv, of the one --array; what differs from it gets no pulse.",
    ),
]
Most = Annotated[
    float, typer.Option(metavar="SHARE", min=0, max=1, help="Share stuck above which the exit status is 1.")
]


def declare(app: typer.Typer) -> None:
    """Add the command."""
    app.command("scan")(scan_command)


def scan_command(
    chip: ChipAddress,
    array: Arrays = None,
    earlier: Earlier = None,
    most: Most = 0.5,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read, and say what would be pulsed; pulse nothing.")
    ] = False,
    on_board: OnBoard = False,
    runs: Runs = Path("runs"),
    config: Config = None,
    profile: Profile = None,
    as_json: AsJson = False,
) -> None:
    """Find stuck, noisy and slow devices and dead lines: read, pulse what is in doubt both ways, read again.

    **This changes every healthy device**, but those that --earlier shows to move: they are left at low
    conductance. With --profile the fault maps and zeros are kept for `program` and `recall`, and compared
    with those of the scan before. The run has all values with their uncertainties and a report. An
    interrupted scan keeps the arrays that were done; scan the others again.

    The exit status is 1 if more than --most of an array's devices are stuck, or if a line is dead that was
    not known to be.
    """
    settings = Settings.load(config)
    if earlier and len(array or []) != 1:
        raise ValueError("an --earlier map is of one array: say which with --array")
    known = [load_map(path) for path in earlier or []]
    if dry_run:
        with open_chip(chip, settings, profile) as opened:
            told = [_foretold(opened, index, settings.scan, known) for index in array or range(opened.arrays)]
        _show_forecast(told, as_json=as_json)
        return
    record = RunRecord.begin(KIND, policy=settings.model_dump(mode="json"))
    with ExitStack() as stack:
        journal = stack.enter_context(Journal(runs))
        opened = stack.enter_context(open_chip(chip, settings, profile, (journal, record.name)))
        for index in array or ():
            opened.columns(index)  # refuses an array that is none
        run = stack.enter_context(Run(runs, record))
        run.update(chip=identity(chip, opened))
        scanned = []
        for index in array or range(opened.arrays):
            scanned.append(_scan(opened, index, settings.scan, on_board=on_board, earlier=known))
            keep(run, scanned[-1].report)
            if profile:
                opened.profile.save(profile)
        summaries = [one.summary() | {"run": str(run.path)} for one in scanned]
        run.update(summary={"arrays": summaries})
        run.write_report(scan_page(run, opened.profile, scanned))
    if profile:
        remark(f"fault maps written to {profile}")
    if as_json:
        print_json(summaries)
    else:
        _show(scanned, run)
    if any(one.stuck_share > most or one.new_lines for one in scanned):
        raise typer.Exit(EXIT_FAULTY)


def _scan(
    chip: Chip, array: int, schedule: ScanSchedule, *, on_board: bool, earlier: list[Any]
) -> ScannedArray:
    before = chip.profile.arrays[array].model_copy(deep=True)
    chip.measure_zero(array)
    with Bars().shown() as bars, bars.stage(f"scan array {array}", 2 * len(schedule.set_volts)) as tell:
        report = scan(
            chip,
            array,
            schedule,
            lambda p: tell(p.step, f"{p.suspects} not moved yet"),
            on_board=on_board,
            earlier=earlier,
        )
    return ScannedArray.beside(report, before)


def _foretold(chip: Chip, array: int, schedule: ScanSchedule, earlier: list[Any]) -> dict[str, Any]:
    check_scan(chip, schedule)
    doubt, silent = in_doubt(chip, array, schedule, earlier)
    devices = int(np.count_nonzero(doubt))
    return {
        "array": array,
        "devices": devices,
        "most_pulses": devices * schedule.most_pulses,
        "most_pulses_a_device": schedule.most_pulses,
        "highest_set_volts": max(schedule.set_volts),
        "set_gate_volts": schedule.set_gate_volts,
        "highest_reset_volts": max(schedule.reset_volts),
        "reset_gate_volts": schedule.reset_gate_volts,
        "width_seconds": schedule.width,
        "unreadable": [str(line) for line in silent.cols],
    }


def _show_forecast(told: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json(told)
        return
    rows = [
        [
            facts["array"],
            facts["devices"],
            facts["most_pulses_a_device"],
            f"{facts['highest_set_volts']:g}/{facts['set_gate_volts']:g}",
            f"{facts['highest_reset_volts']:g}/{facts['reset_gate_volts']:g}",
            f"{facts['width_seconds'] * 1e6:g}",
        ]
        for facts in told
    ]
    columns = ("array", "to pulse", "pulses each", "SET/gate V", "RESET/gate V", "width µs")
    print_table("what a scan would do at most; nothing was pulsed", columns, rows)
    _name_lines([(facts["array"], line) for facts in told for line in facts["unreadable"]])


def _show(scanned: list[ScannedArray], run: Run) -> None:
    columns = [
        *("array", "stuck low", "stuck high", "stuck between", "noisy", "slow", "dead lines"),
        *("new", "healed", "pulses a healthy device"),
    ]
    rows = []
    for one in scanned:
        counts = one.report.faults.counts()
        changes = one.changes.counts() if one.changes else {"new": "-", "healed": "-"}
        per_healthy = f"{one.report.pulses_per_healthy:.2f}"
        rows.append([one.report.array, *counts.values(), changes["new"], changes["healed"], per_healthy])
    print_table("faults", columns, rows)
    _name_lines([(one.report.array, str(line)) for one in scanned for line in one.report.faults.lines])
    remark(f"report: {run.report_path}")


def _name_lines(lines: list[tuple[int, str]]) -> None:
    for array, line in lines:
        remark(f"array {array}: dead {line}")
