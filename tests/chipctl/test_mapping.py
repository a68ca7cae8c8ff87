"""Weights become pairs of devices, around the stuck ones, wherever the layers lie."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chipctl.converters import SPAN
from chipctl.fault_map import DeadLine, LineKind
from chipctl.mapping import (
    array_targets,
    on_tiles,
    pair_conductances,
    pair_ranges,
    place,
    weights_from,
)
from chipctl.planner import pair_costs, plan
from chipctl.profile import FaultKind, FaultMap


def healthy(arrays=3):
    return {array: FaultMap.none(64, 64) for array in range(arrays)}


def stick(faults, array, row, col, share):
    faults[array].kinds[row, col] = FaultKind.STUCK_BETWEEN
    faults[array].conductance[row, col] = share * SPAN


def test_sixty_four_neurons_fill_two_arrays():
    placement = place((64, 64), 3, 64, 64)

    assert [(t.array, len(t.rows), t.pairs, t.first_output) for t in placement.layers[0]] == [
        (0, 64, tuple(range(32)), 0),
        (1, 64, tuple(range(32)), 32),
    ]


def test_a_hidden_layer_lies_on_its_own_array_and_its_wide_readout_on_two_more():
    encoder, decoder = place((64, 16, 64), 3, 64, 64).layers

    assert [(t.array, len(t.rows), len(t.pairs)) for t in encoder] == [(0, 64, 16)]
    assert [(t.array, len(t.rows), len(t.pairs)) for t in decoder] == [(1, 16, 32), (2, 16, 32)]


def test_row_bands_of_one_array_are_used_when_arrays_run_out():
    (tiles,) = place((16, 96), 1, 64, 64).layers

    assert [(t.rows[0], t.outputs) for t in tiles] == [
        (0, slice(0, 32)),
        (16, slice(32, 64)),
        (32, slice(64, 96)),
    ]


def test_a_network_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="does not fit"):
        place((64, 128), 3, 64, 64)


def test_a_small_layer_lies_beside_dead_lines_and_stuck_devices_and_loses_nothing():
    faults = healthy(1)
    lines = (
        DeadLine(kind=LineKind.ROW, lines=(2,)),
        DeadLine(kind=LineKind.COL, lines=(0,)),
        DeadLine(kind=LineKind.AMPLIFIER, lines=(7,)),
    )
    faults[0] = replace(faults[0], lines=lines)
    for line in lines:
        faults[0].kinds[line.devices(64, 64)] = FaultKind.DEAD_LINE
    faults[0].conductance[faults[0].on_dead_line] = 0.0
    stick(faults, 0, row=5, col=9, share=0.4)

    found = plan((60, 28), faults)

    (tiles,) = found.placement.layers
    assert [tile.pairs[-1] < 3 or tile.pairs[0] > 3 for tile in tiles] == [True, True]
    assert all({2, 5}.isdisjoint(tile.rows) and {0, 3}.isdisjoint(tile.pairs) for tile in tiles)
    assert np.isinf(found.naive_cost)
    assert found.cost == pytest.approx(0, abs=1e-9)


def test_a_pair_costs_what_it_can_no_longer_hold_and_what_it_must():
    faults = healthy(1)
    stick(faults, 0, row=0, col=0, share=2.0)  # weights 1 … 2
    stick(faults, 0, row=1, col=1, share=0.5)  # -0.5 … 0.5
    stick(faults, 0, row=2, col=0, share=0.7)
    stick(faults, 0, row=2, col=1, share=0.2)  # the constant 0.5
    costs = pair_costs(faults[0])
    np.testing.assert_allclose(costs[:4, 0], [1 + 1, 0.5, 1 + 0.25, 0], atol=1e-9)


def test_what_does_not_fit_at_once_is_planned_in_loads_that_hold_every_weight_once():
    found = plan((64, 128), healthy(), spread=False).placement
    assert found.loads == 2
    assert sum(here.sum() for load in range(2) for here in on_tiles(found.in_load(load))) == 64 * 128
    assert all(here.all() for here in on_tiles(found))
    assert plan((16, 96), healthy(1)).placement.loads == 1


@given(st.lists(st.integers(1, 100), min_size=2, max_size=4), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_every_weight_lies_on_exactly_one_pair_and_is_found_again(sizes, arrays, seed):
    try:
        placement = place(sizes, arrays, 64, 64)
    except ValueError:
        return
    rng = np.random.default_rng(seed)
    weights = [rng.uniform(-1, 1, placement.shape(i)) for i in range(len(sizes) - 1)]

    planned = array_targets(placement, weights, healthy(arrays))
    found = weights_from(placement, {a: plan.target for a, plan in planned.items()})

    for wanted, held in zip(weights, found, strict=True):
        np.testing.assert_allclose(held, wanted, atol=1e-12)
    assert sum(plan.mask.sum() for plan in planned.values()) == 2 * sum(w.size for w in weights)


def test_a_healthy_pair_keeps_one_device_at_zero():
    (ranges,) = pair_ranges(place((2, 2), 1, 64, 64), healthy(1))

    plus, minus = pair_conductances(np.array([[0.5, -0.25], [0.0, 1.0]]), ranges)

    np.testing.assert_allclose(plus / SPAN, [[0.5, 0.0], [0.0, 1.0]])
    np.testing.assert_allclose(minus / SPAN, [[0.0, 0.25], [0.0, 0.0]])


def test_the_healthy_device_of_a_pair_makes_up_for_its_stuck_neighbour():
    placement, faults = place((1, 2), 1, 64, 64), healthy(1)
    stick(faults, 0, row=0, col=0, share=0.8)
    stick(faults, 0, row=0, col=3, share=0.3)

    plus, minus = pair_conductances(np.array([[0.5], [0.4]]), pair_ranges(placement, faults)[0])

    np.testing.assert_allclose(plus.ravel() / SPAN, [0.8, 0.7])
    np.testing.assert_allclose(minus.ravel() / SPAN, [0.3, 0.3])


def test_stuck_devices_are_never_programmed_and_count_as_what_they_are():
    placement, faults = place((4, 4), 1, 64, 64), healthy(1)
    stick(faults, 0, row=1, col=2, share=0.6)

    plan = array_targets(placement, [np.zeros((4, 4))], faults)[0]

    assert not plan.mask[1, 2]
    assert plan.used[1, 2]
    assert plan.target[1, 2] == pytest.approx(0.6 * SPAN)
