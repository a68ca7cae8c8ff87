"""DC sweeps of one device: a staircase of long pulses, the current measured at each step.

What is measured is the current at the step's own voltage, min(V·G / (1 + G·R), I_D(V_gate, V)),
with R the path of a read and I_D the access transistor's saturation current. The shape is assumed:
the model knows no non-linear conduction of the device itself.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sim_chip import device
from sim_chip.converters import AUTO_GAIN, Signal
from sim_chip.device import Direction, Pulse
from sim_chip.die import Devices, Die, Floats
from sim_chip.reads import CURRENT_UNIT, Reads, WordArray
from sim_chip.switching import Switching
from sim_chip.tias import AUTOMATIC

_CURRENT_UNITS_PER_UA = 1e11


class Sweeps:
    """Sweeps single devices of one die."""

    def __init__(self, die: Die, reads: Reads, switching: Switching) -> None:
        self._die = die
        self._reads = reads
        self._switching = switching

    def sweep(
        self,
        array: int,
        place: tuple[int, int],
        direction: Direction,
        codes: tuple[ArrayLike, int],
        dwell_ns: int,
    ) -> WordArray:
        """Step one device through voltages (codes[0]) at one gate code; words (steps,)."""
        die = self._die
        die.checked(array)
        self._switching.check_width(dwell_ns)
        row, col, devices = die.devices(*place)
        volt_codes = np.atleast_1d(np.asarray(codes[0], dtype=np.int64))
        if volt_codes.ndim != 1 or len(devices) != 1:
            raise ValueError("a sweep is a list of voltages on one device")
        if min(volt_codes.min(initial=1), codes[1]) < 1 or max(volt_codes.max(initial=1), codes[1]) > 0xFFFF:
            raise ValueError("a sweep's DAC codes are 1 to 65535")
        gate = self._switching.delivered(np.array([codes[1]], dtype=np.int64))
        words = np.empty(len(volt_codes), dtype=np.uint16)
        die.settle_devices(array)
        with die.state.pulsing(array):
            for step, code in enumerate(volt_codes):
                pulse = Pulse(self._switching.delivered(np.array([code])), gate, dwell_ns)
                self._switching.once(array, devices, direction, pulse)
                words[step] = self._measure(array, row, col, pulse)[0, 0]
        return words

    def _measure(self, array: int, row: Devices, col: Devices, pulse: Pulse) -> NDArray[np.uint16]:
        """Convert the current at a step's voltage with automatic gain."""
        die, reads = self._die, self._reads
        devices = row * die.parameters.cols + col
        units = die.shown(array, devices, 0)
        noisy, normal = reads.fluctuated(array, devices, units)
        volts_uv = round(float(pulse.volts[0]) * 1e6)
        current: Floats = reads.series_current(array, row, col, noisy, volts_uv)
        traits = die.peripheries[array].traits.of(devices)
        limit = device.saturation_current(traits, pulse.volts, pulse.gate_volts) * _CURRENT_UNITS_PER_UA
        current = np.minimum(current, np.rint(limit)[:, None])
        words = reads.words(array, col, Signal(current, CURRENT_UNIT, None, normal), AUTOMATIC)
        reads.charge(AUTO_GAIN, current, volts_uv)
        return words
