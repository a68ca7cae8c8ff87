"""What tables say about series: values, ratios, growth, where a level is crossed."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from chipctl.memory.answers import Answer
from chipctl.memory.sweeps import Point, exponent_of
from chipctl.studies.study import Found, Reading, Values

Quantity = Callable[[Found], Values | float]


def of_point(answer: Answer) -> Iterator[Reading]:
    """The one number of a point of a sweep."""
    point: Point = answer.task
    yield Reading(point.series, point.at, point.question.seed, answer.value)


def keep(points: Iterable[Point], *series: str, at: Sequence[float] | None = None) -> list[Point]:
    """Those of some series, and of some places if they are given."""
    return [point for point in points if point.series in series and (at is None or point.at in at)]


def value(series: str, at: float = 0.0) -> Quantity:
    """Of a series at a place, one for each seed."""
    return lambda found: found(series, at)


def ratio(over: str, under: str, at: float, under_at: float | None = None) -> Quantity:
    """Of means over seeds."""
    return lambda found: float(
        found(over, at).mean() / found(under, at if under_at is None else under_at).mean()
    )


def lead(series: str, others: Sequence[str], places: Sequence[float]) -> Quantity:
    """Least difference between the mean of a series and the best of others, over some places."""

    def least(found: Found) -> float:
        best = {at: max(found(other, at).mean() for other in others) for at in places}
        return float(min(found(series, at).mean() - best[at] for at in places))

    return least


def growth(series: str, most: float = np.inf) -> Quantity:
    """Exponent with which means grow with places up to `most`: slope of their logarithms."""

    def exponent(found: Found) -> float:
        chosen = [at for at in found.places(series) if at <= most]
        return exponent_of(chosen, [found(series, at).mean() for at in chosen])

    return exponent


def crossing(series: str, level: float) -> Quantity:
    """Place at which the falling means of a series reach a level, between the points around it."""

    def place(found: Found) -> float:
        at, means = np.array(found.places(series)), found.means(series)
        below = np.flatnonzero(means < level)
        if not below.size:
            return float(at[-1])
        first = int(below[0])
        if first == 0:
            return float(at[0])
        share = (means[first - 1] - level) / (means[first - 1] - means[first])
        return float(at[first - 1] + share * (at[first] - at[first - 1]))

    return place
