"""What is asked of a twin is met by a chip of the same kind, and missed by one that knows faults alone."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.programming.hidden import hidden_parameters
from benchmarks.programming.twins import SCHEDULES, Likeness, programmed
from sim_chip.chip import VirtualChip
from sim_chip.device import Kind
from sim_chip.faults import FaultPlan
from sim_chip.parameters import Spread
from sim_chip.presets import preset

SEED = 6
FEW = "paper, at most 40 pulses"


@pytest.fixture(scope="module")
def beside():
    """`beside(parameters)`: which bounds such a chip, with the hidden one's faults, meets."""
    hidden = hidden_parameters(SEED)
    truth = VirtualChip(hidden, SEED)
    kinds = np.stack([truth.planted(array)[0] for array in range(3)]).astype(np.uint8).reshape(3, 64, 64)
    healthy = kinds[0] == Kind.HEALTHY
    target = np.random.default_rng(SEED).uniform(0, 150e-6, (64, 64))
    own = programmed(truth, target, healthy, SCHEDULES[FEW])

    def run(parameters):
        other = VirtualChip(parameters, SEED + 1000, faults=FaultPlan(None, kinds))
        its = programmed(other, target, healthy, SCHEDULES[FEW])
        found = Likeness({FEW: (own, its)}, 1.0, 0.0, 1.0).figures
        return {name.split(": ")[1]: bound.takes(value) for name, (_, bound, value) in found.items()}

    return run


def test_a_chip_of_the_same_kind_meets_every_bound(beside):
    assert all(beside(hidden_parameters(SEED)).values())


def test_a_chip_that_knows_the_faults_alone_misses_yield_and_pulses(beside):
    met = beside(preset("good"))
    assert not met["yield verified, off by"]
    assert not met["yield rested, off by"]
    assert not met["pulses over those of the original"]


def test_a_chip_whose_gates_open_30_millivolts_later_is_told(beside):
    hidden = hidden_parameters(SEED)
    own = hidden.switching.threshold
    later = Spread(own.nominal + 0.03, own.sigma)
    met = beside(replace(hidden, switching=replace(hidden.switching, threshold=later)))
    assert not met["yield verified, off by"]
    assert not met["pulses over those of the original"]
