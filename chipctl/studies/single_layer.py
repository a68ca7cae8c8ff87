"""Memories of one layer in floating point: He et al., Fig. 3g to 3j."""

from collections.abc import Sequence

from chipctl.memory import sweeps
from chipctl.memory.sweeps import Point
from chipctl.studies.pictures import Curves
from chipctl.studies.quantities import Quantity, crossing, growth, keep, lead, of_point, ratio, value
from chipctl.studies.study import Asked, Band, Claim, Study

_EQ5, _PINV, _ITSELF = "eq. (5)", "pseudo-inverse", "eq. (5), self-connection"
_PRINTED, _DESCENT = "eq. (5), as printed", "eq. (5), plain descent"
_EQUILIBRIUM = "equilibrium propagation"
_STORKEY, _PINV_ITSELF = ("Storkey", "Storkey, self-connection"), "pseudo-inverse, self-connection"
_OTHERS = ("Hebb", *_STORKEY, _PINV)

_TRAINING = """
For eq. (5) the paper gives a rate of 3·10⁻², at most 10 000 steps and a stop at a loss of 10⁻⁸, and speaks of
gradient descent; RMSprop is named with eq. (6) alone, and the published script has Adam at 10⁻³. Three
readings are measured. "As printed" is plain descent with just these numbers, on the loss as written, a sum
over neurons; nobody chose anything in it. It is not at its end after 10 000 steps at N = 400 (cosine 0.987
with 120 patterns already) and is measured up to N = 196. "Plain descent" ends there too: 2000 steps at a rate
that falls from 4 to 2 % of it, on the mean over neurons, found on the other half of the digits. "Eq. (5)"
alone is RMSprop at 10⁻³, falling to 2 %, 1000 steps, as in the prototype. RMSprop at the printed rate moves
every weight by 0.3 in its first step, which saturates tanh on the wrong side: N = 64, 28 patterns, 10 000
steps, cosine 0.956 against 0.983 at 10⁻³; N = 400, 120 patterns, 0.57 against 0.9996 (prototype, after 600
steps). RMSprop stores less than plain descent: it moves all weights of a neuron alike, and its rows end with
a smaller margin for their length, which is what random flips are up against. The bias is trained and used;
recall is synchronous until stable, 50 iterations at most. Digits are the half of the bundled ones on which no
rate was chosen; cosines are means over patterns and draws of damage.
"""

_SELF = """
The paper does not say whether a neuron may drive itself; Hopfield's may not, and here it does not, with
any rule. Series with self-connection are beside it.
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
    places = (20, 24, 32, 40)
    outperforms = "significantly outperforms"
    return [
        Claim("eq. (5), 24 patterns", value(_EQ5, 24), None, 0.968, Band(low=0.95)),
        Claim("eq. (5), as printed, 24 patterns", value(_PRINTED, 24), None, None, Band(low=0.95)),
        Claim("eq. (5), plain descent, 24 patterns", value(_DESCENT, 24)),
        Claim("pseudo-inverse, 24 patterns", value(_PINV, 24), None, 0.869, Band(high=0.90)),
        Claim("pseudo-inverse, self-connection, 24 patterns", value(_PINV_ITSELF, 24)),
        Claim("Storkey, 24 patterns", value("Storkey", 24), None, 0.828),
        Claim("Storkey, self-connection, 24 patterns", value("Storkey, self-connection", 24)),
        Claim("Hebb, 24 patterns", value("Hebb", 24), None, 0.597),
        Claim("equilibrium propagation, 24 patterns", value(_EQUILIBRIUM, 24), None, 0.640),
        Claim("eq. (5), self-connection, 24 patterns", value(_ITSELF, 24)),
        Claim(
            "least lead of eq. (5) over Hebb, Storkey (both), pseudo-inverse, 20 to 40 patterns",
            lead(_EQ5, _OTHERS, places),
            outperforms,
            None,
            Band(low=0),
        ),
        Claim("the same over equilibrium propagation", lead(_EQ5, (_EQUILIBRIUM,), places), outperforms),
        Claim("the same over the self-connected pseudo-inverse", lead(_EQ5, (_PINV_ITSELF,), places)),
        Claim(
            "least lead of eq. (5), as printed, over all of these",
            lead(_PRINTED, (*_OTHERS, _EQUILIBRIUM, _PINV_ITSELF), places),
            outperforms,
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
patterns. That eq. (5) outperforms it is reproduced as printed and not with RMSprop; nothing is asked of it.

Storkey's rule is the incremental one of first order. With its own self-connection kept it stays far higher,
and the lead is taken over whichever is better; the prototype's 0.828 is matched by the second-order rule
only. The band on the pseudo-inverse is on the reading without self-connection, as of eq. (5). With it
many patterns turn the pseudo-inverse into the identity, which keeps every cue as it is, a cosine of 0.80.
""",
    plan=_plan_3g,
    read=of_point,
    claims=_claims_3g,
    draw=Curves(
        "stored patterns",
        "cosine",
        {name: name for name in (*_OTHERS, _EQUILIBRIUM, _EQ5, _ITSELF, _PRINTED)},
        line=0.99,
    ).draw,
)


