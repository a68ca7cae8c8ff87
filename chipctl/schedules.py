"""The policy of write-and-verify as data, and the policies that have a name."""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

LARGEST_SHORT = 255
"""Levels."""


class Ramp(BaseModel):
    """Voltages of successive pulses: from `first` in steps up to `last`, volts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    first: float = Field(ge=0)
    last: float = Field(ge=0)
    step: float = Field(gt=0)

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if self.last < self.first:
            raise ValueError(f"the ramp must rise: first {self.first} V, last {self.last} V")
        return self


class Revisits(BaseModel):
    """What is done about relaxation: wait, look again, program again what has moved away.

    A device that is left alone keeps the conductance that it has relaxed to.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    most: int = Field(0, ge=0, le=100)
    """Times that devices are programmed again; 0 for none, and then there is no wait either."""
    rest: float = Field(100.0, ge=0, le=1e5)
    """Seconds before each look."""
    reads: int = Field(16, ge=1, le=64)
    """Averaged in each look."""
    tolerance: float = Field(2.5e-6, gt=0)
    """A device within this of its target when it is looked at is left alone for good."""


class PulseSchedule(BaseModel):
    """How write-and-verify works on a device. Volts, seconds, siemens.

    The levels of a direction are its voltages at the first gate, then those at the next, and so on. Each
    device starts at the first level and goes one up at every further pulse in the same direction; when it
    changes direction it starts again. A schedule that predicts starts each device at the level that should
    bring it to its target, by the calibrated response of a typical device and by what this device did before.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tolerance: float = Field(5e-6, gt=0)
    """A device within this of its target is verified (He et al. 2026: 5 µS)."""
    inner_tolerance: float = Field(2e-6, gt=0)
    """Pulsing goes on until a device is within this of its target. Stopping just inside the outer
    tolerance leaves a bias towards the side a device came from."""
    zero_aim: float = Field(1.5e-6, ge=0)
    """A target of zero is aimed this far below it, one at the inner tolerance not at all, in between in
    proportion: a conductance lies above zero only, so an even band would leave all of them high."""
    reads: int = Field(2, ge=1, le=64)
    """Reads averaged per verification."""
    gain: int = Field(2, ge=0, le=6)
    """TIA gain index of verification; index 2 resolves a single device over the whole span."""
    max_rounds: int = Field(200, ge=1, le=65535)
    """The most pulses a device gets: one whose readings jump over its target is not worn for nothing."""
    max_retries: int = Field(5, ge=0, le=255)
    """Pulses at the highest voltages before a device is given up."""
    predicts: bool = True
    """Whether voltages start where a device should land, or at the first level."""
    set_short: int = Field(1, ge=0, le=LARGEST_SHORT)
    """Levels that a predicted SET pulse stays below: what is too low takes one pulse more, what is too
    high a RESET pulse and another SET pulse."""
    order: Literal["rows", "spread"] = "rows"
    """In which order the devices of a round get their pulses: row by row, or each far from the one before."""
    set_volts: Ramp = Ramp(first=2.5, last=2.5, step=0.1)
    set_gate_volts: Ramp = Ramp(first=0.7, last=2.0, step=0.005)
    set_width: float = 1e-6
    reset_volts: Ramp = Ramp(first=0.5, last=3.0, step=0.02)
    reset_gate_volts: Ramp = Ramp(first=5.0, last=5.0, step=0.5)
    reset_width: float = 1e-6
    revisits: Revisits = Revisits()

    @model_validator(mode="before")
    @classmethod
    def _begins_with_a_named_one(cls, given: Any) -> Any:
        """`schedule = "paper"` stands for all fields of that one; what else is given goes before them."""
        if not isinstance(given, dict) or "schedule" not in given:
            return given
        fields = named(given["schedule"]).model_dump()
        for name, value in given.items():
            if name != "schedule":
                both = isinstance(value, dict) and isinstance(fields.get(name), dict)
                fields[name] = fields[name] | value if both else value
        return fields

    @model_validator(mode="after")
    def _stops_inside(self) -> Self:
        if self.inner_tolerance > self.tolerance:
            raise ValueError("inner_tolerance must not be above tolerance")
        return self

    @model_validator(mode="after")
    def _is_predictable(self) -> Self:
        several = self.set_volts.first < self.set_volts.last
        if self.predicts and (several or self.reset_gate_volts.first < self.reset_gate_volts.last):
            raise ValueError(
                "a schedule that predicts has one SET voltage and one RESET gate: set first = last, "
                "or predicts = false"
            )
        return self


FAST = PulseSchedule()
"""Few pulses: the default."""

FINE = PulseSchedule(inner_tolerance=1.5e-6, zero_aim=1e-6, reads=4, revisits=Revisits(most=8, rest=100.0))
"""As near as relaxation lets a device stay: programmed again after each rest until it stays."""

PAPER = PulseSchedule(
    inner_tolerance=5e-6,
    zero_aim=0.0,
    reads=1,
    max_rounds=500,
    predicts=False,
    set_volts=Ramp(first=1.0, last=2.5, step=0.1),
    set_gate_volts=Ramp(first=0.95, last=2.0, step=0.05),
    reset_volts=Ramp(first=0.5, last=3.5, step=0.05),
    reset_gate_volts=Ramp(first=5.0, last=5.5, step=0.5),
)
"""Stop anywhere within ±5 µS (He et al. 2026, Mao et al. 2022), by the ramps of the group's crossbar
software (AutoXbar), at 1 µs."""

NAMED = {"fast": FAST, "fine": FINE, "paper": PAPER}


def named(name: str) -> PulseSchedule:
    """The schedule of that name.

    Raises:
        ValueError: There is none; the message lists those there are.
    """
    try:
        return NAMED[name]
    except KeyError:
        raise ValueError(f"no schedule {name!r}; there are {', '.join(NAMED)}") from None
