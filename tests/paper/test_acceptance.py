"""The virtual chip against published and bench data, on a few chips; `paper` takes all of them."""

import pytest

from benchmarks.acceptance import EXPERIMENTS, lines
from benchmarks.measure import Plan, Scale

every_experiment = pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda e: e.run.__name__)


def outside(experiment, scale):
    """Rows that leave their band without a known reason."""
    measured = lines(experiment, Plan(scale))
    return {line.name: line.values for line in measured if line.holds is False and not line.reason}


@every_experiment
def test_two_chips_lie_in_every_band(experiment):
    assert not outside(experiment, Scale.QUICK)


@pytest.mark.paper
@pytest.mark.timeout(3600)
@every_experiment
def test_all_chips_lie_in_every_band(experiment):
    assert not outside(experiment, Scale.FULL)
