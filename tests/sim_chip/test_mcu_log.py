"""The log of effects and the stored limits, over resets of the board."""

from dataclasses import replace

import numpy as np
import pytest

from firmware_protocol import bulk
from firmware_protocol import messages as m
from firmware_protocol.jobs import JobState, Verdict
from firmware_protocol.status import Executed, Fault, ResetCause, Status
from sim_chip.flash import Flash
from sim_chip.limits import NEW_BOARD, NOTHING, provision
from sim_chip.mcu import VirtualMcu

PULSE = m.Pulse(1, m.SET, 36044, 38500, 1000, 1, 0, 2, 0, 3)
HUGE = replace(PULSE, count=10_000, row_count=64, col_count=64)
TARGETS = np.full((64, 64), 100)


@pytest.fixture
def flash():
    return provision(Flash())


@pytest.fixture
def host(make_host, flash):
    return make_host(flash=flash)


def reset(host, flash, number=2, **options):
    """Start the board's processor anew; its welcome to a new session."""
    host.mcu = VirtualMcu(host.mcu.chip, flash=flash, clock=host.clock, **options)
    return host.hello(number)[1]


def log(host, most=100):
    return bulk.unpack_op_log(host.fetch(m.GetOpLog(most)))


def last(host):
    return log(host, 1).effects[-1]


def test_a_new_board_has_an_empty_log_and_has_lost_nothing(host):
    assert log(host) == bulk.OpLog(0, ())
    assert host.ask(m.GetState()).log_lost == 0


def test_an_effect_is_in_the_log_with_all_that_tells_it_from_others(host):
    host.arm()
    host.ask(PULSE)
    effect = last(host)
    assert effect.opcode == m.Pulse.OPCODE
    assert (effect.executed, effect.array, effect.job_id) == (Executed.YES, 1, 0)
    assert (effect.pulses_before, effect.pulses_after) == (0, 6)
    assert effect.boot_id == host.mcu._session.boot_id
    assert effect.session == host.session._name


def test_effects_are_numbered_and_named_by_their_sequence_numbers(host):
    host.arm()
    for _ in range(3):
        host.ask(PULSE)
    effects = log(host).effects
    assert [effect.number for effect in effects] == [1, 2, 3]
    assert [effect.seq - effects[0].seq for effect in effects] == [0, 1, 2]


def test_what_is_refused_or_only_read_is_not_in_the_log(host):
    host.refused(PULSE)
    host.read_sums(row_count=1)
    host.ask(m.Arm(100))
    assert log(host).effects == ()


def test_an_effect_is_written_down_before_its_first_pulse(host):
    host.arm()
    host.send(HUGE)
    effect = host.mcu._log.newest(1).effects[-1]
    assert (effect.executed, effect.pulses) == (Executed.OPEN, 0)
    host.mcu.work()
    assert host.mcu._log.newest(1).effects[-1].pulses == host.mcu.chip.book.set_pulses > 0


def test_a_wait_is_an_effect_too(host):
    host.ask(m.Wait(1))
    assert (last(host).opcode, last(host).array) == (m.Wait.OPCODE, bulk.NO_ARRAY)


def test_the_newest_effects_come_last_and_at_least_64_are_kept(host):
    host.arm()
    for _ in range(200):
        host.ask(PULSE)
    found = log(host, 1000)
    assert len(found.effects) >= 64
    assert [effect.pulses_after for effect in found.effects] == list(range(found.since_pulses + 6, 1201, 6))
    assert log(host, 2).effects == found.effects[-2:]


def test_the_log_of_many_effects_outlives_a_reset(host, flash):
    host.arm()
    for _ in range(200):
        host.ask(PULSE)
    before = log(host).effects
    reset(host, flash)
    assert log(host).effects == before
    assert host.ask(m.GetState()).log_lost == 0


def test_the_log_goes_on_from_boot_to_boot(host, flash):
    for boot in range(3):
        host.arm()
        host.ask(PULSE)
        host.ask(PULSE)
        reset(host, flash, number=boot + 2)
    assert [effect.number for effect in log(host).effects] == [1, 2, 3, 4, 5, 6]
    assert host.ask(m.GetState()).log_lost == 0


def test_safe_leaves_a_pulse_in_the_log_as_partial(host):
    host.arm()
    host.send(HUGE)
    host.mcu.work()
    host.ask(m.Safe())
    assert (last(host).executed, last(host).pulses) == (Executed.PARTIAL, 16 * 4096)


