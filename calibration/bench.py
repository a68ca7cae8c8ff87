"""What every procedure works on: one array, its usable devices, the dice, and somebody to tell."""

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike, NDArray

from calibration.comparison import Comparison
from chipctl.chip import Chip, Siemens
from chipctl.errors import ChipctlError
from chipctl.faults import ScanSchedule, scan
from chipctl.program_report import ProgramReport
from chipctl.programming import program
from chipctl.progress import Progress
from chipctl.schedules import PulseSchedule


class Finding(Protocol):
    """What a procedure found."""

    @property
    def comparisons(self) -> list[Comparison]:
        """The numbers, beside the published ones."""
        ...

    @property
    def data(self) -> dict[str, tuple[ArrayLike, str]]:
        """Everything measured, each with its unit, as a run keeps it."""
        ...

    def draw(self) -> Markup:
        """The figure."""
        ...


@dataclass(frozen=True)
class Bench:
    """One array made ready: its zero measured, its stuck devices known."""

    chip: Chip
    array: int
    usable: NDArray[np.bool_]
    """Devices that may be changed, shape (rows, cols); no other is touched."""
    rng: np.random.Generator
    """Places targets; the chip throws its own dice."""
    quick: bool = False
    """Fewer cycles, reads and times: for a look, not for a record."""
    progress: Progress = field(default_factory=Progress)

    def draw_devices(self, count: int) -> NDArray[np.intp]:
        """Flat indices of usable devices in random order, shape (count,).

        Raises:
            ChipctlError: There are not that many.
        """
        usable = np.flatnonzero(self.usable)
        if usable.size < count:
            raise ChipctlError(
                f"array {self.array} has {usable.size} devices that may be changed, {count} are wanted; "
                "choose another array"
            )
        return self.rng.permutation(usable)[:count]

    def program(self, label: str, target: Siemens, schedule: PulseSchedule) -> ProgramReport:
        """Write-and-verify the usable devices whose target (rows, cols) is a number."""
        mask = self.usable & ~np.isnan(target)
        with self.progress.stage(label, int(np.count_nonzero(mask))) as tell:
            return program(
                self.chip,
                self.array,
                target,
                mask=mask,
                schedule=schedule,
                on_progress=lambda p: tell(p.verified, f"round {p.round}, {p.pulses} pulses"),
            )


def make_ready(
    chip: Chip,
    array: int,
    rng: np.random.Generator,
    *,
    quick: bool = False,
    schedule: ScanSchedule | None = None,
    progress: Progress | None = None,
) -> Bench:
    """Measure an array's zero if it never was, and find its stuck devices if nobody has.

    A scan changes every device; with a profile that holds the array's fault map, the devices that the
    map names are never touched.

    Raises:
        ValueError: No such array.
    """
    if not 0 <= array < chip.arrays:
        raise ValueError(f"no array {array}: this chip has arrays 0 to {chip.arrays - 1}")
    progress = progress or Progress()
    schedule = schedule or ScanSchedule()
    known = chip.profile.arrays[array]
    if known.zero_codes is None:
        chip.measure_zero(array)
    if known.scanned is None:
        with progress.stage(f"scan array {array} for stuck devices", 2 * len(schedule.set_volts)) as tell:
            scan(chip, array, schedule, lambda p: tell(p.step))
    return Bench(chip, array, ~chip.profile.fault_map(array).stuck, rng, quick, progress)


def level_targets(bench: Bench, levels: Siemens, each: int) -> tuple[Siemens, NDArray[np.intp]]:
    """Give `each` usable devices, drawn at random, to every level (siemens, shape (levels,)).

    Returns the targets, shape (rows, cols) with NaN where a device has none, and the devices' flat
    indices, shape (levels, each). Where the array has too few, every level gets as many as there are.
    """
    each = min(each, int(np.count_nonzero(bench.usable)) // len(levels))
    devices = bench.draw_devices(max(each, 1) * len(levels)).reshape(len(levels), -1)
    target = np.full(bench.usable.shape, np.nan)
    target.ravel()[devices] = levels[:, None]
    return target, devices


def facts(finding: Finding) -> dict[str, Any]:
    """A finding's numbers for machines."""
    return {"numbers": [comparison.as_json() for comparison in finding.comparisons]}
