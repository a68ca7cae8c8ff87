"""Codes and SI meet in one place, without passing a limit by rounding."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chipctl.converters import Dac, Readout

DAC = Dac(16, -10.0, 10.0)
READOUT = Readout(10, 0.5, 4.0, (1e3, 5e3, 30e3, 200e3, 1e6), 16.0, 0.2)


@pytest.mark.parametrize(
    ("volts", "code"), [(-10, 0), (0, 32767), (0.2, 33422), (0.5, 34405), (2.5, 40959), (5, 49151)]
)
def test_dac_codes_are_those_of_the_boards_dac(volts, code):
    assert DAC.to_code(volts) == code


@given(st.floats(-10, 10))
def test_a_dac_code_never_exceeds_the_voltage_asked_for(volts):
    assert volts - DAC.lsb_volts <= DAC.to_volts(DAC.to_code(volts)) <= volts + 1e-9


@pytest.mark.parametrize("volts", [10.1, -11, np.nan, np.inf])
def test_a_voltage_the_dac_cannot_give_is_refused(volts):
    with pytest.raises(ValueError, match="must lie within"):
        DAC.to_codes(volts)


@pytest.mark.parametrize(
    ("gain", "microsiemens"), [(0, 17.11), (1, 3.421), (2, 0.570), (3, 0.0855), (4, 0.0171)]
)
def test_one_code_is_the_published_conductance(gain, microsiemens):
    assert READOUT.lsb_siemens(gain) * 1e6 == pytest.approx(microsiemens, rel=2e-3)


def test_the_most_sensitive_gain_that_takes_a_current_is_chosen():
    assert [READOUT.highest_gain(amps) for amps in (1e-6, 10e-6, 100e-6, 500e-6, 3e-3, 1)] == [
        4,
        3,
        2,
        1,
        0,
        0,
    ]


def test_a_gain_the_chip_does_not_have_is_refused():
    with pytest.raises(ValueError, match="gain index"):
        READOUT.lsb_amps(5)
