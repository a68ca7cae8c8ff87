"""Programming as an operator has it: told before, stopped safely, gone on with, nothing lost."""

import json
import resource
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from chipctl.chip import connect
from chipctl.cli.main import app
from chipctl.fault_map import FaultMap
from chipctl.profile import ChipProfile
from chipctl.runs.journal import Fate, Journal
from chipctl.runs.record import RunRecord
from chipctl.runs.store import Run, StorageError, list_runs
from chipctl.tables import to_csv
from firmware_protocol.jobs import Verdict
from sim_chip import state

TARGET = np.random.default_rng(1).uniform(5e-6, 140e-6, (64, 64))
FEW = np.where(np.arange(4096).reshape(64, 64) < 512, TARGET, np.nan)


class Place:
    """A folder with targets, runs, and a virtual chip that keeps its state between two commands."""

    def __init__(self, folder):
        self.folder = folder
        self.runs = folder / "runs"
        self.chip = f"sim://?preset=good&seed=4&state={folder / 'state'}"
        np.save(folder / "all.npy", TARGET)
        np.save(folder / "few.npy", FEW)

    def __call__(self, *words, fails=None):
        """Run `chipctl` here; what it printed."""
        done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=True)
        self.said = done.stderr
        if fails is None:
            assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
            assert done.exit_code == 0, done.output
            return done.stdout
        assert isinstance(done.exception, fails), done.exception
        return " ".join([str(done.exception), *getattr(done.exception, "__notes__", ())])

    def program(self, *words, targets="few.npy", fails=None):
        return self(
            "program", self.folder / targets, "--chip", self.chip, "--runs", self.runs, *words, fails=fails
        )

    @property
    def counters(self):
        """Pulses of each device, from the chip's own file."""
        return state.load(self.folder / "state", mapped=True).pulse_count.astype(int).reshape(3, 64, 64)

    @property
    def run(self):
        return list_runs(self.runs)[-1]

    def entries(self):
        with Journal(self.runs) as journal:
            return journal.entries(self.run.path.name)


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def interrupted(monkeypatch, place, *words, when, error):
    """Program, and raise `error` when `when(progress)`; then let everything be as it was."""
    from chipctl.program_report import Teller

    tell = Teller.__call__

    def watched(self, job):
        tell(self, job)
        if when(job):
            raise error

    with monkeypatch.context() as patch:
        patch.setattr(Teller, "__call__", watched)
        return place.program(*words, targets="all.npy", fails=type(error))


def test_programming_is_a_run_with_full_provenance(place):
    place.program()
    record = place.run.record
    assert (record.kind, record.outcome, record.chip.serial) == ("program", "done", "good-4")
    assert record.policy["programming"]["tolerance"] == 5e-6
    assert record.monotonic_s > 0
    assert record.files["profile.json"] == record.profile_sha256
    assert {record.chip.firmware, record.chip.schema_hash, record.operator} & {None, ""} == set()
    assert {file.stat().st_mode & 0o777 for file in place.run.path.iterdir()} == {0o444}
    kept = place.run.load("programming/array0")
    np.testing.assert_array_equal(kept["set_pulses"][0] + kept["reset_pulses"][0], place.counters[0])


def test_programming_leaves_a_report_with_its_pictures_and_every_verdict(place):
    place.program()
    page, kept = place.run.report_path.read_text(), place.run.load("programming/array0")
    verdicts = kept["verdicts"][0]
    verified = int(np.count_nonzero(verdicts == Verdict.VERIFIED))
    assert page.count("</svg>") == 3
    assert "Array 0 of chip good-4." in page
    assert f"{verified} of 4096 devices verified" in page
    for verdict in (Verdict.GAVE_UP_LOW, Verdict.GAVE_UP_HIGH, Verdict.SKIPPED):
        assert f"{verdict.name.lower().replace('_', ' ')} ({np.count_nonzero(verdicts == verdict)})" in page
    gave_up = [np.count_nonzero(verdicts == v) for v in (Verdict.GAVE_UP_LOW, Verdict.GAVE_UP_HIGH)]
    assert [place.run.record.summary[name] for name in ("gave_up_low", "gave_up_high")] == gave_up
    assert sum(gave_up) == 512 - verified > 0
    errors = (kept["readback"][0] - TARGET)[:8] * 1e6
    assert f"Programming error: mean {errors.mean():+.2f} µS" in page
    assert f"report: {place.run.report_path}" in place.said.replace("\n", "")


