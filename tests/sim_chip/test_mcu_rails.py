"""Rails, converters, and the order in which voltages leave the chip."""

from dataclasses import replace

import numpy as np
import pytest

from firmware_protocol import messages as m
from firmware_protocol.jobs import JobState
from firmware_protocol.rails import Rail
from firmware_protocol.status import Executed, Fault, Status
from sim_chip.chip import VirtualChip
from sim_chip.mcu import VirtualMcu
from sim_chip.presets import preset

GROUND = 32767
VOLT = 36044
GATE = 38500
PULSE = m.Pulse(0, m.SET, VOLT, GATE, 1000, 1, 0, 2, 0, 3)
HUGE = m.Pulse(0, m.SET, VOLT, GATE, 1000, 10_000, 0, 64, 0, 64)
TARGETS = np.full((64, 64), 100)


def code(volts):
    return int((volts + 10) / 20 * 65535)


def rails(host):
    return host.ask(m.GetRails())


def test_a_board_starts_with_its_outputs_at_0_volts(host):
    assert rails(host).set_codes == (GROUND,) * 16


def test_a_chip_that_is_read_has_0_point_2_volts_across_its_devices(host):
    host.read_sums(row_count=1)
    found = rails(host).set_codes
    assert found[Rail.VREF_TIA] - found[Rail.PLANE_VPP] == pytest.approx(0.2 / 20 * 65535, abs=1)


def test_a_rail_is_set_within_its_window_and_read_back(host):
    found = host.ask(m.SetRail(Rail.ADC_TEST, code(2.0)))
    assert found.set_codes[Rail.ADC_TEST] == found.measured_codes[Rail.ADC_TEST] == code(2.0)


def test_a_board_whose_dac_sits_78_millivolts_high_reads_that_back(host):
    kind = preset("ideal")
    high = replace(kind, converters=replace(kind.converters, rail_offset_uv=78_000))
    host.mcu = VirtualMcu(VirtualChip(high), clock=host.clock)
    host.hello(number=2)
    found = host.ask(m.SetRail(Rail.ADC_TEST, code(2.0)))
    assert (found.measured_codes[9] - found.set_codes[9]) * 20 / 65535 == pytest.approx(0.078, abs=4e-4)


@pytest.mark.parametrize(
    ("channel", "volts"), [(Rail.PLANE_VPP, 0.7), (Rail.VREF_HI_CMP, -1.0), (Rail.SPARE_12, 0.1)]
)
def test_a_rail_outside_its_window_is_refused(host, channel, volts):
    assert host.refused(m.SetRail(channel, code(volts))) is Status.OVER_LIMIT


def test_there_are_16_rails(host):
    assert host.refused(m.SetRail(16, GROUND)) is Status.BAD_ARGUMENT


@pytest.mark.parametrize("channel", [Rail.VP_PAD, Rail.TVDD])
def test_pulse_and_gate_rail_need_the_lease(host, channel):
    assert host.refused(m.SetRail(channel, VOLT)) is Status.NOT_ARMED
    host.arm()
    assert host.ask(m.SetRail(channel, VOLT)).set_codes[channel] == VOLT


@pytest.mark.parametrize(
    ("channel", "limit", "volts"), [(5, "set_code", 3.6), (6, "gate_code", 5.6), (5, "set_code", -0.1)]
)
def test_pulse_and_gate_rail_obey_the_limits_on_pulses(host, channel, limit, volts):
    host.arm()
    assert host.refused(m.SetRail(channel, code(volts))) is Status.OVER_LIMIT


def test_a_tightened_limit_bounds_the_pulse_rail_too(host):
    limits = vars(host.ask(m.GetLimits()))
    host.ask(m.TightenLimits(**limits | {"set_code": VOLT, "reset_code": VOLT - 1}))
    host.arm()
    assert host.refused(m.SetRail(Rail.VP_PAD, VOLT + 1)) is Status.OVER_LIMIT
    host.ask(m.SetRail(Rail.VP_PAD, VOLT))


