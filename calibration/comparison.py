"""A measured number beside the published one."""

from dataclasses import dataclass
from typing import Any

_SHOWN = {"S": (1e6, "µS"), "A": (1e6, "µA"), "s": (1.0, "s"), "V": (1.0, "V"), "1": (1.0, "")}
"""Unit: what a number is multiplied with for people, and the unit then."""


@dataclass(frozen=True)
class Comparison:
    """One number that a procedure measured, and what it is held against."""

    name: str
    value: float
    unit: str
    """`S`, `A`, `V`, `s`, or `1` for a pure number."""
    published: float | str = "no figure given"
    """In the same unit, or in the paper's words."""
    low: float | None = None
    """What is accepted, both ends included; None for no bound."""
    high: float | None = None
    interval: tuple[float, float] | None = None
    """95 % confidence interval of the value."""

    @property
    def holds(self) -> bool | None:
        """Whether the value is within what is accepted; None where nothing is asked of it."""
        if self.low is None and self.high is None:
            return None
        low = -float("inf") if self.low is None else self.low
        high = float("inf") if self.high is None else self.high
        return bool(low <= self.value <= high)

    @property
    def shown(self) -> str:
        """The value for people, with its interval."""
        return self._text(self.value) + (f" ({self._range(*self.interval)})" if self.interval else "")

    @property
    def published_shown(self) -> str:
        """The published value for people."""
        return self.published if isinstance(self.published, str) else self._text(self.published)

    @property
    def accepted_shown(self) -> str:
        """What is accepted, for people."""
        if self.low is not None and self.high is not None:
            return self._range(self.low, self.high)
        if self.high is not None:
            return f"≤ {self._text(self.high)}"
        return "" if self.low is None else f"≥ {self._text(self.low)}"

    def as_json(self) -> dict[str, Any]:
        """All of it for machines, in SI."""
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "published": self.published,
            "accepted": [self.low, self.high],
            "interval": list(self.interval) if self.interval else None,
            "holds": self.holds,
        }

    def _range(self, low: float, high: float) -> str:
        return f"{self._text(low, bare=True)} to {self._text(high)}"

    def _text(self, value: float, *, bare: bool = False) -> str:
        factor, unit = _SHOWN[self.unit]
        return f"{value * factor:.4g}" + ("" if bare or not unit else f" {unit}")