def test_a_dry_run_pulses_nothing_and_tells_what_would_be_done(place):
    told = json.loads(place.program("--dry-run", "--schedule", "paper", "--json"))
    assert (told["devices"], told["set_volts"], told["reset_volts"]) == (512, 2.5, 3.5)
    assert 0 < told["to_move"] <= 512
    assert told["pulses"] == pytest.approx(49 * told["to_move"], rel=0.01)
    assert place.counters.sum() == 0
    assert not place.runs.exists()


@pytest.mark.parametrize("words", [(), ("--on-host",)], ids=["on the board", "from the host"])
def test_the_chip_time_that_a_dry_run_tells_is_that_of_the_way_it_goes(tmp_path, words):
    (tmp_path / "map.csv").write_bytes(to_csv(TARGET))
    chip = f"sim://?preset=good&seed=11&state={tmp_path / 'state'}"
    asked = ("program", tmp_path / "map.csv", "--chip", chip, "--runs", tmp_path / "runs", *words, "--json")
    told = json.loads(Place(tmp_path)(*asked, "--dry-run"))
    with connect(chip) as opened:
        before = opened.book().seconds
    Place(tmp_path)(*asked)
    with connect(chip) as opened:
        assert opened.book().seconds - before == pytest.approx(told["seconds"], rel=0.3)


@pytest.mark.parametrize("dry", [True, False])
def test_an_array_that_was_never_scanned_is_warned_about(place, dry):
    profile = ChipProfile.nominal("good-4", 3, 64, 64)
    profile.set_fault_map(0, FaultMap.none(64, 64))
    profile.save(place.folder / "chip.json")
    words = ("--dry-run",) if dry else ()
    place.program(*words, "--profile", place.folder / "chip.json")
    assert "no fault map" not in place.said
    place.program(*words)
    assert "warning: no fault map of array 0 is known" in place.said


def test_what_a_dry_run_expects_comes_from_earlier_runs_on_this_chip(place):
    place.program()
    np.save(place.folder / "few.npy", 145e-6 - FEW)
    told = json.loads(place.program("--dry-run", "--json"))
    assert "earlier run" in told["based_on"]
    before = place.counters.sum()
    place.program()
    assert place.counters.sum() - before == pytest.approx(told["pulses"], rel=0.35)
    assert told["wear_now"] == place.counters[0][:8].max() or told["wear_now"] > 0


def test_an_unexpected_end_says_how_to_go_on_and_going_on_ends_it_well(place, monkeypatch):
    said = interrupted(monkeypatch, place, when=lambda job: job.pulses, error=RuntimeError("a bug"))
    assert f"go on with: chipctl resume {place.run.path}" in said
    assert place.run.outcome == "failed"
    facts = json.loads(place("resume", place.run.path, "--json"))
    assert facts["converged"] > 0.98 * facts["devices"]
    assert place.run.record.outcome == "done"
    kept = place.run.load("programming/array0")
    np.testing.assert_array_equal(kept["set_pulses"][0] + kept["reset_pulses"][0], place.counters[0])


def test_what_a_fresh_reading_finds_within_tolerance_is_not_pulsed_again(place, monkeypatch):
    interrupted(monkeypatch, place, when=lambda job: job.verified > 3000, error=RuntimeError("a bug"))
    before = place.counters[0]
    place("resume", "--runs", place.runs)
    left = place.run.load("judged1/array0")["out_of_tolerance"][0]
    pulsed = place.counters[0] > before
    assert 0 < left.sum() < 1096
    assert not np.any(pulsed & ~left)


