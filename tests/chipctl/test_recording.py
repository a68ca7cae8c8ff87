"""A record says what crossed the line, and a replay answers as the board did until it is asked otherwise."""

import subprocess
import sys

import numpy as np
import pytest

from chipctl.board import Region
from chipctl.chip import connect
from chipctl.errors import LinkError, ProtocolError
from chipctl.faults import ScanSchedule, scan
from chipctl.programming import program
from chipctl.recording import described, load, recording

CORNER = Region(0, 4, 0, 4)
MASK = np.zeros((64, 64), np.bool_)
MASK[:2] = True


def session(address):
    with connect(address) as chip:
        report = program(chip, 0, np.full((64, 64), 50e-6), mask=MASK)
        return report.final[MASK], report.pulses, chip.read(0, CORNER)


@pytest.fixture
def record(tmp_path):
    with recording(tmp_path / "record"):
        session("sim://?seed=7")
    return tmp_path / "record"


def test_a_replay_answers_as_the_board_did(tmp_path):
    with recording(tmp_path / "record"):
        then = session("sim://?seed=7")
    for was, now in zip(then, session(f"replay://{tmp_path / 'record'}"), strict=True):
        np.testing.assert_array_equal(was, now)


def test_a_replay_stops_at_the_first_difference(record):
    with (
        connect(f"replay://{record}") as chip,
        pytest.raises(ProtocolError, match=r"then Get\w+\(.*now ReadCells"),
    ):
        chip.read(1, CORNER)


def test_a_replay_that_is_asked_for_more_says_that_the_record_ends(record):
    session(f"replay://{record}")
    with connect(f"replay://{record}") as chip:
        program(chip, 0, np.full((64, 64), 50e-6), mask=MASK)
        chip.read(0, CORNER)
        with pytest.raises(LinkError, match="the record ends before ReadCells"):
            chip.read(0, CORNER)


def test_a_scan_on_the_board_replays(tmp_path):
    schedule, pulses = ScanSchedule(value_reads=64), []
    with recording(tmp_path / "record"), connect("sim://?seed=7") as chip:
        pulses.append(scan(chip, 0, schedule, on_board=True).pulse_counts)
    with connect(f"replay://{tmp_path / 'record'}") as chip:
        pulses.append(scan(chip, 0, schedule, on_board=True).pulse_counts)
    np.testing.assert_array_equal(*pulses)


def test_a_record_of_a_bad_cable_replays_on_a_good_one(tmp_path, port):
    """Pieces of bulk data are smaller where frames fail; what they amount to is the same."""
    place = tmp_path / "cable"
    bad = ["--flip", "2e-4", "--drop", "0.05", "--seed", "4"]
    command = [sys.executable, "-m", "benchmarks.bad_cable", str(place), str(port), *bad]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as cable:
        cable.stderr.readline()
        with recording(tmp_path / "record"):
            then = session(str(place))
        cable.terminate()
    for was, now in zip(then, session(f"replay://{tmp_path / 'record'}"), strict=True):
        np.testing.assert_array_equal(was, now)


def test_a_record_whose_last_line_was_cut_off_is_read_up_to_it(record):
    whole = load(record)
    record.write_bytes(record.read_bytes()[:-20])
    assert load(record) == whole[:-1]


def test_frames_are_shown_with_time_direction_and_fields(record):
    lines = [described(moment) for moment in load(record)]
    assert "> " in lines[0]
    assert "Hello(protocol_major=1" in lines[0]
    assert "< " in lines[1]
    assert any("StartProgram(job_id=" in line for line in lines)
    times = [moment.seconds for moment in load(record)]
    assert times == sorted(times)


def test_what_is_no_record_is_refused(tmp_path):
    (tmp_path / "text").write_text("hello\n")
    with pytest.raises(ValueError, match="no record of a line"):
        load(tmp_path / "text")
    with pytest.raises(LinkError, match="no such record"), connect(f"replay://{tmp_path / 'none'}"):
        pass