def _plan_3h(asked: Asked) -> list[Point]:
    return sweeps.figure_3h(asked.seeds(6, 10))


def _claims_3h(asked: Asked) -> list[Claim]:
    return [
        Claim("eq. (5), 50 % stuck", value(_EQ5, 0.5), None, 0.974, Band(low=0.95)),
        Claim("eq. (5), as printed, 50 % stuck", value(_PRINTED, 0.5), None, None, Band(low=0.95)),
        Claim("eq. (5), plain descent, 50 % stuck", value(_DESCENT, 0.5)),
        Claim("pseudo-inverse, 50 % stuck", value(_PINV, 0.5), None, 0.812, Band(high=0.86)),
        Claim("eq. (5) falls to 0.95 at", crossing(_EQ5, 0.95), 0.50, 0.57, Band(low=0.5), "stuck"),
        Claim("eq. (5), as printed, falls to 0.95 at", crossing(_PRINTED, 0.95), 0.50, unit="stuck"),
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
    draw=Curves(
        "stuck weights / %",
        "cosine",
        {name: name for name in (_PINV, _EQ5, _PRINTED)},
        factor=100,
        line=0.95,
    ).draw,
)


def _plan_3i(asked: Asked) -> list[Point]:
    small = sweeps.figure_3i(asked.seeds(10, 10), (64,))
    if asked.scale == "full":
        return small + sweeps.figure_3i(asked.seeds(3, 3), (100, 196, 400))
    digits, random = ([f"{name}, {source}" for name in (_EQ5, _PINV)] for source in sweeps.SOURCES)
    beside = (f"{name}, digits" for name in (_PRINTED, _DESCENT, _ITSELF))
    return [
        *keep(small, *digits, *random, *beside, f"{_PRINTED}, random"),
        *keep(sweeps.figure_3i(asked.seeds(3, 3), (100, 196)), *digits, *random),
        *keep(sweeps.figure_3i(asked.seeds(2, 3), (400,)), *digits),
    ]


def _claims_3i(asked: Asked) -> list[Claim]:
    eq5, pinv = f"{_EQ5}, digits", f"{_PINV}, digits"
    printed, descent, itself = (f"{name}, digits" for name in (_PRINTED, _DESCENT, _ITSELF))
    claims = [
        Claim("N = 400, eq. (5)", value(eq5, 400), None, 287, Band(low=260), "patterns"),
        Claim("N = 400, pseudo-inverse", value(pinv, 400), None, 147, Band(140, 155), "patterns"),
        Claim("N = 400, ratio", ratio(eq5, pinv, 400), 2, 1.96, Band(low=1.75), "×"),
        Claim("N = 64, eq. (5), as printed", value(printed, 64), None, None, Band(low=25), "patterns"),
        Claim("N = 64, as printed, ratio", ratio(printed, pinv, 64), 2, None, Band(low=1.25), "×"),
        Claim("N = 64, eq. (5), plain descent", value(descent, 64), unit="patterns"),
        Claim("N = 64, eq. (5)", value(eq5, 64), None, 27.8, unit="patterns"),
        Claim("N = 64, ratio", ratio(eq5, pinv, 64), 2, 1.40, unit="×"),
        Claim("N = 64, eq. (5) with self-connection", value(itself, 64), unit="patterns"),
        Claim("N = 64, random patterns, as printed, ratio", _over(_PRINTED, 64), 2, unit="×"),
        Claim("N = 196, random patterns, ratio", _over(_EQ5, 196), 2, 0.92, unit="×"),
        Claim("growth of eq. (5)", growth(eq5), 1.06, 1.28, unit="power of N"),
        Claim("growth of the pseudo-inverse", growth(pinv), None, 1.08, unit="power of N"),
    ]
    return claims if asked.scale == "quick" else claims + _more_3i()


