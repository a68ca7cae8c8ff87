"""`chipctl study run`: killed and gone on with, on processes and on a cluster."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import numpy as np
import pytest
from typer.testing import CliRunner

from chipctl.cli.main import app
from chipctl.memory.digits import load_digits
from chipctl.runs.journal import Journal
from chipctl.runs.store import Run
from chipctl.studies.catalogue import studies
from chipctl.studies.study import Asked

COMMAND = [sys.executable, "-c", "from chipctl.cli import main; main()", "study", "run", "3h", "--seeds", "3"]
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def answers(runs):
    return [line for path in runs.glob("*/answers.jsonl") for line in path.read_text("utf-8").splitlines()]


def children_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="utf-8") as file:
        return [int(child) for child in file.read().split()]


def is_there(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(true, seconds=60):
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_killed_study_goes_on_where_it_was_and_its_workers_end_with_it(tmp_path):
    killed = subprocess.Popen([*COMMAND, "--workers", "1"], cwd=tmp_path, **QUIET)
    wait_until(lambda: len(answers(tmp_path / "runs")) >= 10)
    workers = children_of(killed.pid)
    killed.send_signal(signal.SIGKILL)
    killed.wait(10)
    assert workers
    wait_until(lambda: not any(map(is_there, workers)))
    begun = len(answers(tmp_path / "runs"))
    again = subprocess.run(
        [*COMMAND, "--workers", "1", "--json"], cwd=tmp_path, capture_output=True, text=True, timeout=100
    )
    assert "going on with runs/" in again.stderr
    found = json.loads(again.stdout)
    assert (found["name"], found["scale"], found["seeds"]) == ("3h", "quick", list(range(3)))
    keys = [json.loads(line)["key"] for line in answers(tmp_path / "runs")]
    assert len(keys) == len(set(keys)) == len(studies()["3h"].plan(Asked("quick", count=3))) > begun
    rows = {row["quantity"]: row for row in found["rows"]}
    assert rows["pseudo-inverse, 50 % stuck"]["here"] < 0.86 < rows["eq. (5), 50 % stuck"]["here"]
    assert found["verdict"] in ("holds", "falls short")
    assert (tmp_path / found["run"] / "3h.svg").read_text("utf-8").startswith("<svg")
    assert again.returncode == (0 if found["verdict"] == "holds" else 1)


def test_a_stop_in_the_middle_of_the_work_leaves_no_traceback(tmp_path):
    stopped = subprocess.Popen(
        [*COMMAND, "--workers", "2"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: len(answers(tmp_path / "runs")) >= 5)
    stopped.terminate()
    _, said = stopped.communicate(timeout=20)
    assert "Traceback" not in said
    assert "chipctl: stopped" in said
    assert stopped.returncode != 0


def test_digits_of_another_folder_give_like_figures(tmp_path, idx_folder):
    """The bundled digits, each a pixel further down and to the right, are digits like any others."""
    folder = idx_folder(np.roll(load_digits().images, (1, 1), axis=(1, 2)))
    command = ["study", "run", "3h", "--seeds", "3", "--workers", "1", "--json", "--runs", str(tmp_path)]
    ran = CliRunner().invoke(app, [*command, "--digits", str(folder)])
    found = json.loads(ran.stdout)
    assert found["digits"]["directory"] == str(folder)
    rows = {row["quantity"]: row["here"] for row in found["rows"]}
    assert 0.97 > rows["eq. (5), 50 % stuck"] > 0.9 > rows["pseudo-inverse, 50 % stuck"] > 0.6


def test_a_folder_without_digits_is_refused_before_anything_is_done(tmp_path):
    refused = subprocess.run(
        [*COMMAND, "--digits", str(tmp_path)], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert refused.returncode == 2
    assert "put train-images-idx3-ubyte" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "runs").exists()


def test_a_chip_for_studies_that_need_none_is_refused(tmp_path):
    refused = subprocess.run(
        [*COMMAND, "--chip", "sim://"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert refused.returncode == 2
    assert "leave --chip out" in refused.stderr


@contextmanager
def dask_cluster(folder):
    """A scheduler with a worker, processes of their own; its address."""
    place = folder / "scheduler.json"
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard"]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", "--no-nanny", "--no-dashboard"]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    parts = [subprocess.Popen([*dask, "--scheduler-file", place], cwd=folder, env=env, **QUIET)]
    try:
        wait_until(lambda: place.exists() and place.stat().st_size)
        address = json.loads(place.read_text("utf-8"))["address"]
        parts.append(subprocess.Popen([*worker, "--nthreads", "1", address], cwd=folder, env=env, **QUIET))
        yield address
    finally:
        for part in reversed(parts):  # a worker without its scheduler would wait for it
            part.kill()
            part.wait(10)


@pytest.mark.extras
def test_a_study_runs_unchanged_on_an_existing_cluster(tmp_path):
    with dask_cluster(tmp_path) as address:
        there = subprocess.run(
            [*COMMAND, "--cluster", address, "--json"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=100,
        )
    here = subprocess.run([*COMMAND, "--json"], cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert [row["values"] for row in json.loads(there.stdout)["rows"]] == [
        row["values"] for row in json.loads(here.stdout)["rows"]
    ]


@pytest.mark.extras
@pytest.mark.parametrize(("address", "seconds"), [("tcp://127.0.0.1:9", 30), ("nonsense", 12)])
def test_a_cluster_that_is_not_there_is_an_error_without_traceback(tmp_path, address, seconds):
    start = time.monotonic()
    refused = subprocess.run(
        [*COMMAND, "--cluster", address], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert time.monotonic() - start < seconds
    assert refused.returncode == 2
    assert f"no dask scheduler answers at {address}" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_on_a_chip_that_is_named_every_pulse_is_in_the_journal(tmp_path):
    address = ["--chip", "sim://?preset=good&seed=7", "--runs", str(tmp_path), "--json"]
    ran = CliRunner().invoke(app, ["study", "run", "6a", "--seeds", "1", *address])
    found = json.loads(ran.stdout)
    assert {row["quantity"]: row["holds"] for row in found["rows"]}["σ of the error"] is True
    record = Run.open(tmp_path / found["run"]).record
    assert record.chip.serial == "good-7"
    with Journal(tmp_path) as journal:
        assert len(journal.entries(record.name)) > 5


def test_the_studies_are_listed_for_machines():
    listed = json.loads(CliRunner().invoke(app, ["study", "list", "--json"]).stdout)
    published = "3b-f 3g 3h 3i 3j 4b-d 4e 4f 4g 4h 5b-e 5f 5g 6a 6b 6c 6d"
    assert [study["name"] for study in listed] == published.split()
