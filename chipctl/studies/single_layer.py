"""Memories of one layer in floating point: He et al., Fig. 3g to 3j."""

from collections.abc import Sequence

from chipctl.memory import sweeps
from chipctl.memory.sweeps import Point
from chipctl.studies.pictures import Curves
from chipctl.studies.quantities import crossing, growth, keep, lead, of_point, ratio, value
from chipctl.studies.study import Asked, Band, Claim, Study

_EQ5, _PINV, _ITSELF = "eq. (5)", "pseudo-inverse", "eq. (5), self-connection"
_EQUILIBRIUM = "equilibrium propagation"
_OTHERS = ("Hebb", "Storkey", _PINV)

_TRAINING = """
Eq. (5) is trained by RMSprop at a rate of 10⁻³ that falls to 2 % of it over 1000 steps. The paper names
3·10⁻² and up to 10 000 steps, its published script Adam at 10⁻³. The paper's rate does not work: the first
step of RMSprop is ten rates a weight, tanh saturates on the wrong side and the gradient dies (N = 400, 120
patterns: cosine 0.57 after 600 steps, against 0.9996 at 10⁻³). Longer training lowers the capacity. The
bias is trained and used; recall is synchronous until stable, 50 iterations at most. Digits are the half of
the bundled ones on which no rate was chosen; cosines are means over patterns and draws of damage.
"""

_SELF = """
The paper does not say whether a neuron may drive itself; Hopfield's may not, and here it does not. The
series with self-connection is beside it.
"""

_CAPACITY = """
A capacity is the largest number of patterns whose mean cosine, over patterns and draws of 5 % flips, is
above 0.99, searched to 3 %; the paper does not say whether the mean is meant or every pattern. With every
pattern above 0.99 eq. (5) has no advantage (140 patterns against 133 at N = 400, by the independent
prototype): the published factors are of means.
"""


def _plan_3g(asked: Asked) -> list[Point]:
    return sweeps.figure_3g(asked.seeds(3, 10))


def _claims_3g(asked: Asked) -> list[Claim]:
    return [
        Claim("eq. (5), 24 patterns", value(_EQ5, 24), None, 0.968, Band(low=0.95)),
        Claim("pseudo-inverse, 24 patterns", value(_PINV, 24), None, 0.869, Band(high=0.90)),
        Claim("Storkey, 24 patterns", value("Storkey", 24), None, 0.828),
        Claim("Hebb, 24 patterns", value("Hebb", 24), None, 0.597),
        Claim(
            "equilibrium propagation, 24 patterns",
            value("equilibrium propagation", 24),
            None,
            0.640,
        ),
        Claim("eq. (5), self-connection, 24 patterns", value(_ITSELF, 24)),
        Claim(
            "least lead of eq. (5) over Hebb, Storkey, pseudo-inverse, 20 to 40 patterns",
            lead(_EQ5, _OTHERS, (20, 24, 32, 40)),
            "significantly outperforms",
            None,
            Band(low=0),
        ),
        Claim(
            "the same over equilibrium propagation",
            lead(_EQ5, (_EQUILIBRIUM,), (20, 24, 32, 40)),
            "significantly outperforms",
        ),
    ]


FIGURE_3G = Study(
    name="3g",
    title="Cosine against stored patterns, N = 64, 10 % flips",
    text=_TRAINING
    + _SELF
    + """

Equilibrium propagation depends on its rates: the prototype's forgot all at 16 patterns, as the paper's
does, ours, with rates chosen on other digits, stays close to eq. (5) and passes it between 32 and 40
patterns. That eq. (5) outperforms it is not reproduced; nothing is asked of it.
""",
    plan=_plan_3g,
    read=of_point,
    claims=_claims_3g,
    draw=Curves(
        "stored patterns",
        "cosine",
        {name: name for name in (*_OTHERS, _EQUILIBRIUM, _EQ5, _ITSELF)},
        line=0.99,
    ).draw,
)


def _plan_3h(asked: Asked) -> list[Point]:
    return sweeps.figure_3h(asked.seeds(6, 10))


def _claims_3h(asked: Asked) -> list[Claim]:
    return [
        Claim("eq. (5), 50 % stuck", value(_EQ5, 0.5), None, 0.974, Band(low=0.95)),
        Claim("pseudo-inverse, 50 % stuck", value(_PINV, 0.5), None, 0.812, Band(high=0.86)),
        Claim("eq. (5) falls to 0.95 at", crossing(_EQ5, 0.95), 0.50, 0.57, Band(low=0.5), "stuck"),
        Claim("pseudo-inverse falls to 0.95 at", crossing(_PINV, 0.95), 0.35, 0.34, unit="stuck"),
    ]


FIGURE_3H = Study(
    name="3h",
    title="Cosine of ten patterns against the share of stuck weights, N = 64, 10 % flips",
    text=_TRAINING
    + """

As in the paper's published script a fault strikes a whole weight, which is then zero. On a chip it strikes
a device, and half of the devices leave a quarter of the pairs whole. The paper's tolerances of 50 % and 35
% name no level; at a cosine of 0.95 both come out.
""",
    plan=_plan_3h,
    read=of_point,
    claims=_claims_3h,
    draw=Curves("stuck weights / %", "cosine", {_PINV: _PINV, _EQ5: _EQ5}, factor=100, line=0.95).draw,
)


