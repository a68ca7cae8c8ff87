"""The limits a board keeps: those of a new board, those it was given, and nothing if it lost them."""

from dataclasses import astuple, replace
from typing import Final

from firmware_protocol.messages import Limits, StoreLimits, TightenLimits
from firmware_protocol.rails import PULSE_RAILS, Rail
from firmware_protocol.status import Status
from firmware_protocol.wire import WireError
from sim_chip.converters import dac_code
from sim_chip.flash import Damaged, Flash
from sim_chip.guard import GROUND_CODE, Refused, check_range


def _codes(volts: dict[Rail, float], other: float = 0.0) -> tuple[int, ...]:
    return tuple(dac_code(volts.get(rail, other)) for rail in Rail)


_LOWEST_VOLTS: Final = dict.fromkeys((Rail.ADC_TEST, Rail.AMP_VREF, Rail.AMP_INPUT), -0.1)
"""Room below zero where a DAC's offset is to be made good."""
_HIGHEST_VOLTS: Final = {
    Rail.PLANE_VPP: 0.6,
    Rail.VREF_ARRAY: 0.6,
    Rail.VREF_TIA: 0.6,
    Rail.VREF_HI_CMP: 4.6,
    Rail.VREF_SH: 3.3,
    Rail.VP_PAD: 3.5,
    Rail.TVDD: 5.5,
    Rail.VAGC_0: 4.6,
    Rail.VAGC_1: 4.6,
    Rail.ADC_TEST: 5.0,
    Rail.AMP_VREF: 5.0,
    Rail.AMP_INPUT: 5.0,
}
"""Around the levels in use on such boards; no two of the read path differ by what moves a device."""

NEW_BOARD: Final = Limits(
    set_code=dac_code(3.5),
    reset_code=dac_code(3.5),
    gate_code=dac_code(5.5),
    width_ns=10_000_000,
    pulses_per_device=10_000,
    pulses_per_second=0,
    rail_low_codes=_codes(_LOWEST_VOLTS),
    rail_high_codes=_codes(_HIGHEST_VOLTS),
)
"""Limits of a board that nobody has changed: room for the highest voltages in use on such chips."""


NOTHING: Final = replace(
    NEW_BOARD,
    set_code=GROUND_CODE,
    reset_code=GROUND_CODE,
    gate_code=GROUND_CODE,
    width_ns=0,
    pulses_per_device=0,
    pulses_per_second=1,
    rail_low_codes=_codes({}),
    rail_high_codes=_codes({}),
)
"""Limits of a board that no longer knows its own: reading at the board's own levels, and no pulse."""


def provision(flash: Flash) -> Flash:
    """Write into the memory of a board that is being made the limits of a new one."""
    if flash.is_blank:
        flash.store_limits(NEW_BOARD.pack())
    return flash


class LimitStore:
    """The limits in force, and those stored that hold again with every session."""

    def __init__(self, flash: Flash) -> None:
        """Over the memory of a board as `provision` left it or later; one without limits has lost them."""
        self._flash = flash
        self.stored = self._kept() or NOTHING
        self.lost = self._kept() is None
        """Whether limits were stored and cannot be read."""
        self.in_force = self.stored

    def _kept(self) -> Limits | None:
        try:
            content = self._flash.limits()
            return None if content is None else Limits.unpack(content)
        except (Damaged, WireError):
            return None

    def tighten(self, wanted: TightenLimits) -> None:
        """Put tighter limits in force."""
        self.in_force = tightened(self.in_force, wanted)

    def store(self, limits: Limits) -> None:
        """Keep other limits from now on."""
        self._flash.store_limits(limits.pack())
        self.stored, self.lost = limits, False
        self.forget_session()

    def forget_session(self) -> None:
        """Put the stored limits in force."""
        self.in_force = self.stored


def tightened(limits: Limits, wanted: TightenLimits) -> Limits:
    """`wanted` as the limits in force; refused where one of them is above what holds now."""
    asked = Limits(*astuple(wanted))
    for name in ("set_code", "reset_code", "gate_code", "width_ns", "pulses_per_device"):
        if getattr(asked, name) > getattr(limits, name):
            raise Refused(Status.OVER_LIMIT, f"{name} may not rise above {getattr(limits, name)}")
    most = limits.pulses_per_second
    if most and not 1 <= asked.pulses_per_second <= most:
        raise Refused(Status.OVER_LIMIT, f"pulses_per_second must be 1 to {most}")
    for rail in Rail:
        low, high = limits.rail_low_codes[rail], limits.rail_high_codes[rail]
        if asked.rail_low_codes[rail] < low or asked.rail_high_codes[rail] > high:
            raise Refused(Status.OVER_LIMIT, f"{rail.name} must stay within {low} to {high}")
    return asked


def storable(wanted: StoreLimits) -> Limits:
    """`wanted` as limits to keep; refused where they permit a voltage of the other sign, or no voltage."""
    limits = Limits(*astuple(wanted))
    for name in ("set_code", "reset_code", "gate_code"):
        check_range(name, getattr(limits, name), GROUND_CODE, 0xFFFF)
    for rail in Rail:
        low, high = limits.rail_low_codes[rail], limits.rail_high_codes[rail]
        least = GROUND_CODE if rail in PULSE_RAILS else 0
        check_range(f"lowest code of {rail.name}", low, least, high)
    return limits
