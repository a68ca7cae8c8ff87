"""Programming goes on after its board was killed: from what the board says and the array shows."""

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from chipctl.chip import connect
from chipctl.errors import LinkError
from chipctl.programming import program

A_RECORD = 512 + 64 + 20
"""A byte of the log's second record."""


def serve(folder):
    place = ["--pty", str(folder / "port"), "--state", str(folder / "state")]
    (folder / "port").unlink(missing_ok=True)
    board = subprocess.Popen(
        [sys.executable, "-m", "sim_chip.cli", "serve", *place], stderr=subprocess.DEVNULL
    )
    while not os.path.exists(folder / "port"):
        time.sleep(0.01)
    return board


def rot(flash):
    """Spoil one record of the board's log."""
    data = bytearray(flash.read_bytes())
    data[A_RECORD] ^= 0xFF
    flash.write_bytes(data)


@pytest.mark.parametrize("log_is_lost", [False, True])
def test_programming_goes_on_after_the_board_was_killed(tmp_path, log_is_lost):
    boards = [serve(tmp_path)]
    restart = threading.Thread(target=lambda: boards.append(serve(tmp_path)))

    def kill_once(progress):
        if progress.pulses and len(boards) == 1 and not restart.ident:
            boards[0].kill()
            boards[0].wait()
            if log_is_lost:
                rot(tmp_path / "state.board")
            restart.start()

    try:
        with connect(str(tmp_path / "port")) as chip:
            before = chip.board.state().total_pulses
            target = np.random.default_rng(1).uniform(0, 150e-6, (64, 64))
            report = program(chip, 0, target, on_progress=kill_once)
            given = chip.board.state().total_pulses - before
        assert len(report.interruptions) == 1
        assert ("log was lost" in report.interruptions[0]) == log_is_lost
        assert report.unplaced_pulses > 0
        assert report.pulses.sum() + report.unplaced_pulses == given
        assert report.verified.mean() > 0.95
    finally:
        restart.join(10)
        for board in boards:
            board.kill()
            board.wait()


def test_a_board_that_stays_away_ends_programming(tmp_path, monkeypatch):
    monkeypatch.setattr("chipctl.board.REOPEN_S", 0.3)
    board = serve(tmp_path)
    chip_at = connect(str(tmp_path / "port"))
    with pytest.raises(LinkError), chip_at as chip:
        program(chip, 0, np.full((64, 64), 75e-6), on_progress=lambda _: board.kill())
    board.wait()
