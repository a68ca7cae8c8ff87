"""The board's rails: which codes they are set to, what they are, and the order in which they fall."""

from dataclasses import dataclass, field
from typing import Final

from firmware_protocol.messages import Limits, Rails
from firmware_protocol.rails import PULSE_RAILS, Rail, window
from firmware_protocol.status import Fault, Status
from sim_chip.chip import VirtualChip
from sim_chip.converters import dac_code
from sim_chip.guard import GROUND_CODE, Refused, check_range

_STRAY_CODES: Final = dac_code(0.25) - GROUND_CODE
"""How far a rail may be from what it was set to: more than any DAC's offset, less than moves a device."""

_SUPPLY_UV: Final = (4_500_000, 5_500_000)
"""Where the chip works as specified."""


@dataclass
class Bench:
    """What is wrong around a virtual board; for tests, which alone set it."""

    stray_codes: dict[int, int] = field(default_factory=dict)
    """How far a rail is from its setting, by channel."""
    stopped_arrays: set[int] = field(default_factory=set)
    """Arrays whose ADCs have no clock: their conversions never end."""


class Supply:
    """The rails of one chip, zeroed until they are needed."""

    def __init__(self, chip: VirtualChip, bench: Bench) -> None:
        self._chip = chip
        self._bench = bench
        self._gate_code = GROUND_CODE
        self.zero()

    def zero(self) -> None:
        """Take the voltages off the devices: write pad, then gate, then all others."""
        for rail in (*PULSE_RAILS, *(rail for rail in Rail if rail not in PULSE_RAILS)):
            self._chip.set_rail(rail, GROUND_CODE)
        self._is_up = False

    def wake(self) -> None:
        """See that the chip can be read."""
        if not self._is_up:
            self._chip.power_up()
            self._is_up = True
            self._gate_code = self._chip.rail(Rail.TVDD)

    @property
    def is_raised(self) -> bool:
        """Whether the pulse rail stands above 0 V, or the gate rail higher than for reading."""
        gate = self._chip.rail(Rail.TVDD)
        return self._is_up and (self._chip.rail(Rail.VP_PAD) != GROUND_CODE or gate > self._gate_code)

    def check(self, channel: int, code: int, limits: Limits) -> None:
        """Refuse a rail that there is not, or a code outside its window."""
        check_range("channel", channel, 0, len(Rail) - 1)
        rail = Rail(channel)
        low, high = window(rail, limits)
        if not low <= code <= high:
            raise Refused(Status.OVER_LIMIT, f"{rail.name} code {code}; allowed {low} to {high}")

    def set(self, channel: int, code: int) -> None:
        """Set one rail of a chip that is up."""
        self.wake()
        self._chip.set_rail(channel, code)

    def state(self) -> Rails:
        """The codes set and the codes read back."""
        codes = tuple(self._chip.rail(rail) for rail in Rail)
        return Rails(codes, tuple(self._measured(rail, code) for rail, code in enumerate(codes)))

    def _measured(self, rail: int, code: int) -> int:
        offset = dac_code(self._chip.parameters.converters.rail_offset_uv * 1e-6) - GROUND_CODE
        return min(max(code + offset + self._bench.stray_codes.get(rail, 0), 0), 0xFFFF)

    def fault(self) -> Fault:
        """What is wrong with the supply now."""
        low_uv, high_uv = _SUPPLY_UV
        if not low_uv <= self._chip.supply_uv <= high_uv:
            return Fault.BROWN_OUT
        if self._bench.stray_codes and self._has_stray_rail():
            return Fault.SUPPLY_OUT_OF_RANGE
        return Fault.NONE

    def _has_stray_rail(self) -> bool:
        state = self.state()
        pairs = zip(state.set_codes, state.measured_codes, strict=True)
        return any(abs(found - wanted) > _STRAY_CODES for wanted, found in pairs)
