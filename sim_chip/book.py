"""The chip's book: simulated time in ns and energy in aJ, each by cause."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class TimeCause(IntEnum):
    """What simulated time went into; READOUT, PULSE_SETUP and WAIT are the board's doing."""

    SETTLE = 0
    CONVERSION = 1
    READOUT = 2
    PULSE = 3
    PULSE_SETUP = 4
    WAIT = 5


class EnergyCause(IntEnum):
    """What energy went into; the board's and the microcontroller's own are not in it."""

    ROWS = 0
    ARRAY = 1
    TIA = 2
    ADC = 3
    SET = 4
    RESET = 5


class Count(IntEnum):
    """What is counted since the chip was made."""

    READS = 0
    PRODUCTS = 1
    SET = 2
    RESET = 3


class Book:
    """Integer ledgers, kept inside the chip's state; only the chip writes them.

    time_ns and energy_aj are indexed by cause, counts by `Count`; the clock is the sum of time.
    """

    def __init__(
        self,
        time_ns: NDArray[np.int64],
        energy_aj: NDArray[np.int64],
        counts: NDArray[np.int64],
    ) -> None:
        self.time_ns = time_ns
        self.energy_aj = energy_aj
        self.counts = counts

    @property
    def clock_ns(self) -> int:
        """Simulated time since the chip was made, ns."""
        return int(self.time_ns.sum())

    @property
    def total_aj(self) -> int:
        """Energy of the chip since it was made, aJ."""
        return int(self.energy_aj.sum())

    @property
    def energy_fj(self) -> tuple[int, ...]:
        """Energy in fJ: row drivers, array, TIA, ADC, SET pulses, RESET pulses."""
        return tuple(int(energy) // 1000 for energy in self.energy_aj)

    @property
    def reads(self) -> int:
        """Single-device reads since the chip was made."""
        return int(self.counts[Count.READS])

    @property
    def products(self) -> int:
        """Analog products, one per vector of row bits, since the chip was made."""
        return int(self.counts[Count.PRODUCTS])

    @property
    def set_pulses(self) -> int:
        """SET pulses given since the chip was made."""
        return int(self.counts[Count.SET])

    @property
    def reset_pulses(self) -> int:
        """RESET pulses given since the chip was made."""
        return int(self.counts[Count.RESET])

    def times(self) -> dict[str, int]:
        """Return ns by the name of the cause."""
        return {cause.name.lower(): int(self.time_ns[cause]) for cause in TimeCause}

    def energies(self) -> dict[str, int]:
        """Return aJ by the name of the cause."""
        return {cause.name.lower(): int(self.energy_aj[cause]) for cause in EnergyCause}
