"""`chipctl program`: bring an array to a map of targets."""

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer
from numpy.typing import NDArray

from chipctl.chip import Chip, Siemens
from chipctl.cli.info import identity
from chipctl.cli.options import ArrayIndex, AsJson, ChipAddress, Config, Profile, Runs, open_chip
from chipctl.cli.screen import Bars, print_json, print_table, remark
from chipctl.cli.stopping import finishing_first
from chipctl.programming import ProgramProgress, ProgramReport, check_schedule, check_targets
from chipctl.progress import Stage
from chipctl.runs.journal import JOURNAL, Counts, Journal
from chipctl.runs.programmed import KIND, Forecast, Plan, Watch, begin, carry_out, forecast, has_plan
from chipctl.runs.programmed_page import program_page
from chipctl.runs.record import RunRecord
from chipctl.runs.store import REPORT, Run, StorageError, list_runs
from chipctl.schedules import named
from chipctl.settings import Settings
from chipctl.tables import load_map
from firmware_protocol.jobs import Verdict

EXIT_INCOMPLETE = 1
"""Exit status when fewer devices than asked for were verified."""

Least = Annotated[
    float,
    typer.Option(metavar="SHARE", min=0, max=1, help="Share verified below which the exit status is 1."),
]


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
    schedule: Annotated[
        Literal["fast", "fine", "paper"] | None,
        typer.Option(help="A policy by name, in place of the one in --config; fast if neither says."),
    ] = None,
    on_host: Annotated[
        bool, typer.Option("--on-host", help="Decide on every pulse here, for boards that cannot.")
    ] = False,
    least: Least = 0.9,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read the array and say what would be done; pulse nothing.")
    ] = False,
    runs: Runs = Path("runs"),
    config: Config = None,
    profile: Profile = None,
    as_json: AsJson = False,
) -> None:
    """Write-and-verify every device of an array to its target, ±5 µS unless --config says otherwise.

    Devices whose target is nan, and those that the profile's fault map names, are not touched. Every job is
    in the journal beside the runs before it is sent. Ctrl-C once finishes the round and keeps what was
    reached, twice stops at once; whatever ended it, `chipctl resume` goes on.
    """
    settings = Settings.load(config)
    if schedule:
        settings = settings.model_copy(update={"programming": named(schedule)})
    target = _targets(targets, unit)
    mask = ~np.isnan(target)

    def plan_for(chip: Chip) -> Plan:
        return replace(planned(chip, array, (target, mask), settings), on_host=on_host)

    if dry_run:
        with open_chip(chip, settings, profile) as opened:
            told = foretold(opened, plan_for(opened), runs, settings)
        show_forecast(told, as_json=as_json)
        return
    record = RunRecord.begin(KIND, policy=settings.model_dump(mode="json"))
    with ExitStack() as stack:
        journal = stack.enter_context(Journal(runs))
        opened = stack.enter_context(open_chip(chip, settings, profile, (journal, record.name)))
        plan = plan_for(opened)
        stack.enter_context(saying_how_to_go_on(runs / record.name))
        run = stack.enter_context(Run(runs, record))
        run.update(chip=identity(chip, opened))
        begin(run, opened, plan)
        facts = perform(run, opened, plan, journal, settings)
    conclude(facts, least, as_json=as_json)


def _targets(path: Path, unit: str) -> Siemens:
    """The map of targets in a file, siemens, shape (rows, cols); nan skips a device."""
    target = load_map(path) * {"S": 1.0, "uS": 1e-6}[unit]
    if np.isnan(target).all():
        raise ValueError(f"{path} names no device: every target is nan")
    if np.nanmax(target) >= 1:
        raise ValueError(f"{path} has a target of {np.nanmax(target):g} S; if it is in µS say --unit uS")
    return target


def planned(chip: Chip, array: int, wanted: tuple[Siemens, NDArray[np.bool_]], settings: Settings) -> Plan:
    """What to do on this chip, checked; the zeros of the array are measured if nobody did.

    Warns of an array that was never scanned.

    Raises:
        ValueError: A target or the policy is outside what the chip takes.
    """
    target, mask = wanted
    check_targets(chip, array, target, mask)
    check_schedule(chip, settings.programming)
    if chip.profile.arrays[array].scanned is None:
        remark(
            f"warning: no fault map of array {array} is known, so its stuck devices get pulses till they are "
            "given up; `chipctl scan --profile FILE` finds them, `--profile FILE` here leaves them out"
        )
    mask = mask & ~chip.profile.fault_map(array).stuck
    if chip.profile.arrays[array].zero_codes is None:
        chip.measure_zero(array)
    return Plan(array, target, mask, settings.programming)


def perform(run: Run, chip: Chip, plan: Plan, journal: Journal, settings: Settings) -> dict[str, Any]:
    """Program on an open chip, keep it in the run, and sum it up."""
    _warn_of_wear(chip, plan, journal, settings)
    devices = int(np.count_nonzero(plan.mask))
    with Bars().shown() as bars, bars.stage(f"program array {plan.array}", devices) as tell:
        shown = Shown(tell)
        with finishing_first(lambda: shown.rests) as stop_wanted:
            try:
                done = carry_out(run, chip, plan, journal, Watch(shown, stop_wanted))
            except KeyboardInterrupt:
                chip.safe()
                raise
    facts = summary(done.report, done.readback, plan.schedule.tolerance)
    pulsed = done.report.pulses[done.report.pulses > 0]
    facts |= {
        **_left(done.report),
        "pulses_each": float(pulsed.mean()) if pulsed.size else 0.0,
        "unplaced_pulses": done.report.unplaced_pulses,
        "interruptions": len(done.report.interruptions) + len(run.record.resumed),
        "run": str(run.path),
    }
    run.update(summary=facts)
    run.write_report(program_page(run, plan, done))
    return facts


