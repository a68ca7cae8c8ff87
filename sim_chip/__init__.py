"""The virtual chip: what is on the board's side of the wire."""

from sim_chip.book import Book, EnergyCause, TimeCause
from sim_chip.chip import VirtualChip
from sim_chip.converters import AUTO_GAIN, Rail, column_order, dac_code, fifo_address, fifos
from sim_chip.device import Direction, Kind
from sim_chip.faults import FaultPlan
from sim_chip.parameters import ChipParameters, FaultShares
from sim_chip.presets import PRESETS, preset

__all__ = [
    "AUTO_GAIN",
    "PRESETS",
    "Book",
    "ChipParameters",
    "Direction",
    "EnergyCause",
    "FaultPlan",
    "FaultShares",
    "Kind",
    "Rail",
    "TimeCause",
    "VirtualChip",
    "column_order",
    "dac_code",
    "fifo_address",
    "fifos",
    "preset",
]