def _plan_3i(asked: Asked) -> list[Point]:
    small = sweeps.figure_3i(asked.seeds(10, 10), (64,))
    if asked.scale == "full":
        return small + sweeps.figure_3i(asked.seeds(3, 3), (100, 196, 400))
    main = [f"{name}, {source}" for name in (_EQ5, _PINV) for source in sweeps.SOURCES]
    large = keep(sweeps.figure_3i(asked.seeds(2, 3), (400,)), f"{_EQ5}, digits", f"{_PINV}, digits")
    return keep(small + sweeps.figure_3i(asked.seeds(3, 3), (100, 196)), *main) + large


def _claims_3i(asked: Asked) -> list[Claim]:
    eq5, pinv = f"{_EQ5}, digits", f"{_PINV}, digits"
    claims = [
        Claim("N = 400, eq. (5)", value(eq5, 400), None, 287, Band(low=260), "patterns"),
        Claim("N = 400, pseudo-inverse", value(pinv, 400), None, 147, Band(140, 155), "patterns"),
        Claim("N = 400, ratio", ratio(eq5, pinv, 400), 2, 1.96, Band(low=1.75), "×"),
        Claim("N = 64, eq. (5)", value(eq5, 64), None, 27.8, Band(low=25), "patterns"),
        Claim("N = 64, ratio", ratio(eq5, pinv, 64), 2, 1.40, Band(low=1.25), "×"),
        Claim("growth of eq. (5)", growth(eq5), 1.06, 1.28, unit="power of N"),
        Claim("growth of the pseudo-inverse", growth(pinv), None, 1.08, unit="power of N"),
        Claim(
            "N = 196, random patterns, ratio",
            ratio(f"{_EQ5}, random", f"{_PINV}, random", 196),
            None,
            0.92,
            unit="×",
        ),
    ]
    if asked.scale == "full":
        for name in ("optimal stability", "blurred"):
            claims.append(
                Claim(
                    f"N = 400, {name} over eq. (5)", ratio(f"{name}, digits", eq5, 400), None, None, unit="×"
                )
            )
        itself = value(f"{_ITSELF}, digits", 400)
        claims.append(Claim("N = 400, eq. (5) with self-connection", itself, unit="patterns"))
    return claims


FIGURE_3I = Study(
    name="3i",
    title="Capacity of one layer against neurons, 5 % flips",
    text=_TRAINING
    + _CAPACITY
    + _SELF
    + """

Twice the state of the art is true on digits at N = 400 only: the ratio is 1.2 to 1.4 at N = 64 and on
random patterns the pseudo-inverse stores 7 to 10 % more. At N = 64 ten seeds give less than was asked for;
other rates, 700 to 2000 steps and other starts give 24 to 26 patterns too. With self-connection eq. (5)
stores 1.8 times the pseudo-inverse there, which may be how the paper did it, but at N = 400 it then stores
far more than the paper says. The published growth of N^1.06 is the pseudo-inverse's on digits; eq. (5)
grows faster, which is how its lead comes about. Optimal stability and the blurred rule (margins against
flips, averaged in closed form) are ours.
""",
    plan=_plan_3i,
    read=of_point,
    claims=_claims_3i,
    draw=Curves(
        "neurons",
        "capacity / patterns",
        {
            f"{name}, {source}": f"{name}, {source}"
            for source in sweeps.SOURCES
            for name in (*("Hebb", "Storkey", _PINV, _EQ5), "optimal stability", "blurred")
        },
        log=True,
        slopes={f"{_EQ5}, digits": 1.06},
    ).draw,
)


def _plan_3j(asked: Asked) -> list[Point]:
    ratios: Sequence[float] = asked.choose((0.0, 0.5), sweeps.STUCK)
    return sweeps.figure_3j(asked.seeds(2, 3), ratios)


def _claims_3j(asked: Asked) -> list[Claim]:
    return [
        Claim("half stuck, eq. (5)", value(_EQ5, 0.5), 115, 118, Band(low=105), "patterns"),
        Claim("half stuck, pseudo-inverse", value(_PINV, 0.5), 35, 33, Band(30, 38), "patterns"),
        Claim("half stuck, ratio", ratio(_EQ5, _PINV, 0.5), 3.3, 3.6, Band(low=3), "×"),
        Claim("none stuck, eq. (5)", value(_EQ5, 0), None, 287, unit="patterns"),
        Claim("none stuck, pseudo-inverse", value(_PINV, 0), None, 147, unit="patterns"),
    ]


FIGURE_3J = Study(
    name="3j",
    title="Capacity against the share of stuck weights, N = 400",
    text=_TRAINING
    + _CAPACITY
    + """

A fault strikes a whole weight, which is then exactly zero, as in the paper's published script. With half of
the devices struck, one by one, and each faulty pair at zero 54 patterns can be had at most, and a chip
cannot hold such zeros: two devices stuck at different values have none. What training within the ranges of
faulty pairs gives there is measured by `python -m benchmarks memory`.
""",
    plan=_plan_3j,
    read=of_point,
    claims=_claims_3j,
    draw=Curves(
        "stuck weights / %",
        "capacity / patterns",
        {_PINV: _PINV, _EQ5: _EQ5},
        factor=100,
        published=((0.5, 115), (0.5, 35)),
    ).draw,
)

STUDIES = (FIGURE_3G, FIGURE_3H, FIGURE_3I, FIGURE_3J)
