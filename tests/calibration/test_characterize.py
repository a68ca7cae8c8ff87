"""The published figures come out of the virtual chip, through the wire, and only usable devices change."""

import numpy as np
import pytest

from calibration.bench import level_targets, make_ready
from calibration.characterize import PROCEDURES, characterize, chosen
from calibration.comparison import Comparison
from chipctl.chip import connect
from chipctl.errors import ChipctlError
from chipctl.profile import FaultKind, FaultMap

GOOD = "sim://?preset=good&seed=11"


@pytest.fixture
def good():
    with connect(GOOD) as chip:
        yield chip


def quick(chip, array=0, seed=0):
    return make_ready(chip, array, np.random.default_rng(seed), quick=True)


def measured(chip, name):
    return PROCEDURES[name].measure(quick(chip))


def numbers(finding):
    return {comparison.name: comparison for comparison in finding.comparisons}


def assert_accepted(finding):
    missed = [(c.name, c.shown, c.accepted_shown) for c in finding.comparisons if c.holds is False]
    assert not missed


def test_dc_cycles_switch_at_the_gates_limit_and_hardly_vary(good):
    cycles = measured(good, "2d")
    assert_accepted(cycles)
    assert len(cycles.set_amps) == len(cycles.reset_amps) == 10
    assert 60e-6 < cycles.on_siemens.mean() < 180e-6
    assert cycles.off_siemens.mean() < 5e-6
    assert np.std(cycles.set_at_volts) < 0.15


def test_levels_are_straight_lines_of_the_conductance_that_reads_show(good):
    lines = measured(good, "2e")
    assert_accepted(lines)
    assert lines.slope == pytest.approx(lines.before, abs=4e-6)
    assert lines.volts[[0, -1]].tolist() == [-0.2, 0.2]


def test_levels_stay_for_a_day_while_devices_spread(good):
    retention = measured(good, "2f")
    assert_accepted(retention)
    assert retention.seconds == pytest.approx(10.0 ** np.arange(6), rel=0.35)
    assert np.abs(retention.medians - retention.medians[0]).max() < 1e-6
    lower, upper = retention.quartiles
    assert (upper - lower)[-1].mean() > (upper - lower)[0].mean()


@pytest.mark.parametrize("seed", [3, 4])
def test_programming_error_is_the_published_one(seed):
    with connect(f"sim://?preset=good&seed={seed}") as chip:
        error = measured(chip, "6a")
    assert_accepted(error)
    assert abs(error.errors.mean()) < 0.5e-6
    assert 3.4e-6 < error.errors.std() < 4.4e-6


@pytest.mark.parametrize("seed", [5, 8])
def test_the_presets_fluctuation_is_recovered_within_its_confidence(seed):
    # On these chips some columns' ADCs end short of full scale: their devices are no quiet ones.
    with connect(f"sim://?preset=good&seed={seed}") as chip:
        found = measured(chip, "fluctuation")
    assert (found.variance > 0).all()
    for name, put_in in (("slope", 0.782), ("offset", -3.25), ("spread", 1.0)):
        low, high = found.law.interval(name)
        assert low <= put_in <= high, name
        assert high - low < 0.35


def test_devices_that_the_fault_map_names_are_never_touched(good):
    faults = FaultMap.none(64, 64)
    faults.kinds[5:9, 7:30] = FaultKind.STUCK_LOW
    faults.conductance[5:9, 7:30] = 1e-6
    good.profile.set_fault_map(0, faults)
    before, others = good.board.planted(0)[1], good.board.planted(1)[1]
    for _ in characterize(quick(good), chosen(["2d", "2f", "6a"], everything=False)):
        pass
    after = good.board.planted(0)[1]
    assert (after[faults.stuck] == before[faults.stuck]).all()
    assert np.mean(after != before) > 0.9
    assert (good.board.planted(1)[1] == others).all()


def test_an_array_nobody_scanned_is_scanned_first(good):
    bench = quick(good)
    planted = good.board.planted(0)[0] != 0
    assert (~bench.usable == planted).mean() > 0.999


def test_levels_share_what_devices_there_are(good):
    bench = quick(good)
    target, devices = level_targets(bench, np.array([10e-6, 20e-6]), 5000)
    assert devices.shape == (2, np.count_nonzero(bench.usable) // 2)
    assert (target.ravel()[devices[1]] == 20e-6).all()
    assert np.count_nonzero(~np.isnan(target)) == devices.size == np.unique(devices).size


def test_too_few_devices_are_one_clear_line(good):
    good.profile.set_fault_map(0, FaultMap(np.ones((64, 64), np.uint8), np.zeros((64, 64))))
    with pytest.raises(ChipctlError, match="choose another array"):
        PROCEDURES["2f"].measure(quick(good))


def test_what_is_not_there_is_refused_before_anything_is_sent(good):
    with pytest.raises(ValueError, match="no array 3"):
        quick(good, array=3)
    with pytest.raises(ValueError, match="there are 2d, 2e, 2f, 6a, fluctuation"):
        chosen(["7q"], everything=False)
    with pytest.raises(ValueError, match="--all"):
        chosen([], everything=False)


def test_a_number_is_shown_in_the_papers_units_beside_the_papers_number():
    error = Comparison("mean error", 0.05e-6, "S", 0.108e-6, -0.5e-6, 0.5e-6)
    assert (error.shown, error.published_shown, error.holds) == ("0.05 µS", "0.108 µS", True)
    assert error.accepted_shown == "-0.5 to 0.5 µS"
    assert Comparison("", 2.0, "1", high=1.0).holds is False
    assert Comparison("", 2.0, "1").holds is None
