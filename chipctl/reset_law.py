"""Where RESET pulses of a voltage leave a typical device: with `gate_law`, where prediction begins."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chipctl.profile import ChipProfile

PROCEDURE = "thresholds"
"""Name of the calibration whose result holds the law."""

_NAMES = {
    "reset_reference": "reference_volts",
    "reset_steepness": "steepness",
    "reset_width_shift": "width_shift",
    "reset_ohms": "pulse_ohms",
}
"""Our name of each quantity of that result; what the measurement could not tell is missing in it."""


@dataclass(frozen=True)
class ResetLaw:
    """Conductance at which RESET pulses of a voltage no longer move the median device.

    The lower the conductance, the more of a pulse falls on the device and not on what is in series with it.
    The defaults follow RESET staircases of the bench at 1 µs (400 µS down to 108 at 1.4 V, 150 µS down to 52
    at 1.2 V). Devices scatter around them by some 70 mV: this is where to begin, not where one lands.
    """

    reference_volts: float = 0.95
    """Voltage on the device, at 1 µs, that leads to 100 µS."""
    steepness: float = 9.5
    """Factors of e in conductance per volt."""
    width_shift: float = 0.08
    """Volts less per decade of pulse width; assumed to be half of what SET shows."""
    pulse_ohms: float = 450.0
    """In series with a device during the pulse."""
    series_ohms: float = 470.0
    """The same when it is read by itself: access transistor and lines."""

    @classmethod
    def of(cls, profile: ChipProfile, array: int) -> Self:
        """The law of one array: its own calibration, else that of the chip's data, else the nominal one."""
        result = profile.result(PROCEDURE, array) or profile.result(PROCEDURE)
        if result is None or not result.usable:
            return cls()
        known = {ours: float(result.value(name)) for name, ours in _NAMES.items() if name in result.values}
        return cls(**known)

    def conductance(self, volts: ArrayLike, width_seconds: float = 1e-6) -> NDArray[np.float64]:
        """Conductance as read alone (S), any shape, falling with the voltage."""
        asked = np.asarray(volts) + self.width_shift * np.log10(width_seconds / 1e-6)
        own = np.geomspace(1e-9, 1e-3, 2000)
        needed = (self.reference_volts - np.log(own / 100e-6) / self.steepness) * (1 + own * self.pulse_ohms)
        turn = int(np.argmin(needed))
        found = np.interp(-asked, -needed[: turn + 1], own[: turn + 1])
        return np.asarray(found / (1 + found * self.series_ohms))
