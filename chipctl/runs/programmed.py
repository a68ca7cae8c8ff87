"""One array programmed as a run: what was asked is kept before the first pulse, so that anybody can go on."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import structlog
from numpy.typing import NDArray

from chipctl.chip import Chip, Siemens
from chipctl.errors import LinkError, ProgrammingError
from chipctl.profile import ChipProfile
from chipctl.program_report import ProgramProgress, ProgramReport
from chipctl.programming import program
from chipctl.runs.journal import Counts, Entry, Fate, Journal
from chipctl.runs.store import Run, StorageError
from chipctl.schedules import FAST, FINE, PAPER, PulseSchedule
from firmware_protocol.jobs import Verdict

KIND: Final = "program"
PROFILE: Final = "profile.json"
_PLAN: Final = "plan/array"
_REPORT: Final = "programming/array"

_log = structlog.get_logger()


@dataclass(frozen=True)
class Plan:
    """What a run is to bring one array to."""

    array: int
    target: Siemens
    """Shape (rows, cols)."""
    mask: NDArray[np.bool_]
    """Devices to program."""
    schedule: PulseSchedule
    on_host: bool = False
    """Whether the host decides on every pulse, and not the board."""

    @property
    def stays_within(self) -> float:
        """A device that is read within this of its target is left alone, siemens."""
        revisits = self.schedule.revisits
        return revisits.tolerance if revisits.most else self.schedule.tolerance


@dataclass(frozen=True)
class Programmed:
    """One array, programmed and read back, over all processes that worked on it."""

    report: ProgramReport
    readback: Siemens


@dataclass(frozen=True)
class Watch:
    """Who looks on: shown how far it is, and asked whether to stop."""

    show: Callable[[ProgramProgress], None] = lambda _: None
    stop_wanted: Callable[[], bool] = lambda: False


def begin(run: Run, chip: Chip, plan: Plan) -> None:
    """Keep what is to be done and what is known of the chip, before the first pulse."""
    profile = run.path / PROFILE
    chip.profile.save(profile)
    run.update(profile_sha256=hashlib.sha256(profile.read_bytes()).hexdigest())
    run.save(
        f"{_PLAN}{plan.array}",
        target=(plan.target, "S"),
        mask=(plan.mask, "1"),
        on_host=(plan.on_host, "1"),
        total_pulses=(chip.board.state().total_pulses, "1"),
    )


def has_plan(run: Run) -> bool:
    """Whether it came so far as to keep what it was to do; before that nothing is pulsed."""
    return any(group.startswith(_PLAN) for group in run.groups())


def planned(run: Run, schedule: PulseSchedule) -> Plan:
    """What a run was to do, and by which policy.

    Raises:
        StorageError: It was ended before it had kept its plan, so that nothing was pulsed.
    """
    if not has_plan(run):
        words = f"{run.path.name} ended before it had a plan; nothing was pulsed"
        raise StorageError(f"{words}; start anew with `chipctl program`")
    group = next(group for group in run.groups() if group.startswith(_PLAN))
    found, array = run.load(group), int(group.removeprefix(_PLAN))
    mask, on_host = found["mask"][0].astype(np.bool_), bool(found["on_host"][0])
    return Plan(array, found["target"][0], mask, schedule, on_host)


def known_profile(run: Run) -> ChipProfile:
    """The chip's profile as the run used it; it was kept before the plan was."""
    return ChipProfile.load(run.path / PROFILE)


def out_of_tolerance(chip: Chip, plan: Plan) -> tuple[Siemens, NDArray[np.bool_]]:
    """A fresh reading of the whole array, and which devices of the plan it finds out of tolerance."""
    now = chip.read(plan.array, reads=plan.schedule.reads)
    return now, plan.mask & (np.abs(now - plan.target) > plan.stays_within)


