"""Bring the weights of a network onto the arrays, one load after the other where it needs several."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from chipctl.chip import Chip, Siemens
from chipctl.errors import ChipctlError
from chipctl.mapping import ArrayTarget, Placement, array_targets
from chipctl.memory.learning import Layer
from chipctl.profile import FaultMap
from chipctl.program_report import ProgramReport
from chipctl.programming import program
from chipctl.progress import Progress
from chipctl.schedules import PulseSchedule


@dataclass(frozen=True)
class Written:
    """One array, programmed."""

    planned: ArrayTarget
    report: ProgramReport

    @property
    def verified(self) -> float:
        """Share of the devices programmed that were within tolerance at their last read."""
        mask = self.planned.mask
        return float(self.report.verified[mask].mean()) if mask.any() else 1.0

    @property
    def errors(self) -> Siemens:
        """Last read less target of the devices programmed, siemens, flat."""
        return np.asarray((self.report.final - self.planned.target)[self.planned.mask])


@dataclass
class Writer:
    """Programs the chip with one load of a network at a time, and knows which it holds."""

    chip: Chip
    placement: Placement
    layers: Sequence[Layer]
    faults: Mapping[int, FaultMap]
    schedule: PulseSchedule
    progress: Progress = field(default_factory=Progress)
    held: int | None = None
    """Load that the arrays were left with; None where nobody knows."""
    pulses: int = 0
    """The board's count of pulses when it was known that they hold it."""
    programmings: int = 0
    """How many loads were brought."""
    last: dict[int, Written] = field(default_factory=dict)
    """By array, what the latest programming came to."""

    def __call__(self, load: int) -> None:
        """See that the arrays hold a load. Changes the devices where they do not.

        Raises:
            ChipctlError: They were pulsed since they were left with a load: another memory's, it may be.
            ProgrammingError: Somebody asked for safety, or the board latched a fault too often.
        """
        self.check_there()
        if load == self.held:
            return
        self.held = None
        weights = [layer.weights for layer in self.layers]
        for array, target in array_targets(self.placement.in_load(load), weights, self.faults).items():
            self.last[array] = self._program(array, target)
        self.found(load)
        self.programmings += 1

    def found(self, load: int) -> None:
        """Take it that the arrays hold a load now."""
        self.held, self.pulses = load, self.chip.board.state().total_pulses

    def check_there(self) -> None:
        """Refuse to go on where the arrays were pulsed since they were left with a load.

        Raises:
            ChipctlError: They were, by whoever it was, or the board counts anew.
        """
        if self.held is None:
            return
        for array in self.placement.in_load(self.held).arrays:
            if not self.chip.keeps_map(array, self.pulses):
                raise ChipctlError(
                    f"array {array} was pulsed since this memory was programmed, or the board was reset; "
                    "`memory.find()` reads whether it is still there, if not store it again"
                )

    def _program(self, array: int, target: ArrayTarget) -> Written:
        total = int(np.count_nonzero(target.mask))
        with self.progress.stage(f"program array {array}", total) as tell:
            report = program(
                self.chip,
                array,
                target.target,
                mask=target.mask,
                schedule=self.schedule,
                on_progress=lambda p: tell(p.verified, f"round {p.round}, {p.pulses} pulses"),
            )
            tell(total)
        return Written(target, report)
