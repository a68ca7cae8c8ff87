"""The published figures that need no chip, and those that go beyond them, as lists of points to measure.

A figure is a list of `Point`, tasks for `chipctl.memory.answers.measure`; `rows` gathers their answers over
seeds.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from time import process_time
from typing import Any

import numpy as np

from chipctl.converters import SPAN
from chipctl.memory.answers import Answer
from chipctl.memory.capacity import Faults, Law, Question, Source, Use, capacity, similarities
from chipctl.memory.learning import (
    Aware,
    Classical,
    EquilibriumPropagation,
    Flips,
    Gaussian,
    GradientDescent,
    OptimalStability,
    Paper,
    Rule,
)

HEBB, STORKEY, PINV = Classical("hebbian"), Classical("storkey"), Classical("pseudo_inverse")
EQUILIBRIUM = EquilibriumPropagation()
EQ5 = Paper(steps=1000)
"""Eq. (5) for one layer, by RMSprop."""
EQ5_DESCENT = Paper(steps=2000, rate=4.0, optimiser=GradientDescent())
"""Eq. (5) by plain descent, which ends at a wider margin; `Paper.as_published` is the printed form."""
EQ6 = Paper(steps=3000, rate=1e-3, batch=256)
"""Eq. (6) for more layers."""
EQ6_CONTINUOUS = Paper(steps=2500, rate=3e-3, batch=256)
STABLE = OptimalStability(softness=30)
BOX = Aware(steps=1000, rate=2e-2, gain=4, blur=0.05)
"""One layer within its boxes."""
SHARP_BOX = replace(BOX, blur=0.0)
"""The boxes alone, without a margin."""
FLIPPED = Aware(epochs=1500, rate=2e-2, gain=8, noise=Flips(0.05), batch=256)
"""More layers, shown cues as they will come: each pattern as often, however many there are."""
FLIPPED_BOX = replace(FLIPPED, gain=4)
"""The same within boxes, less steep yet where devices are stuck on (`Aware.unsaturated`)."""
BLURRED = Aware(steps=1000, rate=1e-2, gain=8, blur=0.05)
"""One layer with a margin against flips, averaged in closed form."""
SHAKEN = Aware(steps=2500, rate=5e-3, gain=8, noise=Gaussian(0.5), batch=256)
"""Continuous patterns, shown noise."""

SIDES = (64, 100, 196, 400)
LAWS: tuple[Law, ...] = ("uniform", "rails", "chip")
SOURCES: tuple[Source, ...] = ("digits", "random")
STUCK = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)


@dataclass(frozen=True)
class Point:
    """One number of a figure: a capacity, or the mean cosine of `patterns` patterns where it tells how many.

    series and at: where it stands in the figure. guess: where to begin the search for a capacity.
    """

    figure: str
    series: str
    at: float
    question: Question
    patterns: int | None = None
    guess: int = 16

    def answer(self) -> Answer:
        """Train, recall, and search if it must: one process, everything from the question's seed."""
        start = process_time()
        if self.patterns is None:
            value = float(capacity(self.question, self.guess))
        else:
            value = float(similarities(self.question, self.patterns).mean())
        return Answer(self, value, process_time() - start)

    @property
    def key(self) -> str:
        """Equal for equal questions, in any process; where the search began does not matter."""
        return f"{'capacity' if self.patterns is None else self.patterns} {self.question!r}"


