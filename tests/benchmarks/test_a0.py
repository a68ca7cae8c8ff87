"""The benchmark of the A0 board counts what its doors send, of the same devices."""

from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import a0

KNOWN = np.random.default_rng(2).uniform(0, 100e-6, (3, 64, 64))
TARGET = np.roll(KNOWN[0], 1, axis=0)


@pytest.fixture
def doors():
    with ExitStack() as stack:
        yield a0._doors(stack, KNOWN, 5)


def task(size=64, **ramps):
    mask = np.zeros((64, 64), bool)
    mask[:size, :size] = True
    return a0.Task(TARGET, mask, replace(a0.RAMPS, **ramps))


@pytest.mark.parametrize(("width", "batch"), [(1e-6, 137), (10e-6, 101)])
def test_a_step_of_the_client_is_a_read_and_two_batches_and_its_last_look_a_read(doors, width, batch):
    done = a0._tune(doors["client"], task(width_s=width, most_steps=2))
    assert done.messages == 2 * (574 + 2 * batch) + 574


def test_the_driver_gives_the_clients_voltages_once_what_the_board_adds_is_counted(doors):
    strong = {"set_volts": (2.0, 3.0, 0.5), "set_gates": (1.0, 1.2, 0.1), "reset_volts": (1.0, 1.5, 0.1)}
    done = {name: a0._tune(door, task(most_steps=2, **strong)).found for name, door in doors.items()}
    moved = np.abs(done["client"] - KNOWN[0]) > 10e-6
    assert moved.mean() > 0.2
    for ours in (done["driver"], done["native"]):
        assert np.median(np.abs(ours - done["client"])[moved]) < 3e-6


def test_the_board_by_itself_takes_fewer_requests_and_comes_nearer(doors):
    asked = task(8, most_steps=10)
    by_host = a0._tune(doors["native"], asked)
    by_board = a0._job(doors["native"], asked)
    assert by_board.messages < by_host.messages / 4
    assert a0._within(by_board, asked, 4e-6) > 0.9 > a0._within(by_host, asked, 4e-6)


def test_two_shares_of_few_devices_are_told_apart_beyond_chance_alone():
    asked = task(20)
    near = np.where(np.arange(64 * 64).reshape(64, 64) % 2, 0.0, 8e-6)
    theirs = a0.Done(1, TARGET + near)
    same, _ = a0._no_worse("it", theirs, theirs, asked)
    assert same.values == (0.0,)
    assert same.bound.low == pytest.approx(-300 * np.sqrt(0.5 / 400))
    worse, as_good = a0._no_worse("it", theirs, a0.Done(1, TARGET + 8e-6), asked)
    assert not worse.bound.takes(worse.values[0])
    assert as_good.bound.takes(as_good.values[0])
