"""Batches on an A0 board that keeps what it was sent: lost packets, and what the devices say of them."""

from itertools import combinations

import numpy as np
import pytest

from chipctl import a0_facts as facts
from chipctl.a0_write_back import BatchCounts, BatchWarning
from chipctl.board import Region
from chipctl.chip import Chip, PulseShape
from chipctl.dpe import DPE
from firmware_protocol import a0
from firmware_protocol import a0_words as w
from firmware_protocol.messages import RESET, SET
from tests.chipctl.a0_lines import Lossy, board_of, driver

EVERYWHERE = Region(0, 64, 0, 64)
STRONG_SET = PulseShape(SET, 2.5, 1.2, 1e-6)
STRONG_RESET = PulseShape(RESET, 2.2, 5.5, 1e-6)


def give(board, direction, chosen, volts, gates):
    """One batch for the chosen devices, all maps of shape (64, 64)."""
    codes = [np.where(chosen, np.vectorize(facts.true_code)(each), 0) for each in (volts, gates)]
    board.pulse_map(0, direction, 1000, *codes)


def give_all(line, asked):
    """Batches, in a session of their own."""
    with driver(line).session() as board:
        for batch in asked:
            give(board, *batch)


def packets_of(line):
    """Batches as they were sent, each a list of its packets."""
    batches = [[]]
    for command in line.sent:
        if isinstance(command, a0.PulseRows):
            batches[-1].append(command)
            if command.row == a0.LAST_ROW:
                batches.append([])
    return batches[:-1]


def left_by(packets, codes):
    """What the board's buffers (128, 64) hold after packets, and which devices (64, 64) it pulses."""
    codes = codes.copy()
    for packet in packets:
        codes[packet.row : packet.row + 2] = w.unpack_codes(packet.payload)
    return codes, (codes[:64] != w.SKIP_CODE) & (codes[64:] != w.SKIP_CODE)


def some_batches(dice, number):
    """Devices, some of them in one batch after the other, with voltages and gates of their own."""
    for _ in range(number):
        direction = int(dice.integers(2))
        gates = (1.0, 1.4) if direction == SET else (5.0, 5.5)
        rows = dice.random(64) < dice.choice([0.1, 0.5, 1.0])
        chosen = (dice.random((64, 64)) < dice.choice([0.05, 0.4, 1.0])) & rows[:, None]
        chosen[:2, :9] = True
        yield direction, chosen, dice.choice([1.0, 1.5, 2.0], chosen.shape), dice.choice(gates, chosen.shape)


@pytest.mark.parametrize("seed", range(3))
def test_two_lost_packets_pulse_no_device_that_was_not_chosen_and_one_replays_nothing(seed):
    """… and whichever are lost, the batch ends with 0 V on the last device."""
    line = board_of()
    line.mcu.wired.pulse = lambda *pulses: None
    asked = list(some_batches(np.random.default_rng(seed), 6))
    give_all(line, asked)
    held, zero = np.full((128, 64), 40_000), facts.sent_code(facts.true_code(0.0))  # by another host
    for packets, (direction, chosen, *_) in zip(packets_of(line), asked, strict=True):
        chosen[-1, -1] = True  # the last one of a batch always gets 0 V, to end it so
        whole, pulsed = left_by(packets, held)
        np.testing.assert_array_equal(pulsed, chosen)
        for pair in range(0, 64, 2):
            ours = [n for n, packet in enumerate(packets[:-1]) if packet.row % 64 == pair]
            for lost in [(n,) for n in ours] + list(combinations(ours, 2)):
                codes, pulsed = left_by([p for n, p in enumerate(packets) if n not in lost], held)
                assert not (pulsed & ~chosen).any()
                assert pulsed[-1, -1]
                assert codes[[63, 127], 63].tolist() == [zero, zero]
                if len(lost) == 1:
                    np.testing.assert_array_equal(codes[:64][pulsed], whole[:64][pulsed])
                    np.testing.assert_array_equal(codes[64:][pulsed], whole[64:][pulsed])
                if direction == SET:
                    assert (codes[64:] <= whole[64:])[pulsed].all()
        held = whole


def test_two_lost_packets_leave_other_devices_where_they_are():
    line = board_of(conductance=50e-6, line=Lossy)
    with driver(line).session() as board:
        chip = Chip(board)
        chip.pulse(0, STRONG_RESET, EVERYWHERE)
        before = line.truth.pulse_counts(0).copy()
        left = [20, 84]  # voltages and gates of rows 20 and 21

        def is_lost(row):
            return row in left and not left.remove(row)

        line.loses_packet = is_lost
        chip.pulse(0, STRONG_SET, Region(0, 10, 0, 64))
    assert not left
    moved = line.truth.pulse_counts(0) - before
    assert (moved[:10] == 1).all()
    assert not moved[10:].any()