def carry_out(run: Run, chip: Chip, plan: Plan, journal: Journal, watch: Watch) -> Programmed:
    """Program what is out of tolerance, as an earlier process left it or from the start; keep the report.

    In a run that goes on, every device is judged by a fresh reading first, and only those out of tolerance
    get pulses.

    Raises:
        KeyboardInterrupt: Somebody wanted it to stop: the round was finished, what was reached is kept.
        ProgrammingError: As of `program`; what was reached is kept.
    """
    now, left = None, plan.mask
    if run.record.resumed:
        now, left = out_of_tolerance(chip, plan)
        run.save(
            f"judged{len(run.record.resumed)}/array{plan.array}",
            reading=(now, "S"),
            out_of_tolerance=(left, "1"),
        )
        _log.info("devices read again", devices=int(plan.mask.sum()), out_of_tolerance=int(left.sum()))
    try:
        report = program(
            chip,
            plan.array,
            plan.target,
            mask=left,
            schedule=plan.schedule,
            on_progress=_told(chip, watch),
            on_host=plan.on_host,
        )
    except ProgrammingError as error:
        if isinstance(error.report, ProgramReport):
            joined = _over_all(plan, now, error.report, _given(run, chip, plan, journal))
            _keep(run, f"ended{len(run.record.resumed)}/array{plan.array}", joined, None)
        if watch.stop_wanted():
            raise KeyboardInterrupt from None
        raise
    report = _over_all(plan, now, report, _given(run, chip, plan, journal))
    readback = chip.read(plan.array, reads=1)
    _keep(run, f"{_REPORT}{plan.array}", report, readback)
    return Programmed(report, readback)


def _told(chip: Chip, watch: Watch) -> Callable[[ProgramProgress], None]:
    """Tells how far it is. Once a stop is wanted it ends the board's job after its round; where no job runs,
    between two batches, it stops there (at the second look: a job that has just ended is reported first), and
    where the array is to rest, before the rest."""
    idle = []

    def tell(progress: ProgramProgress) -> None:
        watch.show(progress)
        if watch.stop_wanted() and not chip.board.stop_job():
            idle.append(progress)
            if progress.rest_seconds or len(idle) > 1:
                raise KeyboardInterrupt

    return tell


def _over_all(
    plan: Plan, before: Siemens | None, report: ProgramReport, given: tuple[Counts, Counts, int]
) -> ProgramReport:
    """The report of this process as one over all of them: pulses as the journal has them.

    Of devices that were not touched again it tells the reading by which they were judged.
    """
    pulses, set_pulses, unknown = given
    again = report.mask
    judged = report.final if before is None else np.where(again, report.final, before)
    return replace(
        report,
        mask=plan.mask,
        final=np.where(plan.mask, judged, np.nan),
        verdicts=np.where(plan.mask & ~again, Verdict.VERIFIED, report.verdicts),
        set_pulses=set_pulses,
        reset_pulses=pulses - set_pulses,
        unplaced_pulses=unknown,
    )


def _given(run: Run, chip: Chip, plan: Plan, journal: Journal) -> tuple[Counts, Counts, int]:
    """The run's pulses as of `pulses_of`, those among the unknown that the board counted since the run began
    and the journal has no entry of: it was lost, or another host was at work on the chip in between."""
    pulses, set_pulses, unknown = pulses_of(journal.entries(run.path.name), plan.mask.shape)
    begun = int(run.load(f"{_PLAN}{plan.array}")["total_pulses"][0])
    try:
        total = chip.board.state().total_pulses
    except LinkError:
        return pulses, set_pulses, unknown
    number = journal.known_chip(chip.profile.serial, total)
    since = [] if number is None else journal.entries_since(number, begun)
    known, _, as_number = pulses_of(since, plan.mask.shape)
    return pulses, set_pulses, unknown + max(0, total - begun - int(known.sum()) - as_number)


def pulses_of(entries: list[Entry], shape: tuple[int, int]) -> tuple[Counts, Counts, int]:
    """Pulses and SET pulses by device, shape (rows, cols), and those of which the device is not known."""
    pulses, set_pulses, unknown = np.zeros(shape, np.int64), np.zeros(shape, np.int64), 0
    for done in (entry.done for entry in entries if entry.done and entry.done.fate is not Fate.LOST):
        pulses += done.pulses
        set_pulses += done.pulses if done.set_pulses is None else done.set_pulses
        unknown += done.unknown
    return pulses, set_pulses, unknown


def _keep(run: Run, group: str, report: ProgramReport, readback: Siemens | None) -> None:
    run.discard(group)
    run.save(
        group,
        attributes={"unplaced_pulses": report.unplaced_pulses, "rounds": report.rounds},
        target=(report.target, "S"),
        mask=(report.mask, "1"),
        **report.outcome_arrays,
        **({} if readback is None else {"readback": (readback, "S")}),
    )


