"""Limits, lease, faults and Safe: what the microcontroller does not let happen."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from firmware_protocol import messages as m
from firmware_protocol.host_session import Outcome
from firmware_protocol.jobs import JobState
from firmware_protocol.plans import ScanCodes, ScanPlan
from firmware_protocol.rails import Rail
from firmware_protocol.status import Executed, Fault, Status
from firmware_protocol.wire import OpClass, Request, Vector, layout
from sim_chip.firmware import MOST_CLOCK_NS

GROUND = 32767
VOLT = 36044  # 1.0 V
GATE = 38500  # 1.75 V
PULSE = m.Pulse(0, m.SET, VOLT, GATE, 1000, 1, 0, 2, 0, 3)
TARGETS = np.full((64, 64), 100)


def outputs(host):
    return [host.mcu.chip.rail(rail) for rail in (Rail.VP_PAD, Rail.TVDD, Rail.PLANE_VPP)]


def start_endless_job(host, ttl_ms=1000):
    host.arm(ttl_ms)
    host.start(TARGETS, tolerance_in=0, max_rounds=10_000)
    host.mcu.work()


def test_pulses_need_the_lease(host):
    assert host.refused(PULSE) is Status.NOT_ARMED
    host.arm()
    assert host.ask(PULSE).pulses == 6
    assert host.ask(m.GetState()).total_pulses == 6


def test_reading_and_waiting_need_no_lease(host):
    host.read_sums(row_count=1)
    host.ask(m.Wait(1))


def test_the_lease_lives_as_long_as_there_is_traffic(host):
    host.arm(100)
    for _ in range(5):
        host.clock.now += 0.09
        host.ask(PULSE)
    host.clock.now += 0.1
    assert host.refused(PULSE) is Status.NOT_ARMED
    assert host.ask(m.GetState()).fault == Fault.NONE


@pytest.mark.parametrize("ttl_ms", [49, 2001])
def test_a_lease_is_50_to_2000_ms(host, ttl_ms):
    assert host.refused(m.Arm(ttl_ms)) is Status.BAD_ARGUMENT


def test_a_lease_that_lapses_in_a_job_ends_it_and_latches_a_fault(host):
    start_endless_job(host, ttl_ms=100)
    host.clock.now += 0.101
    host.mcu.work()
    assert outputs(host) == [GROUND] * 3
    pulses = host.mcu.chip.book.set_pulses
    state = host.ask(m.GetState())
    assert (state.armed, state.fault, state.job_state) == (0, Fault.LEASE_LAPSED, JobState.ABORTED)
    assert host.ask(m.GetJob(1)).fault == Fault.LEASE_LAPSED
    assert host.fetch(m.OpenReport(1))
    host.mcu.work()
    assert host.mcu.chip.book.set_pulses == pulses


def test_a_lease_that_lapses_idle_just_ends(host):
    host.arm(100)
    ticket = host.send(m.ReadCells(0, 2, 64, 0, 64, 0, 64))
    host.mcu.work()
    host.clock.now += 0.2
    host.settle(ticket)
    state = host.ask(m.GetState())
    assert (ticket.status, state.armed, state.fault) == (Status.OK, 0, Fault.NONE)


def test_a_lapse_is_noticed_even_if_the_first_thing_after_it_is_traffic(host):
    start_endless_job(host, ttl_ms=100)
    host.clock.now += 0.101
    assert host.ask(m.GetState()).fault == Fault.LEASE_LAPSED


def effects():
    return [request for request in m.REQUESTS if request.CLASS is OpClass.EFFECT]


def test_a_latched_fault_stops_every_effect_until_it_is_cleared_by_name(host):
    start_endless_job(host, ttl_ms=100)
    host.clock.now += 0.2
    for request in effects():
        twos = [(2,) * kind.count if isinstance(kind, Vector) else 2 for kind in layout(request).kinds]
        assert host.refused(request(*twos)) is Status.FAULT
    assert host.refused(m.Arm(1000)) is Status.FAULT
    assert host.refused(m.ClearFault(Fault.INTERNAL)) is Status.BAD_ARGUMENT
    assert host.ask(m.ClearFault(Fault.LEASE_LAPSED)).fault == Fault.NONE
    host.arm()
    host.ask(PULSE)


def test_safe_in_mid_job_ends_it_and_zeroes_the_outputs(host):
    start_endless_job(host)
    state = host.ask(m.Safe())
    assert (state.armed, state.fault, state.job_state) == (0, Fault.NONE, JobState.ABORTED)
    assert outputs(host) == [GROUND] * 3
    assert host.refused(PULSE) is Status.NOT_ARMED


def test_safe_ends_a_long_pulse_and_tells_how_far_it_came(host):
    host.arm()
    ticket = host.send(replace(PULSE, count=10_000, row_count=64, col_count=64))
    host.mcu.work()
    host.mcu.work()
    host.ask(m.Safe())
    assert ticket.outcome is Outcome.ANSWERED
    refusal = m.Refusal.unpack(ticket.payload)
    assert (ticket.status, refusal.executed) == (Status.ABORTED, Executed.PARTIAL)
    assert refusal.done == host.mcu.chip.book.set_pulses == 2 * 16 * 4096


def test_safe_ends_a_read_rather_than_let_it_go_on_without_voltages(host):
    ticket = host.send(m.ReadCells(0, 2, 64, 0, 64, 0, 64))
    host.mcu.work()
    host.ask(m.Safe())
    assert ticket.status == Status.ABORTED
    assert outputs(host) == [GROUND] * 3


def test_what_waits_behind_a_pulse_is_served_when_that_is_ended(host):
    host.arm(50)
    host.send(replace(PULSE, count=10_000, row_count=64, col_count=64))
    waiting = host.send(m.GetState())
    host.clock.now += 0.06
    host.mcu.work()
    host.session.receive(host.mcu.transmit(), host.clock())
    assert waiting.outcome is Outcome.ANSWERED
    assert waiting.status == Status.DISCARDED


def test_a_long_pulse_without_traffic_ends_with_the_lease(host):
    host.arm(50)
    ticket = host.send(replace(PULSE, count=10_000, row_count=64, col_count=64))
    host.mcu.work()
    host.clock.now += 0.06
    host.mcu.work()
    host.exchange()
    assert (ticket.status, m.Refusal.unpack(ticket.payload).executed) == (Status.ABORTED, Executed.PARTIAL)
    assert host.ask(m.GetState()).fault == Fault.LEASE_LAPSED


def test_safe_is_answered_without_a_session(make_host):
    host = make_host()
    host.session.close("no session")
    assert host.ask(m.Safe()).armed == 0


def test_after_safe_the_chip_reads_as_before(host):
    before = host.read_sums()
    host.ask(m.Safe())
    assert (host.read_sums() == before).all()


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"volt_code": 44237}, Status.OVER_LIMIT),
        ({"direction": m.RESET, "volt_code": 44237}, Status.OVER_LIMIT),
        ({"gate_code": 50791}, Status.OVER_LIMIT),
        ({"volt_code": 0}, Status.OVER_LIMIT),
        ({"gate_code": GROUND - 1}, Status.OVER_LIMIT),
        ({"width_ns": 10_001_000}, Status.OVER_LIMIT),
        ({"width_ns": 0}, Status.BAD_ARGUMENT),
        ({"width_ns": 30}, Status.BAD_ARGUMENT),
        ({"width_ns": 6_020}, Status.BAD_ARGUMENT),
        ({"count": 10_001}, Status.OVER_LIMIT),
        ({"count": 0}, Status.BAD_ARGUMENT),
        ({"direction": 2}, Status.BAD_ARGUMENT),
        ({"array": 3}, Status.BAD_ARGUMENT),
        ({"row": 63}, Status.BAD_ARGUMENT),
    ],
    ids=str,
)
def test_a_pulse_that_is_not_allowed_is_refused_and_not_given(host, changes, status):
    host.arm()
    assert host.refused(replace(PULSE, **changes)) is status
    assert host.ask(m.GetState()).total_pulses == 0


def test_the_highest_allowed_pulse_is_3_and_a_half_volts_at_a_gate_of_5_and_a_half(host):
    host.arm()
    host.ask(replace(PULSE, volt_code=44236, gate_code=50789, width_ns=10_000_000))


def test_one_pulse_over_the_limit_in_a_map_refuses_all_of_it(host):
    volts, gates = np.full(4096, VOLT), np.full(4096, GATE)
    volts[77] = 44237
    host.arm()
    crc = host.stage(np.concatenate([volts, gates]).astype("<u2").tobytes())
    assert host.refused(m.PulseMap(0, m.SET, 1000, crc)) is Status.OVER_LIMIT
    assert host.ask(m.GetState()).total_pulses == 0


def test_a_map_skips_devices_without_a_voltage_or_gate(host):
    volts, gates = np.zeros(4096), np.full(4096, GATE)
    volts[[3, 64, 65]] = 40000
    gates[65] = 0
    host.arm()
    crc = host.stage(np.concatenate([volts, gates]).astype("<u2").tobytes())
    before = host.mcu.chip.conductance_units(0)
    assert host.ask(m.PulseMap(0, m.SET, 1000, crc)).pulses == 2
    moved = host.mcu.chip.conductance_units(0) != before
    assert np.argwhere(moved).tolist() == [[0, 3], [1, 0]]


def tightened(host, **changes):
    """A request for the limits in force but for some changes."""
    return m.TightenLimits(**vars(host.ask(m.GetLimits())) | changes)


def test_limits_can_be_tightened_for_a_session_but_not_raised(host):
    tight = tightened(host, set_code=VOLT - 1, gate_code=GATE)
    assert host.ask(tight).set_code == VOLT - 1
    host.arm()
    assert host.refused(PULSE) is Status.OVER_LIMIT
    assert host.refused(replace(tight, set_code=VOLT)) is Status.OVER_LIMIT
    host.hello(number=2)
    assert host.ask(m.GetLimits()).set_code == 44236


def test_a_bound_on_pulses_per_second_slows_pulses_down_in_the_chips_time(host):
    host.ask(tightened(host, pulses_per_second=100))
    assert host.refused(tightened(host, pulses_per_second=0)) is Status.OVER_LIMIT
    host.arm()
    before = host.ask(m.GetBook()).clock_ns
    host.ask(PULSE)
    assert host.ask(m.GetBook()).clock_ns - before == 6 * 10_000_000


def test_a_storm_of_bad_frames_latches_a_fault(make_host):
    host = make_host(bad_frames_per_second=200)
    host.mcu.receive(b"\1\2\3\0" * 200)
    assert host.ask(m.GetState()).fault == Fault.NONE
    host.mcu.receive(b"\1\2\3\0")
    assert host.ask(m.GetState()).fault == Fault.BAD_FRAME_STORM


@pytest.mark.parametrize("noise", [b"\x55" * 8000, np.random.default_rng(1).bytes(8000)])
def test_a_line_that_carries_noise_alone_is_given_up(host, noise):
    """At the speed of full-speed USB, 0.8 MB/s; a cell of 10 ms each."""
    host.arm(2000)
    began = host.clock.now
    while host.mcu._permits.fault is Fault.NONE and host.clock.now < began + 1:
        host.clock.now += 0.01
        host.mcu.receive(noise)
    assert host.clock.now < began + 0.2
    assert host.ask(m.GetState()).fault == Fault.BAD_FRAME_STORM
    assert outputs(host) == [GROUND] * 3


def test_bad_frames_spread_over_time_are_no_storm(make_host):
    host = make_host(bad_frames_per_second=200)
    for _ in range(10):
        host.mcu.receive(b"\1\2\3\0" * 150)
        host.clock.now += 1.0
    state = host.ask(m.GetState())
    assert (state.fault, state.bad_frames) == (Fault.NONE, 1500)


def test_a_new_session_must_arm_anew(host):
    host.arm(2000)
    host.hello(number=2)
    assert host.refused(PULSE) is Status.NOT_ARMED


def test_a_job_outlives_its_session_only_until_the_lease_lapses(host):
    start_endless_job(host, ttl_ms=500)
    host.hello(number=2)
    host.clock.now += 0.4
    assert host.ask(m.GetState()).job_state == JobState.RUNNING
    host.clock.now += 0.11
    assert host.ask(m.GetState()).job_state == JobState.ABORTED


def test_a_new_session_cannot_keep_the_job_of_a_dead_host_going(host):
    start_endless_job(host, ttl_ms=500)
    host.hello(number=2)
    assert host.refused(m.Arm(2000)) is Status.BUSY
    host.clock.now += 0.4
    assert host.refused(m.Arm(2000)) is Status.BUSY
    host.clock.now += 0.11
    assert host.ask(m.GetState()).job_state == JobState.ABORTED


def test_a_new_session_cannot_keep_a_rail_up_that_a_dead_host_raised(host):
    host.arm(500)
    host.ask(m.SetRail(Rail.VP_PAD, 40_000))
    host.hello(number=2)
    assert host.refused(m.Arm(2000)) is Status.BUSY
    host.clock.now += 0.51
    assert host.ask(m.GetState()).fault == Fault.LEASE_LAPSED
    assert outputs(host) == [GROUND] * 3


def test_another_major_version_is_refused(make_host):
    status, _ = make_host().hello(number=2, major=m.PROTOCOL_MAJOR + 1)
    assert status is Status.VERSION_MISMATCH


def test_a_session_with_other_layouts_may_only_read(host):
    host.hello(number=2, schema_hash=m.SCHEMA_HASH ^ 1)
    host.read_sums(row_count=1)
    for request in (m.Wait(1), m.Arm(500), m.ClearFault(0), m.SetSampling(0, 20), m.SelectProbe(0, 0, 0)):
        assert host.refused(request) is Status.READ_ONLY


def test_a_session_with_other_layouts_may_do_all_when_forced(host):
    hello = m.Hello(m.PROTOCOL_MAJOR, 0, m.SCHEMA_HASH ^ 1, m.MAX_PAYLOAD, force=1)
    host.settle(host.session.hello(hello, 2, 0))
    host.arm()
    assert host.ask(PULSE).pulses == 6


def test_a_raised_rail_is_looked_at_all_the_time_also_on_a_quiet_line(host):
    host.arm(2000)
    host.ask(m.SetRail(Rail.VP_PAD, 40_000))
    host.mcu.bench.stray_codes[Rail.VP_PAD] = 5000
    due_s = host.mcu.work()
    assert due_s is None or due_s <= 0.05
    assert host.mcu._permits.fault is Fault.SUPPLY_OUT_OF_RANGE
    assert outputs(host) == [GROUND] * 3


def test_the_next_look_at_a_raised_rail_is_soon(host):
    host.arm(2000)
    host.ask(m.SetRail(Rail.VP_PAD, 40_000))
    assert host.mcu.work() <= 0.05


def test_sampling_times_do_not_outlast_their_session_and_its_job(host):
    designed = host.ask(m.GetSampling()).sample_ns
    host.ask(m.SetSampling(2, 20))
    start_endless_job(host, ttl_ms=500)
    host.hello(number=2)
    host.clock.now += 0.51
    host.mcu.work()
    assert host.ask(m.GetSampling()).sample_ns == designed


def test_a_wait_past_the_end_of_the_clock_is_refused(host):
    host.mcu.chip.advance(MOST_CLOCK_NS - 2_000_000_000 - host.mcu.chip.clock_ns)
    assert host.refused(m.Wait(0xFFFFFFFF)) is Status.BAD_ARGUMENT
    host.ask(m.Wait(1000))
    host.ask(m.GetBook())


def too_small(_):
    yield 0
    return m.Waited(-1)


@pytest.mark.parametrize(
    ("request_", "handler"), [(m.GetBook(), lambda _: m.Waited(-1)), (m.Wait(1), too_small)]
)
def test_a_reply_that_does_not_fit_its_message_does_not_end_the_board(host, request_, handler):
    host.mcu._handlers[type(request_)] = handler
    status, _ = host.settle(host.session.submit(request_))
    assert status is Status.INTERNAL
    host.ask(m.GetState())


@dataclass(frozen=True)
class Unheard(Request):
    OPCODE = 0x6E
    CLASS = OpClass.PURE
    REPLY = m.State


@dataclass(frozen=True)
class ShortPulse(Request):
    OPCODE = m.Pulse.OPCODE
    CLASS = OpClass.EFFECT
    REPLY = m.Pulsed


def test_what_the_firmware_does_not_know_is_refused(host):
    assert host.refused(Unheard()) is Status.UNKNOWN_OPCODE
    assert host.refused(ShortPulse()) is Status.BAD_MESSAGE


def test_an_error_of_the_firmware_itself_is_an_answer_and_not_the_end(host, caplog):
    firmware = host.mcu._firmware
    chip, firmware.chip = firmware.chip, None
    assert host.refused(m.GetInfo()) is Status.INTERNAL
    firmware.chip = chip
    assert host.ask(m.GetState()).fault == Fault.NONE


def test_the_welcome_says_what_the_board_holds(make_host):
    _, welcome = make_host(commissioning=True).hello(number=2)
    assert welcome.schema_hash == m.SCHEMA_HASH
    assert welcome.commissioning == 1
    assert welcome.staging_bytes >= 4 * 4096
    assert welcome.result_bytes >= 11 * 4096


def test_the_pulse_total_is_the_chips_and_outlives_the_board(make_host):
    host = make_host()
    host.arm()
    host.ask(PULSE)
    again = make_host()
    again.mcu = type(host.mcu)(host.mcu.chip, clock=again.clock)
    again.hello(number=3)
    assert again.ask(m.GetState()).total_pulses == 6


# Pulses per second


def clock_and_pulses(host):
    """Let the board work until it rests: the chip's clock and the pulses so far, after every slice."""
    book = host.mcu.chip.book
    seen = [(host.mcu.chip.clock_ns, book.set_pulses + book.reset_pulses)]
    while host.mcu.work() == 0.0:
        seen.append((host.mcu.chip.clock_ns, book.set_pulses + book.reset_pulses))
    return np.array(seen, np.int64).T


