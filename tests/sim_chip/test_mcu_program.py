"""Write-and-verify inside the microcontroller."""

import numpy as np
import pytest

from firmware_protocol import messages as m
from firmware_protocol import write_verify
from firmware_protocol.jobs import JobState, Verdict
from firmware_protocol.status import Status
from sim_chip.device import Kind
from sim_chip.faults import FaultPlan

ONE_DEVICE = np.zeros((64, 64), bool)
ONE_DEVICE[5, 9] = True


def sums_of(microsiemens, reads=1):
    """What devices should show at gain 2: zero at 16 codes, 1023 codes for 3.5 V, 30 kΩ, 0.2 V."""
    return np.rint(reads * (16 + np.asarray(microsiemens) * 1e-6 * 0.2 * 30_000 / 3.5 * 1023))


def all_stuck(kind, microsiemens):
    kinds = np.full((3, 64, 64), kind, np.uint8)
    return FaultPlan(kinds=kinds, stuck_siemens=np.full((3, 64, 64), microsiemens * 1e-6))


@pytest.mark.parametrize("kind", ["ideal", "good"])
def test_a_whole_array_comes_to_within_5_microsiemens(make_host, kind):
    host = make_host(kind, seed=2)
    targets = np.random.default_rng(3).uniform(0, 150, (64, 64))
    # Without noise coarse steps can go round in circles: 25 mV on the gate, not 50
    tolerances = {"tolerance_in": 20, "tolerance_out": 35}
    job, report = host.program(sums_of(targets, 4), reads=4, set_gate_step=82, **tolerances)
    assert job.state == JobState.DONE
    assert job.verified == (report.verdicts == Verdict.VERIFIED).sum()
    assert job.verified / job.devices >= 0.95
    read_again = np.abs(host.read_sums(reads=4) - sums_of(targets, 4)) <= 35
    assert read_again.mean() >= (0.95 if kind == "ideal" else 0.85)


def test_the_report_agrees_with_the_chip(make_host):
    host = make_host("good", seed=5)
    job, report = host.program(np.full((64, 64), sums_of(40)), max_rounds=20)
    assert job.pulses == report.set_pulses.sum() + report.reset_pulses.sum()
    assert job.pulses == host.ask(m.GetState()).total_pulses
    assert job.reads == host.ask(m.GetBook()).reads
    within = np.abs(report.sums - sums_of(40)) <= 9
    assert (within == (report.verdicts == Verdict.VERIFIED)).all()


def test_devices_that_were_not_selected_are_untouched_to_the_bit(make_host):
    host = make_host("good", seed=6)
    mask = np.random.default_rng(7).random((64, 64)) < 0.3
    before = host.mcu.chip.conductance_units(0)
    job, report = host.program(np.full((64, 64), sums_of(90)), mask, max_rounds=30)
    after = host.mcu.chip.conductance_units(0)
    assert job.devices == mask.sum()
    assert (after[~mask] == before[~mask]).all()
    assert (after[mask] != before[mask]).mean() > 0.9
    assert (report.verdicts[~mask] == Verdict.SKIPPED).all()


RAMP = {
    "set_volt_first": 36000,
    "set_volt_last": 36250,
    "set_volt_step": 100,
    "set_gate_first": 40000,
    "set_gate_last": 40500,
    "set_gate_step": 500,
    "max_retries": 2,
}
"""Three voltages (the last below the end), two gates, two retries."""

SEQUENCE = [
    (36000, 40000),
    (36100, 40000),
    (36200, 40000),
    (36000, 40500),
    (36100, 40500),
    (36200, 40500),
    (36200, 40500),
    (36200, 40500),
]


@pytest.mark.parametrize("rounds", range(1, 11))
def test_a_stubborn_device_climbs_its_ramps_pulse_by_pulse(make_host, rounds):
    host = make_host(faults=all_stuck(Kind.STUCK_OFF, 0.5))
    job, report = host.program(np.full((64, 64), 500), ONE_DEVICE, max_rounds=rounds, **RAMP)
    pulses = min(rounds, len(SEQUENCE))
    assert report.set_pulses[5, 9] == pulses
    assert (report.volt_codes[5, 9], report.gate_codes[5, 9]) == SEQUENCE[pulses - 1]
    gave_up = rounds > len(SEQUENCE)
    assert report.verdicts[5, 9] == (Verdict.GAVE_UP_LOW if gave_up else Verdict.LOW)
    assert job.gave_up == gave_up


def test_a_device_stuck_on_gives_up_high(make_host):
    host = make_host(faults=all_stuck(Kind.STUCK_ON, 300))
    job, report = host.program(np.full((64, 64), sums_of(50)), max_rounds=300)
    assert (report.verdicts == Verdict.GAVE_UP_HIGH).all()
    assert job.gave_up == 4096
    assert not report.set_pulses.any()


RESET_FIRST = int(10.5 / 20 * 65535)


def test_a_device_that_changes_direction_starts_its_ramp_again(make_host):
    """From fully off, one strong SET overshoots; then the device is brought down and up again."""
    strong = {"set_volt_first": 42000, "set_gate_first": 37200, "set_gate_last": 37600}
    seen = [(0, 0)]
    for rounds in range(1, 40):
        host = make_host()
        _, report = host.program(
            np.full((64, 64), sums_of(60)),
            ONE_DEVICE,
            max_rounds=rounds,
            tolerance_in=0,
            set_volt_last=43000,
            **strong,
        )
        counts = (int(report.set_pulses[5, 9]), int(report.reset_pulses[5, 9]))
        went_up = counts[0] > seen[-1][0]
        run = 1 + _run_length(seen, 0 if went_up else 1)
        first, step = (42000, 328) if went_up else (RESET_FIRST, 164)
        assert report.volt_codes[5, 9] == first + step * (run - 1)
        seen.append(counts)
    assert seen[-1][0] > 1
    assert seen[-1][1] > 1