def test_windows_can_be_tightened_but_not_widened(host):
    limits = vars(host.ask(m.GetLimits()))
    high = list(limits["rail_high_codes"])
    high[9] += 1
    assert host.refused(m.TightenLimits(**limits | {"rail_high_codes": tuple(high)})) is Status.OVER_LIMIT
    high[9] = code(1.0)
    host.ask(m.TightenLimits(**limits | {"rail_high_codes": tuple(high)}))
    assert host.refused(m.SetRail(9, code(1.1))) is Status.OVER_LIMIT


def test_a_pulse_rail_left_standing_falls_with_the_lease(host):
    host.arm(100)
    host.ask(m.SetRail(Rail.VP_PAD, VOLT))
    host.clock.now += 0.2
    host.mcu.work()
    assert host.ask(m.GetState()).fault == Fault.LEASE_LAPSED
    assert rails(host).set_codes == (GROUND,) * 16


# The order of falling


def by_safe(host):
    host.ask(m.Safe())


def by_lapse(host):
    host.clock.now += 2.0
    host.mcu.work()


def by_storm(host):
    host.mcu.receive(b"\1\2\3\0" * 201)


def by_stopped_converters(host):
    host.mcu.bench.stopped_arrays = {0}
    host.send(m.ReadCells(0, 2, 1, 0, 1, 0, 1))
    host.mcu.work()


def by_stray_rail(host):
    host.mcu.bench.stray_codes = {Rail.VREF_SH: code(0.3) - GROUND}
    host.mcu.work()


def by_brown_out(host):
    host.mcu.chip.set_supply(4_300_000)
    host.mcu.work()


def by_failure(host):
    host.mcu._firmware.pulser.give = None
    host.send(PULSE)
    host.mcu.work()


def by_power_down(host):
    host.mcu.power_down()


def by_reset(host):
    host.mcu = VirtualMcu(host.mcu.chip, clock=host.clock)


WAYS = {
    by_safe: Fault.NONE,
    by_lapse: Fault.LEASE_LAPSED,
    by_storm: Fault.BAD_FRAME_STORM,
    by_stopped_converters: Fault.CONVERTER_TIMEOUT,
    by_stray_rail: Fault.SUPPLY_OUT_OF_RANGE,
    by_brown_out: Fault.BROWN_OUT,
    by_failure: Fault.INTERNAL,
    by_power_down: Fault.NONE,
    by_reset: Fault.NONE,
}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_every_way_to_safety_zeroes_write_pad_then_gate_then_the_others(make_host, way, caplog):
    host = make_host(bad_frames_per_second=200)
    host.arm(1000)
    host.ask(m.SetRail(Rail.VP_PAD, VOLT))
    chip, fallen = host.mcu.chip, []
    really = chip.set_rail
    chip.set_rail = lambda rail, code: (fallen.append((rail, code)), really(rail, code))
    way(host)
    del chip.set_rail
    assert fallen[:2] == [(Rail.VP_PAD, GROUND), (Rail.TVDD, GROUND)]
    assert fallen[2:16] == [(rail, GROUND) for rail in Rail if rail not in (Rail.VP_PAD, Rail.TVDD)]
    assert [chip.rail(rail) for rail in Rail] == [GROUND] * 16
    assert host.mcu._permits.fault == WAYS[way]
    assert not host.mcu._permits.lease.armed


# Faults of the hardware


def start_endless_job(host):
    host.arm()
    host.start(TARGETS, tolerance_in=0, max_rounds=10_000)
    host.mcu.work()


def test_a_stray_rail_ends_a_job_and_stays_a_fault_until_it_is_mended(host):
    start_endless_job(host)
    host.mcu.bench.stray_codes = {Rail.VREF_TIA: 1000}
    state = host.ask(m.GetState())
    assert (state.fault, state.job_state) == (Fault.SUPPLY_OUT_OF_RANGE, JobState.ABORTED)
    assert host.ask(m.GetJob(1)).fault == Fault.SUPPLY_OUT_OF_RANGE
    host.ask(m.ClearFault(Fault.SUPPLY_OUT_OF_RANGE))
    assert host.ask(m.GetState()).fault == Fault.SUPPLY_OUT_OF_RANGE
    assert host.refused(m.ReadCells(0, 2, 1, 0, 1, 0, 1)) is Status.SUPPLY_OUT_OF_RANGE
    host.mcu.bench.stray_codes = {}
    host.ask(m.ClearFault(Fault.SUPPLY_OUT_OF_RANGE))
    host.read_sums(row_count=1)


