"""The driver in SI, through the wire, against Ohm's law."""

import numpy as np
import pytest

from chipctl.board import Region
from chipctl.chip import HostLimits, PulseShape
from chipctl.errors import DeviceError, ProtocolError, SaturationError
from chipctl.faults import scan
from chipctl.products import Measure
from chipctl.profile import ChipProfile
from chipctl.programming import program
from firmware_protocol.messages import RESET, SET

MICROSIEMENS = 1e-6


def half_a_code(chip, gain):
    return 0.51 * chip.readout.lsb_amps(gain)


def test_a_device_reads_as_its_conductance_within_half_a_code(make_chip):
    conductance = np.random.default_rng(1).uniform(0, 150e-6, (3, 64, 64))
    chip = make_chip(conductance=conductance)

    found = chip.read(2, gain=2)

    # Half a code by rounding; references rounded down to DAC codes put the zero 0.11 codes low
    np.testing.assert_allclose(found, conductance[2], rtol=1e-3, atol=0.7 * chip.readout.lsb_siemens(2))


def test_automatic_gain_resolves_nanosiemens(make_chip):
    chip = make_chip(conductance=0.5e-6)
    np.testing.assert_allclose(chip.read(0, Region(0, 2, 5, 3)), 0.5e-6, rtol=0, atol=10e-9)


def test_a_product_is_volts_times_conductance(make_chip):
    rng = np.random.default_rng(2)
    chip = make_chip(conductance=rng.uniform(0, 150e-6, (3, 64, 64)))
    states = rng.choice([-1, 0, 1], (7, 64))

    amps = chip.multiply(1, 0.2 * states)

    exact = 0.2 * states @ chip.truth.conductance(1)
    np.testing.assert_allclose(amps, exact, rtol=1e-3, atol=2 * half_a_code(chip, 1))


def test_many_bit_inputs_are_rounded_to_their_grid(make_chip):
    chip = make_chip(conductance=50e-6)
    volts = np.zeros(64)
    volts[3] = 0.2 * 100.4 / 127

    amps = chip.multiply(0, volts, input_bits=7)

    assert amps == pytest.approx(np.full(64, 0.2 * 100 / 127 * 50e-6), abs=half_a_code(chip, 1))


def test_row_dacs_give_the_same_currents_in_one_product(make_chip):
    volts = np.random.default_rng(5).integers(-255, 256, 64) * 0.2 / 255
    with_dacs, with_bits = make_chip("row_dac", seed=1), make_chip("good", seed=1)
    for chip in (with_dacs, with_bits):
        chip.measure_zero(0)

    amps = [chip.multiply(0, volts, input_bits=8, reads=16) for chip in (with_dacs, with_bits)]

    assert with_dacs.board.book().products < with_bits.board.book().products
    np.testing.assert_allclose(*amps, atol=1e-6)


def test_a_batch_is_more_vectors_than_a_buffer_holds(make_chip):
    chip = make_chip(conductance=10e-6)
    assert chip.multiply(0, np.full((3000, 64), 0.2)).shape == (3000, 64)


def test_a_saturated_column_is_an_error_not_a_number(make_chip):
    chip = make_chip(conductance=150e-6)
    with pytest.raises(SaturationError, match=r"columns \[0, 1"):
        chip.multiply(0, np.full(64, 0.2), gain=2)


def test_a_device_beyond_the_range_is_an_error_not_a_number(make_chip):
    with pytest.raises(SaturationError, match="row 0, column 0"):
        make_chip(conductance=150e-6).read(0, gain=4)


def test_the_measured_zero_takes_out_the_columns_offsets(make_chip):
    chip = make_chip("good", conductance=0.0)
    before = np.median(chip.read(0, gain=2, reads=16), axis=0)
    chip.measure_zero(0)
    after = np.median(chip.read(0, gain=2, reads=16), axis=0)

    # Offsets of -1.6 ± 1.5 codes; what stays is noise, 0.76 codes a read: 4.5 sigma of 64 reads
    assert np.mean(before) < -0.5e-6
    assert np.abs(after).max() < 4.5 * 0.095 * chip.readout.lsb_siemens(2)


def test_pulses_move_the_chosen_devices_and_no_others(make_chip):
    chip = make_chip("good", seed=3)
    before = chip.truth.conductance_units(0)

    given = chip.pulse(0, PulseShape(SET, 2.5, 1.1, 1e-6), Region(2, 3, 4, 5), count=2)

    moved = chip.truth.conductance_units(0) != before
    assert given == 2 * 15
    assert moved[2:5, 4:9].mean() > 0.9
    assert moved.sum() == moved[2:5, 4:9].sum()


