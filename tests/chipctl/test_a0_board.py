"""The driver of the A0 board: the same chip as by its native door, and nothing unsafe."""

import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from calibration.adcs import measure_adcs
from calibration.bench import Bench
from chipctl import a0_facts as facts
from chipctl import doorbell
from chipctl.a0_board import A0Place
from chipctl.a0_line import BUSY_S, A0Line
from chipctl.board import Region
from chipctl.chip import Chip, HostLimits, PulseShape, connect
from chipctl.errors import DeviceError, LinkError, LinkTimeout, OutcomeUnknown
from chipctl.faults import ScanSchedule, scan
from chipctl.ownership import holder
from chipctl.profile import ChipProfile
from chipctl.programming import program
from chipctl.results import CalibrationResult
from chipctl.runs import journaled
from chipctl.runs.journal import Fate, Journal
from firmware_protocol import a0
from firmware_protocol import a0_words as w
from firmware_protocol.messages import AUTO_GAIN, RESET, SET
from firmware_protocol.rails import Rail
from sim_chip.a0_mcu import A0Mcu
from tests.chipctl.a0_lines import Tapped, board_of, driver

CORNER = Region(0, 8, 0, 8)
PULSE = PulseShape(SET, 2.5, 1.2, 1e-6)


@pytest.fixture
def tapped():
    """`tapped("ideal", conductance=50e-6)`: a line to a board, and the chip below it as `.truth`."""
    return board_of


def volts_on(line, rail):
    return line.mcu.wired.dac.volts(rail) + 0.078


def is_quiet(line):
    return all(abs(volts_on(line, rail)) < 1e-3 for rail in (Rail.VP_PAD, Rail.TVDD))


@pytest.fixture
def served(tmp_path):
    """The address of an A0 board behind a pseudo-terminal, in a process of its own."""
    path = tmp_path / "port"
    command = [sys.executable, "-m", "sim_chip.cli", "serve", "--board", "a0", "--seed", "7"]
    with subprocess.Popen([*command, "--pty", str(path)], stderr=subprocess.DEVNULL) as board:
        while not path.exists():
            time.sleep(0.01)
        yield f"a0+{path}#chip=served&windows=off"
        board.terminate()


# Two doors to one chip


def test_a_served_board_and_a_native_one_show_the_same_chip(served):
    inputs = np.random.default_rng(1).uniform(-0.2, 0.2, (3, 64))
    with connect("sim://?preset=good&seed=7") as native:
        theirs = native.board.read_cells(0, AUTO_GAIN, 1, native.whole)
        amps = native.multiply(0, inputs, input_bits=4)
    with connect(served) as chip:
        codes, gains = chip.board.read_cells(0, AUTO_GAIN, 1, chip.whole)
        same = gains == theirs[1]  # near a threshold this board decides without the noise
        assert same.mean() > 0.999
        assert np.abs(codes - theirs[0])[same].max() <= 2
        np.testing.assert_allclose(chip.multiply(0, inputs, input_bits=4), amps, atol=2e-6)
        assert chip.board.welcome.serial == "served"


def test_the_same_pulses_by_either_door_make_the_same_chip_to_the_bit(tapped, make_chip):
    line, native = tapped("good", seed=9), make_chip("good", seed=9)
    reset = PulseShape(RESET, 1.5, 5.0, 500e-9)
    with driver(line).session() as board:
        for chip in (Chip(board), native):
            chip.pulse(0, PULSE, CORNER, 2)
            chip.pulse(0, reset, Region(2, 1, 0, 3))
    np.testing.assert_array_equal(line.truth.conductance_units(0), native.truth.conductance_units(0))
    assert line.truth.pulse_counts(0).sum() == 131


