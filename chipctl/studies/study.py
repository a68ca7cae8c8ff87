"""A study: a published figure, what is measured for it, and what its numbers are held to."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from chipctl.memory.answers import Answer, Task

Scale = Literal["quick", "full"]
Values = NDArray[np.float64]
"""One for each seed."""

_Any = TypeVar("_Any")


@dataclass(frozen=True)
class Asked:
    """How much is measured, and where.

    first_seed: seeds count from here, instead of from each study's own first. count: how many, instead of
    each study's own number. chip: the address of the chip for studies on one; by default each seed has a
    virtual chip of its own. digits: a folder of idx files, None for the bundled ones.
    """

    scale: Scale = "full"
    first_seed: int | None = None
    chip: str | None = None
    count: int | None = None
    digits: Path | None = None

    def seeds(self, quick: int, full: int, first: int = 0) -> range:
        """So many of them, by scale, from `first` unless another was asked for."""
        start = first if self.first_seed is None else self.first_seed
        return range(start, start + (self.count or self.choose(quick, full)))

    def choose(self, quick: _Any, full: _Any) -> _Any:
        """One of both, by scale."""
        return quick if self.scale == "quick" else full


@dataclass(frozen=True)
class Reading:
    """One number: the series it belongs to, where in it, and of which seed."""

    series: str
    at: float
    seed: int
    value: float


class Found:
    """Everything measured for a study: numbers by series and place, and arrays for pictures by seed."""

    def __init__(self, readings: Iterable[Reading], arrays: dict[int, dict[str, Any]] | None = None) -> None:
        self._values: dict[tuple[str, float], dict[int, float]] = defaultdict(dict)
        for reading in readings:
            self._values[reading.series, float(reading.at)][reading.seed] = reading.value
        self.arrays = arrays or {}
        """By seed and name, each an array with its unit."""

    def __call__(self, series: str, at: float = 0.0) -> Values:
        """The values of a series at a place, one for each seed in order.

        Raises:
            KeyError: Nothing was measured there.
        """
        of_seed = self._values.get((series, float(at)), {})
        if not of_seed:
            raise KeyError(f"nothing was measured of {series!r} at {at:g}")
        return np.array([of_seed[seed] for seed in sorted(of_seed)])

    @property
    def series(self) -> list[str]:
        """Names, in the order in which they were asked for."""
        return list(dict.fromkeys(name for name, _ in self._values))

    @property
    def seeds(self) -> list[int]:
        """All that something was measured of."""
        return sorted({seed for of_seed in self._values.values() for seed in of_seed})

    def places(self, series: str) -> list[float]:
        """Where a series was measured, ascending."""
        return sorted(at for name, at in self._values if name == series)

    def by_seed(self, series: str) -> tuple[list[int], Values]:
        """Seeds of a series, and its values (places, seeds): NaN where one was not measured at a place."""
        places = [self._values[series, at] for at in self.places(series)]
        seeds = sorted(set().union(*places))
        return seeds, np.array([[held.get(seed, np.nan) for seed in seeds] for held in places])

    def means(self, series: str) -> Values:
        """Means over seeds at all its places."""
        return np.array([self(series, at).mean() for at in self.places(series)])

    def spreads(self, series: str) -> Values:
        """Standard deviations over seeds at all its places."""
        return np.array([self(series, at).std() for at in self.places(series)])


@dataclass(frozen=True)
class Band:
    """What a mean is held to, ends included; without ends nothing is asked of it."""

    low: float = -inf
    high: float = inf

    def __str__(self) -> str:
        if self == ANY:
            return ""
        if self.low == -inf:
            return f"≤ {self.high:g}"
        return f"≥ {self.low:g}" if self.high == inf else f"{self.low:g} … {self.high:g}"

    def takes(self, value: float) -> bool:
        """Whether a value is within; no number never is."""
        return self.low <= value <= self.high


ANY = Band()


@dataclass(frozen=True)
class Claim:
    """A line of a study's table: a quantity, and what it is held to.

    of: the quantity's values from what was measured, one for each seed, or one alone.
    published: the paper's number or words. prototype: of an independent implementation in floating point,
    written before this one. band: what the mean over seeds is held to.
    """

    quantity: str
    of: Callable[[Found], Values | float]
    published: float | str | None = None
    prototype: float | str | None = None
    band: Band = ANY
    unit: str = ""

    def row(self, found: Found) -> "Row":
        """The line, filled in."""
        return Row(self, tuple(np.atleast_1d(self.of(found)).astype(float).tolist()))


@dataclass(frozen=True)
class Row:
    """A claim and its values."""

    claim: Claim
    values: tuple[float, ...]

    @property
    def here(self) -> float:
        """The mean."""
        return float(np.mean(self.values))

    @property
    def spread(self) -> float | None:
        """Standard deviation over seeds; None where there is one value alone."""
        return float(np.std(self.values)) if len(self.values) > 1 else None

    @property
    def holds(self) -> bool | None:
        """Whether the mean is within its band; None where nothing is asked of it."""
        return None if self.claim.band == ANY else self.claim.band.takes(self.here)

    def record(self) -> dict[str, Any]:
        """The line as JSON has it."""
        return {
            "quantity": self.claim.quantity,
            "unit": self.claim.unit,
            "published": self.claim.published,
            "prototype": self.claim.prototype,
            "here": self.here if np.isfinite(self.here) else None,
            "spread": self.spread if self.spread is None or np.isfinite(self.spread) else None,
            "asked": str(self.claim.band),
            "holds": self.holds,
            "values": [value if np.isfinite(value) else None for value in self.values],
        }


@dataclass(frozen=True)
class Study:
    """One published figure.

    plan: the tasks that it takes. read: the numbers in an answer. claims: its table. draw: its picture,
    laid out like the published one. text: how it is measured, and where the paper is ambiguous or
    was not reproduced, with the evidence. on_chip: whether it needs one. of_digits: whether it stores any.
    """

    name: str
    title: str
    text: str
    plan: Callable[[Asked], Sequence[Task]]
    read: Callable[[Answer], Iterable[Reading]]
    claims: Callable[[Asked], Sequence[Claim]]
    draw: Callable[[Found], Markup]
    on_chip: bool = False
    of_digits: bool = True
    source: str = ""

    @property
    def figure(self) -> str:
        """Where it was published."""
        return self.source or f"He et al. 2026, Fig. {self.name}"

    def concerned(self, asked: Asked) -> Asked:
        """What of it concerns this study: a chip if it needs one, digits if it stores any."""
        chip = asked.chip if self.on_chip else None
        return replace(asked, chip=chip, digits=asked.digits if self.of_digits else None)

    def found(self, answers: Iterable[Answer]) -> Found:
        """What was measured, from the answers to its tasks in any order."""
        readings: list[Reading] = []
        arrays: dict[int, dict[str, Any]] = {}
        for answer in answers:
            readings += self.read(answer)
            if isinstance(answer.value, dict):
                arrays[answer.task.seed] = answer.value.get("arrays", {})
        return Found(readings, arrays)


@dataclass(frozen=True)
class Result:
    """A study that was run."""

    study: Study
    asked: Asked
    found: Found
    rows: tuple[Row, ...]
    cpu_seconds: float
    """Of all answers, those known before included."""

    @classmethod
    def of(cls, study: Study, asked: Asked, answers: Sequence[Answer]) -> "Result":
        """From the answers to all its tasks, in the order of its plan."""
        found = study.found(answers)
        rows = tuple(claim.row(found) for claim in study.claims(asked))
        return cls(study, asked, found, rows, sum(answer.seconds for answer in answers))

    @property
    def holds(self) -> bool:
        """Whether every row does of which something is asked."""
        return all(row.holds is not False for row in self.rows)

    def record(self) -> dict[str, Any]:
        """The result as JSON has it."""
        return {
            "name": self.study.name,
            "title": self.study.title,
            "figure": self.study.figure,
            "scale": self.asked.scale,
            "seeds": self.found.seeds,
            "chip": self.asked.chip,
            "rows": [row.record() for row in self.rows],
            "verdict": "holds" if self.holds else "falls short",
            "cpu_seconds": round(self.cpu_seconds, 1),
        }