def test_each_device_gets_its_own_pulse_and_nan_skips(make_chip):
    chip = make_chip("ideal", conductance=1e-6)
    volts, gates = np.full((64, 64), np.nan), np.full((64, 64), 1.0)
    volts[1, 1], volts[2, 2], gates[2, 2] = 2.5, 2.5, 1.2

    assert chip.pulse_each(0, SET, volts, gates, 1e-6) == 2

    low, high, none = (chip.truth.conductance(0)[i, i] for i in (1, 2, 3))
    assert none < low < high


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        (PulseShape(SET, 3.6, 1.0, 1e-6), "SET voltage 3.600 V is above"),
        (PulseShape(RESET, 1.0, 5.6, 1e-6), "gate voltage 5.600 V is above"),
        (PulseShape(SET, -1.0, 1.0, 1e-6), "positive numbers"),
        (PulseShape(SET, 1.0, 1.0, 1.5e-8), "pulse width"),
        (PulseShape(SET, float("nan"), 1.0, 1e-6), "must lie within"),
    ],
)
def test_a_pulse_outside_the_limits_never_leaves_the_host(make_chip, shape, words):
    chip = make_chip()
    sent = chip.board.link_statistics().requests

    with pytest.raises(ValueError, match=words):
        chip.pulse(0, shape)

    assert chip.board.link_statistics().requests <= sent + 1, "asking for limits is all that was sent"
    assert chip.board.state().total_pulses == 0


@pytest.mark.parametrize("on_board", [False, True])
def test_no_plan_is_sent_that_may_give_a_device_more_pulses_than_the_limit(make_chip, on_board):
    chip = make_chip()
    chip.tighten(HostLimits(pulses_per_device=5))
    before = chip.board.link_statistics().requests
    with pytest.raises(ValueError, match="a device may get 200 pulses: this board gives it 5 at most"):
        program(chip, 0, np.full((64, 64), 50e-6), on_host=not on_board)
    with pytest.raises(ValueError, match="this board gives it 5 at most"):
        scan(chip, 0, on_board=on_board)
    assert chip.board.link_statistics().requests <= before + 1


def test_tightened_limits_hold_on_the_host_and_in_the_board(make_chip):
    chip = make_chip()
    chip.tighten(HostLimits(set_volts=2.0))

    with pytest.raises(ValueError, match="above this board's limit of 2"):
        chip.pulse(0, PulseShape(SET, 2.1, 1.0, 1e-6))
    chip.board._limits = None
    assert chip.dac.to_volts(chip.board.limits.set_code) == pytest.approx(2.0, abs=1e-3)


def test_a_limit_above_the_boards_is_refused(make_chip):
    with pytest.raises(ValueError, match="above the board's own"):
        make_chip().tighten(HostLimits(gate_volts=6.0))


@pytest.mark.parametrize("array", [-1, 3])
def test_an_array_that_is_not_there_is_refused(make_chip, array):
    with pytest.raises(ValueError, match="this chip has arrays 0 to 2"):
        make_chip().read(array)


def test_another_chips_profile_is_refused(make_chip):
    with pytest.raises(ProtocolError, match="profile is of chip"):
        make_chip().adopt(ChipProfile.nominal("other", 3, 64, 64))


def test_a_rest_moves_only_the_chips_clock(make_chip):
    chip = make_chip()
    before = chip.board.book().clock_ns
    chip.wait(1000)
    assert chip.board.book().clock_ns - before >= 1000 * 10**9


def test_a_latched_fault_reaches_the_operator_by_name(make_chip):
    chip = make_chip()
    chip.board._link.safe()
    with pytest.raises(DeviceError, match="bad_argument"):
        chip.board.planted(7)


def test_columns_asked_for_alone_are_those_of_the_whole_product_and_cost_no_more(make_chip):
    conductance = np.linspace(0, 100e-6, 64)[None, None] * np.ones((3, 64, 64))
    chip = make_chip("ideal", conductance=conductance)
    volts = np.full((2, 64), 0.2)
    whole = chip.product(0, volts, Measure(0)).amps
    before = chip.book()
    some = chip.product(0, volts, Measure(0, cols=(10, 4))).amps
    after = chip.book()
    np.testing.assert_array_equal(chip.multiply(0, volts, gain=0, cols=(10, 4)), some)
    assert some.shape == (2, 4)
    np.testing.assert_array_equal(some, whole[:, 10:14])
    assert after.joules["ADC"] - before.joules["ADC"] == pytest.approx(2 * 4 * 100e-12)
    with pytest.raises(ValueError, match="the array has 64"):
        chip.product(0, volts, Measure(1, cols=(62, 4)))