def test_windows_read_a_chip_without_noise_as_well_as_none(tapped):
    known = np.random.default_rng(2).uniform(1e-6, 150e-6, (3, 64, 64))
    found, passes = {}, {}
    for windows in ("on", "off"):
        with driver(tapped(conductance=known), f"windows={windows}").session() as board:
            found[windows], passes[windows] = Chip(board).read(0), board.reader.passes
    assert np.abs(found["on"] - found["off"]).max() < 1.5 * 3.5 / 1023 / 30e3 / 0.2
    assert passes == {"on": 7, "off": 1}


def test_an_array_of_one_conductance_needs_two_windows_and_not_seven(tapped):
    with driver(tapped(conductance=50e-6), "windows=on").session() as board:
        Chip(board).read(0)
        assert board.reader.passes == 2


@pytest.mark.parametrize("windows", ["on", "off"])
@pytest.mark.parametrize("columns", [1, 40])
def test_devices_that_the_gain_found_for_them_does_not_hold_are_read_at_the_next_lower_one(
    tapped, windows, columns
):
    near_the_end = np.full((64, 64), 20e-6)
    near_the_end[:, :columns] = 85e-6
    line, lower = tapped("good", seed=4, conductance=near_the_end), 0
    with driver(line, f"windows={windows}").session() as board:
        threshold = board.rails().set_codes[Rail.VAGC_1]
        for _ in range(5):
            line.sent.clear()
            codes, _ = board.read_cells(0, AUTO_GAIN, 1, Region(0, 64, 0, 64))
            assert codes.max() < facts.ADC_TOP
            assert board.rails().set_codes[Rail.VAGC_1] == threshold
            moved = [c for c in line.sent if isinstance(c, a0.WriteDac) and c.word >> 16 & 15 == Rail.VAGC_1]
            chains = sum(isinstance(command, a0.LoadChain) for command in line.sent)
            lower += len(moved) == 2
            if columns == 1:  # the chains of the reading itself, and none for the few
                assert chains <= 3
    assert (lower > 0) == (columns == 1)


# Nothing unsafe


def test_the_first_thing_on_a_line_takes_the_pulse_voltages_away(tapped):
    line = tapped(conductance=50e-6)
    with driver(line).session():
        pass
    for rail in (
        Rail.VP_PAD,
        Rail.TVDD,
    ):  # a host that was killed in the middle of what no driver of ours does
        line.mcu.wired.dac.put_out(rail, w.output_code(3.0))
    line.sent.clear()
    seen = []
    receive = line.mcu.receive
    line.mcu.receive = lambda data: (receive(data), line.mcu.work(), seen.append(is_quiet(line)))
    with driver(line).session():
        pass
    first = [type(command).__name__ for command in line.sent[:3]]
    assert first == ["ClearPin", "WriteDac", "WriteDac"]
    assert all(seen[3:])
    assert line.sent[0] == a0.ClearPin(*w.DAC_CLEAR_NOT)


