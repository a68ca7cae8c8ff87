"""What a calibration procedure is: what it needs, what it does to the chip, and what it hands back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from markupsafe import Markup
from numpy.typing import ArrayLike
from pydantic import JsonValue

from calibration.bench import Bench
from chipctl.results import Quantity


class Scope(StrEnum):
    """What one measurement is of."""

    CHIP = "chip"
    """The board, or the chip as a whole; `Bench.array` means nothing."""
    ARRAY = "array"


class Effect(StrEnum):
    """What a procedure does to devices."""

    NOTHING = "nothing"
    """Reads and products only."""
    PULSES = "pulses"
    """Changes devices of `Bench.usable`, no others."""


class Calibrated(Protocol):
    """What one measurement found."""

    @property
    def values(self) -> Mapping[str, Quantity]:
        """The numbers that go into the profile, each with its uncertainty and, if any, its limits."""
        ...

    @property
    def valid_for(self) -> Mapping[str, JsonValue]:
        """Conditions under which they hold (`CalibrationResult.valid_for`); empty if always."""
        ...

    @property
    def data(self) -> dict[str, tuple[ArrayLike, str]]:
        """Everything measured, each with its unit, as a run keeps it."""
        ...

    def draw(self) -> Markup:
        """The picture."""
        ...


@dataclass(frozen=True)
class Procedure:
    """One measurement that improves a chip's profile.

    `measure` reads what it needs from `bench.chip.profile` and changes neither the profile nor the rails
    for good; whoever calls it judges and keeps the result. It raises `ChipctlError` where going on would
    be unsafe or senseless: a board fault, a converter that does not answer.
    """

    name: str
    """As on the command line and in the profile: lower case, words joined by hyphens."""
    title: str
    method: str
    """How it is measured, for the report."""
    scope: Scope
    effect: Effect
    needs: tuple[str, ...]
    """Names of procedures whose results it builds on; they are run before it, and must be usable."""
    fresh_days: float
    """Days after which the result is stale."""
    seconds: float
    """Of chip time, roughly, for one array of 64×64 devices."""
    measure: Callable[[Bench], Calibrated]
    helped_by: tuple[str, ...] = ()
    """Names of procedures whose results make it better; they are run before it, and it does without them."""