def test_devices_that_were_not_chosen_and_moved_are_told_with_their_rows():
    line = board_of("good", seed=4, line=Lossy)
    with driver(line).session() as board:
        chip = Chip(board)
        chip.pulse(0, STRONG_RESET, EVERYWHERE)
        chip.read(0)
        line.loses_packet = lambda row: row in (20, 84)
        chip.pulse(0, STRONG_SET, Region(40, 2, 0, 64))
        with pytest.warns(BatchWarning, match=r"moved in rows 20-21: .* read these rows"):
            chip.read(0)
        assert board.batches.strays > 60


def test_devices_that_moved_against_their_pulse_are_told():
    line = board_of("good", seed=4, line=Lossy, conductance=30e-6)
    with driver(line).session() as board:
        chip = Chip(board)
        chip.pulse(0, PulseShape(RESET, 2.2, 5.5, 1e-6), Region(0, 32, 0, 64))
        line.loses_packet = lambda row: row < 126
        chip.pulse(0, STRONG_SET, Region(32, 32, 0, 64))  # SET with what the buffers hold: the first batch's
        with pytest.warns(BatchWarning, match=r"not chosen moved in rows 0-1, 2-3"):
            board.verify()


@pytest.mark.parametrize("volts", [2.6, 2.7])
def test_a_session_whose_strong_batches_move_nothing_says_so_at_its_end(volts):
    line = board_of("good", seed=4, conductance=50e-6)
    line.mcu.wired.pulse = lambda *pulses: None

    def give_two():
        with driver(line).session() as board:
            chip = Chip(board)
            chip.pulse(0, PulseShape(RESET, volts, 5.5, 1e-6), Region(0, 63, 0, 64), 2)
            chip.read(0)
            assert board.batches == BatchCounts(verified=2, still=2)

    if volts < 0.75 * 3.5:  # as may be
        give_two()
    else:
        told = (
            r"all 2 batches moved none of the devices \(RESET up to 2.70 V at a gate of up to 5.50 V, 1000 ns"
        )
        with pytest.warns(BatchWarning, match=told):
            give_two()


def test_batches_that_cease_to_move_what_weaker_ones_have_moved_are_told_where_they_were_asked_for():
    line = board_of("good", seed=4, conductance=50e-6)
    with driver(line).session() as board:
        chip = Chip(board)
        chip.pulse(0, PulseShape(RESET, 2.0, 5.5, 1e-6), EVERYWHERE)
        chip.pulse(0, PulseShape(SET, 2.5, 1.2, 1e-6), EVERYWHERE)
        line.mcu.wired.pulse = lambda *pulses: None
        for volts in (1.9, 2.0, 2.1, 2.0, 2.2, 2.0):  # the first is weaker, the last one verified below
            chip.pulse(0, PulseShape(RESET, volts, 5.5, 1e-6), EVERYWHERE)
        with pytest.warns(BatchWarning, match=r"last 5 batches moved none .* \(RESET up to 2.20 V") as told:
            chip.read(0)
        assert told[0].filename == __file__
        assert (board.batches.verified, board.batches.still) == (8, 6)


def test_a_tuning_that_goes_well_is_told_nothing():
    """Though its ramps begin with many batches that move nothing."""
    line = board_of("good", seed=7)
    target, chosen = np.zeros((64, 64)), np.zeros((64, 64))
    target[:20, :20] = np.random.default_rng(0).uniform(10e-6, 60e-6, (20, 20))
    chosen[:20, :20] = 1
    with driver(line).session() as board:
        DPE(Chip(board)).tune_conductance(
            0,
            target,
            Msel=chosen,
            Gtol_in=4e-6,
            Gtol_out=10e-6,
            maxSteps=60,
            Twidth=1e-6,
            vSetRamp=[1, 3, 0.25],
        )
        assert board.batches.still > 25


def test_batches_that_share_no_device_are_verified_by_one_reading_and_others_by_one_each():
    line = board_of("good", seed=4, conductance=50e-6)
    passes = lambda: sum(isinstance(command, a0.ReadCells) for command in line.sent)  # noqa: E731
    with driver(line).session() as board:
        chip = Chip(board)
        chip.read(0)
        assert passes() == 1
        chip.pulse(0, STRONG_SET, Region(0, 32, 0, 64))
        chip.pulse(0, STRONG_RESET, Region(32, 32, 0, 64))
        assert passes() == 1
        chip.read(0)
        assert (passes(), board.batches.verified) == (2, 2)
        chip.pulse(0, STRONG_SET, EVERYWHERE, 3)
        assert passes() == 4
    assert passes() == 5


@pytest.mark.parametrize("kind", ["good", "pessimistic"])
def test_devices_that_move_by_themselves_are_not_told(kind):
    known = np.random.default_rng(3).uniform(0, 150e-6, (3, 64, 64))
    line = board_of(kind, seed=4, conductance=known)
    half = np.random.default_rng(4).random((64, 64)) < 0.5
    with driver(line).session() as board:
        chip = Chip(board)
        for step in range(10):
            chosen = half if step % 2 else ~half
            direction, volts, gate = (SET, 2.0, 1.2) if step % 2 else (RESET, 1.5, 5.0)
            give(board, direction, chosen, np.full((64, 64), volts), np.full((64, 64), gate))
            chip.read(0)
        assert (board.batches.verified, board.batches.strays) == (10, 0)