def most_in_a_second(clock_ns, pulses):
    ends = np.searchsorted(clock_ns, clock_ns + 1_000_000_000, side="right") - 1
    return int((pulses[ends] - pulses).max())


def limit_pulses(host, per_second):
    host.ask(m.TightenLimits(**vars(host.ask(m.GetLimits())) | {"pulses_per_second": per_second}))


def test_no_second_has_more_pulses_than_the_limit_in_one_request(host):
    limit_pulses(host, 1000)
    host.arm()
    host.send(replace(PULSE, row_count=64, col_count=64, count=1))
    clock_ns, pulses = clock_and_pulses(host)
    assert pulses[-1] == 4096
    assert most_in_a_second(clock_ns, pulses) <= 1010


def test_no_second_has_more_pulses_than_the_limit_in_a_job(host):
    limit_pulses(host, 1000)
    host.arm()
    host.start(TARGETS, max_rounds=2)
    clock_ns, pulses = clock_and_pulses(host)
    assert pulses[-1] > 4096
    assert most_in_a_second(clock_ns, pulses) <= 1010


def test_a_job_that_is_ended_in_mid_round_reports_the_pulses_that_were_given(host):
    limit_pulses(host, 1000)
    host.arm()
    host.start(TARGETS, max_rounds=2)
    while (given := host.mcu.chip.book.set_pulses) < 1000:
        host.mcu.work()
    host.ask(m.Safe())
    assert given < 4096
    data = host.fetch(m.OpenReport(1))
    counts = np.frombuffer(data, "<u2", 3 * 4096).reshape(3, 64, 64)[1:].sum(axis=0)
    assert np.array_equal(counts, host.mcu.chip.pulse_counts(0))
    assert host.ask(m.GetJob(1)).pulses == given


def test_a_scan_that_is_ended_in_mid_round_reports_the_pulses_that_were_given(host):
    limit_pulses(host, 1000)
    host.arm()
    plan = ScanPlan(np.array([VOLT]), np.array([VOLT]), np.ones((64, 64), bool))
    host.ask(
        m.StartScan(
            job_id=1,
            array=0,
            gain=2,
            reads=1,
            looks=2,
            pairs=1,
            moved=1000,
            sigmas=4,
            turning=1000,
            lower=0,
            set_gate_code=GATE,
            reset_gate_code=GATE,
            width_ns=1000,
            staged_crc=host.stage(plan.pack()),
        )
    )
    while (given := host.mcu.chip.book.set_pulses) < 1000:
        host.mcu.work()
    host.ask(m.Safe())
    report = ScanCodes.unpack(host.fetch(m.OpenReport(1)), (64, 64))
    assert given < 4096
    assert np.array_equal(report.pulses, host.mcu.chip.pulse_counts(0))
