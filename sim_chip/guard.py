"""What stands between a request and the devices: refusals, limits and the lease."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from firmware_protocol.messages import RESET, SET, Limits
from firmware_protocol.status import Executed, Fault, Status
from firmware_protocol.wire import OpClass, Request
from sim_chip.converters import dac_code
from sim_chip.parameters import TimingParameters

MIN_TTL_MS: Final = 50
MAX_TTL_MS: Final = 2000

GROUND_CODE: Final = dac_code(0.0)
"""Lowest DAC code of an output to devices: one below it is a voltage of the other sign."""

COARSE_TICK_NS: Final = 1000
"""Grid of pulses that outlast the chip's own timer and are timed by the firmware."""


JAMMED_BYTES: Final = 1 << 17
"""Bytes in a row without a frame at which a line is given up: twice what a host sends until its frames are
small enough to pass at one wrong bit in a thousand; 0.2 s at full USB speed."""


class Refused(Exception):  # noqa: N818 - an answer, not an error of this program
    """Ends a handler: the request is answered by a `Refusal` with this status."""

    def __init__(
        self, status: Status, reason: str, *, executed: Executed = Executed.NO, done: int = 0
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.executed = executed
        self.done = done


def check_range(name: str, value: int, low: int, high: int) -> None:
    """Refuse an argument outside `low`..`high`, both included."""
    if not low <= value <= high:
        raise Refused(Status.BAD_ARGUMENT, f"{name} is {value}; allowed {low} to {high}")


def check_span(name: str, first: int, count: int, size: int) -> None:
    """Refuse an empty run of lines, or one that leaves the array of `size` lines."""
    if count < 1 or first + count > size:
        raise Refused(Status.BAD_ARGUMENT, f"{name}s {first} to {first + count - 1}; the array has {size}")


class Lease:
    """Permission to pulse, running out `ttl_s` after the last traffic of the session that took it."""

    def __init__(self) -> None:
        self._ttl_s: float | None = None
        self._deadline: float | None = None

    def arm(self, ttl_s: float, now: float) -> None:
        """Take the lease."""
        self._ttl_s = ttl_s
        self._deadline = now + ttl_s

    def refresh(self, now: float) -> None:
        """The session is alive."""
        if self._ttl_s is not None:
            self._deadline = now + self._ttl_s

    def orphan(self) -> None:
        """The session is gone: what runs may go on to the deadline, which nobody can move."""
        self._ttl_s = None

    def drop(self) -> None:
        """End it now."""
        self._ttl_s = self._deadline = None

    @property
    def is_orphaned(self) -> bool:
        """Whether it is that of a session that is gone."""
        return self._ttl_s is None and self._deadline is not None

    @property
    def armed(self) -> bool:
        """Whether this session may pulse."""
        return self._ttl_s is not None

    def left(self, now: float) -> float | None:
        """Seconds until it lapses (0 when it has); None without a lease."""
        return None if self._deadline is None else max(0.0, self._deadline - now)


@dataclass
class Permits:
    """What the board's state permits: the lease, the latched fault, a session that may only read."""

    lease: Lease = field(default_factory=Lease)
    fault: Fault = Fault.NONE
    read_only: bool = False
    commissioning: bool = False

    def check_class(self, request: type[Request[Any]]) -> None:
        """Refuse to a session that may only read what does more."""
        if self.read_only and request.CLASS in (OpClass.EFFECT, OpClass.SETTING):
            raise Refused(Status.READ_ONLY, "message layouts differ: this session may only read")

    def check(self, request: Request[Any]) -> None:
        """Refuse an effect under a fault."""
        if request.CLASS is OpClass.EFFECT:
            self.check_fault()

    def check_fault(self) -> None:
        """Refuse while a fault is latched."""
        if self.fault is not Fault.NONE:
            raise Refused(Status.FAULT, f"{self.fault.name} is latched; clear it first")

    def check_supply(self) -> None:
        """Refuse to put voltages on a chip whose supply failed."""
        if self.fault in (Fault.SUPPLY_OUT_OF_RANGE, Fault.BROWN_OUT):
            raise Refused(Status.SUPPLY_OUT_OF_RANGE, f"{self.fault.name} is latched; clear it first")

    def check_commissioning(self) -> None:
        """Refuse to change for good what keeps the chip safe, but in the commissioning state."""
        if not self.commissioning:
            raise Refused(Status.NOT_COMMISSIONING, "stored limits change in the commissioning state only")

    def check_lease(self) -> None:
        """Refuse without a lease of this session."""
        if not self.lease.armed:
            raise Refused(Status.NOT_ARMED, "pulses need an armed lease")


@dataclass
class BadFrameWatch:
    """Tells when more than `most` bad frames came within one second, or too many bytes without a frame."""

    most: int
    since: float = 0.0
    before: int = 0

    def storm(self, bad_frames: int, bytes_without: int, now: float) -> bool:
        """Whether the line is jammed: `bad_frames` in total, `bytes_without` any since the last good one."""
        if now - self.since >= 1.0:
            self.since, self.before = now, bad_frames
        return bad_frames - self.before > self.most or bytes_without > JAMMED_BYTES


@dataclass(frozen=True)
class PulseRules:
    """Which pulses are allowed: the limits in force, on the chip's DAC and pulse timer."""

    limits: Limits
    timing: TimingParameters

    def check_direction(self, direction: int) -> None:
        """Refuse what is neither SET nor RESET."""
        if direction not in (SET, RESET):
            raise Refused(Status.BAD_ARGUMENT, f"direction is {direction}; 0 is RESET, 1 is SET")

    def check_codes(self, direction: int, volt_codes: Iterable[int], gate_codes: Iterable[int]) -> None:
        """Refuse a voltage or gate above its limit or below 0 V; give the extremes, or all codes."""
        top = self.limits.set_code if direction == SET else self.limits.reset_code
        self._check("SET voltage" if direction == SET else "RESET voltage", volt_codes, top)
        self._check("gate voltage", gate_codes, self.limits.gate_code)

    def _check(self, name: str, codes: Iterable[int], top: int) -> None:
        for code in codes:
            if not GROUND_CODE <= code <= top:
                raise Refused(Status.OVER_LIMIT, f"{name} code {code}; allowed {GROUND_CODE} to {top}")

    def check_width(self, width_ns: int) -> None:
        """Refuse a width that is off the timer's grid or above the limit."""
        timing = self.timing
        grid_ns = timing.timer_step_ns if width_ns <= timing.timer_limit_ns else COARSE_TICK_NS
        if width_ns < 1 or width_ns % grid_ns:
            raise Refused(Status.BAD_ARGUMENT, f"width {width_ns} ns is not a multiple of {grid_ns} ns")
        if width_ns > self.limits.width_ns:
            raise Refused(Status.OVER_LIMIT, f"width {width_ns} ns; allowed up to {self.limits.width_ns}")

    def check_count(self, count: int) -> None:
        """Refuse more pulses per device than the limit."""
        if count < 1:
            raise Refused(Status.BAD_ARGUMENT, "pulse count is 0")
        if count > self.limits.pulses_per_device:
            most = self.limits.pulses_per_device
            raise Refused(Status.OVER_LIMIT, f"{count} pulses per device; allowed up to {most}")
