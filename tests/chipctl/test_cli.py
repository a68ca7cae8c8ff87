"""The commands as a person or a script runs them: real processes, a real serial port."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

COMMANDS = [sys.executable, "-c", "from chipctl.cli.main import run; run()"]
SERVER = [sys.executable, "-c", "from sim_chip.cli import run; run()"]
VIRTUAL = "sim://?preset=good&seed=3"


def chipctl(*words, **options):
    return subprocess.run(
        [*COMMANDS, *map(str, words)], capture_output=True, text=True, timeout=100, check=False, **options
    )


@pytest.fixture
def served(tmp_path):
    """The path of a serial port with a virtual chip behind it, served by its own process."""
    port = tmp_path / "port"
    words = [*SERVER, "serve", "--pty", str(port), "--preset", "good", "--seed", "7"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as server:
        assert "serving" in server.stderr.readline()
        yield port
        server.send_signal(signal.SIGTERM)


@pytest.mark.parametrize(
    "command", ["", "demo", "info", "read", "scan", "program", "resume", "runs", "recall"]
)
def test_every_command_explains_itself(command):
    done = chipctl(*command.split(), "--help")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) > 10


def test_info_through_a_serial_port_prints_json_and_nothing_else(served):
    done = chipctl("info", "--chip", served, "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["chip"] == facts["chip"] | {"arrays": 3, "rows": 64, "cols": 64, "input_bits": 1}


def test_scan_program_and_read_share_a_profile_over_one_serial_port(served, tmp_path):
    profile, targets, after = tmp_path / "chip.json", tmp_path / "targets.csv", tmp_path / "after.npy"
    wanted = np.full((64, 64), np.nan)
    wanted[:8, :8] = 80.0
    np.savetxt(targets, wanted, delimiter=",")
    chip = ("--chip", served, "--profile", profile, "--array", 1)

    kept = ("--runs", tmp_path / "runs")
    scanned = chipctl("scan", *chip, *kept, "--json")
    programmed = chipctl("program", *chip, *kept, "--unit", "uS", "--json", targets)
    read = chipctl("read", *chip, "--rows", "0:8", "--cols", "0:8", "--reads", 16, "-o", after)

    assert [d.returncode for d in (scanned, programmed, read)] == [0, 0, 0], programmed.stderr
    stuck = [d for d in json.loads(scanned.stdout)[0]["stuck"] if d["row"] < 8 and d["col"] < 8]
    assert json.loads(programmed.stdout)["devices"] == 64 - len(stuck)
    assert np.median(np.load(after)) == pytest.approx(80e-6, abs=5e-6)


def test_the_demo_reaches_every_figure_over_a_serial_port(served, tmp_path):
    done = chipctl("demo", "--chip", served, "--json", "--runs", tmp_path / "runs")

    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["holds"]
    assert [memory["layers"] for memory in facts["memories"]] == [[64, 64], [64, 16, 64]]
    for memory in facts["memories"]:
        assert memory["recalls"] == 200
        assert memory["cosine_mean"] >= 0.995
        assert memory["cosine_min"] >= 0.98
        assert memory["control_unprogrammed"] < 0.8
    for row in facts["programming"]:
        assert row["converged"] >= 0.9 * row["devices"]
        assert abs(row["error_mean_siemens"]) <= 0.5e-6
        assert row["error_std_siemens"] <= 4.4e-6
        assert row["stuck_found"] == row["stuck_planted"]
    report = Path(facts["report"])
    assert report.read_text().count("<svg") >= 10
    events = [json.loads(line) for line in report.with_name("log.jsonl").read_text().splitlines()]
    assert all("run" in event and "session" in event for event in events)

    recalled = chipctl("recall", report.with_name("memory-64-16-64.npz"), "--chip", served, "--json")
    one_by_one = chipctl(
        "recall", report.with_name("memory-64-16-64.npz"), "--chip", served, "--update", "sweep", "--json"
    )
    gone = chipctl("recall", report.with_name("memory-64-64.npz"), "--chip", served)

    assert recalled.returncode == 0, recalled.stderr
    assert np.mean([r["cosine"] for r in json.loads(recalled.stdout)]) > 0.98
    assert np.mean([r["cosine"] for r in json.loads(one_by_one.stdout)]) > 0.98
    assert max(r["iterations"] for r in json.loads(one_by_one.stdout)) > 20
    assert gone.returncode == 1
    assert "not on the chip any more" in gone.stderr


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["info", "--chip", "/dev/nothing"], 10, "no such port"),
        (["info", "--chip", "sim://?preset=best"], 2, "good"),
        (["info", "--chip", "socket://localhost:1"], 10, "nothing listens"),
        (["info", "--chip", "ftp://x"], 2, "an address is"),
        (["info"], 2, "--chip"),
        (["read", "--chip", VIRTUAL, "--array", "9"], 2, "arrays 0 to 2"),
        (["read", "--chip", VIRTUAL, "--rows", "9:99"], 2, "not inside"),
        (["demo", "--data", "/etc"], 2, "idx"),
        (["recall", "/etc/hostname", "--chip", VIRTUAL], 2, "chipctl demo"),
        (["program", "/no/file.npy", "--chip", VIRTUAL], 2, "no such file"),
        (["demo", "--config", "/etc/hostname"], 2, "TOML"),
        (["demo", "--seed", "-1"], 2, "--seed"),
        (["scan", "--chip", VIRTUAL, "--profile", "/no/where/p.json"], 2, "folder does not exist"),
        (["read", "--chip", VIRTUAL, "--gain", "-1"], 2, "gain index"),
        (["read", "--chip", VIRTUAL, "-o", "map.txt"], 2, ".npy or .csv"),
    ],
)
def test_bad_input_is_one_clear_line_and_an_exit_status(words, status, says, tmp_path):
    done = chipctl(*words, cwd=tmp_path)
    assert done.returncode == status, done.stderr
    assert says in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (np.full((64, 64), 75.0), "if it is in µS say --unit uS"),
        (np.full((32, 64), 75e-6), "shape"),
        (np.full((64, 64), 200e-6), "outside 0 to 150"),
    ],
)
def test_targets_the_chip_cannot_take_are_refused_before_anything_is_sent(tmp_path, target, says):
    np.save(tmp_path / "t.npy", target)
    done = chipctl("program", tmp_path / "t.npy", "--chip", VIRTUAL)
    assert done.returncode == 2
    assert says in done.stderr


def test_a_port_that_answers_nonsense_is_named(tmp_path):
    ours, theirs = os.openpty()
    os.write(ours, b"U-Boot 2020.01\r\n" * 4)
    done = chipctl("info", "--chip", os.ttyname(theirs))
    os.close(ours)
    os.close(theirs)
    assert done.returncode in (10, 11)
    assert "answer" in done.stderr


@pytest.mark.parametrize(
    ("seconds", "number"),
    [(0.2, signal.SIGINT), (2.5, signal.SIGINT), (5, signal.SIGINT), (4, signal.SIGHUP)],
)
def test_an_interrupt_zeroes_the_outputs_and_closes_the_run(served, tmp_path, seconds, number):
    words = [*COMMANDS, "demo", "--chip", str(served), "--runs", str(tmp_path / "runs")]
    with subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as demo:
        deadline = time.monotonic() + 30
        while not list((tmp_path).glob("runs/*/log.jsonl")) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(seconds)
        demo.send_signal(number)
        _, remarks = demo.communicate(timeout=30)

    assert demo.returncode == 130, remarks
    assert "outputs are zeroed" in remarks
    assert "Traceback" not in remarks
    (record,) = tmp_path.glob("runs/*/run.json")
    assert json.loads(record.read_text())["outcome"] == "stopped"
    rails = json.loads(chipctl("rails", "--chip", served, "--at-rest", "--json").stdout)
    assert all(abs(rail["measured_volts"]) < 1e-3 for rail in rails), rails


def test_an_interrupt_while_the_program_starts_is_no_traceback():
    with subprocess.Popen(
        [sys.executable, "-c", "from chipctl.cli import main; print(flush=True); main()", "info"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as starting:
        starting.stdout.readline()
        time.sleep(0.1)
        starting.send_signal(signal.SIGINT)
        _, remarks = starting.communicate(timeout=30)
    assert "Traceback" not in remarks
    assert starting.returncode in (2, 130)