def test_a_pulse_under_way_is_answered_with_what_ended_it(host):
    host.arm()
    ticket = host.send(HUGE)
    host.mcu.work()
    host.mcu.chip.set_supply(4_000_000)
    status, refusal = host.settle(ticket)
    assert (status, refusal.executed) == (Status.ABORTED, Executed.PARTIAL)
    assert refusal.done == host.mcu.chip.book.set_pulses
    assert host.ask(m.GetState()).fault == Fault.BROWN_OUT


def test_a_read_whose_conversion_never_ends_is_given_up(host):
    host.mcu.bench.stopped_arrays = {1}
    host.read_sums(row_count=1)
    assert host.refused(m.ReadCells(1, 2, 1, 0, 1, 0, 1)) is Status.CONVERTER_TIMEOUT
    assert host.ask(m.GetState()).fault == Fault.CONVERTER_TIMEOUT
    host.ask(m.ClearFault(Fault.CONVERTER_TIMEOUT))
    host.read_sums(row_count=1)


def test_a_job_whose_conversions_stop_is_ended_and_says_why(host):
    start_endless_job(host)
    host.mcu.bench.stopped_arrays = {0}
    host.mcu.work()
    job = host.ask(m.GetJob(1))
    assert (job.state, job.fault) == (JobState.ABORTED, Fault.CONVERTER_TIMEOUT)


# Converters


@pytest.mark.parametrize("adc", [0, 11])
def test_an_adc_counts_its_test_input_over_half_a_volt_to_four(host, adc):
    host.ask(m.SetRail(Rail.ADC_TEST, code(2.25)))
    assert host.ask(m.ConvertTestInput(adc, 100)).total / 100 == pytest.approx(511.5, abs=2.5)


def test_there_are_12_adcs_and_4096_conversions(host):
    assert host.refused(m.ConvertTestInput(12, 1)) is Status.BAD_ARGUMENT
    assert host.refused(m.ConvertTestInput(0, 0)) is Status.BAD_ARGUMENT
    assert host.refused(m.ConvertTestInput(0, 4097)) is Status.BAD_ARGUMENT
    assert host.ask(m.ConvertTestInput(0, 4096)).total <= 4096 * 1023


def test_the_test_input_of_a_stopped_adc_is_given_up(host):
    host.mcu.bench.stopped_arrays = {0}
    assert host.refused(m.ConvertTestInput(4, 1)) is Status.CONVERTER_TIMEOUT


def test_sampling_too_soon_sees_too_little_current(host):
    full = host.read_sums().mean()
    times = host.ask(m.GetSampling()).sample_ns
    assert host.ask(m.SetSampling(2, 40)).sample_ns == (*times[:2], 40, *times[3:])
    assert host.read_sums().mean() < full
    host.hello(number=2)
    assert host.ask(m.GetSampling()).sample_ns == times


def test_sampling_times_are_on_the_timers_grid(host):
    assert host.refused(m.SetSampling(2, 30)) is Status.BAD_ARGUMENT
    assert host.refused(m.SetSampling(5, 40)) is Status.BAD_ARGUMENT


def test_the_board_tells_both_grids_of_its_pulse_timer(host):
    info = host.ask(m.GetInfo())
    host.arm()
    for width_ns, allowed in [(20, 1), (5080, 1), (5100, 0), (6000, 1), (6020, 0), (30, 0)]:
        tick = info.tick_ns if width_ns <= info.fine_width_ns else info.coarse_tick_ns
        assert (width_ns % tick == 0) == bool(allowed)
        pulse = m.Pulse(0, m.SET, VOLT, GATE, width_ns, 1, 0, 1, 0, 1)
        if allowed:
            host.ask(pulse)
        else:
            assert host.refused(pulse) is Status.BAD_ARGUMENT
