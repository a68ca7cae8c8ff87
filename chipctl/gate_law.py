"""Which gate voltage a SET pulse needs to leave a device at a conductance: as calibrated, else nominal.

The access transistor limits the current of a SET pulse, so the conductance it leads to follows the
transistor's square law, gain · (gate voltage - threshold)², and scatters from pulse to pulse.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chipctl.profile import ChipProfile

PROCEDURE = "gate"
"""Name of the calibration whose result holds the law."""

_SCATTER_SIEMENS = 50e-6
"""Conductance at which the scatter of a pulse is stated."""
_LEAST_SCATTER, _MOST_SCATTER = 0.02, 0.25


@dataclass(frozen=True)
class GateLaw:
    """Conductance after a strong SET pulse against its gate voltage, of the median device.

    The defaults meet gate voltages at success on the bench: 0.90 V for 10 µS, 1.15 V for 100 µS.
    """

    threshold_volts: float = 0.785
    gain: float = 812e-6
    """S/V², of the device itself."""
    series_ohms: float = 470.0
    """Access transistor and lines in series with a device when it is read by itself."""
    threshold_spread: float = 0.012
    """Standard deviation of the threshold over devices, V."""
    gain_spread: float = 0.067
    """Standard deviation of ln gain over devices."""
    scatter: float = 0.08
    """Standard deviation of ln conductance from pulse to pulse, at 50 µS."""

    @classmethod
    def of(cls, profile: ChipProfile, array: int) -> Self:
        """The law of one array: its own calibration, else that of the chip's data, else the nominal one."""
        result = profile.result(PROCEDURE, array) or profile.result(PROCEDURE)
        if result is None or not result.usable:
            return cls()
        names = ("threshold", "gain", "series_ohms", "threshold_spread", "gain_spread", "set_jitter")
        return cls(*(float(result.value(name)) for name in names))

    def gate_volts(self, conductance: ArrayLike) -> NDArray[np.float64]:
        """Gate voltage (V) for conductances as read alone (S, any shape); the threshold for 0 and below."""
        read = np.maximum(np.asarray(conductance, np.float64), 0.0)
        own = read / (1.0 - np.minimum(read * self.series_ohms, 0.9))
        return np.asarray(self.threshold_volts + np.sqrt(own / self.gain))

    def conductance(self, gate_volts: ArrayLike) -> NDArray[np.float64]:
        """Conductance as read alone (S) that a strong SET pulse at a gate voltage leads to in the median."""
        over = np.maximum(np.asarray(gate_volts, np.float64) - self.threshold_volts, 0.0)
        own = self.gain * over * over
        return np.asarray(own / (1.0 + own * self.series_ohms))

    def pulse_scatter(self, conductance: ArrayLike) -> NDArray[np.float64]:
        """Standard deviation of ln conductance from pulse to pulse at conductances in S, any shape."""
        siemens = np.maximum(np.asarray(conductance, np.float64), 1e-9)
        scatter = self.scatter * np.sqrt(_SCATTER_SIEMENS / siemens)
        return np.asarray(np.clip(scatter, _LEAST_SCATTER, _MOST_SCATTER))