def test_a_new_session_leaves_what_it_ends_in_the_log_as_partial(host):
    host.arm()
    host.send(HUGE)
    host.mcu.work()
    host.hello(number=2)
    assert (last(host).executed, last(host).pulses) == (Executed.PARTIAL, 16 * 4096)


def test_a_job_is_open_until_it_ends(host):
    host.arm()
    host.start(TARGETS, job_id=77)
    assert (last(host).executed, last(host).job_id) == (Executed.OPEN, 77)
    job = host.run_job(77)
    assert (last(host).executed, last(host).pulses) == (Executed.YES, job.pulses)


def test_a_reset_loses_session_lease_job_and_staging_but_not_chip_and_log(host, flash):
    host.arm()
    host.start(TARGETS, job_id=77, tolerance_in=0)
    for _ in range(10):
        host.mcu.work()
    boot, pulses = host.mcu._session.boot_id, host.ask(m.GetState()).total_pulses
    conductance = host.mcu.chip.conductance_units(0)
    welcome = reset(host, flash, cause=ResetCause.WATCHDOG)
    assert (welcome.reset_cause, welcome.boot_id != boot) == (ResetCause.WATCHDOG, True)
    state = host.ask(m.GetState())
    assert (state.armed, state.job_id, state.job_state) == (0, 0, JobState.NONE)
    assert (state.total_pulses, state.log_lost) == (pulses, 0)
    assert host.refused(m.GetJob(77)) is Status.NO_RESULT
    assert host.refused(m.Fetch(0, 16)) is Status.NO_RESULT
    assert (host.mcu.chip.conductance_units(0) == conductance).all()
    effect = last(host)
    assert (effect.job_id, effect.array, effect.executed) == (77, 0, Executed.PARTIAL)
    assert (effect.boot_id, effect.pulses_after) == (boot, pulses)


def test_a_job_of_an_earlier_boot_is_not_started_again(host, flash, plan):
    host.arm()
    host.start(TARGETS, job_id=77)
    reset(host, flash)
    host.arm()
    assert host.refused(m.StartProgram(job_id=77, staged_crc=0, **plan)) is Status.BAD_ARGUMENT


def test_a_reset_before_the_first_pulse_says_that_none_was_given(host, flash):
    host.arm()
    host.send(HUGE)
    reset(host, flash)
    assert (last(host).executed, last(host).pulses) == (Executed.NO, 0)


def test_of_an_effect_without_pulses_a_reset_leaves_open_whether_it_was(host, flash):
    host.send(m.Wait(1))
    reset(host, flash)
    assert last(host).executed is Executed.OPEN
    reset(host, flash, number=3)
    assert host.ask(m.GetState()).log_lost == 0


def test_a_log_that_is_gone_is_said_to_be_gone(host):
    host.arm()
    host.ask(PULSE)
    reset(host, provision(Flash()))
    assert host.ask(m.GetState()).log_lost == 1
    assert log(host) == bulk.OpLog(6, ())
    host.arm()
    host.ask(PULSE)
    assert last(host).pulses_after == 12


@pytest.mark.parametrize("at", [0, 300, 600, 900, 1100])
def test_damage_anywhere_in_the_memory_is_noticed(host, at):
    flash = provision(Flash())
    reset(host, flash, commissioning=True)
    host.ask(m.StoreLimits(**vars(NEW_BOARD)))
    host.arm()
    for _ in range(4):
        host.ask(PULSE)
    memory = bytearray(flash._memory)
    memory[at : at + 64] = bytes(byte ^ 0x10 for byte in memory[at : at + 64])
    reset(host, Flash(memory), number=3)
    state = host.ask(m.GetState())
    assert state.log_lost or state.limits_lost or at == 300


def test_a_record_erased_from_the_middle_is_noticed(host, flash):
    host.arm()
    for _ in range(3):
        host.ask(PULSE)
    flash._memory[512 + 64 * 2 : 512 + 64 * 3] = bytes(64)
    reset(host, flash)
    assert host.ask(m.GetState()).log_lost == 1


def test_a_log_older_than_the_chips_last_pulse_is_no_log(host, flash):
    host.arm()
    host.ask(PULSE)
    older = Flash(bytearray(flash._memory))
    host.ask(PULSE)
    reset(host, older)
    assert host.ask(m.GetState()).log_lost == 1
    assert log(host) == bulk.OpLog(12, ())


def test_a_record_torn_by_the_end_of_the_process_is_as_if_it_was_never_written(host, flash):
    host.arm()
    host.ask(PULSE)
    effects = log(host).effects
    end = 512 + 64 * 3
    flash._memory[end : end + 10] = b"\x17" * 10
    reset(host, flash)
    assert log(host).effects == effects
    assert host.ask(m.GetState()).log_lost == 0


