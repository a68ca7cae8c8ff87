"""Every pulse is in the journal before it is sent; what became of it is asked for, never guessed."""

import os
import resource
import sqlite3
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from chipctl.board import Region
from chipctl.chip import Chip, PulseShape
from chipctl.errors import DeviceError, ProtocolError
from chipctl.faults import scan
from chipctl.link import Link
from chipctl.programming import program
from chipctl.runs.journal import Done, Fate, Intent, Journal
from chipctl.runs.journaled import JournaledBoard
from chipctl.runs.store import StorageError
from firmware_protocol import messages as m
from firmware_protocol.frame import Decoder
from firmware_protocol.messages import RESET, SET
from firmware_protocol.wire import OpClass
from sim_chip.board import Board, Setup
from sim_chip.server import Endpoint

TARGET = np.random.default_rng(5).uniform(0, 150e-6, (64, 64))
PULSE = PulseShape(SET, 1.5, 1.0, 1e-6)
CORNER = Region(2, 3, 4, 5)


class Bench:
    """A virtual chip of which one host after the other takes hold, each with the same journal."""

    def __init__(self, journal):
        self.board = Board(Setup("good", 4))
        self.journal = journal

    def host(self):
        """A process that begins a session, and may be gone at any time without a word."""
        link = Link(Endpoint("sim://bench", self.board))
        link.open()
        return Chip(JournaledBoard(link, self.journal, "run-1"))

    @property
    def counters(self):
        """Pulses of each device, as the chip itself counts them."""
        counts = [self.board.mcu.chip.pulse_counts(array) for array in range(3)]
        return np.array(counts).reshape(3, 64, 64).astype(int)

    @property
    def total(self):
        return int(self.counters.sum())

    def wear(self, array=0):
        return self.journal.wear(1)[array]


@pytest.fixture
def journal(tmp_path):
    with Journal(tmp_path) as opened:
        yield opened


@pytest.fixture
def bench(journal):
    return Bench(journal)


@contextmanager
def died():
    """The host was killed inside: what it would have done next never happens."""

    class Killed(BaseException):
        pass

    def kill(*_, **__):
        raise Killed

    with pytest.raises(Killed):
        yield kill


def test_every_kind_of_pulse_is_counted_at_its_device(bench):
    chip = bench.host()
    chip.pulse(1, PULSE, CORNER, count=3)
    chip.pulse_each(1, RESET, np.where(np.eye(64) > 0, 1.2, np.nan), np.full((64, 64), 5.0), 1e-6)
    chip.sweep(1, 9, 8, SET, np.linspace(0.1, 0.5, 7), 1.0, 1e-5)
    program(chip, 1, TARGET, mask=np.arange(4096).reshape(64, 64) < 256)
    np.testing.assert_array_equal(bench.wear(1).pulses, bench.counters[1])
    assert bench.wear(1).unknown == 0
    assert {entry.done.fate for entry in bench.journal.entries("run-1")} == {Fate.PLACED}
    assert bench.journal.unaccounted(1) == 0


PULSING = {m.Pulse, m.PulseMap, m.Sweep, m.StartProgram, m.StartScan}


def test_no_request_that_pulses_bypasses_the_journal():
    """A new kind of pulse must be added to the journaled board before it can be used there."""
    unpulsed = {m.Wait, m.SetRail, m.StoreLimits}
    effects = {request for request in m.REQUESTS if request.CLASS is OpClass.EFFECT} - unpulsed
    assert effects == PULSING


class Overheard(Endpoint):
    """A line on which each pulsing request is held against the open entries just before the board has it."""

    def __init__(self, board, journal):
        super().__init__("sim://overheard", board)
        self._journal, self._decoder = journal, Decoder()
        self.heard = []

    def write(self, data):
        """Look into the journal, as it is on the disk, then pass the bytes on."""
        for frame in self._decoder.feed(data):
            if (request := m.REQUEST_BY_OPCODE.get(frame.opcode)) in PULSING:
                name, array = request.__name__, request.unpack(frame.payload).array
                entries = self._journal.open_entries(1)
                self.heard.append(((name, array), [(e.intent.request, e.intent.array) for e in entries]))
        super().write(data)


def test_whatever_pulses_has_its_open_entry_at_the_moment_it_is_sent(bench, tmp_path):
    with Journal(tmp_path) as reader, Link(line := Overheard(bench.board, reader)) as link:
        chip = Chip(JournaledBoard(link, bench.journal, "run-1"))
        chip.pulse(1, PULSE, CORNER)
        chip.pulse_each(2, RESET, np.where(np.eye(64) > 0, 1.2, np.nan), np.full((64, 64), 5.0), 1e-6)
        chip.sweep(1, 9, 8, SET, np.linspace(0.1, 0.5, 7), 1.0, 1e-5)
        program(chip, 0, TARGET, mask=np.eye(64) > 0)
        scan(chip, 2, on_board=True)
    assert {name for (name, _), _ in line.heard} == {request.__name__ for request in PULSING}
    assert all(entries == [sent] for sent, entries in line.heard), line.heard