def _over(rule: str, neurons: int) -> Quantity:
    return ratio(f"{rule}, random", f"{_PINV}, random", neurons)


def _more_3i() -> list[Claim]:
    """What the full scale has besides."""
    eq5, pinv, descent = (f"{name}, digits" for name in (_EQ5, _PINV, _DESCENT))
    return [
        Claim("N = 400, eq. (5), plain descent", value(descent, 400), unit="patterns"),
        Claim("N = 400, plain descent, ratio", ratio(descent, pinv, 400), 2, unit="×"),
        Claim("growth of eq. (5), plain descent", growth(descent), 1.06, unit="power of N"),
        Claim("N = 196, as printed, ratio", ratio(f"{_PRINTED}, digits", pinv, 196), 2, unit="×"),
        Claim("N = 400, random patterns, plain descent, ratio", _over(_DESCENT, 400), 2, unit="×"),
        *(
            Claim(f"N = 400, {name} over eq. (5)", ratio(f"{name}, digits", eq5, 400), unit="×")
            for name in ("optimal stability", "blurred")
        ),
        Claim("N = 400, blurred over plain descent", ratio("blurred, digits", descent, 400), unit="×"),
        Claim("N = 400, eq. (5) with self-connection", value(f"{_ITSELF}, digits", 400), unit="patterns"),
    ]


FIGURE_3I = Study(
    name="3i",
    title="Capacity of one layer against neurons, 5 % flips",
    text=_TRAINING
    + _CAPACITY
    + _SELF
    + """

The 25 patterns and 1.25 times the pseudo-inverse that are asked for at N = 64 are held by eq. (5) as printed,
plain descent with the paper's numbers and nothing of ours. By RMSprop, which the paper names with eq. (6), it
falls short of both, with 24.4 patterns and 1.21 times: told, not judged. Other rates, 700 to 2000 steps and
other starts give 24 to 26 on the other half of the digits. It is the dividing of slopes by their size that
costs the margin: 10⁻³ added to the divisor, and three times the rate, give 28.

Twice the state of the art comes with the number of neurons, on digits: 1.4, 1.6 and 1.9 times as printed at N
= 64, 100 and 196, 1.2, 1.4, 1.5 and 1.9 times by RMSprop up to N = 400, and 2.3 times there by plain descent.
On random patterns eq. (5) stores an eighth more than the pseudo-inverse as printed and a twelfth less by
RMSprop, at any N. With self-connection RMSprop stores 1.8 times the pseudo-inverse at N = 64, which may be
how the paper did it, but at N = 400 it then stores far more than the paper says; plain descent loses by it
(23 patterns against 38, other half). The published growth of N^1.06 is the pseudo-inverse's on digits; eq.
(5) grows faster, which is how its lead comes about. Optimal stability and the blurred rule (margins against
flips, averaged in closed form) are ours. A search ends within 3 % below the capacity; that is in no spread
over seeds. 7 % of the 8×8 patterns here are also among those on which rates were chosen.
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
            for name in ("Hebb", "Storkey", _PINV, _EQ5, _PRINTED, _DESCENT, "optimal stability", "blurred")
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
        Claim("half stuck, eq. (5), plain descent", value(_DESCENT, 0.5), 115, unit="patterns"),
        Claim("half stuck, plain descent, ratio", ratio(_DESCENT, _PINV, 0.5), 3.3, unit="×"),
        Claim("none stuck, eq. (5)", value(_EQ5, 0), None, 287, unit="patterns"),
        Claim("none stuck, eq. (5), plain descent", value(_DESCENT, 0), unit="patterns"),
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
