"""Memories with a hidden layer in floating point: He et al., Fig. 4e to 4h."""

from collections.abc import Callable

import numpy as np
from markupsafe import Markup

from chipctl.memory import sweeps
from chipctl.memory.sweeps import Point, exponent_of
from chipctl.runs.drawing import BLUE, INK, ORANGE, canvas
from chipctl.studies.pictures import Curves
from chipctl.studies.quantities import growth, keep, lead, of_point, ratio, value
from chipctl.studies.study import ANY, Asked, Band, Claim, Found, Study

_NEURONS = 400
_EQ5, _EQ6, _FLIPS = "eq. (5)", "eq. (6)", "shown flips"
_SINGLE, _DESCENT = f"single layer, {_EQ5}", "eq. (5), plain descent"

_TRAINING = """
Eq. (6) is trained by RMSprop at 10⁻³, falling, for 3000 steps in batches of 256; the paper's 3·10⁻⁴ and 60
000 epochs are not needed (8000 steps at its rate and 2000 at ours give the same cosines, N = 64, by the
independent prototype). "Shown flips" is ours: each step sees the patterns damaged afresh as cues will be,
with 5 % flips. Hidden units and training answer with tanh, outputs at recall with their sign. Capacities
are the largest numbers of patterns whose mean cosine is above 0.99 with 5 % flips, searched to 3 %.
"""


def _plan_4e(asked: Asked) -> list[Point]:
    return sweeps.figure_4e(asked.seeds(2, 5))


def _claims_4e(asked: Asked) -> list[Claim]:
    counts = (20, 30, 40, 60)
    return [Claim(f"single layer, {count} patterns", value(_SINGLE, count)) for count in (20, 40)] + [
        *(
            Claim(f"24 hidden, eq. (6), {count} patterns", value(f"24 hidden, {_EQ6}", count))
            for count in (20, 40)
        ),
        Claim(
            "least lead of 24 hidden over the single layer, 20 to 60 patterns",
            lead(f"24 hidden, {_EQ6}", (_SINGLE,), counts),
            "outperforms, with 75 % of the synapses",
            None,
            Band(low=0),
        ),
        Claim(
            "the same over the single layer by plain descent",
            lead(f"24 hidden, {_EQ6}", (f"single layer, {_DESCENT}",), counts),
        ),
        Claim(
            "least lead of 32 hidden over 24, 20 to 60 patterns",
            lead(f"32 hidden, {_EQ6}", (f"24 hidden, {_EQ6}",), counts),
            "larger hidden layers are consistently better",
        ),
        Claim(
            "least lead of 24 hidden, shown flips, over eq. (6)",
            lead(f"24 hidden, {_FLIPS}", (f"24 hidden, {_EQ6}",), counts),
        ),
    ]


FIGURE_4E = Study(
    name="4e",
    title="Cosine with hidden layers beside one layer, N = 64, 10 % flips",
    text=_TRAINING,
    plan=_plan_4e,
    read=of_point,
    claims=_claims_4e,
    draw=Curves(
        "stored patterns",
        "cosine",
        {
            name: name
            for name in (
                _SINGLE,
                *(f"{hidden} hidden, {_EQ6}" for hidden in (8, 16, 24, 32)),
                *(f"{hidden} hidden, {_FLIPS}" for hidden in (16, 24, 32)),
            )
        },
        line=0.99,
    ).draw,
)


def _plan_4f(asked: Asked) -> list[Point]:
    points = sweeps.figure_4f(asked.seeds(1, 3), asked.choose((64, 100, 196), sweeps.SIDES))
    single = sweeps.figure_3i(asked.seeds(1, 3), asked.choose((64, 100, 196), sweeps.SIDES))
    return points + keep(single, *(f"{_EQ5}, {source}" for source in sweeps.SOURCES))


def _claims_4f(asked: Asked) -> list[Claim]:
    digits, random = f"{_EQ6}, digits", f"{_EQ6}, random"
    claims = [
        Claim("growth on digits", growth(digits), 1.49, "1.31 to 1.39", Band(1.25, 1.6), "power of N"),
        Claim("growth on random patterns", growth(random), 1.11, 1.09, Band(1.0, 1.2), "power of N"),
        Claim("growth of one layer on digits", growth(f"{_EQ5}, digits"), 1.06, 1.28, unit="power of N"),
        Claim(
            "growth on digits, shown flips",
            growth(f"{_FLIPS}, digits"),
            None,
            1.60,
            Band(low=1.5),
            "power of N",
        ),
        Claim(
            "N = 64, shown flips over eq. (6)",
            ratio(f"{_FLIPS}, digits", digits, 64),
            None,
            1.5,
            Band(low=1.5),
            "×",
        ),
    ]
    if asked.scale == "full":
        claims += [
            Claim("N = 400, eq. (6)", value(digits, 400), None, "470 to 552", unit="patterns"),
            Claim(
                "N = 400, shown flips",
                value(f"{_FLIPS}, digits", 400),
                None,
                1250,
                Band(low=1100),
                "patterns",
            ),
            Claim(
                "N = 400, shown flips, random patterns",
                value(f"{_FLIPS}, random", 400),
                None,
                450,
                Band(low=400),
                "patterns",
            ),
        ]
    return claims