def test_the_intent_is_on_the_disk_before_anything_is_sent(bench, monkeypatch):
    chip = bench.host()
    with died() as kill:
        monkeypatch.setattr(chip.board, "_effect", kill)
        chip.pulse(0, PULSE)
    (entry,) = bench.journal.open_entries(1)
    assert (entry.intent.request, entry.intent.total_before, bench.total) == ("Pulse", 0, 0)


def test_what_was_never_sent_is_found_never_to_have_happened(bench, monkeypatch):
    chip = bench.host()
    with died() as kill:
        monkeypatch.setattr(chip.board, "_effect", kill)
        chip.pulse(0, PULSE)
    assert bench.host().board.settle() == 1
    assert [entry.done.fate for entry in bench.journal.entries("run-1")] == [Fate.NEVER]


def test_a_pulse_whose_reply_was_lost_with_the_host_is_placed_by_the_boards_log(bench, monkeypatch):
    chip = bench.host()
    with died() as kill:
        monkeypatch.setattr(bench.journal, "settle", kill)
        chip.pulse(0, PULSE, CORNER, count=2)
    monkeypatch.undo()
    bench.host().board.settle()
    np.testing.assert_array_equal(bench.wear().pulses, bench.counters[0])
    assert bench.wear().pulses.sum() == 30


def test_a_job_of_a_host_that_died_is_counted_device_by_device(bench):
    chip = bench.host()
    with died() as kill:
        program(chip, 0, TARGET, on_progress=lambda p: p.pulses and kill())
    chip.board._link.safe()
    bench.host().board.settle()
    assert bench.total > 0
    np.testing.assert_array_equal(bench.wear().pulses, bench.counters[0])


def test_of_a_job_that_a_reset_cut_off_too_the_pulses_are_known_but_not_the_devices(bench):
    chip = bench.host()
    chip.pulse(0, PULSE, CORNER)
    with died() as kill:
        program(chip, 0, TARGET, on_progress=lambda p: p.pulses and kill())
    bench.board.reset()
    bench.host().board.settle()
    assert bench.wear().pulses.sum() == 15
    assert bench.wear().unknown == bench.total - 15 > 0
    assert np.all(bench.wear().pulses <= bench.counters[0])


def test_a_refused_pulse_is_found_never_to_have_happened(bench):
    chip = bench.host()
    with pytest.raises(DeviceError):
        chip.board.pulse(m.Pulse(0, SET, 0xFFF, 0, 1000, 1, 0, 1, 0, 1))
    chip.pulse(0, PULSE, CORNER)
    fates = [entry.done.fate for entry in bench.journal.entries("run-1")]
    assert fates == [Fate.NEVER, Fate.PLACED]


def test_what_the_boards_log_no_longer_reaches_is_at_most_what_it_missed(bench, monkeypatch):
    chip = bench.host()
    with died() as kill:
        monkeypatch.setattr(bench.journal, "settle", kill)
        chip.pulse(0, PULSE, CORNER)
    monkeypatch.undo()
    stranger = Chip.over(chip.board._link)
    for _ in range(200):
        stranger.pulse(0, PULSE, Region(0, 1, 0, 1))
    bench.host().board.settle()
    (entry,) = bench.journal.entries("run-1")
    assert entry.done.fate is Fate.FORGOTTEN
    assert 15 <= entry.done.unknown <= bench.total


def test_a_chip_that_counts_fewer_pulses_is_another_one(bench, journal):
    bench.host().pulse(0, PULSE)
    fresh = Bench(journal)
    chip = fresh.host()
    assert chip.board.chip == 2
    assert journal.wear(2) == {}
    assert journal.wear(1)[0].pulses.sum() == 4096


@pytest.mark.parametrize("seed", [5, 4], ids=["another serial number", "the same one, fewer pulses"])
def test_another_chip_at_the_same_port_is_not_asked_what_became_of_a_pulse(bench, monkeypatch, seed):
    """A pseudo-terminal's number, or a cable, may belong to another board when the host comes back."""
    chip = bench.host()
    chip.pulse(0, PULSE)
    with died() as kill:
        monkeypatch.setattr(bench.journal, "settle", kill)
        chip.pulse(0, PULSE)
    monkeypatch.undo()
    bench.board = chip.board._link.transport._board = Board(Setup("good", seed))
    chip.board._link.open()
    with pytest.raises(ProtocolError, match="another chip is at this port now"):
        chip.board.settle()
    assert [entry.done and entry.done.fate for entry in bench.journal.entries("run-1")] == [Fate.PLACED, None]


