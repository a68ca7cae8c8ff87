"""Experiments on a chip as tasks of a study: one chip and one seed each."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import process_time
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from chipctl.chip import Chip, connect
from chipctl.memory.answers import Answer, Spread, Task
from chipctl.memory.sweeps import Point
from chipctl.studies.study import Asked, Reading

_DIGITS = 6
"""Significant digits of arrays that are kept for pictures."""


@dataclass
class Measured:
    """What an experiment gave: numbers by series and place, arrays with their units for the picture."""

    numbers: dict[tuple[str, float], float] = field(default_factory=dict)
    arrays: Mapping[str, tuple[ArrayLike, str]] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """As JSON holds it; `of_trial` reads it again."""
        numbers = [[series, at, float(value)] for (series, at), value in self.numbers.items()]
        arrays = {name: {"values": _short(held), "unit": unit} for name, (held, unit) in self.arrays.items()}
        return {"numbers": numbers, "arrays": arrays}


@dataclass(frozen=True)
class Trial:
    """One experiment on one chip; everything random but the chip follows from the seed.

    options: whatever `measure` wants to know, a value that prints as what it is. address: the chip's.
    digits: a folder of idx files, None for the bundled ones.
    """

    measure: Callable[[Chip, "Trial"], Measured]
    seed: int
    options: Any
    address: str
    digits: Path | None = None

    @property
    def key(self) -> str:
        """Equal for equal experiments."""
        name = f"{self.measure.__module__}.{self.measure.__qualname__}"
        return f"{name} {self.options!r} {self.seed} {self.address} {self.digits}"

    def answer(self) -> Answer:
        """Do it on the chip at its address, which is made safe in the end."""
        with connect(self.address) as chip:
            return self.on(chip)

    def on(self, chip: Chip) -> Answer:
        """Do it on a chip that somebody has opened."""
        start = process_time()
        measured = self.measure(chip, self)
        return Answer(self, measured.plain(), process_time() - start)


def trials(
    asked: Asked, measure: Callable[[Chip, Trial], Measured], options: Any, seeds: Sequence[int]
) -> list[Trial]:
    """One for each seed: on the chip that was asked for, or on a virtual one of that seed."""
    addresses = [asked.chip or f"sim://?preset=good&seed={seed}" for seed in seeds]
    return [Trial(measure, seed, options, address) for seed, address in zip(seeds, addresses, strict=True)]


_Task = TypeVar("_Task", bound=Task)


def with_digits(task: _Task, directory: Path) -> _Task:
    """The same of the digits in a folder of idx files; what is of random patterns alone stays as it is."""
    if isinstance(task, Trial):
        return replace(task, digits=directory)
    if isinstance(task, Point) and task.question.source == "digits":
        return replace(task, question=replace(task.question, digits=directory))
    return task


def of_trial(answer: Answer) -> Iterator[Reading]:
    """The numbers of an experiment."""
    for series, at, value in answer.value["numbers"]:
        yield Reading(series, at, answer.task.seed, value)


def on_one_chip(chip: Chip) -> Spread:
    """One experiment after the other on a chip that is open."""

    def spread(_answer: object, tasks: Sequence[Any]) -> Iterator[Answer]:
        return (task.on(chip) for task in tasks)

    return spread


def _short(values: ArrayLike) -> Any:
    """Nested lists, floats to a few digits: a file of text holds them."""
    array = np.asarray(values)
    if array.dtype.kind != "f":
        return array.tolist()
    flat = [float(f"{value:.{_DIGITS}g}") if np.isfinite(value) else None for value in array.ravel()]
    nested: Any = np.array(flat, object).reshape(array.shape).tolist()
    return nested