FIGURE_4F = Study(
    name="4f",
    title="Capacity with N/2 hidden units against neurons, 5 % flips",
    text=_TRAINING
    + """

The published exponent of 1.49 on digits is between ours with eq. (6) and ours with flips shown; the
prototype found 1.31 with 700 full steps at N = 400 and 1.39 with 3000 in batches, so it depends on how long
the largest net is trained. The published 1.06 of one layer is not eq. (5)'s here (see 3i). The quick scale
ends at N = 196.
""",
    plan=_plan_4f,
    read=of_point,
    claims=_claims_4f,
    draw=Curves(
        "neurons",
        "capacity / patterns",
        {
            f"{name}, {source}": f"{label}, {source}"
            for source in sweeps.SOURCES
            for name, label in ((_EQ5, "one layer, eq. (5)"), (_EQ6, _EQ6), (_FLIPS, _FLIPS))
        },
        log=True,
        slopes={f"{_EQ6}, digits": 1.49, f"{_EQ6}, random": 1.11},
    ).draw,
)


def _plan_4g(asked: Asked) -> list[Point]:
    if asked.scale == "full":
        return sweeps.figure_4g(asked.seeds(1, 3))
    return keep(sweeps.figure_4g(asked.seeds(1, 3)), f"{_EQ6}, digits", f"{_EQ6}, random")


def _claims_4g(asked: Asked) -> list[Claim]:
    claims = [
        Claim("growth on digits", growth(f"{_EQ6}, digits"), 1.35, 1.40, Band(1.3, 1.5), "power of Nh"),
        Claim(
            "growth on random patterns", growth(f"{_EQ6}, random"), 1.05, 1.01, Band(0.95, 1.1), "power of Nh"
        ),
    ]
    if asked.scale == "full":
        for source, prototype in (("digits", 1.52), ("random", 1.18)):
            of = growth(f"{_FLIPS}, {source}")
            claims.append(Claim(f"growth on {source}, shown flips", of, None, prototype, unit="power of Nh"))
    return claims


FIGURE_4G = Study(
    name="4g",
    title="Capacity against hidden units, N = 400",
    text=_TRAINING
    + """

The quick scale has one seed.
""",
    plan=_plan_4g,
    read=of_point,
    claims=_claims_4g,
    draw=Curves(
        "hidden units",
        "capacity / patterns",
        {f"{name}, {source}": f"{name}, {source}" for source in sweeps.SOURCES for name in (_EQ6, _FLIPS)},
        log=True,
        slopes={f"{_EQ6}, digits": 1.35, f"{_EQ6}, random": 1.05},
    ).draw,
)


def _plan_4h(asked: Asked) -> list[Point]:
    single = sweeps.figure_3i(asked.seeds(1, 3), (_NEURONS,))
    return _plan_4g(asked) + keep(single, f"{_EQ5}, digits", f"{_DESCENT}, digits")


def _needed(found: Found, patterns: float, training: str = _EQ6) -> float:
    """Hidden units for so many digits, on the line through the logarithms of what was measured."""
    series = f"{training}, digits"
    places, means = found.places(series), found.means(series)
    slope = exponent_of(places, means.tolist())
    middle = np.log(means).mean() - slope * np.log(places).mean()
    return float(np.exp((np.log(patterns) - middle) / slope))


def _spared(patterns: float | str, training: str = _EQ6) -> Callable[[Found], float]:
    """Share of a single layer's 2 N² devices that 4 N Nh spare.

    patterns: how many are stored, or the rule by which the single layer stores as many as it can.
    """

    def spared(found: Found) -> float:
        wanted = patterns
        if isinstance(wanted, str):
            wanted = float(found(f"{wanted}, digits", _NEURONS).mean())
        return 1 - 2 * _needed(found, wanted, training) / _NEURONS

    return spared


def _claims_4h(asked: Asked) -> list[Claim]:
    claims = [
        Claim("devices spared for 15 patterns", _spared(15), 0.95, 0.94, Band(low=0.90)),
        Claim("devices spared for the single layer's capacity", _spared(_EQ5), 0.437, 0.50, Band(low=0.4375)),
        Claim("the same, the single layer by plain descent", _spared(_DESCENT)),
    ]
    if asked.scale == "full":
        claims.append(
            Claim("the single layer's capacity, shown flips", _spared(_EQ5, _FLIPS), None, 0.57, ANY)
        )
    return claims


def _draw_4h(found: Found) -> Markup:
    with canvas(6.4, 3.6, "Devices needed against stored patterns, one layer and two") as drawing:
        axes = drawing.figure.subplots()
        for training, colour in ((_EQ6, BLUE), (_FLIPS, ORANGE)):
            series = f"{training}, digits"
            if series in found.series:
                devices = 4 * _NEURONS * np.array(found.places(series))
                axes.plot(found.means(series), devices, "o-", color=colour, label=f"two layers, {training}")
        most = found(f"{_EQ5}, digits", _NEURONS).mean()
        axes.plot([1, most], [2 * _NEURONS**2] * 2, color=INK, label="one layer, to its capacity")
        axes.set(xscale="log", yscale="log", xlabel="stored patterns", ylabel="memristors")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return drawing.markup


FIGURE_4H = Study(
    name="4h",
    title="Memristors needed against stored patterns, N = 400",
    text=_TRAINING
    + """

Two layers of 400-Nh-400 need 4 N Nh memristors, one layer 2 N² whatever it stores. The hidden units for a
number of patterns are read off the line through the capacities of Fig. 4g. The paper does not say at how
many patterns 95 % are spared; that is Nh = 10, and 15 patterns need about 12. A single layer trained by
plain descent stores 340 patterns, by RMSprop 285 (see 3i). For as many eq. (6) spares 42 % only: less than
the published 43.7 %, which is asked for with RMSprop in both.
""",
    plan=_plan_4h,
    read=of_point,
    claims=_claims_4h,
    draw=_draw_4h,
)

STUDIES = (FIGURE_4E, FIGURE_4F, FIGURE_4G, FIGURE_4H)
