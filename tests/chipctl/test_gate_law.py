"""Gate voltages for conductances, as calibrated or nominal."""

import numpy as np
import pytest

from chipctl.gate_law import GateLaw
from chipctl.profile import ChipProfile
from chipctl.results import CalibrationResult, Quantity

LAW = {
    "threshold": (0.7, "V"),
    "gain": (900e-6, "S/V²"),
    "series_ohms": (500.0, "Ω"),
    "threshold_spread": (0.02, "V"),
    "gain_spread": (0.1, "1"),
    "set_jitter": (0.05, "1"),
}


def calibrated(**more):
    values = {name: Quantity.of(value, 0.0, unit) for name, (value, unit) in LAW.items()}
    return CalibrationResult.judged("gate", values, **more)


def test_nominal_gate_voltages_are_those_of_success_on_the_bench():
    volts = GateLaw().gate_volts([10e-6, 40e-6, 100e-6, 150e-6])
    assert volts == pytest.approx([0.90, 1.00, 1.15, 1.20], abs=0.05)


def test_gate_voltage_and_conductance_are_each_others_inverse():
    law, wanted = GateLaw(), np.linspace(0, 150e-6, 31)
    assert law.conductance(law.gate_volts(wanted)) == pytest.approx(wanted, abs=1e-12)


def test_an_arrays_own_calibration_goes_before_the_chips_and_the_nominal_law():
    profile = ChipProfile.nominal("c", 2, 64, 64)
    assert GateLaw.of(profile, 1) == GateLaw()
    profile.keep(calibrated(), array=1)
    assert GateLaw.of(profile, 1) == GateLaw(0.7, 900e-6, 500.0, 0.02, 0.1, 0.05)
    assert GateLaw.of(profile, 0) == GateLaw()
    profile.keep(calibrated())
    assert GateLaw.of(profile, 0).threshold_volts == 0.7


def test_a_calibration_that_failed_is_not_used():
    profile = ChipProfile.nominal("c", 1, 64, 64)
    profile.keep(calibrated(reasons=["too few devices"]), array=0)
    assert GateLaw.of(profile, 0) == GateLaw()
