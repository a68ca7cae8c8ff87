"""What one would measure on the bench: rails, sampling times, and the chip's book of time and energy."""

from dataclasses import dataclass
from typing import Self

from chipctl.converters import Dac
from firmware_protocol.messages import Book, Limits, Rails
from firmware_protocol.rails import Rail, window

_TIME_CAUSES = ("settling", "converting", "reading out", "pulses", "pulse set-up", "waiting")
"""In the order of `Book.time_ns`."""

_ENERGY_CAUSES = ("row drivers", "array", "TIA", "ADC", "SET pulses", "RESET pulses")
"""Of the chip, in the order of `Book.energy_fj`; the board's comes after them."""


@dataclass(frozen=True)
class RailState:
    """One supply or reference voltage of the board, volts."""

    rail: Rail
    set_volts: float
    measured_volts: float
    low_volts: float
    """Lowest that it may be set to."""
    high_volts: float


def rail_states(found: Rails, limits: Limits, dac: Dac) -> tuple[RailState, ...]:
    """Every rail in volts, by channel."""
    volts = dac.to_volts
    return tuple(
        RailState(
            rail,
            float(volts(found.set_codes[rail])),
            float(volts(found.measured_codes[rail])),
            *(float(volts(code)) for code in window(rail, limits)),
        )
        for rail in Rail
    )


@dataclass(frozen=True)
class ChipBook:
    """Where the chip's time and energy went since it was powered; what the board took is kept apart."""

    seconds: float
    """The chip's own clock; simulated time on a virtual chip."""
    spent: dict[str, float]
    """Seconds of it by cause: settling, converting, reading out, pulses, their set-up, waiting."""
    joules: dict[str, float]
    """Of the chip, by cause: row drivers, array, TIA, ADC, SET pulses, RESET pulses."""
    board_joules: float
    """Of the board and its microcontroller; 0 where the board does not measure it."""
    reads: int
    """Single-device reads."""
    products: int
    """Analog vector products, one per bit and sign."""
    set_pulses: int
    reset_pulses: int

    @property
    def chip_joules(self) -> float:
        """All of the chip's own energy."""
        return sum(self.joules.values())

    @classmethod
    def of(cls, book: Book) -> Self:
        """As the board tells it, in SI units."""
        *chip, board = (femto * 1e-15 for femto in book.energy_fj[: len(_ENERGY_CAUSES) + 1])
        return cls(
            seconds=book.clock_ns * 1e-9,
            spent={cause: ns * 1e-9 for cause, ns in zip(_TIME_CAUSES, book.time_ns, strict=False)},
            joules=dict(zip(_ENERGY_CAUSES, chip, strict=True)),
            board_joules=board,
            reads=book.reads,
            products=book.products,
            set_pulses=book.set_pulses,
            reset_pulses=book.reset_pulses,
        )