def test_pulses_that_a_lost_journal_told_of_are_reported_as_unplaced(place, monkeypatch):
    """Moved away, as a damaged one is to be; another array's run before and one after are no part of it."""
    place.program("--array", 1)
    interrupted(monkeypatch, place, when=lambda job: job.verified > 3000, error=RuntimeError("a bug"))
    run = place.run.path
    (place.runs / "journal.sqlite").rename(place.folder / "damaged")
    place.program("--array", 2)
    facts = json.loads(place("resume", run, "--json"))
    kept = Run.open(run).load("programming/array0")
    placed = kept["set_pulses"][0] + kept["reset_pulses"][0]
    assert facts["unplaced_pulses"] > 1000
    assert placed.sum() + facts["unplaced_pulses"] == place.counters[0].sum()


def test_every_job_of_the_host_loop_is_in_the_journal(place):
    place.program("--on-host")
    entries = place.entries()
    assert {entry.intent.request for entry in entries} == {"PulseMap"}
    np.testing.assert_array_equal(sum(entry.done.pulses for entry in entries), place.counters[0])
    assert place.run.load("plan/array0")["on_host"][0]


def test_a_run_that_is_done_is_not_gone_on_with(place):
    place.program()
    assert "is done" in place("resume", place.run.path, fails=StorageError)
    assert "left to go on with" in place("resume", "--runs", place.runs, fails=ValueError)


def test_a_run_that_another_process_records_is_left_alone(place, monkeypatch):
    interrupted(monkeypatch, place, when=lambda job: job.pulses, error=RuntimeError("a bug"))
    before = place.counters.sum()
    with Run.resume(place.run.path):
        assert place.run.outcome == "running"
        said = place("resume", place.run.path, fails=StorageError)
    assert "is being recorded by process" in said
    assert place.counters.sum() == before


def test_going_on_with_another_chip_is_refused(place, monkeypatch):
    interrupted(monkeypatch, place, when=lambda job: job.pulses, error=RuntimeError("a bug"))
    other = ("--chip", "sim://?preset=good&seed=5")
    assert "was on chip good-4, this is good-5" in place("resume", place.run.path, *other, fails=StorageError)
    anew = ("--chip", "sim://?preset=good&seed=4")
    assert "counts fewer pulses" in place("resume", place.run.path, *anew, fails=StorageError)


def test_another_kind_of_run_is_not_gone_on_with(place):
    with pytest.raises(RuntimeError), Run(place.runs, RunRecord.begin("demo")) as run:
        raise RuntimeError("a bug")
    assert "is no run of `chipctl program`" in place("resume", run.path, fails=StorageError)


def test_nothing_is_pulsed_where_the_journal_is_damaged(place):
    place.runs.mkdir()
    (place.runs / "journal.sqlite").write_bytes(b"what is this" * 1000)
    assert "move it away" in place.program(fails=StorageError)
    assert not (place.folder / "state").exists() or place.counters.sum() == 0


def test_worn_devices_are_warned_about(place):
    (place.folder / "policy.toml").write_text("[wear]\npulses_per_device = 3\n", encoding="utf-8")
    place.program()
    worn = int(np.count_nonzero(place.counters[0][:8] >= 3))
    assert "have had" not in place.said
    place.program("--config", place.folder / "policy.toml")
    assert f"warning: {worn} devices of array 0 have had 3 pulses or more" in place.said


# chipctl runs


def test_runs_are_listed_shown_and_their_wear_summed(place):
    place.program()
    (listed,) = json.loads(place("runs", "list", "--runs", place.runs, "--json"))
    assert (listed["outcome"], listed["chip"]) == ("done", "good-4")
    shown = json.loads(place("runs", "show", listed["run"], "--runs", place.runs, "--json"))
    assert [entry["fate"] for entry in shown["journal"]] == ["placed"]
    assert "readback (64, 64) S" in shown["arrays"]["programming/array0"]
    (wear,) = json.loads(place("runs", "wear", "--runs", place.runs, "--json"))
    assert (wear["pulses"], wear["most"]) == (place.counters.sum(), place.counters.max())