def test_pulses_given_without_the_journal_are_told_apart(bench):
    Chip.over(bench.host().board._link).pulse(0, PULSE, CORNER)
    bench.host().pulse(0, PULSE, CORNER)
    assert bench.journal.unaccounted(1) == 15


INTENT = Intent("run-1", "Pulse", 0, 0, 1, 0, b"fields", b"staged")


def test_an_entry_comes_back_as_it_was_written(journal):
    chip = journal.chip("good-4", 0)
    number = journal.intend(chip, INTENT)
    counts = np.arange(4096).reshape(64, 64)
    journal.settle(number, Done(Fate.PLACED, counts, None, 3), 8386560)
    (entry,) = journal.entries("run-1")
    assert entry.intent == INTENT
    assert (entry.done.fate, entry.done.set_pulses, entry.done.unknown) == (Fate.PLACED, None, 3)
    np.testing.assert_array_equal(entry.done.pulses, counts)


def test_an_entry_is_settled_once(journal):
    chip = journal.chip("good-4", 0)
    number = journal.intend(chip, INTENT)
    for _ in range(2):
        journal.settle(number, Done(Fate.PLACED, np.ones((64, 64), int)), 4096)
    assert journal.wear(chip)[0].pulses.max() == 1


def test_two_processes_share_a_journal(tmp_path, journal):
    with Journal(tmp_path) as other:
        first, second = journal.chip("a", 0), other.chip("b", 0)
        journal.intend(first, INTENT)
        other.intend(second, INTENT)
        assert len(journal.entries("run-1")) == 2


# The disk


def test_nothing_is_pulsed_when_the_disk_does_not_take_the_intent(bench):
    chip = bench.host()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1]))
    try:
        with pytest.raises(StorageError, match=r"cannot use the journal .*: the disk .*; free some room"):
            program(chip, 0, TARGET)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert bench.total == 0
    chip.pulse(0, PULSE, CORNER)
    np.testing.assert_array_equal(bench.wear().pulses, bench.counters[0])


def test_an_outcome_that_the_disk_did_not_take_is_asked_for_again(bench):
    chip = bench.host()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(_):
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1]))

    try:
        with pytest.raises(StorageError, match="cannot use the journal"):
            program(chip, 0, TARGET, on_progress=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert bench.total > 0
    bench.host().board.settle()
    np.testing.assert_array_equal(bench.wear().pulses, bench.counters[0])


def test_a_journal_that_another_process_writes_for_long_is_one_clear_line(tmp_path, journal, monkeypatch):
    monkeypatch.setattr("chipctl.runs.journal._PATIENCE_S", 0.1)
    with (
        sqlite3.connect(tmp_path / "journal.sqlite", isolation_level=None) as other,
        Journal(tmp_path) as mine,
    ):
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="another process is writing it; wait"):
            mine.chip("good-4", 0)


def _flip(path):
    """Damage a page in the middle of the file."""
    data = bytearray(path.read_bytes())
    data[8192:12288] = bytes(range(256)) * 16
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [_flip, lambda path: path.write_bytes(b"no database at all" * 400)])
def test_a_damaged_journal_is_refused_with_the_way_out(tmp_path, damage):
    with Journal(tmp_path) as journal:
        chip = journal.chip("good-4", 0)
        for _ in range(20):
            journal.settle(journal.intend(chip, INTENT), Done(Fate.PLACED, np.ones((64, 64), int)), 0)
    damage(journal.path)
    with pytest.raises(StorageError, match=r"it is damaged; move it away \(mv .*journal.sqlite "):
        Journal(tmp_path).__enter__()


def test_another_programs_database_is_refused(tmp_path):
    with sqlite3.connect(tmp_path / "journal.sqlite") as other:
        other.execute("CREATE TABLE holiday (day TEXT)")
    other.close()
    with pytest.raises(StorageError, match="not a journal that this chipctl reads"):
        Journal(tmp_path).__enter__()


@pytest.fixture
def read_only():
    """A folder that this process may read and not write; root may write everywhere, so it is nobody."""
    with tempfile.TemporaryDirectory() as place:
        with Journal(Path(place)) as journal:
            journal.chip("good-4", 0)
        os.chmod(place, 0o555)
        for file in Path(place).iterdir():
            file.chmod(0o444)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        yield Path(place)
        os.seteuid(user)
        os.chmod(place, 0o755)


def test_a_read_only_folder_is_one_clear_line(read_only):
    with pytest.raises(StorageError, match=r"it may not be .*choose another folder with --runs"):
        Journal(read_only).__enter__()


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"cannot make .*choose another folder with --runs"):
        Journal(tmp_path / "file").__enter__()
