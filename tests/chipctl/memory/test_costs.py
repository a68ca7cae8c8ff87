"""What a recall costs by the chip's own book, against what chance and the columns read demand."""

import numpy as np
import pytest

from chipctl.chip import connect
from chipctl.memory.costs import RECALLS, cost_tables
from chipctl.memory.digits import load_digits, reporting_part

ORDERS, FLIPS, NEURONS = 6, 0.1, 64


@pytest.fixture(scope="module")
def tables():
    with connect("sim://?preset=good&seed=1") as chip:
        return cost_tables(chip, reporting_part(load_digits()), seed=1, patterns=(2,), orders=ORDERS)


def test_one_by_one_takes_until_the_last_wrong_pixel_is_drawn(tables):
    """With replacement the last of d among N comes after N (1 + 1/2 + ... + 1/d) draws."""
    wrong = np.random.default_rng(0).binomial(NEURONS, FLIPS, 100_000)
    harmonic = np.concatenate([[0], np.cumsum(1 / np.arange(1, NEURONS + 1))])
    expected = NEURONS * harmonic[wrong].mean()
    assert expected == pytest.approx(156, abs=1)
    single = tables[0].asynchronous
    assert single.updates.shape == (ORDERS * RECALLS,)
    # One order of 20 recalls has a mean known to 27 updates: four times the error of the mean
    assert single.mean == pytest.approx(expected, abs=4 * 27 / ORDERS**0.5)
    assert single.cosine > 0.99


def test_one_layer_one_by_one_is_what_all_is_compared_with(tables):
    one, two = tables
    assert (one.hidden, two.hidden) == ((), (16,))
    assert one.reference is two.reference is one.asynchronous
    assert two.latency_saved == 1 - two.synchronous.mean / one.asynchronous.mean
    assert two.energy_ratio() == pytest.approx(one.asynchronous.joules / two.synchronous.joules)


def test_the_whole_ratio_lies_between_those_of_its_causes(tables):
    for table in tables:
        causes = [table.energy_ratio((cause,)) for cause in ("row drivers", "array", "TIA", "ADC")]
        assert min(causes) < table.energy_ratio() < max(causes)


def test_a_converter_costs_by_the_columns_read(tables):
    """An update of one neuron converts 2 of the 128 columns, every bit of the input the same."""
    one = tables[0]
    share = one.asynchronous.each.joules["ADC"] / one.synchronous.each.joules["ADC"]
    assert share == pytest.approx(1 / NEURONS, rel=0.05)