def _left(report: ProgramReport) -> dict[str, int]:
    """How many devices were left with each verdict but `verified`."""
    left = [verdict for verdict in Verdict if verdict not in (Verdict.SKIPPED, Verdict.VERIFIED)]
    return {v.name.lower(): int(np.count_nonzero((report.verdicts == v) & report.mask)) for v in left}


@contextmanager
def saying_how_to_go_on(path: Path) -> Iterator[None]:
    """If the block ends before its work is done, say which command goes on with it, or that none needs to."""
    try:
        yield
    except BaseException as error:
        if path.exists():
            words = _how_to_go_on(path)
            if isinstance(error, KeyboardInterrupt):
                remark(words)
            else:
                error.add_note(words)
        raise


def _how_to_go_on(path: Path) -> str:
    try:
        planned = has_plan(Run.open(path))
    except StorageError:
        planned = True
    if planned:
        return f"go on with: chipctl resume {path}"
    return f"nothing was pulsed; {path.name} is not gone on with: start anew with `chipctl program`"


def conclude(facts: dict[str, Any], least: float, *, as_json: bool) -> None:
    """Print what was reached; exit status 1 if it is less than `least`."""
    if as_json:
        print_json(facts)
    else:
        shown = {name.removesuffix("_siemens"): _shown(name, value) for name, value in facts.items()}
        rows = [(name.replace("_", " "), value) for name, value in shown.items()]
        print_table(f"array {facts['array']} programmed", ("", ""), rows)
        remark(f"report: {Path(facts['run']) / REPORT}")
    if facts["gave_up_low"] or facts["gave_up_high"]:
        remark(
            "devices that gave up are stuck, or nearly so: `chipctl scan --profile FILE` finds and names them"
        )
    if facts["converged"] < least * facts["devices"]:
        raise typer.Exit(EXIT_INCOMPLETE)


class Shown:
    """Write-and-verify as a line beside its bar: round, pulses, yield, σ of the errors, time left."""

    def __init__(self, tell: Stage) -> None:
        self._tell = tell
        self.rests = False
        """Whether the array is left alone just now, so that nothing is lost by stopping at once."""

    def __call__(self, progress: ProgramProgress) -> None:
        """Show how far it is."""
        p = progress
        self.rests = p.rest_seconds > 0
        words = [f"round {p.round}", f"{p.pulses} pulses", f"{p.share:.1%}"]
        if p.visit:
            words.insert(0, f"visit {p.visit}")
        if not math.isnan(p.sigma):
            words.append(f"σ {p.sigma * 1e6:.1f} µS")
        if self.rests:
            words.append(f"rests {p.rest_seconds:.0f} s")
        if p.seconds_left:
            words.append(f"{p.seconds_left:.0f} s left")
        self._tell(p.verified, ", ".join(words))


def foretold(chip: Chip, plan: Plan, runs: Path, settings: Settings) -> Forecast:
    """What programming would come to, from earlier runs and the journal if there are any."""
    history = list_runs(runs) if runs.is_dir() else []
    wear = None
    if (runs / JOURNAL).exists():
        with Journal(runs) as journal:
            known = journal.known_chip(chip.profile.serial, chip.board.state().total_pulses)
            wear = _worn(journal, known, plan)
    return forecast(chip, plan, history, wear, settings.wear.pulses_per_device)


def show_forecast(told: Forecast, *, as_json: bool) -> None:
    """Print what would be done."""
    if as_json:
        print_json(asdict(told))
        return
    rests = f", rests of {told.rest_seconds:.0f} s at most" if told.rest_seconds else ""
    worn = (
        "no journal here" if told.wear_now is None else f"{told.wear_now} now, about {told.wear_after} after"
    )
    rows = [
        ("devices", told.devices),
        ("out of tolerance now, to be pulsed", told.to_move),
        ("pulses, expected", f"{told.pulses} ({told.based_on})"),
        ("chip time, expected", f"{told.seconds:.1f} s" + rests),
        ("highest SET, its gate", f"{told.set_volts:g} V, {told.set_gate_volts:g} V"),
        ("highest RESET, its gate", f"{told.reset_volts:g} V, {told.reset_gate_volts:g} V"),
        ("wear: pulses of the most used of them", f"{worn}; warned about from {told.wear_limit}"),
    ]
    print_table(f"array {told.array}: what programming would do; nothing was pulsed", ("", ""), rows)


def _worn(journal: Journal, chip: int | None, plan: Plan) -> Counts | None:
    """Pulses over the chip's life of each device of the array, shape (rows, cols)."""
    if chip is None:
        return None
    worn = journal.wear(chip).get(plan.array)
    return np.zeros(plan.mask.shape, np.int64) if worn is None else worn.pulses


def _warn_of_wear(chip: Chip, plan: Plan, journal: Journal, settings: Settings) -> None:
    known = journal.known_chip(chip.profile.serial, chip.board.state().total_pulses)
    worn, most = _worn(journal, known, plan), settings.wear.pulses_per_device
    if worn is not None and (count := int(np.count_nonzero(worn[plan.mask] >= most))):
        remark(f"warning: {count} devices of array {plan.array} have had {most} pulses or more in their life")


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
