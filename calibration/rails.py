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
from chipctl.runs.drawing import BLUE, GREY, INK, canvas
from firmware_protocol.rails import Rail

STRAY_VOLTS = 0.1
"""More than the error of any DAC in use: a rail this far off is not where its limits think it is."""

READ_ERROR = 0.02
"""Share by which the read voltage may be off; what it is off is made good in every conductance."""


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
            "read_volts": Quantity.of(read, np.sqrt(2) * sigma, "V", about=about).asked(*window),
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
        """The offset of each rail with its uncertainty, beside one step of the DAC."""
        step, off = self.lsb_volts * 1e3, (self.measured_volts - self.set_volts) * 1e3
        at = np.arange(len(Rail))
        with canvas(9.6, 2.8, "Offset of each rail of the board") as drawing:
            axes = drawing.figure.subplots()
            axes.axhspan(-step, step, color=GREY, alpha=0.2, lw=0, label="one step of the DAC")
            axes.errorbar(at, off, step / np.sqrt(12), fmt="o", ms=4, lw=1, color=BLUE, label="offset, ± 1 σ")
            axes.axhline(0.0, color=INK, lw=0.7)
            axes.set_xticks(at, [rail.name.lower() for rail in Rail], rotation=60, fontsize=7)
            reach = 1.3 * max(step, float(np.abs(off).max()))
            axes.set(ylabel="measured − set / mV", ylim=(-reach, reach))
            axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
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
    "uncertainty is that of one step of the DAC. The read voltage is the difference of two rails; "
    "conductances and products are taken with what was measured. Offsets are judged, not applied: one that "
    "all rails share cancels between any two, and rails that drive pulses were measured at rest.",
    scope=Scope.CHIP,
    effect=Effect.NOTHING,
    needs=(),
    fresh_days=7,
    seconds=0.1,
    measure=measure_rails,
)