def _run_length(seen, place):
    """Pulses in a row, up to now, of the kind counted at `place`."""
    length = 0
    while length + 1 < len(seen) and seen[-1 - length][place] > seen[-2 - length][place]:
        length += 1
    return length


def test_devices_within_the_outer_tolerance_count_at_the_end(make_host):
    host = make_host(faults=all_stuck(Kind.STUCK_MIDDLE, 50))
    _, report = host.program(np.full((64, 64), sums_of(50) + 7), max_rounds=3)
    assert (report.verdicts == Verdict.VERIFIED).all()
    assert (report.set_pulses == 3).all()


def test_a_device_within_the_inner_tolerance_is_read_once_and_left_alone(make_host):
    host = make_host(conductance=np.full((3, 64, 64), 50e-6))
    job, report = host.program(np.full((64, 64), sums_of(50) + 4))
    assert (job.reads, job.pulses, job.round) == (4096, 0, 0)
    assert (report.verdicts == Verdict.VERIFIED).all()


def test_a_job_is_never_started_twice(make_host):
    host = make_host()
    first, _ = host.program(np.full((64, 64), sums_of(60)), max_rounds=5)
    host.start(np.full((64, 64), sums_of(90)), max_rounds=5)
    assert host.ask(m.GetJob(1)) == first
    assert host.ask(m.GetState()).total_pulses == first.pulses


def test_a_stopped_job_ends_after_its_round_and_keeps_its_report(host):
    host.arm()
    host.start(np.full((64, 64), sums_of(60)), tolerance_in=0)
    host.mcu.work()
    assert host.ask(m.StopJob(1)).state == JobState.RUNNING
    job = host.run_job(1)
    assert job.state == JobState.STOPPED
    data = np.frombuffer(host.fetch(m.OpenReport(1)), "<u2", 5 * 4096).reshape(5, 4096)
    pulses = data[1] + data[2]
    assert pulses.max() == job.round
    assert pulses.sum() == job.pulses


def test_while_a_job_runs_the_chip_is_busy_but_the_board_answers(host):
    host.arm()
    host.start(np.full((64, 64), sums_of(60)), tolerance_in=0)
    assert host.refused(m.ReadCells(0, 2, 1, 0, 1, 0, 1)) is Status.BUSY
    assert host.refused(m.Wait(1)) is Status.BUSY
    assert host.refused(m.OpenReport(1)) is Status.BUSY
    assert host.ask(m.GetState()).job_state == JobState.RUNNING


def test_there_is_no_report_of_a_job_that_never_was(host):
    assert host.refused(m.GetJob(9)) is Status.NO_RESULT
    assert host.refused(m.OpenReport(9)) is Status.NO_RESULT


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"job_id": 0}, Status.BAD_ARGUMENT),
        ({"array": 3}, Status.BAD_ARGUMENT),
        ({"gain": m.AUTO_GAIN}, Status.BAD_ARGUMENT),
        ({"reads": 65}, Status.BAD_ARGUMENT),
        ({"max_rounds": 0}, Status.BAD_ARGUMENT),
        ({"max_rounds": 10_001}, Status.OVER_LIMIT),
        ({"tolerance_in": 10}, Status.BAD_ARGUMENT),
        ({"set_volt_step": 0}, Status.BAD_ARGUMENT),
        ({"reset_volt_first": 65000}, Status.BAD_ARGUMENT),
        ({"set_volt_last": 45000}, Status.OVER_LIMIT),
        ({"reset_gate_last": 52000, "reset_gate_step": 500}, Status.OVER_LIMIT),
        ({"set_volt_first": 100}, Status.OVER_LIMIT),
        ({"set_width_ns": 1010}, Status.BAD_ARGUMENT),
        ({"reset_width_ns": 11_000_000}, Status.OVER_LIMIT),
        ({"predicts": 2}, Status.BAD_ARGUMENT),
        ({"order": 2}, Status.BAD_ARGUMENT),
    ],
    ids=str,
)
def test_a_plan_that_cannot_or_must_not_run_is_refused(host, plan, changes, status):
    host.arm()
    assert host.refused(m.StartProgram(**{"job_id": 1, "staged_crc": 0} | plan | changes)) is status
    assert host.ask(m.GetState()).total_pulses == 0


def test_a_plan_without_its_targets_is_refused(host, plan):
    host.arm()
    host.stage(bytes(100))
    assert host.refused(m.StartProgram(job_id=1, staged_crc=0, **plan)) is Status.STAGING_INCOMPLETE


def test_stronger_pulses_that_are_expected_to_do_less_are_refused(host, plan):
    asked = {"job_id": 1, "predicts": 1} | plan | {"predicts": 1}
    levels = write_verify.levels(m.StartProgram(staged_crc=0, **asked))
    host.arm()
    crc = host.stage(bytes(512 + 2 * 4096) + np.arange(levels, dtype="<u2").tobytes())
    assert host.refused(m.StartProgram(staged_crc=crc, **asked)) is Status.BAD_ARGUMENT
    assert host.ask(m.GetState()).total_pulses == 0