def test_two_runs_side_by_side_show_what_was_done_otherwise_and_what_came_of_it(place):
    place.program("--schedule", "paper")
    place.program("--schedule", "fast", "--array", 1)
    first, second = list_runs(place.runs)
    found = json.loads(place("runs", "compare", first.path, second.path, "--json"))
    assert found["different"]["policy.programming.predicts"] == [False, True]
    assert "policy.scan.reads" not in found["different"]
    more, less = found["summary"]["pulses_mean"]
    assert more > 3 * less
    names = {array["name"] for array in found["arrays"]}
    assert {"plan/array0,1/target", "programming/array0,1/readback"} <= names
    assert found["only_in_one"] == []
    names = first.path.name, second.path.name
    printed = place("runs", "compare", *names, "--runs", place.runs)
    assert "arrays in both" in printed
    assert "…" not in printed


def test_arrays_of_two_runs_are_compared_element_by_element(tmp_path, place):
    values = np.arange(12.0).reshape(3, 4)
    for offset in (0, 2):
        with Run(tmp_path / "runs", RunRecord.begin("scan")) as run:
            run.save("scan", lowest=(values + offset, "S"))
    first, second = list_runs(tmp_path / "runs")
    (array,) = json.loads(place("runs", "compare", first.path, second.path, "--json"))["arrays"]
    assert (array["name"], array["unit"], array["difference_mean"]) == ("scan/lowest", "S", 2.0)
    assert array["difference_sigma"] == 0


def test_two_runs_that_hold_nothing_in_common_have_no_table_of_arrays(tmp_path, place):
    for kind in ("scan", "program"):
        with Run(tmp_path / "runs", RunRecord.begin(kind)) as run:
            run.save(kind, values=(np.ones(3), "S"))
    printed = place("runs", "compare", *(run.path for run in list_runs(tmp_path / "runs")))
    assert "arrays in both" not in printed
    assert "no array that both hold" in place.said


def test_a_run_is_found_by_its_name_and_one_that_is_not_there_is_a_clear_line(place):
    with Run(place.runs, RunRecord.begin("scan")) as run:
        run.save("scan", values=(np.ones(3), "S"))
    place("runs", "export", run.path.name, "--runs", place.runs, "-o", place.folder / "out.npz")
    assert (place.folder / "out.npz").exists()
    where = ("--runs", place.runs)
    assert "start its own command anew" in place("resume", run.path.name, *where, fails=StorageError)
    for words in (("runs", "show", "holiday"), ("resume", "holiday")):
        assert "no run holiday, neither by this path nor under" in place(*words, *where, fails=StorageError)


def test_what_is_exported_reads_back_as_it_was_in_every_format(place):
    place.program()
    wanted = place.run.load("programming/array0")["readback"][0]
    for output in ("out.npz", "out.h5", "out"):
        place("runs", "export", place.run.path, "-o", place.folder / output)
    as_npz = np.load(place.folder / "out.npz")["programming-array0-readback"]
    as_csv = np.loadtxt(place.folder / "out" / "programming-array0-readback.csv", delimiter=",")
    with h5py.File(place.folder / "out.h5") as file:
        np.testing.assert_array_equal(file["programming/array0/readback"][()], wanted)
    np.testing.assert_array_equal(as_npz, wanted)
    np.testing.assert_array_equal(as_csv, wanted)
    assert "--format" in place("runs", "export", place.run.path, "-o", "out.png", fails=ValueError)


# A person at the keyboard, real processes


@pytest.fixture
def served(tmp_path):
    """A board whose chip takes its time, so that there is time to press a key."""
    place = ["--pty", str(tmp_path / "port"), "--state", str(tmp_path / "state"), "--pace", "real"]
    words = [sys.executable, "-m", "sim_chip.cli", "serve", *place]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as board:
        assert "serving" in board.stderr.readline()
        yield tmp_path / "port"
        board.terminate()


