"""Laws of pulses: parameters that a virtual chip hides come back within their uncertainties."""

import numpy as np
import pytest

from benchmarks.programming.hidden import hidden_parameters, opened
from benchmarks.programming.twins import hidden_truth
from calibration.bench import Bench
from calibration.device_fit import PulseTable, fit_reset, fit_set
from calibration.procedures import PROCEDURES
from calibration.pulse_law import Pulses, after_reset, after_set
from chipctl.results import CalibrationResult
from firmware_protocol.messages import RESET, SET
from sim_chip import device
from sim_chip.chip import VirtualChip
from sim_chip.parameters import SwitchingParameters

SEED = 3


@pytest.fixture(scope="module")
def found():
    """What gate curve and thresholds, measured quickly, say of a chip with hidden parameters, by name."""
    truth = VirtualChip(hidden_parameters(SEED), SEED)
    healthy = truth._die.state.kinds[0].reshape(64, 64) == 0
    with opened(truth) as chip:
        bench = Bench(chip, 0, healthy, np.random.default_rng(SEED), quick=True)
        for name in ("adcs", "zeros", "gate", "thresholds"):
            result = CalibrationResult.judged(name, PROCEDURES[name].measure(bench).values)
            chip.profile.keep(result, 0)
        results = [chip.profile.result(name, 0) for name in ("gate", "thresholds")]
    return {name: value for result in results for name, value in result.values.items()}


def test_hidden_parameters_of_pulses_come_back_within_their_uncertainties(found):
    truth = hidden_truth(SEED)
    scores = {
        name: (float(found[name].value) - truth[name]) / float(found[name].sigma)
        for name in truth
        if name in found
    }
    assert len(scores) == 19
    assert {name: score for name, score in scores.items() if abs(score) > 4} == {}
    assert np.sqrt(np.mean(np.square(list(scores.values())))) < 1.6


def test_uncertainties_are_small_enough_to_tell_chips_apart(found):
    assert float(found["threshold"].sigma) < 0.005
    assert float(found["gain"].sigma) < 0.03 * float(found["gain"].value)
    assert float(found["set_threshold"].sigma) < 0.02
    assert float(found["reset_reference"].sigma) < 0.02


def test_the_gate_curve_is_the_conductance_that_devices_reach(found):
    volts, median = found["gate_volts"].value, found["conductance"].value
    assert np.all(np.diff(median) > 0)
    assert np.all((found["lower"].value < median) & (median < found["upper"].value))
    truth = hidden_truth(SEED)
    own = truth["gain"] * np.maximum(volts - truth["threshold"], 0) ** 2
    read = own / (1 + own * float(found["series_ohms"].value))
    large = read > 20e-6
    assert median[large] == pytest.approx(read[large], rel=0.06)


@pytest.mark.parametrize("normal", [-1.5, 0.0, 2.0])
def test_host_and_virtual_chip_have_the_same_laws(normal):
    model, rng = SwitchingParameters(), np.random.default_rng(0)
    count = 500
    draw = {
        "threshold": rng.normal(0.785, 0.03, count),
        "set_threshold": rng.normal(1.05, 0.1, count),
        "off_gap": rng.normal(0.65, 0.1, count),
        "reset_reference": rng.normal(0.95, 0.07, count),
    }
    steepness, gain = rng.uniform(6, 13, count), rng.uniform(600, 900, count)
    traits = device.DeviceTraits(
        transconductance=gain,
        compliance_volts=np.full(count, 0.45),
        reset_steepness=steepness,
        noisiness=np.zeros(count),
        start_us=np.ones(count),
        **draw,
    )
    us = np.exp(rng.uniform(np.log(0.05), np.log(300), count))
    volts, gates = rng.uniform(0.6, 3.0, count), rng.uniform(0.7, 1.6, count)
    values = {name: np.asarray(value) for name, value in draw.items()} | {
        "ln_gain": np.log(gain / 0.9),
        "ln_steepness": np.log(steepness),
        **{
            name: np.asarray(getattr(model, name))
            for name in (
                "set_softness",
                "set_width_shift",
                "set_jitter",
                "reset_fraction",
                "reset_ohms",
                "reset_width_shift",
                "reset_jitter",
            )
        },
    }
    pulses = Pulses(volts, gates, np.full(count, -1.0), us, np.zeros(count))
    theirs = device.after_set(model, traits, us, device.Pulse(volts, gates, 100), np.full(count, normal))
    assert after_set(values, pulses, us, normal) == pytest.approx(theirs, rel=1e-6)
    open_gates = device.Pulse(volts, np.full(count, 5.0), 100)
    theirs = device.after_reset(model, traits, us, open_gates, np.full(count, normal))
    assert after_reset(values, pulses, us, normal) == pytest.approx(theirs, rel=1e-6)


def pulses_of(direction, count, gate_volts=5.0):
    each = np.full(count, 1.0)
    return PulseTable(
        np.arange(count), np.full(count, direction), each, each * gate_volts, each * 1e-6, *[each * 1e-5] * 4
    )


def test_too_few_pulses_and_gates_half_open_are_refused():
    with pytest.raises(ValueError, match="12 pulses are too few"):
        fit_set(pulses_of(SET, 12))
    with pytest.raises(ValueError, match="leave them out"):
        fit_reset(pulses_of(RESET, 40, gate_volts=1.5))