KILLED = """
import os, signal, sys
from chipctl.a0_power import dac
from chipctl.transport import open_transport
from firmware_protocol import a0
from firmware_protocol.rails import Rail
line = open_transport(sys.argv[1])
for rail in (Rail.VP_PAD, Rail.TVDD):
    line.write(dac(rail, 44000).encode())
packets = [a0.PulseRows(0, 1, row, b"\\x40\\xa0" * 128).encode() for row in range(0, 128, 2)]
for packet in packets[:63]:
    line.write(packet)
line.write(packets[40][:200])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_after_a_host_that_was_killed_in_a_batch_no_device_has_moved(served):
    with connect(served) as chip:
        before = chip.read(0)
    path = A0Place.of(served).address
    killed = subprocess.run([sys.executable, "-c", KILLED, path], check=False, capture_output=True)
    assert killed.returncode == -9
    with connect(served) as chip:
        assert np.abs(chip.read(0) - before).max() < 20e-6  # devices fluctuate by some 10 µS
        chip.pulse(0, PULSE, CORNER)
        moved = np.abs(chip.read(0) - before) > 20e-6
        assert moved[CORNER.slices].mean() > 0.9
        assert not moved[8:, 8:].any()


def test_zero_words_are_on_their_way_before_a_batch_is_waited_for(tapped):
    line = tapped(conductance=50e-6)
    with driver(line).session() as board:
        before = line.mcu.wired.complaints
        Chip(board).pulse(0, PULSE, CORNER)
    numbers = [n for n, command in enumerate(line.sent) if getattr(command, "row", None) == a0.LAST_ROW]
    assert len(numbers) == 1
    packets = line.sent[numbers[0] - 63 : numbers[0] + 1]
    assert [packet.row for packet in packets] == list(range(0, 128, 2))
    assert [rail_of(command) for command in line.sent[numbers[0] + 1 : numbers[0] + 3]] == [5, 6]
    assert line.mcu.wired.unsafe_pulses == 0
    assert line.mcu.wired.complaints == before


class Cut(Tapped):
    """Lets the packet that starts a batch go out as far as byte `at`, then raises; nothing more if `dies`."""

    def __init__(self, tapped, at, *, dies):
        super().__init__(tapped.mcu)
        self._at, self._dies, self._is_cut = at, dies, False
        self.given = []
        tapped.mcu.wired.pulse = lambda *pulses: self.given.append(pulses)

    def write(self, data):
        if self._is_cut and self._dies:
            raise LinkError("this host is dead")
        if not self._is_cut and data.startswith(b"405,") and data.split(b",")[3] == b"126":
            super().write(data[: self._at])
            self._is_cut = True
            raise KeyboardInterrupt
        super().write(data)


@pytest.mark.parametrize("dies", [False, True])
@pytest.mark.parametrize("at", [1, 3, 9, 13, 14, 15, 16, 60, 141, 200, 268, 269, 270])
def test_a_batch_whose_last_packet_was_cut_short_never_begins(tapped, at, dies):
    whole = tapped(conductance=50e-6)
    line = Cut(whole, at, dies=dies)
    with pytest.raises(KeyboardInterrupt), driver(line).session() as board:
        Chip(board).pulse(0, PULSE, Region(0, 64, 0, 64))
    if dies:
        with driver(Tapped(whole.mcu)).session():
            pass
    assert not line.given
    assert is_quiet(whole)


@pytest.mark.parametrize("shape", [PULSE, PulseShape(RESET, 1.5, 5.0, 1e-6)])
def test_a_board_whose_host_dies_behind_the_last_packet_ends_at_zero_by_itself(tapped, shape):
    whole = tapped(conductance=50e-6)
    line = Cut(whole, at=None, dies=True)
    whole.mcu.wired.pulse = type(whole.mcu.wired).pulse.__get__(whole.mcu.wired)
    with pytest.raises(KeyboardInterrupt), driver(line).session() as board:
        Chip(board).pulse(0, shape, Region(0, 64, 0, 64))
    assert whole.truth.pulse_counts(0).sum() == 4095
    assert is_quiet(whole)


def test_a_host_that_dies_in_a_read_leaves_gates_and_columns_until_the_next_connection(tapped):
    line = tapped(conductance=50e-6)

    def die(command):
        if isinstance(command, a0.ReadCells):
            line.write = lambda data: None
            raise KeyboardInterrupt
        return False

    line.loses = die
    with pytest.raises(KeyboardInterrupt), driver(line).session() as board:
        Chip(board).read(0)
    assert volts_on(line, Rail.VP_PAD) == pytest.approx(0, abs=1e-3)
    assert volts_on(line, Rail.TVDD) == pytest.approx(5, abs=1e-3)
    assert line.mcu.wired.level(w.CONNECT_COLUMN)
    with driver(Tapped(line.mcu)).session():
        assert is_quiet(line)
        assert not line.mcu.wired.level(w.CONNECT_COLUMN)


def test_the_device_that_a_batch_comes_to_last_is_pulsed_once_as_well(tapped):
    line = tapped(conductance=20e-6)
    with driver(line).session() as board:
        Chip(board).pulse(0, PULSE, Region(0, 64, 0, 64))
        assert board.state().total_pulses == 4096
        Chip(board).pulse(0, PULSE, Region(0, 32, 0, 64))
    np.testing.assert_array_equal(line.truth.pulse_counts(0)[32:], 1)
    assert (line.truth.pulse_counts(0)[:32] == 2).all()


def test_after_an_interrupted_batch_a_lost_packet_leaves_no_old_voltage(tapped):
    line = tapped(conductance=50e-6)
    pulsed, give, send = [], line.mcu.wired.pulse, line.write
    line.mcu.wired.pulse = lambda *pulses: (pulsed.append(pulses), give(*pulses))[1]
    weak = PulseShape(SET, 1.0, 1.2, 1e-6)

    def interrupted(data):
        if data.startswith(b"405,"):
            raise KeyboardInterrupt
        send(data)

    def lossy(data):
        is_of_row = data.startswith(b"405,") and data.split(b",")[3] == b"20"
        if not (is_of_row and any(data[15:-1])):  # a skip comes through, voltages do not
            send(data)

    with driver(line).session() as board:
        chip = Chip(board)
        chip.pulse(0, PulseShape(SET, 3.0, 1.2, 1e-6), Region(0, 64, 0, 64))
        line.write = interrupted
        with pytest.raises(KeyboardInterrupt):
            chip.pulse(0, weak, Region(0, 64, 0, 64))
        line.write = lossy
        pulsed.clear()
        chip.pulse(0, weak, Region(0, 64, 0, 64))
    volts = set(np.concatenate([np.ravel(pulses[3]) for pulses in pulsed]))
    assert volts == {facts.sent_code(facts.true_code(each)) for each in (0.0, 1.0)}


def rail_of(command):
    return command.word >> 16 & 0xF


def test_a_batch_without_a_handshake_is_unknown_and_settled_by_reading(tapped):
    line = tapped(conductance=20e-6)
    with driver(line).session() as board:
        chip = Chip(board)
        line.loses = lambda command: getattr(command, "row", None) == a0.LAST_ROW
        with pytest.raises(OutcomeUnknown, match="read the devices"):
            chip.pulse(0, PULSE, CORNER)
        assert is_quiet(line)
        line.loses = lambda command: False
        moved = chip.read(0) > 30e-6
        assert moved[CORNER.slices].all()
        assert moved.sum() == 64
    assert line.truth.pulse_counts(0).sum() == 64


def test_programming_goes_on_after_a_lost_handshake_and_repeats_no_pulse(tapped):
    line, lost = tapped("good", seed=3), []
    target = np.random.default_rng(4).uniform(0, 150e-6, (64, 64))
    mask = np.zeros((64, 64), bool)
    mask[20:28, 7:15] = True

    def once(command):
        if getattr(command, "row", None) == a0.LAST_ROW and not lost:
            lost.append(command)
        return any(command is one for one in lost)

    line.loses = once
    with driver(line).session() as board:
        report = program(Chip(board), 0, target, mask=mask)
    assert len(report.interruptions) == 1
    assert report.verified[mask].mean() > 0.98
    assert report.pulses.sum() + report.unplaced_pulses == line.truth.pulse_counts(0).sum()
    np.testing.assert_array_equal(line.truth.pulse_counts(0)[~mask], 0)


def test_a_lost_packet_leaves_devices_out_and_replays_nothing(tapped):
    line = tapped(conductance=50e-6, faults=["lost-packet"])
    everywhere, once = Region(0, 64, 0, 64), Region(40, 1, 0, 64)
    with driver(line).session() as board:
        chip = Chip(board)
        for _ in range(8):
            chip.pulse(0, PULSE, everywhere)
        counts = line.truth.pulse_counts(0).copy()
        assert line.mcu.firmware.lost_packets
        assert counts.max() <= 8
        chip.pulse(0, PULSE, once)
    later = line.truth.pulse_counts(0) - counts
    assert not np.delete(later, 40, axis=0).any()


def test_programming_survives_the_firmwares_faults(tapped):
    line = tapped("good", seed=3, faults=["lost-packet", "dropped-reply"])
    line.mcu.receive(a0.LoadChain(w.CONTROL_CHAIN, w.Control().pack()).encode())  # by a host that is gone
    line.mcu.work()
    mask = np.zeros((64, 64), bool)
    mask[20:36, 7:23] = True
    target = np.random.default_rng(4).uniform(0, 150e-6, (64, 64))
    with driver(line).session() as board:
        report = program(Chip(board), 0, target, mask=mask)
    assert line.mcu.firmware.lost_packets
    assert line.mcu.dropped_replies == 1
    assert report.verified[mask].mean() > 0.98
    assert not line.truth.pulse_counts(0)[~mask].any()


@pytest.mark.parametrize(
    "shape",
    [
        PulseShape(SET, 3.6, 1.2, 1e-6),
        PulseShape(RESET, 1.0, 5.6, 1e-6),
        PulseShape(SET, 1.0, 1.0, 11e-3),
        PulseShape(SET, 1.0, 1.0, 30e-9),
    ],
)
def test_what_is_above_a_limit_is_refused_before_a_byte_leaves(tapped, shape):
    line = tapped()
    with driver(line).session() as board:
        line.sent.clear()
        with pytest.raises(ValueError, match=r"limit|multiple|board times"):
            Chip(board).pulse(0, shape, CORNER)
        wide = np.full((64, 64), board.limits.set_code + 1)
        with pytest.raises(ValueError, match="codes must lie"):
            board.pulse_map(0, SET, 1000, wide, wide)
        assert not line.sent


def test_limits_are_tightened_for_the_session(tapped):
    with driver(tapped()).session() as board:
        chip = Chip(board)
        chip.tighten(HostLimits(set_volts=2.0, pulses_per_device=3))
        with pytest.raises(ValueError, match=r"limit of 2\.000 V"):
            chip.pulse(0, PULSE, CORNER)
        with pytest.raises(ValueError, match="1 to 3"):
            chip.pulse(0, PulseShape(SET, 1.5, 1.0, 1e-6), CORNER, 4)


def test_long_pulses_are_timed_one_by_one_and_never_by_the_command_that_loses_its_width(tapped):
    line = tapped(conductance=20e-6, faults=["stray-width"])
    with driver(line).session() as board:
        line.sent.clear()
        Chip(board).pulse(0, PulseShape(SET, 2.0, 1.0, 20e-6), CORNER)
    kinds = {type(command) for command in line.sent}
    assert a0.TimedPulse in kinds
    assert a0.TimedPulseRows not in kinds
    assert len(line.sent) < 64 + 40  # the firmware ends each at 0 V by itself
    assert line.truth.pulse_counts(0).sum() == 64


def test_every_way_out_leaves_the_rails_at_zero(tapped):
    line = tapped()

    def interrupted():
        with driver(line).session() as board:
            Chip(board).read(0, CORNER)
            line.mcu.wired.dac.put_out(Rail.VP_PAD, w.output_code(3.0))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert is_quiet(line)
    assert not any(line.mcu.wired.level(pin) for pin in (w.CONNECT_COLUMN, w.COLUMN_WRITE_CONNECT))


def test_a_late_handshake_is_nobody_elses_answer(tapped):
    line = tapped(conductance=50e-6)
    with driver(line).session() as board:
        before = Chip(board).read(0, CORNER)
        line.mcu._out += b"0"
        np.testing.assert_array_equal(Chip(board).read(0, CORNER) > 0, before > 0)
        assert board.line.late_bytes == 1


def test_a_board_that_hangs_is_told_from_one_that_is_late(tapped):
    line = tapped()
    with driver(line).session() as board:
        line.mcu.is_hung = True
        with pytest.raises(LinkTimeout, match="reset button"):
            board.read_cells(0, AUTO_GAIN, 1, Region(0, 1, 0, 1))
        line.mcu.is_hung = False


@pytest.mark.parametrize("use", ["read", "multiply", "pulse"])
def test_a_board_that_was_reset_meanwhile_is_neither_read_nor_pulsed_until_it_is_set_up(tapped, use):
    line = tapped(conductance=50e-6)
    with driver(line).session() as board:
        chip = Chip(board)
        line.mcu.power_down()
        line.mcu = A0Mcu(line.truth)
        uses = {
            "read": lambda: chip.read(0, CORNER),
            "multiply": lambda: chip.multiply(0, np.full(64, 0.2)),
            "pulse": lambda: chip.pulse(0, PULSE, CORNER),
        }
        with pytest.raises(LinkError, match="was reset"):
            uses[use]()
        assert not line.mcu.is_hung
        assert not line.truth.pulse_counts(0).any()
        board.reopen()
        uses[use]()
        assert line.mcu.wired.unsafe_pulses == 0


def native_safe(path):
    run = "from chipctl.cli.main import run; run()"
    command = [sys.executable, "-c", run, "safe", "--chip", path]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def test_safety_asked_without_the_prefix_sends_no_native_frames_to_the_board_of_another_process(served):
    path = A0Place.of(served).address
    with connect(served) as chip:
        before = chip.board.line.statistics.bytes_in
        asked = native_safe(path)
        assert asked.returncode == 12
        assert f"process {os.getpid()}" in asked.stderr
        assert "zeroed as it ends" in asked.stderr
        assert doorbell.ask(holder(Path(path)).socket, "safe", 1.0) == {"safe": False}
        assert chip.read(0, CORNER).shape == (8, 8)
        assert chip.board.line.late_bytes == 0
        assert chip.board.line.statistics.bytes_in > before


def test_safety_asked_without_the_prefix_after_a_killed_host_is_asked_as_the_board_understands_it(served):
    path = A0Place.of(served).address
    dying = "import os, signal, sys; from chipctl.chip import connect\n"
    dying += "with connect(sys.argv[1]): os.kill(os.getpid(), signal.SIGKILL)"
    assert subprocess.run([sys.executable, "-c", dying, served], check=False).returncode == -9
    assert native_safe(path).returncode == 0


def test_what_asks_an_a0_board_as_a_native_one_is_told_of_the_prefix(served):
    path = A0Place.of(served).address
    with pytest.raises(LinkError, match=r"begins with a0\+"), connect(path):
        pass
    asked = native_safe(path)
    assert asked.returncode == 11
    assert "put a0+ before its address" in " ".join(asked.stderr.split())


# What is above the board


@pytest.mark.parametrize("windows", ["on", "off"])
def test_a_calibration_of_the_adcs_warns_where_reads_move_their_window(tapped, windows, monkeypatch):
    monkeypatch.setattr("calibration.adcs._QUICK_READS", 2)
    with (
        driver(tapped(), f"windows={windows}").session() as board,
        warnings.catch_warnings(record=True) as told,
    ):
        warnings.simplefilter("always")
        chip = Chip(board)
        chip.test_input_volts(0)
        assert not told
        measure_adcs(Bench(chip, 0, np.ones((64, 64), np.bool_), np.random.default_rng(0), quick=True))
        profile = ChipProfile.nominal(board.welcome.serial, 3, 64, 64)
        profile.keep(CalibrationResult.judged("adcs", {}), 1)
        chip.adopt(profile)
    texts = [str(each.message) for each in told]
    if windows == "off":
        assert not texts
    else:
        assert "connect with #windows=off to calibrate" in texts[0]
        assert "does not hold for reads that move" in texts[1]


def test_a_fault_scan_by_the_host_finds_the_stuck_devices(tapped):
    line = tapped("good", seed=5)
    quick = ScanSchedule(reads=1, looks=4, set_volts=(2.4, 3.1), reset_volts=(1.5, 2.1), value_reads=4)
    with driver(line).session() as board:
        report = scan(Chip(board), 0, quick)
    planted = line.truth.planted(0)[0] > 0
    assert planted.any()
    assert report.faults.stuck[planted].all()
    assert report.faults.stuck[~planted].mean() < 0.01


def test_what_the_board_cannot_do_is_said(tapped):
    with driver(tapped()).session() as board:
        assert "at most once" in board.unpromised
        with pytest.raises(DeviceError, match="cannot read a device at a staircase"):
            Chip(board).sweep(0, 0, 0, SET, [0.5], 1.0, 1e-3)


@pytest.mark.parametrize("address", ["a0+", "a0+/dev/ttyACM0#windows=maybe", "a0+/dev/ttyACM0#serial=7"])
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(ValueError, match="is no address"):
        A0Place.of(address)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("a0+a0+/dev/ttyACM0", "in small letters, and once"),
        ("A0+/dev/ttyACM0", "in small letters, and once"),
        ("a0+sim://?preset=good&board=native", "is an A0 board, not board=native"),
        ("a0+sim://?preset=good#delay_us=99999999999", "rests for 0 to 1000000 us"),
        ("a0+sim://?preset=good#delay_us=²", "is no address"),
    ],
)
def test_an_address_of_something_else_is_refused_with_what_is_wrong(address, words):
    with pytest.raises(ValueError, match=words), connect(address):
        pass


@pytest.mark.parametrize(
    ("name", "first"), [("socket://lab:7001", "another host may be connected"), ("/dev/ttyACM0", "it hangs")]
)
def test_the_reset_button_is_the_last_thing_where_another_host_may_have_the_board(tapped, name, first):
    line = tapped()
    line.name, line.mcu.is_hung = name, True
    board = A0Line(line, patience_s=0.1)
    board.open()
    with pytest.raises(
        LinkTimeout, match=rf"answers here; (if it is one, )?{first}.* press its reset button"
    ):
        board.get_in_step()


def test_a_board_is_waited_for_as_long_as_it_may_read_for_a_host_before(tapped):
    board, waited = driver(tapped(), "delay_us=5000"), []
    count = board.line.get_in_step
    board.line.get_in_step = lambda within_s=None: (waited.append(within_s), count(within_s))
    with board.session():
        pass
    assert waited[0] == pytest.approx(BUSY_S + 4096 * 5e-3)


def test_a_board_has_nothing_to_complain_of_when_the_driver_connects(tapped):
    line = tapped()
    with driver(line).session():
        pass
    assert line.mcu.wired.complaints == 0


# The journal, which counts for a board that does not


def test_the_count_of_pulses_goes_on_where_the_journal_left_it(tmp_path):
    for before in (0, 64):
        address = "a0+sim://?preset=ideal#chip=one"
        with Journal(tmp_path) as journal, journaled.connect(address, journal, "run") as chip:
            assert chip.board.state().total_pulses == before
            chip.pulse(0, PULSE, CORNER)
    with Journal(tmp_path) as journal:
        (known,) = journal.chips()
        assert (known.serial, known.total) == ("one", 128)
        assert journal.wear(known.id)[0].pulses[CORNER.slices].tolist() == [[2] * 8] * 8


def test_what_was_not_confirmed_is_worn_in_the_journal_and_placed_nowhere(tmp_path, tapped, monkeypatch):
    line = tapped(conductance=50e-6)
    line.loses = lambda command: getattr(command, "row", None) == a0.LAST_ROW
    monkeypatch.setattr("chipctl.a0_board.open_transport", lambda address, protocol: line)
    with Journal(tmp_path) as journal:
        with journaled.connect("a0+/dev/none", journal, "run") as chip, pytest.raises(OutcomeUnknown):
            chip.pulse(0, PULSE, CORNER)
        (entry,) = journal.entries("run")
        assert entry.done.fate is Fate.FORGOTTEN
        assert journal.wear(1)[0].unknown == 64
        assert not journal.wear(1)[0].pulses.any()