def test_the_log_of_another_chip_is_no_log(host, make_host, flash):
    host.arm()
    host.ask(PULSE)
    other = make_host(flash=flash)
    assert other.ask(m.GetState()).log_lost == 1


# Stored limits


LIMITS = replace(NEW_BOARD, set_code=40000, pulses_per_device=9)


def store(host, limits=LIMITS):
    return m.StoreLimits(**vars(limits))


def test_stored_limits_change_in_the_commissioning_state_only(host):
    assert host.refused(store(host)) is Status.NOT_COMMISSIONING
    assert host.ask(m.GetLimits()) == NEW_BOARD


def test_stored_limits_are_in_force_at_once_and_after_a_reset(host, flash):
    crc = reset(host, flash, commissioning=True).config_crc
    assert host.ask(store(host)) == LIMITS
    assert host.ask(m.GetLimits()) == LIMITS
    welcome = reset(host, flash, number=3)
    assert host.ask(m.GetLimits()) == LIMITS
    assert (welcome.config_crc != crc, welcome.commissioning) == (True, 0)


def test_limits_below_0_volts_are_not_stored(host, flash):
    reset(host, flash, commissioning=True)
    assert host.refused(store(host, replace(LIMITS, gate_code=32766))) is Status.BAD_ARGUMENT
    low = (*LIMITS.rail_low_codes[:5], 32766, *LIMITS.rail_low_codes[6:])
    assert host.refused(store(host, replace(LIMITS, rail_low_codes=low))) is Status.BAD_ARGUMENT


def test_damaged_limits_permit_reading_and_no_pulse_until_new_ones_are_stored(host, flash):
    reset(host, flash, commissioning=True)
    host.ask(store(host))
    flash._memory[70] ^= 1
    reset(host, flash, number=3, commissioning=True)
    assert host.ask(m.GetState()).limits_lost == 1
    assert host.ask(m.GetLimits()) == NOTHING
    host.read_sums(row_count=1)
    host.arm()
    assert host.refused(PULSE) is Status.OVER_LIMIT
    host.ask(store(host, NEW_BOARD))
    host.ask(PULSE)
    assert host.ask(m.GetState()).limits_lost == 0


def test_limits_that_are_gone_permit_no_pulse(host, flash):
    host.read_sums(row_count=1)
    flash._memory[64:512] = bytes(448)
    reset(host, flash)
    assert host.ask(m.GetState()).limits_lost == 1
    assert host.ask(m.GetLimits()) == NOTHING


def test_a_job_may_give_no_device_more_pulses_than_the_limit(host, plan):
    host.ask(m.TightenLimits(**vars(NEW_BOARD) | {"pulses_per_device": 20}))
    host.arm()
    crc = host.stage(bytes(bulk.plan_bytes(4096)))
    asked = m.StartProgram(job_id=1, staged_crc=crc, **plan | {"max_rounds": 21})
    assert host.refused(asked) is Status.OVER_LIMIT
    host.ask(replace(asked, max_rounds=20))


def test_a_job_keeps_the_pace_it_was_started_with(host):
    host.ask(m.TightenLimits(**vars(NEW_BOARD) | {"pulses_per_second": 1000}))
    host.arm()
    before = host.ask(m.GetBook()).clock_ns
    host.start(TARGETS, max_rounds=3)
    host.hello(number=2)
    job = host.run_job(1)
    assert host.ask(m.GetBook()).clock_ns - before >= job.pulses * 1_000_000


# After a fault


def test_after_a_lapse_a_new_job_finishes_what_the_old_one_left(make_host):
    host = make_host("ideal", seed=2)
    wanted = np.random.default_rng(3).uniform(20, 200, (64, 64))
    host.arm(100)
    host.start(wanted, job_id=1)
    for _ in range(40):
        host.mcu.work()
    host.clock.now += 0.2
    host.mcu.work()
    cut = host.ask(m.GetJob(1))
    assert (cut.state, cut.fault) == (JobState.ABORTED, Fault.LEASE_LAPSED)
    assert 0 < cut.verified < cut.devices
    assert (last(host).executed, last(host).pulses) == (Executed.PARTIAL, cut.pulses)
    host.ask(m.ClearFault(Fault.LEASE_LAPSED))
    left = np.abs(host.read_sums() - wanted) > 9
    job, report = host.program(wanted, left, job_id=2)
    assert job.devices == left.sum()
    assert (report.verdicts[left] == Verdict.VERIFIED).mean() > 0.9
