"""What a calibration procedure found: numbers with uncertainty, limits, date and verdict."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    JsonValue,
    PlainSerializer,
    model_validator,
)

Floats = NDArray[np.float64]

_DIGITS = 9
"""Of a number in the file: far below any uncertainty, and a third of the bytes."""

_FAR, _FAR_BEYOND = 3.0, 10.0


def _from_lists(value: Any) -> Floats:
    """Numbers of any shape; null stands for what could not be measured."""
    try:
        numbers = np.array(value, dtype=np.float64)
    except TypeError as error:
        raise ValueError(f"not an array of numbers: {error}") from None
    numbers.setflags(write=False)
    return numbers


def _to_lists(numbers: Floats) -> Any:
    if numbers.ndim:
        return [_to_lists(part) for part in numbers]
    value = float(numbers)
    return float(f"{value:.{_DIGITS}g}") if np.isfinite(value) else None


Numbers = Annotated[Floats, BeforeValidator(_from_lists), PlainSerializer(_to_lists, when_used="json")]
"""An array in memory, nested lists in a file; NaN in memory, null in a file."""


class Verdict(StrEnum):
    """Whether what was found is within its limits, those of the chip and those of the measurement."""

    PASS = "pass"
    FAIL = "fail"


class Quantity(BaseModel):
    """One measured quantity: a number, or one for each column, ADC, device, ….

    `value` and `sigma` have the same shape; `axes` names each dimension of it, outermost first, from
    `gain`, `adc` (of the array, in the board's order), `row`, `col`, `rail`, `knot`, `level` and the like.
    A value that could not be measured is NaN (null in the file), as is an uncertainty that is not known.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    unit: str
    """SI: `S`, `A`, `V`, `Ω`, `s`, their products; `1` for a pure number, `code` for ADC or DAC codes."""
    axes: tuple[str, ...] = ()
    value: Numbers
    sigma: Numbers
    """Standard uncertainty (1 σ), same shape and unit."""
    low: float | None = None
    """What is accepted, both ends included; None for no bound."""
    high: float | None = None
    of_chip: bool = False
    """Whether the limits are what is asked of the chip: a value outside is true all the same, and used.
    Else they are where the measurement itself becomes doubtful or unsafe to build on."""
    about: str = ""
    """What it is, in words, with its sign convention."""

    @classmethod
    def of(cls, value: ArrayLike, sigma: ArrayLike, unit: str, *axes: str, about: str = "") -> Self:
        """A quantity of which nothing is asked; `sigma` is spread over the shape of `value`."""
        values = np.asarray(value, np.float64)
        spread = np.broadcast_to(np.asarray(sigma, np.float64), values.shape)
        return cls(unit=unit, axes=axes, value=values, sigma=spread, about=about)

    def within(self, low: float | None = None, high: float | None = None) -> Self:
        """The same, held against limits beyond which the measurement is not to be used."""
        return self.model_copy(update={"low": low, "high": high, "of_chip": False})

    def asked(self, low: float | None = None, high: float | None = None) -> Self:
        """The same, held against limits that the chip should keep; the measurement is used either way."""
        return self.model_copy(update={"low": low, "high": high, "of_chip": True})

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.value.shape != self.sigma.shape or self.value.ndim != len(self.axes):
            raise ValueError(
                f"value {self.value.shape}, sigma {self.sigma.shape} and axes {self.axes} do not fit together"
            )
        return self

    @property
    def outside(self) -> int:
        """How many values are outside the limits; one that could not be measured is not."""
        return int(np.count_nonzero(~self._inside))

    @property
    def far_outside(self) -> int:
        """How many values are so far outside that something is broken: three times the width of the window.

        With one limit, beyond ten times it.
        """
        if self.low is None and self.high is None:
            return 0
        if self.low is not None and self.high is not None:
            reach = _FAR * (self.high - self.low)
            far = (self.value < self.low - reach) | (self.value > self.high + reach)
        else:
            edge = abs(self.high if self.high is not None else self.low or 0.0)
            far = (np.abs(self.value) > _FAR_BEYOND * edge) & ~self._inside
        return int(np.count_nonzero(far))

    @property
    def _inside(self) -> NDArray[np.bool_]:
        """Within the limits, or not measured."""
        low = -np.inf if self.low is None else self.low
        high = np.inf if self.high is None else self.high
        return ~((self.value < low) | (self.value > high))


class CalibrationResult(BaseModel):
    """What one procedure found about one chip, or one of its arrays."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    procedure: str
    measured: AwareDatetime
    """UTC, when the procedure ended."""
    run: str | None = None
    """Name of the run that holds the data and the pictures."""
    verdict: Verdict
    reasons: list[str] = []
    """Why it failed, one sentence each."""
    doubts: list[str] = []
    """Those of them for which the measurement may not be used; without any, it is the chip that failed."""
    valid_for: dict[str, JsonValue] = {}
    """Under which conditions the numbers hold: read voltage, gain index, pulse width,
    `total_pulses` (the board's count: the numbers hold while the array keeps its map), …."""
    quick: bool = False
    """Measured with fewer points, for a look."""
    values: dict[str, Quantity]

    @classmethod
    def judged(
        cls,
        procedure: str,
        values: Mapping[str, Quantity],
        *,
        valid_for: Mapping[str, JsonValue] | None = None,
        quick: bool = False,
        reasons: list[str] | None = None,
    ) -> Self:
        """A result of now, passed if every value is within its limits and there is no other reason."""
        told = {
            f"{name}: {quantity.outside} of {quantity.value.size} outside "
            f"{_bounds(quantity.low, quantity.high)} {quantity.unit}": quantity.of_chip
            for name, quantity in values.items()
            if quantity.outside
        }
        found = [*(reasons or []), *told]
        return cls(
            procedure=procedure,
            measured=datetime.now(UTC),
            verdict=Verdict.FAIL if found else Verdict.PASS,
            reasons=found,
            doubts=[reason for reason in found if not told.get(reason, False)],
            valid_for=dict(valid_for or {}),
            quick=quick,
            values=dict(values),
        )

    @model_validator(mode="before")
    @classmethod
    def _of_old_files(cls, content: Any) -> Any:
        """Before doubts were told apart, nothing that had failed was used."""
        if isinstance(content, dict) and "doubts" not in content and content.get("verdict") == Verdict.FAIL:
            return content | {"doubts": content.get("reasons") or ["not told"]}
        return content

    @property
    def passed(self) -> bool:
        """Whether the chip, as far as this procedure sees it, is within its limits."""
        return self.verdict is Verdict.PASS

    @property
    def usable(self) -> bool:
        """Whether the numbers may be used: they may be true of a chip that is outside its limits."""
        return not self.doubts

    def age(self, now: datetime | None = None) -> timedelta:
        """How long ago it was measured."""
        return (now or datetime.now(UTC)) - self.measured

    def value(self, name: str) -> Floats:
        """The numbers of one quantity.

        Raises:
            KeyError: The procedure found no such quantity.
        """
        return self.values[name].value

    def sigma(self, name: str) -> Floats:
        """Their standard uncertainty."""
        return self.values[name].sigma


def _bounds(low: float | None, high: float | None) -> str:
    return f"{'-∞' if low is None else f'{low:g}'} to {'∞' if high is None else f'{high:g}'}"
