"""Calibrate a chip, procedure by procedure: judge each result, keep it, stop where something is broken."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import numpy as np
from markupsafe import Markup

from calibration.bench import Bench, make_ready
from calibration.procedure import Calibrated, Effect, Procedure, Scope
from chipctl.chip import Chip
from chipctl.corrections import KeepsMap
from chipctl.errors import ChipctlError, SaturationError
from chipctl.faults import ScanSchedule
from chipctl.profile import ChipProfile
from chipctl.progress import Progress
from chipctl.results import CalibrationResult
from firmware_protocol.status import Fault


class AnomalyFound(ChipctlError):  # noqa: N818
    """Something on the chip or its board is broken: nothing more is measured, no device is pulsed."""


@dataclass(frozen=True)
class Task:
    """One procedure on one array, or on the chip as a whole."""

    procedure: Procedure
    array: int | None

    @property
    def name(self) -> str:
        """For people, and as the group of its data in a run."""
        return self.procedure.name if self.array is None else f"{self.procedure.name}/array{self.array}"


@dataclass(frozen=True)
class Order:
    """How a calibration is carried out."""

    tasks: tuple[Task, ...]
    seed: int = 0
    quick: bool = False
    scan: ScanSchedule | None = None
    """For arrays without a fault map, before devices are changed."""


@dataclass(frozen=True)
class Done:
    """What became of a task."""

    task: Task
    result: CalibrationResult | None
    """None where it was left out because something that it needs failed, or could not be measured."""
    found: Calibrated | None
    reason: str = ""
    """Why there is no result."""
    picture: Markup | None = None

    @property
    def passed(self) -> bool:
        """Whether there is a result and the chip is within its limits."""
        return self.result is not None and self.result.passed


def tasks_of(procedures: list[Procedure], arrays: list[int]) -> tuple[Task, ...]:
    """Every task, procedure by procedure, those of the whole chip once."""
    return tuple(
        Task(procedure, array)
        for procedure in procedures
        for array in ([None] if procedure.scope is Scope.CHIP else arrays)
    )


def calibrate(chip: Chip, order: Order, progress: Progress | None = None) -> Iterator[Done]:
    """Carry out tasks one after the other; each result is in `chip.profile` before it is handed out.

    A task whose needs are not met by usable results is left out; one that this array does not let find
    anything (too few devices that conduct, a column beyond the ADC) has a reason instead of a result. A chip
    outside its limits that was measured well goes on being measured.
    Changes devices only where a procedure says so, and then only those that the fault map does not name.

    Raises:
        AnomalyFound: A value was so far outside its limits that something is broken, or the board latched a
            fault. The result that shows it has been kept and handed out.
    """
    progress = progress or Progress()
    for number, task in enumerate(order.tasks):
        missing = _missing(chip.profile, task)
        if missing:
            yield Done(task, None, None, f"needs {', '.join(missing)}, which has no usable result")
            continue
        found = _measured(task, _bench(chip, task, order, number, progress))
        if isinstance(found, str):
            yield Done(task, None, None, found)
            continue
        name, values = task.procedure.name, dict(found.values)
        result = CalibrationResult.judged(name, values, valid_for=found.valid_for, quick=order.quick)
        chip.profile.keep(result, task.array)
        yield Done(task, result, found)
        _stop_if_broken(chip, task, result)


def _measured(task: Task, bench: Bench) -> Calibrated | str:
    """What a procedure found, or why this array does not let it find anything.

    What the cable or the board has to say goes on to the caller.
    """
    try:
        return task.procedure.measure(bench)
    except (SaturationError, ValueError) as error:
        return str(error)
    except ChipctlError as error:
        if type(error) is not ChipctlError:
            raise
        return str(error)


def _missing(profile: ChipProfile, task: Task) -> list[str]:
    """Names of procedures that have no usable result for this task to build on."""
    return [
        name
        for name in task.procedure.needs
        if not any(
            result is not None and result.usable
            for result in (profile.result(name, task.array), profile.result(name))
        )
    ]


def _bench(chip: Chip, task: Task, order: Order, number: int, progress: Progress) -> Bench:
    rng = np.random.default_rng([order.seed, number])
    array = task.array or 0
    if task.procedure.effect is Effect.PULSES:
        return make_ready(chip, array, rng, quick=order.quick, schedule=order.scan, progress=progress)
    return Bench(chip, array, ~chip.profile.fault_map(array).stuck, rng, order.quick, progress)


def _stop_if_broken(chip: Chip, task: Task, result: CalibrationResult) -> None:
    far = [name for name, quantity in result.values.items() if quantity.far_outside]
    if far:
        raise AnomalyFound(
            f"{task.name}: {', '.join(far)} far outside the limits: {'; '.join(result.reasons)}"
        )
    fault = Fault(chip.board.state().fault)
    if fault is not Fault.NONE:
        raise AnomalyFound(f"{task.name}: the board reports {fault.name.lower()}; see `chipctl log`")


class Freshness(StrEnum):
    """Whether a result may still be relied on."""

    FRESH = "fresh"
    NEVER = "never measured"
    FAILED = "failed"
    """The measurement is in doubt; one of a chip outside its limits may be fresh."""
    OLD = "too old"
    CHANGED = "map changed"
    """The array has been pulsed since, and the result holds for the map it was measured with."""


def freshness(
    task: Task, profile: ChipProfile, keeps_map: KeepsMap | None = None, now: datetime | None = None
) -> Freshness:
    """Whether a task's result may be relied on; without `keeps_map` maps are taken for unchanged."""
    result = profile.result(task.procedure.name, task.array)
    if result is None:
        return Freshness.NEVER
    if not result.usable:
        return Freshness.FAILED
    if result.age(now) > timedelta(days=task.procedure.fresh_days):
        return Freshness.OLD
    counted = result.valid_for.get("total_pulses")
    if keeps_map and isinstance(counted, int) and not keeps_map(task.array or 0, counted):
        return Freshness.CHANGED
    return Freshness.FRESH


def to_do(
    tasks: tuple[Task, ...], named: set[str], profile: ChipProfile, cut_short: set[str], keeps_map: KeepsMap
) -> tuple[Task, ...]:
    """What is left of tasks.

    Those of procedures that were not `named`, only needed by others, are left out while fresh; those named,
    if a calibration that was `cut_short` (names of runs) has just measured them.
    """

    def is_done(task: Task) -> bool:
        result = profile.result(task.procedure.name, task.array)
        if result is None or freshness(task, profile, keeps_map) is not Freshness.FRESH:
            return False
        return task.procedure.name not in named or result.run in cut_short

    return tuple(task for task in tasks if not is_done(task))


def age_shown(result: CalibrationResult | None, now: datetime | None = None) -> str:
    """How old a result is, for people."""
    if result is None:
        return ""
    seconds = ((now or datetime.now(UTC)) - result.measured).total_seconds()
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{max(seconds, 0):.0f} s"
