"""The chip's simulated clock tied to the wall's, for whoever wants a chip that takes its time."""

from collections.abc import Callable

from sim_chip.chip import VirtualChip


class RealPace:
    """Keeps a chip's clock on the wall's: it rests with the wall, and what takes chip time takes as long."""

    def __init__(self, chip: VirtualChip, clock: Callable[[], float]) -> None:
        self._chip = chip
        self._clock = clock
        self._origin_s = clock() - chip.clock_ns * 1e-9

    def ahead_s(self) -> float:
        """Seconds by which the chip is ahead of the wall; one that is behind catches up at rest."""
        lag_ns = round((self._clock() - self._origin_s) * 1e9) - self._chip.clock_ns
        if lag_ns > 0:
            self._chip.advance(lag_ns)
        return max(0.0, -lag_ns * 1e-9)
