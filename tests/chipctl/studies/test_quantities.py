"""What tables say about series, on series of which it is known."""

import math

import pytest

from chipctl.studies.quantities import crossing, growth, lead, ratio, value
from chipctl.studies.study import ANY, Band, Claim, Found, Reading


def found(**series):
    """Series of {place: values of seeds}."""
    return Found(
        Reading(name, at, seed, number)
        for name, places in series.items()
        for at, numbers in places.items()
        for seed, number in enumerate(numbers)
    )


def test_a_power_law_grows_with_its_exponent():
    cubes = found(a={at: (0.5 * at**3,) for at in (2, 5, 11, 40)})
    assert growth("a")(cubes) == pytest.approx(3)


def test_growth_can_end_at_a_place():
    bent = found(a={1: (1,), 2: (4,), 4: (16,), 8: (16,)})
    assert growth("a", most=4)(bent) == pytest.approx(2)


def test_a_level_is_crossed_between_two_places():
    falling = found(a={0.0: (1.0,), 0.2: (0.98,), 0.4: (0.90,), 0.6: (0.5,)})
    assert crossing("a", 0.95)(falling) == pytest.approx(0.2 + 0.2 * 3 / 8)


def test_a_level_never_reached_is_past_the_last_place():
    assert crossing("a", 0.5)(found(a={0: (1,), 1: (0.9,)})) == 1


def test_the_least_lead_is_over_the_best_of_the_others():
    series = found(a={1: (5, 7), 2: (9, 9)}, b={1: (1, 1), 2: (8, 8)}, c={1: (4, 4), 2: (0, 0)})
    assert lead("a", ("b", "c"), (1, 2))(series) == 1


def test_a_ratio_is_of_means_and_a_value_is_one_a_seed():
    series = found(a={1: (3, 5)}, b={1: (1, 3)})
    assert ratio("a", "b", 1)(series) == 2
    assert value("a", 1)(series).tolist() == [3, 5]


def test_a_claim_is_held_to_its_band_by_the_mean():
    series = found(a={0: (1.0, 3.0)})
    row = Claim("a", value("a"), band=Band(1.5, 2.5)).row(series)
    assert (row.here, row.spread, row.holds) == (2.0, 1.0, True)
    assert Claim("a", value("a"), band=Band(low=2.5)).row(series).holds is False
    assert Claim("a", value("a"), band=ANY).row(series).holds is None


def test_what_is_no_number_never_holds():
    row = Claim("a", value("a"), band=Band(low=0)).row(found(a={0: (math.nan,)}))
    assert row.holds is False
    assert row.record()["here"] is None


def test_nothing_measured_is_named():
    with pytest.raises(KeyError, match="nothing was measured of 'b' at 3"):
        found(a={0: (1,)})("b", 3)