def start(place, port):
    command = [
        sys.executable,
        "-c",
        "from chipctl.cli.main import run; run()",
        "program",
        "--schedule",
        "paper",
    ]
    words = [str(place.folder / "all.npy"), "--chip", str(port), "--runs", str(place.runs)]
    host = subprocess.Popen([*command, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not place.counters.any():
        assert host.poll() is None, host.stderr.read()
        time.sleep(0.05)
    return host


def test_ctrl_c_finishes_the_round_keeps_all_and_says_how_to_go_on(place, served):
    host = start(place, served)
    host.send_signal(signal.SIGINT)
    said = host.communicate(timeout=60)[1]
    assert host.returncode == 130
    assert f"chipctl resume {place.run.path}" in said
    assert place.run.record.outcome == "stopped"
    (entry,) = place.entries()
    assert entry.done.fate is Fate.PLACED
    np.testing.assert_array_equal(entry.done.pulses, place.counters[0])
    kept = place.run.load("ended0/array0")
    np.testing.assert_array_equal(kept["set_pulses"][0] + kept["reset_pulses"][0], place.counters[0])


def test_ctrl_c_twice_stops_at_once_and_every_pulse_is_still_accounted_for(place, served):
    host = start(place, served)
    host.send_signal(signal.SIGINT)
    time.sleep(0.05)
    host.send_signal(signal.SIGINT)
    host.communicate(timeout=60)
    at_end = place.counters.sum()
    assert host.returncode == 130
    (entry,) = place.entries()
    np.testing.assert_array_equal(entry.done.pulses, place.counters[0])
    time.sleep(0.3)
    assert place.counters.sum() == at_end


def test_ctrl_c_while_the_array_rests_stops_at_once(place):
    """The chip's clock is the wall's: the rest takes 100 s."""
    chip = f"{place.chip}&pace=real"
    words = ["program", place.folder / "few.npy", "--schedule", "fine", "--chip", chip, "--runs", place.runs]
    command = [sys.executable, "-c", "from chipctl.cli.main import run; run()", *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as host:
        while not (
            place.runs.exists() and list_runs(place.runs) and place.entries() and place.entries()[0].done
        ):
            assert host.poll() is None, host.stderr.read()
            time.sleep(0.05)
        time.sleep(0.5)
        host.send_signal(signal.SIGINT)
        said = host.communicate(timeout=10)[1]
    assert host.returncode == 130, said
    assert "outputs are zeroed" in said
    assert f"chipctl resume {place.run.path}" in said
    (entry,) = place.entries()
    np.testing.assert_array_equal(entry.done.pulses, place.counters[0])
    assert place.run.record.outcome == "stopped"


def test_single_pulses_and_sweeps_are_wear_too(place):
    where = ("--chip", place.chip, "--runs", place.runs)
    shape = ("--direction", "set", "--volts", 1.5, "--gate", 1.0)
    place("pulse", "--rows", 3, "--cols", "5:8", *shape, "--count", 4, *where)
    place("pulse", "--rows", 3, "--cols", 5, *shape, "--dry-run", *where)
    place("sweep", "--row", 9, "--col", 2, "--to", 0.5, "--array", 2, *where)
    with Journal(place.runs) as journal:
        (chip,) = journal.chips()
        wear, unaccounted = journal.wear(chip.id), journal.unaccounted(chip.id)
    for array, counters in enumerate(place.counters):
        np.testing.assert_array_equal(wear[array].pulses if array in wear else 0, counters)
    assert (wear[0].pulses[3, 5], wear[2].pulses[9, 2], unaccounted) == (4, 21, 0)


def test_a_disk_that_fills_while_programming_loses_nothing(place, monkeypatch):
    """The limit on the size of files stands for the full disk; the chip's own file does not grow."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def full(job):
        if job.pulses:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        return False

    try:
        said = interrupted(monkeypatch, place, when=full, error=StorageError("the disk is full"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "free some room" in said
    assert f"chipctl resume {place.run.path}" in said
    assert place.counters.any()
    place("resume", place.run.path)
    kept = place.run.load("programming/array0")
    placed = kept["set_pulses"][0] + kept["reset_pulses"][0]
    unplaced = sum(entry.done.unknown for entry in place.entries())
    assert np.all(placed <= place.counters[0])
    assert placed.sum() + unplaced == place.counters.sum()


def test_a_disk_that_fills_before_the_plan_is_kept_is_no_run_to_go_on_with(place, monkeypatch):
    def full(*_, **__):
        raise StorageError("the disk is full")

    monkeypatch.setattr("chipctl.runs.programmed.Run.save", full)
    said = place.program(fails=StorageError)
    assert "start anew with `chipctl program`" in said
    assert "chipctl resume" not in said
    assert place.counters.sum() == 0
