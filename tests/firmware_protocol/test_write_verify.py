"""The rule of write-and-verify on devices whose answer is known: what comes next follows on paper."""

import numpy as np
import pytest

from firmware_protocol import bulk
from firmware_protocol.messages import RESET, SET, StartProgram
from firmware_protocol.write_verify import WriteVerify, ladders

PLAN = StartProgram(
    job_id=1,
    array=0,
    gain=2,
    reads=1,
    max_retries=2,
    max_rounds=100,
    tolerance_in=4,
    tolerance_out=8,
    set_volt_first=40000,
    set_volt_last=40000,
    set_volt_step=1,
    set_gate_first=36000,
    set_gate_last=36490,
    set_gate_step=10,
    set_width_ns=1000,
    reset_volt_first=34000,
    reset_volt_last=34490,
    reset_volt_step=10,
    reset_gate_first=49000,
    reset_gate_last=49000,
    reset_gate_step=1,
    reset_width_ns=1000,
    predicts=1,
    set_short=1,
    order=0,
    staged_crc=0,
)
"""50 levels each way; a SET level raises the typical device's sum by 10, a RESET level lowers it by 10."""

UP = 10 * np.arange(50)
DOWN = 490 - UP


def rule(target, devices=1, **changes):
    plan = PLAN.__class__(**{**vars(PLAN), **changes})
    expected = np.concatenate([UP, DOWN]) if plan.predicts else None
    targets = np.full(devices, target)
    return WriteVerify(plan, bulk.pack_plan(np.ones(devices, bool), targets, expected), devices)


def step(rule, sums):
    """Read the active devices; the direction and level of the pulses that follow, None where all is done."""
    rule.take(rule.active, np.full(rule.active.size, sums))
    if not rule.goes_on():
        return None
    for direction, first in ((SET, PLAN.set_gate_first), (RESET, PLAN.reset_volt_first)):
        pulses = rule.pulses(direction)
        if pulses.devices.size:
            codes = pulses.gate_codes if direction == SET else pulses.volt_codes
            return direction, int(codes[0] - first) // 10
    return None


def test_a_first_pulse_is_where_a_typical_device_lands_and_one_short_for_set():
    assert step(rule(200), 100) == (SET, 19)
    assert step(rule(200), 300) == (RESET, 29)


def test_a_second_pulse_makes_good_by_what_the_first_fell_short():
    """Level 19 stands for 190; the device shows 150, so it lies 4 levels off: 20 + 4 - 1."""
    job = rule(200)
    assert step(job, 100) == (SET, 19)
    assert step(job, 150) == (SET, 23)
    assert step(job, 200) is None
    assert job.verified.all()


def test_what_was_learned_before_a_change_of_direction_is_remembered():
    """It overshot by 6 levels, is brought below, and the next SET pulse aims 6 levels lower."""
    job = rule(200)
    assert step(job, 100) == (SET, 19)
    assert step(job, 250) == (RESET, 29)
    assert step(job, 100) == (SET, 20 - 6 - 1)


def test_one_that_does_not_move_needs_at_least_so_much():
    """At level 29 it stayed at 300, where a typical one stops at level 19: at least 10 levels off."""
    job = rule(200)
    assert step(job, 300) == (RESET, 29)
    assert step(job, 300) == (RESET, 39)


def test_in_one_direction_each_pulse_is_at_least_a_level_higher():
    job = rule(200)
    assert step(job, 100) == (SET, 19)
    assert step(job, 192) == (SET, 20)
    assert step(job, 194) == (SET, 21)


def test_observations_are_averaged():
    """It lands 8, 14 and 17 levels higher than a typical device in turn: 8, 11 and 13 on average."""
    job = rule(200)
    step(job, 100)
    levels = []
    for overshoot in (8, 14, 17):
        landed = 10 * (job._known[SET].level[0] + overshoot)
        step(job, landed)
        levels.append(step(job, 100)[1])
    assert levels == [20 - 8 - 1, 20 - 11 - 1, 20 - 13 - 1]


def test_a_device_beyond_the_last_level_gets_its_retries_and_is_given_up():
    job = rule(900)
    seen = [step(job, 5) for _ in range(4)]
    assert seen == [(SET, 49), (SET, 49), (SET, 49), None]
    assert job.gave_up.all()


def test_a_round_that_was_cut_off_counts_no_pulse_and_teaches_nothing():
    job = rule(200)
    job.take(job.active, np.array([100]))
    job.goes_on()
    job.cut_off(job.pulses(SET))
    assert job.progress(1, 1).pulses == 0
    assert step(job, 150) == (SET, 19)


def test_without_prediction_a_device_climbs_from_the_start_and_starts_again():
    job = rule(200, predicts=0)
    assert [step(job, sums) for sums in (100, 100, 100, 300, 100)] == [
        (SET, 0),
        (SET, 1),
        (SET, 2),
        (RESET, 0),
        (SET, 0),
    ]


def test_in_spread_order_neighbours_never_follow_each_other():
    job = rule(200, devices=4096, order=1)
    job.take(job.active, np.full(4096, 100))
    job.goes_on()
    order = job.pulses(SET).devices
    rows, cols = np.divmod(order, 64)
    apart = np.maximum(abs(np.diff(rows)), abs(np.diff(cols)))
    assert apart.min() >= 4
    assert sorted(order) == list(range(4096))


def test_expectations_must_go_the_way_of_their_direction():
    with pytest.raises(ValueError, match="lead higher"):
        ladders(PLAN, np.concatenate([DOWN, DOWN]))
