"""Rails, sampling, pulse checks and the log of effects, as a host sees them."""

from dataclasses import replace

import numpy as np
import pytest

from chipctl.board import Region
from chipctl.chip import PulseShape
from chipctl.errors import DeviceError
from firmware_protocol.bulk import NO_ARRAY
from firmware_protocol.messages import RESET, SET, Pulse, Wait
from firmware_protocol.rails import ProbePoint, Rail
from firmware_protocol.status import Executed, Fault

ONE = Region(3, 1, 5, 1)
LSB_VOLTS = 20 / 65535


def test_rails_are_at_0_volts_until_the_chip_is_read(make_chip):
    chip = make_chip()
    assert [rail.set_volts for rail in chip.rails()] == pytest.approx([0.0] * 16, abs=LSB_VOLTS)
    chip.read(0, ONE)
    volts = {rail.rail: rail.set_volts for rail in chip.rails()}
    assert volts[Rail.VREF_TIA] - volts[Rail.PLANE_VPP] == pytest.approx(0.2, abs=LSB_VOLTS)


def test_a_rail_is_set_in_volts_and_read_back(make_chip):
    chip = make_chip()
    found = chip.set_rail(Rail.ADC_TEST, 2.0)[Rail.ADC_TEST]
    assert (found.set_volts, found.measured_volts) == pytest.approx((2.0, 2.0), abs=LSB_VOLTS)


def test_the_pulse_rail_is_armed_for(make_chip):
    chip = make_chip()
    assert chip.set_rail(Rail.VP_PAD, 1.0)[Rail.VP_PAD].set_volts == pytest.approx(1.0, abs=LSB_VOLTS)
    chip.safe()
    assert abs(chip.rails()[Rail.VP_PAD].set_volts) <= LSB_VOLTS


def test_a_rail_beyond_its_limits_is_not_sent(make_chip):
    chip = make_chip()
    before = chip.board.link_statistics().requests
    limits = chip.board.limits
    with pytest.raises(ValueError, match=r"TVDD may be .* to 5\.500 V"):
        chip.set_rail(Rail.TVDD, 5.6)
    assert chip.board.link_statistics().requests == before + 1
    chip.board.tighten(replace(limits, set_code=36044, reset_code=36044))
    with pytest.raises(ValueError, match="VP_PAD"):
        chip.set_rail(Rail.VP_PAD, 1.1)


def test_an_adc_shows_its_scale_at_the_test_input(make_chip):
    chip = make_chip()
    chip.set_rail(Rail.ADC_TEST, 2.25)
    assert chip.board.convert_test_input(5, 400) / 400 == pytest.approx(511.5, abs=2.5)


def test_a_sample_taken_too_soon_is_too_small(make_chip):
    chip = make_chip(conductance=50e-6)
    settled = chip.read(0, ONE, gain=2, reads=16)[0, 0]
    assert chip.board.set_sampling(2, 60).sample_ns[2] == 60
    assert chip.read(0, ONE, gain=2, reads=16)[0, 0] < 0.95 * settled


@pytest.mark.parametrize("seconds", [20e-9, 5.08e-6, 6e-6, 10e-3])
def test_widths_that_the_board_times_are_sent(make_chip, seconds):
    assert make_chip().pulse(0, PulseShape(SET, 1.0, 1.0, seconds), ONE) == 1


@pytest.mark.parametrize("seconds", [0, 30e-9, 5.1e-6, 6.02e-6, 11e-3])
def test_widths_that_the_board_would_refuse_are_not_sent(make_chip, seconds):
    chip = make_chip()
    with pytest.raises(ValueError, match="of 1000 ns above"):
        chip.pulse(0, PulseShape(SET, 1.0, 1.0, seconds), ONE)
    assert chip.board.state().total_pulses == 0


@pytest.mark.parametrize("count", [0, 10_001])
def test_more_pulses_than_a_device_may_have_are_not_sent(make_chip, count):
    with pytest.raises(ValueError, match="1 to 10000"):
        make_chip().pulse(0, PulseShape(RESET, 1.0, 5.0, 1e-6), ONE, count)


def test_a_fault_is_cleared_once_its_cause_is_mended(make_chip):
    chip = make_chip()
    chip.bench.stray_codes = {Rail.VREF_TIA: 2000}
    with pytest.raises(DeviceError, match="supply_out_of_range"):
        chip.read(0, ONE)
    assert chip.clear_fault() is Fault.SUPPLY_OUT_OF_RANGE
    assert chip.board.state().fault == Fault.SUPPLY_OUT_OF_RANGE
    chip.bench.stray_codes = {}
    chip.clear_fault()
    assert chip.clear_fault() is Fault.NONE
    chip.read(0, ONE)


def test_the_log_says_what_was_done(make_chip):
    chip = make_chip()
    chip.pulse(2, PulseShape(SET, 1.0, 1.0, 1e-6), Region(0, 4, 0, 4), 3)
    chip.wait(0.001)
    pulse, wait = chip.op_log().effects
    assert (pulse.opcode, pulse.executed, pulse.array, pulse.pulses) == (Pulse.OPCODE, Executed.YES, 2, 48)
    assert (wait.opcode, wait.array, wait.pulses_before) == (Wait.OPCODE, NO_ARRAY, 48)


def test_a_long_log_is_fetched_whole(make_chip):
    chip = make_chip()
    for _ in range(70):
        chip.pulse(0, PulseShape(SET, 1.0, 1.0, 1e-6), ONE)
    assert np.diff([effect.number for effect in chip.op_log().effects]).tolist() == [1] * 69


def test_a_node_is_routed_to_the_probe_pad_and_one_that_there_is_not_is_refused(make_chip):
    board = make_chip().board
    found = board.select_probe(2, ProbePoint.TIA_OUTPUT, 63)
    assert (found.array, found.point, found.line) == (2, ProbePoint.TIA_OUTPUT, 63)
    with pytest.raises(DeviceError, match="bad_argument"):
        board.select_probe(2, ProbePoint.TIA_OUTPUT, 64)
