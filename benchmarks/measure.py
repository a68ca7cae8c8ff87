"""What a benchmark measures and what is asked of it; CPU time of calls, side by side."""

import gc
import os
import platform
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from math import inf
from pathlib import Path
from statistics import fmean, median, pstdev
from time import process_time
from typing import Any


class Scale(StrEnum):
    """How much is measured: `quick` for every change, `full` for the record."""

    QUICK = "quick"
    FULL = "full"


@dataclass(frozen=True)
class Plan:
    """What one run was asked for."""

    scale: Scale
    seed: int | None = None
    """First of the fresh seeds to use instead of the fixed ones."""


@dataclass(frozen=True)
class Bound:
    """What a value must lie between, ends included; without ends nothing is asked of it."""

    low: float = -inf
    high: float = inf

    def __str__(self) -> str:
        if self == ANY:
            return "none"
        if self.low == -inf:
            return f"<= {self.high:g}"
        if self.high == inf:
            return f">= {self.low:g}"
        return f"{self.low:g} to {self.high:g}"

    def takes(self, value: float) -> bool:
        """Whether a value is within."""
        return self.low <= value <= self.high


ANY = Bound()


def at_most(high: float) -> Bound:
    """The bound of what should be small."""
    return Bound(high=high)


def at_least(low: float) -> Bound:
    """The bound of what should be large."""
    return Bound(low=low)


@dataclass(frozen=True)
class Measured:
    """One line of a benchmark: a value for each repetition or seed, each of which must be in bounds."""

    name: str
    unit: str
    bound: Bound
    values: tuple[float, ...] = ()
    reason: str | None = None
    """Why nothing was measured here, or why it is known to fail."""
    by_mean: bool = False
    """The bound is on the mean of the values, not on each of them."""

    @property
    def value(self) -> float | None:
        """The mean of the values, None where nothing was measured."""
        return fmean(self.values) if self.values else None

    @property
    def holds(self) -> bool | None:
        """Whether every value, or their mean, is in bounds; None where nothing was measured."""
        if self.by_mean and self.value is not None:
            return self.bound.takes(self.value)
        return all(self.bound.takes(value) for value in self.values) if self.values else None

    def record(self) -> dict[str, Any]:
        """The line as JSON has it."""
        record: dict[str, Any] = {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "bound": str(self.bound),
            "holds": self.holds,
        }
        if len(self.values) > 1:
            record["values"] = list(self.values)
        if self.reason is not None:
            record["reason"] = self.reason
        return record

    def row(self) -> str:
        """The line as the table has it."""
        verdict = {True: "holds", False: "FAILS", None: "not measured"}[self.holds]
        spread = f" ± {pstdev(self.values):.2g}" if len(self.values) > 1 else ""
        value = "-" if self.value is None else f"{self.value:.4g}{spread}"
        because = f" ({self.reason})" if self.reason else ""
        return f"{self.name:58} {value:>18} {self.unit:4} {self.bound!s:>12}  {verdict}{because}"


def exit_status(lines: Iterable[Measured]) -> int:
    """1 if a bound fails, else 3 if one was not measured, else 0."""
    verdicts = [line.holds for line in lines]
    return 1 if False in verdicts else 3 if None in verdicts else 0


def cpu_seconds(call: Callable[[], object], samples: int, calls: int = 1) -> float:
    """CPU time of one call: the median of `samples` groups of `calls`, after one to warm up."""
    return cpu_side_by_side({"": call}, samples, calls)[""]


def cpu_side_by_side(
    calls: Mapping[str, Callable[[], object]], samples: int, each: int = 1
) -> dict[str, float]:
    """Median CPU time of each call, taken in turns so that a slow moment of the machine hits all."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    gc.collect()
    for _ in range(samples):
        for name, call in calls.items():
            start = process_time()
            for _ in range(each):
                call()
            taken[name].append((process_time() - start) / each)
    return {name: median(times) for name, times in taken.items()}


def circumstances(packages: Sequence[str]) -> dict[str, str]:
    """On what the measuring was done: processor, system and versions."""
    found = {"processor": _processor(), "cores": str(os.cpu_count()), "system": platform.platform()}
    found["python"] = sys.version.split()[0]
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