# Before anything is done


@dataclass(frozen=True)
class Cost:
    """What bringing one device to its target takes."""

    pulses: float
    seconds: float
    """Of the chip, verification included, rests not; programmed in a job on the board."""
    host_seconds: float
    """The same programmed from the host, which reads whole rectangles to read some of their devices."""
    source: str


_MEASURED = "virtual `good` chips, targets uniform over the span"
ASSUMED_COSTS: Final = (
    (FAST, Cost(5.1, 0.56e-3, 1.43e-3, _MEASURED)),
    (FINE, Cost(11.6, 5.5e-3, 17.8e-3, _MEASURED)),
    (PAPER, Cost(49.0, 3.7e-3, 6.2e-3, _MEASURED)),
)
"""Means over devices that got pulses, on two chips; maps with many targets near zero take less."""


@dataclass(frozen=True)
class Forecast:
    """What programming would do, told before anything is pulsed."""

    array: int
    devices: int
    """To be programmed: neither nan nor at fault."""
    to_move: int
    """Of these, out of tolerance as read now: only they are pulsed."""
    pulses: int
    """Expected."""
    seconds: float
    """Expected, of the chip, without rests."""
    rest_seconds: float
    """At most, for the array to relax in between."""
    based_on: str
    """Where the expectation comes from."""
    set_volts: float
    """Highest of the policy; so are the others."""
    set_gate_volts: float
    reset_volts: float
    reset_gate_volts: float
    wear_now: int | None
    """Most pulses that one of the devices has had, as far as the journal knows; None without one."""
    wear_after: int | None
    wear_limit: int


def forecast(chip: Chip, plan: Plan, history: list[Run], wear: Counts | None, limit: int) -> Forecast:
    """Read the array and say what programming it would come to; sends no pulse.

    history: Finished runs of the same kind, on any chip; those by the same policy on this chip count.
    wear: Pulses by device so far, shape (rows, cols).
    """
    _, left = out_of_tolerance(chip, plan)
    each = _experience(chip, plan.schedule, history)
    s, most = plan.schedule, None if wear is None or not left.any() else int(wear[left].max())
    to_move = int(left.sum())
    visits = s.revisits.most
    return Forecast(
        array=plan.array,
        devices=int(plan.mask.sum()),
        to_move=to_move,
        pulses=round(each.pulses * to_move),
        seconds=(each.host_seconds if plan.on_host else each.seconds) * to_move,
        rest_seconds=(visits + 1) * s.revisits.rest if visits else 0.0,
        based_on=each.source,
        set_volts=s.set_volts.last,
        set_gate_volts=s.set_gate_volts.last,
        reset_volts=s.reset_volts.last,
        reset_gate_volts=s.reset_gate_volts.last,
        wear_now=most,
        wear_after=None if most is None else most + round(each.pulses),
        wear_limit=limit,
    )


def _experience(chip: Chip, schedule: PulseSchedule, history: list[Run]) -> Cost:
    """What a device costs by this policy: on this chip so far, else as measured elsewhere."""
    nearest = next((cost for policy, cost in ASSUMED_COSTS if policy == schedule), None)
    if nearest is None:
        (_, fast), _, (_, paper) = ASSUMED_COSTS
        nearest = replace(fast if schedule.predicts else paper, source=f"{_MEASURED}, a similar policy")
    pulses = [found for run in history if (found := _pulses_each(run, chip, schedule)) is not None]
    if not pulses:
        return nearest
    mean = float(np.mean(pulses))
    scale = mean / nearest.pulses
    runs = "one earlier run" if len(pulses) == 1 else f"{len(pulses)} earlier runs"
    return Cost(
        mean, nearest.seconds * scale, nearest.host_seconds * scale, f"{runs} by this policy on this chip"
    )


def _pulses_each(run: Run, chip: Chip, schedule: PulseSchedule) -> float | None:
    """Pulses per device that got any, if the run is done and was by this policy on this chip."""
    record = run.record
    same_chip = record.chip is not None and record.chip.serial == chip.profile.serial
    if record.kind != KIND or not same_chip or "pulses_each" not in record.summary:
        return None
    if record.policy.get("programming") != schedule.model_dump(mode="json"):
        return None
    return float(str(record.summary["pulses_each"]))
