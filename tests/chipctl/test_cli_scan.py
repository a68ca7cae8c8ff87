"""`chipctl scan` as a person runs it: plan, run, report, comparison, exit status; and a board that dies."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from chipctl.chip import connect
from chipctl.errors import ChipctlError
from chipctl.faults import scan
from chipctl.runs.store import list_runs

COMMAND = [sys.executable, "-c", "from chipctl.cli.main import run; run()", "scan"]


@pytest.fixture
def chipctl_scan(tmp_path):
    """`chipctl_scan({"dead_rows": [(2, 7)]}, "--array", 2)` on a chip with these faults alone."""

    def run(faults, *words):
        np.savez(tmp_path / "faults.npz", **({"kinds": np.zeros((3, 64, 64), np.uint8)} | faults))
        chip = f"sim://?preset=good&seed=3&faults={tmp_path / 'faults.npz'}"
        kept = ("--chip", chip, "--runs", tmp_path / "runs", "--json")
        return subprocess.run(
            [*COMMAND, *map(str, kept), *map(str, words)], capture_output=True, text=True, check=False
        )

    return run


def stuck_off(*places):
    kinds = np.zeros((3, 64, 64), np.uint8)
    for place in places:
        kinds[place] = 2
    return {"kinds": kinds}


def test_a_scan_is_compared_with_the_one_before_and_kept_as_a_run(chipctl_scan, tmp_path):
    words = ("--array", 2, "--profile", tmp_path / "chip.json")
    first = chipctl_scan(stuck_off((2, 1, 1), (2, 5, 6)), *words, "--most", 0.0004)
    second = chipctl_scan(stuck_off((2, 5, 6), (2, 8, 8)), *words, "--on-board")

    assert (first.returncode, second.returncode) == (1, 0), first.stderr + second.stderr  # 2 of 4096 stuck
    (found,) = json.loads(second.stdout)
    assert [(d["row"], d["col"], d["kind"]) for d in found["stuck"]] == [
        (5, 6, "stuck_low"),
        (8, 8, "stuck_low"),
    ]
    assert found["changes"] == found["changes"] | {"new": 1, "healed": 1, "changed": 0}
    runs = list_runs(tmp_path / "runs")
    assert [run.record.kind for run in runs] == ["scan", "scan"]
    kept = runs[1].load("scan/array2")
    assert kept["kinds"][0][8, 8] == 1
    assert kept["pulses"][0].sum() == found["pulses"]
    page = runs[1].report_path.read_text(encoding="utf-8")
    assert "Since the scan before" in page
    assert runs[1].record.chip.serial in page


def test_a_dead_line_is_named_and_the_exit_status_says_when_it_is_news(chipctl_scan, tmp_path):
    words = ("--array", 2, "--profile", tmp_path / "chip.json")
    first, second = (chipctl_scan({"dead_rows": [(2, 7)]}, *words) for _ in range(2))
    assert (first.returncode, second.returncode) == (1, 0), first.stderr + second.stderr
    assert json.loads(first.stdout)[0]["lines"] == [{"kind": "row", "lines": [7]}]
    assert json.loads(first.stdout)[0]["stuck"] == []


def test_a_dry_run_says_the_most_that_would_be_done_and_leaves_no_run(chipctl_scan, tmp_path):
    done = chipctl_scan({"dead_cols": [(1, 9)]}, "--array", 1, "--dry-run")
    (told,) = json.loads(done.stdout)
    assert (told["devices"], told["most_pulses"]) == (63 * 64, 63 * 64 * 15)
    assert (told["highest_set_volts"], told["highest_reset_volts"]) == (3.3, 2.4)
    assert told["unreadable"] == ["column 9"]
    assert not (tmp_path / "runs").exists()


def test_an_earlier_map_without_its_array_is_refused(chipctl_scan, tmp_path):
    np.save(tmp_path / "map.npy", np.zeros((64, 64)))
    done = chipctl_scan({}, "--earlier", tmp_path / "map.npy")
    assert done.returncode == 2
    assert "--array" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("on_board", [False, True])
def test_after_the_board_was_lost_in_mid_scan_a_new_scan_is_right(tmp_path, on_board, monkeypatch):
    monkeypatch.setattr("chipctl.board.REOPEN_S", 0.2)
    port, state = tmp_path / "port", tmp_path / "state"
    boards = []

    def serve():
        words = ["--pty", str(port), "--state", str(state), "--preset", "poor"]
        command = [sys.executable, "-m", "sim_chip.cli", "serve", *words]
        port.unlink(missing_ok=True)
        boards.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
        while not os.path.exists(port):
            time.sleep(0.01)

    try:
        serve()
        with pytest.raises(ChipctlError) as raised, connect(str(port)) as chip:
            scan(chip, 0, on_progress=lambda _: boards[0].kill(), on_board=on_board)
        assert "scan it again" in " ".join(raised.value.__notes__)
        boards[0].wait()
        serve()
        with connect(str(port)) as chip:
            found = scan(chip, 0, on_board=on_board).faults.stuck
            np.testing.assert_array_equal(found, chip.board.planted(0)[0] > 0)
    finally:
        for board in boards:
            board.kill()
            board.wait()
