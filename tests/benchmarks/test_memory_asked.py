"""A figure is held to one bound by the benchmark and by its study, and both are of the digits named."""

from dataclasses import replace

import pytest

from benchmarks import memory_capacities
from benchmarks.measure import Plan, Scale
from benchmarks.memory_asked import bound_of, digits
from chipctl.memory.answers import Answer

SAME = {
    "3g: 24 patterns, eq. (5)": ("3g", "eq. (5), 24 patterns"),
    "3g: 24 patterns, eq. (5), as printed": ("3g", "eq. (5), as printed, 24 patterns"),
    "3g: 24 patterns, pseudo-inverse": ("3g", "pseudo-inverse, 24 patterns"),
    "3h: 50 % stuck, eq. (5)": ("3h", "eq. (5), 50 % stuck"),
    "3h: 50 % stuck, eq. (5), as printed": ("3h", "eq. (5), as printed, 50 % stuck"),
    "3h: 50 % stuck, pseudo-inverse": ("3h", "pseudo-inverse, 50 % stuck"),
    "3i: N = 64, eq. (5), as printed": ("3i", "N = 64, eq. (5), as printed"),
    "3i: N = 64, eq. (5), as printed over pseudo-inverse": ("3i", "N = 64, as printed, ratio"),
    "3i: N = 400, eq. (5)": ("3i", "N = 400, eq. (5)"),
    "3i: N = 400, eq. (5) over pseudo-inverse": ("3i", "N = 400, ratio"),
    "3i: N = 400, pseudo-inverse": ("3i", "N = 400, pseudo-inverse"),
    "3j: N = 400, half of the weights stuck, eq. (5)": ("3j", "half stuck, eq. (5)"),
    "3j: N = 400, half of the weights stuck, pseudo-inverse": ("3j", "half stuck, pseudo-inverse"),
    "3j: N = 400, half of the weights stuck, ratio": ("3j", "half stuck, ratio"),
    "4f: N = 64, 32 hidden, shown flips over eq. (6)": ("4f", "N = 64, shown flips over eq. (6)"),
    "4f: N = 400, 200 hidden, shown flips": ("4f", "N = 400, shown flips"),
    "4f: N = 400, 200 hidden, shown flips, random patterns": ("4f", "N = 400, shown flips, random patterns"),
    "4f: exponent, shown flips": ("4f", "growth on digits, shown flips"),
    "4f: exponent, eq. (6)": ("4f", "growth on digits"),
    "4f: exponent, eq. (6), random patterns": ("4f", "growth on random patterns"),
    "4g: exponent, eq. (6)": ("4g", "growth on digits"),
    "4g: exponent, eq. (6), random patterns": ("4g", "growth on random patterns"),
    "4h: fewer devices for 15 patterns": ("4h", "devices spared for 15 patterns"),
    "4h: fewer devices for a single layer's capacity": (
        "4h",
        "devices spared for the single layer's capacity",
    ),
    "5f: N = 64, continuous, shown noise over eq. (6)": ("5f", "N = 64, shown noise over eq. (6)"),
    "5f: N = 400, continuous, shown noise over eq. (6)": ("5f", "N = 400, shown noise over eq. (6)"),
    "5f: exponent to N = 196, eq. (6)": ("5f", "growth on digits to N = 196"),
    "5f: exponent to N = 196, eq. (6), random patterns": ("5f", "growth on random patterns to N = 196"),
    "5g: exponent, eq. (6) as printed": ("5g", "growth on digits, as printed"),
}


def test_the_same_figure_has_one_bound():
    judged = {claim.name: claim.bound for claim in memory_capacities._full()}
    assert {name: judged[name] for name in SAME} == {name: bound_of(*where) for name, where in SAME.items()}


def test_a_figure_without_a_study_is_named():
    with pytest.raises(ValueError, match="study 6d has no quantity 'speed'; it has 2 patterns"):
        bound_of("6d", "speed")


def test_digits_are_those_that_were_named(monkeypatch, tmp_path):
    asked = []

    def kept(points, _known, _spread):
        asked.extend(points)
        return [Answer(point, 1.0, 0.0) for point in points]

    monkeypatch.setattr(memory_capacities, "measured", kept)
    assert digits() is None
    list(memory_capacities.measure(Plan(Scale.QUICK)))
    bundled, asked[:] = list(asked), []
    monkeypatch.setenv("MEMORY_DIGITS", str(tmp_path))
    assert digits() == tmp_path
    list(memory_capacities.measure(Plan(Scale.QUICK)))
    assert {point.question.digits for point in bundled} == {None}
    assert {point.question.digits for point in asked} == {tmp_path}
    assert [replace(p, question=replace(p.question, digits=None)) for p in asked] == bundled