@dataclass(frozen=True)
class Row:
    """A series at one place: its values, one for each seed."""

    figure: str
    series: str
    at: float
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over seeds."""
        return float(np.mean(self.values))

    @property
    def spread(self) -> float:
        """Standard deviation over seeds."""
        return float(np.std(self.values))

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {"series": self.series, "at": self.at, "mean": self.mean, "values": list(self.values)}


def rows(answers: Iterable[Answer]) -> list[Row]:
    """One for each series and place of each figure, in order."""
    found: dict[tuple[str, str, float], list[tuple[int, float]]] = defaultdict(list)
    for answer in answers:
        point: Point = answer.task
        found[point.figure, point.series, point.at].append((point.question.seed, answer.value))
    return [Row(*place, tuple(value for _, value in sorted(found[place]))) for place in sorted(found)]


def exponent(series: Sequence[Row]) -> float:
    """Slope of log mean over log place, least squares: capacity ∝ place^exponent."""
    return exponent_of([row.at for row in series], [row.mean for row in series])


def exponent_of(places: Sequence[float], values: Sequence[float]) -> float:
    """Slope of log value over log place, least squares."""
    return float(np.polyfit(np.log(places), np.log(values), 1)[0])


def _each_seed(points: Iterable[Point], seeds: Sequence[int]) -> list[Point]:
    return [replace(p, question=replace(p.question, seed=seed)) for p in points for seed in seeds]


def figure_3g(
    seeds: Sequence[int] = range(10), counts: Sequence[int] = (5, 10, 16, 20, 24, 32, 40, 48, 64)
) -> list[Point]:
    """Cosine against the number of patterns, N = 64, 10 % flips, all single-layer rules."""
    rules: dict[str, Rule] = {
        "Hebb": HEBB,
        "Storkey": STORKEY,
        "equilibrium propagation": EQUILIBRIUM,
        "pseudo-inverse": PINV,
        "eq. (5)": EQ5,
        **_descents(64),
    }
    questions = {name: Question(rule, (64, 64), noise=Flips(0.1)) for name, rule in rules.items()}
    for name in ("Storkey", "pseudo-inverse", "eq. (5)"):
        questions[f"{name}, self-connection"] = replace(questions[name], self_connection=True)
    points = [
        Point("3g", name, count, question, count) for name, question in questions.items() for count in counts
    ]
    return _each_seed(points, seeds)


def _descents(side: int) -> dict[str, Rule]:
    """Eq. (5) for N = `side` by plain descent."""
    return {"eq. (5), as printed": Paper.as_published((side, side)), "eq. (5), plain descent": EQ5_DESCENT}


def figure_3h(
    seeds: Sequence[int] = range(10),
    ratios: Sequence[float] = (0, 0.1, 0.2, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8),
) -> list[Point]:
    """Cosine of ten patterns against the share of stuck weights, N = 64, 10 % flips."""
    rules: dict[str, Rule] = {"pseudo-inverse": PINV, "eq. (5)": EQ5, **_descents(64)}
    points = [
        Point("3h", name, ratio, Question(rule, (64, 64), noise=Flips(0.1), faults=Faults(ratio)), 10)
        for name, rule in rules.items()
        for ratio in ratios
    ]
    return _each_seed(points, seeds)


def figure_3i(seeds: Sequence[int] = range(5), sides: Sequence[int] = SIDES) -> list[Point]:
    """Capacity of single layers against neurons, digits and random patterns, and the better rules beside."""
    rules: dict[str, tuple[Rule, float]] = {
        "Hebb": (HEBB, 0.03),
        "Storkey": (STORKEY, 0.05),
        "pseudo-inverse": (PINV, 0.36),
        "eq. (5)": (EQ5, 0.6),
        "optimal stability": (STABLE, 0.7),
        "blurred": (BLURRED, 0.7),
    }
    points = []
    for side in sides:
        descents = {name: (rule, 0.5) for name, rule in _descents(side).items()}
        if side > MOST_PRINTED:
            del descents["eq. (5), as printed"]
        for name, (rule, share) in (rules | descents).items():
            for source in SOURCES:
                question = Question(rule, (side, side), source)
                points.append(Point("3i", f"{name}, {source}", side, question, guess=int(share * side)))
        for name, rule in (("eq. (5)", EQ5), ("blurred", BLURRED)):
            itself = Question(rule, (side, side), self_connection=True)
            points.append(Point("3i", f"{name}, self-connection, digits", side, itself, guess=side))
    return _each_seed(points, seeds)


MOST_PRINTED = 196
"""Neurons up to which the printed 10 000 steps take less than two minutes of CPU a capacity."""


def figure_3j(
    seeds: Sequence[int] = range(3), ratios: Sequence[float] = STUCK, side: int = 400
) -> list[Point]:
    """Capacity against the share of stuck weights, N = 400."""
    points = []
    for ratio in ratios:
        for name, share in (("pseudo-inverse", 0.2), ("eq. (5)", 0.6)):
            rule: Rule = EQ5 if name == "eq. (5)" else PINV
            question = Question(rule, (side, side), faults=Faults(ratio))
            guess = max(2, int(share * side * (1 - ratio) ** 1.2))
            points.append(Point("3j", name, ratio, question, guess=guess))
        if ratio in (0, 0.5):
            question, guess = replace(question, rule=EQ5_DESCENT), int(1.2 * guess)
            points.append(Point("3j", "eq. (5), plain descent", ratio, question, guess=guess))
    return _each_seed(points, seeds)


def figure_4e(seeds: Sequence[int] = range(5), counts: Sequence[int] = (10, 20, 30, 40, 60)) -> list[Point]:
    """Cosine against the number of patterns, N = 64, 10 % flips: hidden layers beside the single layer."""
    nets: list[tuple[str, Rule, tuple[int, ...]]] = [("single layer, eq. (5)", EQ5, (64, 64))]
    nets += [("single layer, eq. (5), plain descent", EQ5_DESCENT, (64, 64))]
    nets += [(f"{hidden} hidden, eq. (6)", EQ6, (64, hidden, 64)) for hidden in (8, 16, 24, 32)]
    nets += [(f"{hidden} hidden, shown flips", FLIPPED, (64, hidden, 64)) for hidden in (16, 24, 32)]
    points = [
        Point("4e", name, count, Question(rule, sizes, noise=Flips(0.1)), count)
        for name, rule, sizes in nets
        for count in counts
    ]
    return _each_seed(points, seeds)


def figure_4f(seeds: Sequence[int] = range(3), sides: Sequence[int] = SIDES) -> list[Point]:
    """Capacity with N/2 hidden units against neurons, digits and random patterns, both trainings."""
    points = []
    for side in sides:
        for name, rule, digits, random in (
            ("eq. (6)", EQ6, 550 * (side / 400) ** 1.35, 250 * side / 400),
            ("shown flips", FLIPPED, 1300 * (side / 400) ** 1.6, 450 * side / 400),
        ):
            for source, guess in zip(SOURCES, (digits, random), strict=True):
                question = Question(rule, (side, side // 2, side), source)
                points.append(Point("4f", f"{name}, {source}", side, question, guess=int(guess)))
    return _each_seed(points, seeds)


def figure_4g(
    seeds: Sequence[int] = range(3), hidden: Sequence[int] = (12, 25, 50, 100), side: int = 400
) -> list[Point]:
    """Capacity against hidden units, N = 400; figure 4h reads the same points as devices needed."""
    points = []
    for units in hidden:
        for name, rule, factor in (("eq. (6)", EQ6, 1.0), ("shown flips", FLIPPED, 1.3)):
            guesses = (283 * (units / 100) ** 1.4, 126 * units / 100)
            for source, guess in zip(SOURCES, guesses, strict=True):
                question = Question(rule, (side, units, side), source)
                points.append(Point("4g", f"{name}, {source}", units, question, guess=int(factor * guess)))
    return _each_seed(points, seeds)


def figure_5f(seeds: Sequence[int] = range(3), sides: Sequence[int] = SIDES) -> list[Point]:
    """Capacity for continuous patterns with N/2 hidden units against neurons, Gaussian noise of 0.6."""
    points = []
    for side in sides:
        for name, rule, factor in (("eq. (6)", EQ6_CONTINUOUS, 1.0), ("shown noise", SHAKEN, 3.0)):
            for source in SOURCES:
                question = Question(rule, (side, side // 2, side), source, Gaussian(0.6))
                guess = max(2, int(factor * 60 * (side / 400) ** 1.4))
                points.append(Point("5f", f"{name}, {source}", side, question, guess=guess))
    return _each_seed(points, seeds)


def figure_5g(
    seeds: Sequence[int] = range(3), hidden: Sequence[int] = (50, 100, 200), side: int = 400
) -> list[Point]:
    """Capacity for continuous patterns against hidden units, N = 400; digits also as printed."""
    points = []
    for units in hidden:
        sizes = (side, units, side)
        printed = Question(Paper.as_published(sizes), sizes, noise=Gaussian(0.6))
        points.append(
            Point("5g", "eq. (6), as printed, digits", units, printed, guess=int(100 * (units / 200) ** 0.58))
        )
        for name, rule, factor in (("eq. (6)", EQ6_CONTINUOUS, 1.0), ("shown noise", SHAKEN, 3.0)):
            for source in SOURCES:
                question = Question(rule, sizes, source, Gaussian(0.6))
                guess = max(2, int(factor * 60 * (units / 200) ** 0.6))
                points.append(Point("5g", f"{name}, {source}", units, question, guess=guess))
    return _each_seed(points, seeds)


def figure_6b(
    seeds: Sequence[int] = range(10),
    siemens: Sequence[float] = (0, 2e-6, 3.894e-6, 6e-6, 8e-6, 10e-6, 15e-6, 20e-6),
) -> list[Point]:
    """Cosine of ten patterns against conductance variation: binary in one and two layers, and continuous."""
    points = []
    for sigma in siemens:
        for name, rule, sizes, noise in (
            ("single layer", EQ5, (64, 64), Flips(0.1)),
            ("64-16-64", EQ6, (64, 16, 64), Flips(0.1)),
            ("64-32-64, continuous", EQ6_CONTINUOUS, (64, 32, 64), Gaussian(0.5)),
            ("single layer, aware", replace(BOX, weight_sigma=AWARE_SIGMA), (64, 64), Flips(0.1)),
            ("64-16-64, aware", replace(FLIPPED, weight_sigma=AWARE_SIGMA), (64, 16, 64), Flips(0.1)),
            (
                "64-32-64, continuous, aware",
                replace(SHAKEN, weight_sigma=AWARE_SIGMA),
                (64, 32, 64),
                Gaussian(0.5),
            ),
        ):
            question = Question(rule, sizes, noise=noise, variation=sigma)
            points.append(Point("6b", name, sigma, question, 10))
    return _each_seed(points, seeds)


AWARE_SIGMA = float(np.sqrt(2)) * 3.894e-6 / SPAN
"""What training expects of a pair, units of the span: the published programming error of both devices."""


def figure_faults(
    seeds: Sequence[int] = range(3), ratios: Sequence[float] = (0.5, 0.25, 0.1), side: int = 400
) -> list[Point]:
    """Capacity with stuck devices, by what training does about them, one layer and two of as many devices."""
    points = []
    uses: tuple[tuple[str, Rule, Use, float], ...] = (
        ("box", BOX, "box", 1.0),
        ("box, self-connection", BOX, "box", 1.3),
        ("box, no blur", SHARP_BOX, "box", 0.9),
        ("known", BOX, "known", 0.5),
        ("eq. (5), ideal mask", EQ5, "masked", 0.6),
        ("blurred, ideal mask", BOX, "masked", 0.8),
        ("eq. (5), mask as held", EQ5, "box", 0.1),
        ("pseudo-inverse, ideal mask", PINV, "masked", 0.2),
        ("hidden layer, box", FLIPPED_BOX, "box", 3.0),
    )
    for ratio in ratios:
        for law in LAWS:
            for name, rule, use, share in uses:
                sizes = (side, side // 2, side) if name.startswith("hidden") else (side, side)
                itself = name.endswith("self-connection")
                if isinstance(rule, Aware) and len(sizes) > 2:
                    rule = rule.unsaturated(Faults(ratio, law).boxes(sizes, np.random.default_rng(0)))
                question = Question(rule, sizes, faults=Faults(ratio, law, use), self_connection=itself)
                guess = max(2, int(share * side * 0.5 * (1 - ratio)))
                points.append(Point("faults", f"{law}, {name}", ratio, question, guess=guess))
    return _each_seed(points, seeds)


FIGURES: dict[str, Callable[..., list[Point]]] = {
    "3g": figure_3g,
    "3h": figure_3h,
    "3i": figure_3i,
    "3j": figure_3j,
    "4e": figure_4e,
    "4f": figure_4f,
    "4g": figure_4g,
    "5f": figure_5f,
    "5g": figure_5g,
    "6b": figure_6b,
    "faults": figure_faults,
}
"""Functions of seeds, and of what else a figure can be had smaller or larger in."""
