"""DAC offsets: each rail of the board as set, and as the board reads it back."""

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike, NDArray
from pydantic import JsonValue

from calibration.bench import Bench
from calibration.procedure import Effect, Procedure, Scope
from chipctl.board import Region
from chipctl.results import Quantity
from chipctl.runs.drawing import BLUE, canvas
from firmware_protocol.rails import Rail

STRAY_VOLTS = 0.1
"""More than the error of any DAC in use: a rail this far off is not where its limits think it is."""

READ_ERROR = 0.02
"""Share by which the read voltage may be off: what it is off, every conductance is."""


@dataclass(frozen=True)
class RailOffsets:
    """Volts of all rails, shape (rails,), in the order of `Rail`."""

    set_volts: NDArray[np.float64]
    measured_volts: NDArray[np.float64]
    lsb_volts: float
    read_volts: float
    """Nominal."""

    @property
    def values(self) -> dict[str, Quantity]:
        """Offsets, and the read voltage they leave."""
        sigma = self.lsb_volts / np.sqrt(12)
        offset = Quantity.of(
            self.measured_volts - self.set_volts,
            sigma,
            "V",
            "rail",
            about="measured less set, by DAC channel",
        )
        read = self.measured_volts[Rail.VREF_TIA] - self.measured_volts[Rail.PLANE_VPP]
        about = "across a device in a read: VREF_TIA less PLANE_VPP, as read back"
        window = self.read_volts * (1 - READ_ERROR), self.read_volts * (1 + READ_ERROR)
        return {
            "offset_volts": offset.within(-STRAY_VOLTS, STRAY_VOLTS),
            "read_volts": Quantity.of(read, np.sqrt(2) * sigma, "V", about=about).within(*window),
        }

    @property
    def valid_for(self) -> dict[str, JsonValue]:
        """Always."""
        return {}

    @property
    def data(self) -> dict[str, tuple[ArrayLike, str]]:
        """Rails as set and as measured."""
        return {"set_volts": (self.set_volts, "V"), "measured_volts": (self.measured_volts, "V")}

    def draw(self) -> Markup:
        """The offset of each rail."""
        with canvas(9.6, 2.8, "Offset of each rail of the board") as drawing:
            axes = drawing.figure.subplots()
            axes.bar(range(len(Rail)), (self.measured_volts - self.set_volts) * 1e3, color=BLUE)
            axes.set_xticks(range(len(Rail)), [rail.name.lower() for rail in Rail], rotation=60, fontsize=7)
            axes.set(ylabel="measured − set / mV")
        return drawing.markup


def measure_rails(bench: Bench) -> RailOffsets:
    """Wake the chip with one read and have every rail read back; changes nothing."""
    chip = bench.chip
    chip.read(0, Region(0, 1, 0, 1))
    rails = chip.rails()
    return RailOffsets(
        np.array([state.set_volts for state in rails]),
        np.array([state.measured_volts for state in rails]),
        chip.dac.lsb_volts,
        chip.readout.read_volts,
    )


RAILS = Procedure(
    name="rails",
    title="DAC offsets",
    method="The chip is brought to its levels for reading, and every rail is read back by the board. The "
    "uncertainty is that of one step of the DAC. The read voltage is the difference of two rails; what it "
    "is off its nominal value, every conductance is off in proportion.",
    scope=Scope.CHIP,
    effect=Effect.NOTHING,
    needs=(),
    fresh_days=7,
    seconds=0.1,
    measure=measure_rails,
)
