"""A run keeps what was done, whole, whatever ends it."""

import json
import resource
from datetime import UTC

import numpy as np
import pytest

from chipctl.runs.record import ChipIdentity, Outcome, RunRecord
from chipctl.runs.store import Run, StorageError, list_runs


@pytest.fixture
def record():
    return RunRecord.begin("demo", seeds={"digits": 3}, policy={"tolerance_siemens": 5e-6})


def saved(run):
    return json.loads((run.path / "run.json").read_text(encoding="utf-8"))


def test_a_run_is_a_directory_named_by_time_kind_and_id(tmp_path, record):
    with Run(tmp_path, record) as run:
        assert run.path.name == f"{record.started:%Y%m%dT%H%M%SZ}-demo-{record.id}"


def test_the_record_says_running_until_the_end_and_done_after_it(tmp_path, record):
    with Run(tmp_path, record) as run:
        assert saved(run)["outcome"] == "running"
    assert saved(run)["outcome"] == "done"
    assert saved(run)["finished"] is not None


def test_an_exception_ends_the_run_as_failed_and_is_named(tmp_path, record):
    run = Run(tmp_path, record)
    with pytest.raises(ValueError, match="no such row"), run:
        raise ValueError("no such row")
    assert (saved(run)["outcome"], saved(run)["error"]) == ("failed", "ValueError: no such row")
    assert "Traceback" in run.events()[-1]["exception"]


def test_ctrl_c_ends_the_run_as_stopped(tmp_path, record):
    run = Run(tmp_path, record)
    with pytest.raises(KeyboardInterrupt), run:
        raise KeyboardInterrupt
    assert Run.open(run.path).record.outcome is Outcome.STOPPED


def test_the_record_tells_versions_seeds_policy_and_operator(tmp_path, record):
    with Run(tmp_path, record) as run:
        pass
    read = Run.open(run.path).record
    assert read == run.record
    assert read.started.tzinfo == UTC
    assert (read.seeds, read.policy) == ({"digits": 3}, {"tolerance_siemens": 5e-6})
    assert read.python.startswith("CPython 3.")


def test_the_chip_and_the_summary_are_added_on_the_way(tmp_path, record):
    with Run(tmp_path, record) as run:
        run.update(chip=ChipIdentity(address="/dev/ttyACM0", serial="17"))
        run.update(summary={"cosine": np.float64(0.998), "arrays": np.arange(2)})
    read = Run.open(run.path).record
    assert read.chip == ChipIdentity(address="/dev/ttyACM0", serial="17")
    assert read.summary == {"cosine": 0.998, "arrays": [0, 1]}


def test_arrays_come_back_with_their_units(tmp_path, record):
    target = np.linspace(0, 150e-6, 4096).reshape(64, 64)
    with Run(tmp_path, record) as run:
        run.save("programming/array0", target=(target, "S"), stuck=(target > 1e-4, "1"))
        run.save("recall", cosine=([1.0, 0.97], "1"))
    read = Run.open(run.path)
    assert read.groups() == ["programming/array0", "recall"]
    values, unit = read.load("programming/array0")["target"]
    np.testing.assert_array_equal(values, target)
    assert unit == "S"
    assert read.load("programming/array0")["stuck"][0].dtype == bool


def test_what_is_saved_can_be_read_while_the_run_goes_on(tmp_path, record):
    with Run(tmp_path, record) as run:
        run.save("scan", conductance=([1e-6], "S"))
        assert Run.open(run.path).load("scan")["conductance"][0] == [1e-6]


@pytest.mark.parametrize(
    ("values", "complaint"), [(["a"], "only numbers"), ([{}], "only numbers")], ids=["text", "objects"]
)
def test_only_numbers_are_saved(tmp_path, record, values, complaint):
    with Run(tmp_path, record) as run:
        with pytest.raises(ValueError, match=complaint):
            run.save("notes", words=(values, "1"))
        assert run.groups() == []


def test_a_group_is_written_once(tmp_path, record):
    with Run(tmp_path, record) as run:
        run.save("scan", pulses=([3], "1"))
        with pytest.raises(ValueError, match="already saved"):
            run.save("scan", pulses=([4], "1"))
        assert run.load("scan")["pulses"][0] == [3]


def test_a_closed_run_is_read_only(tmp_path, record):
    with Run(tmp_path, record) as run:
        run.save("scan", pulses=([3], "1"))
        run.write_report("<!doctype html>")
    assert {file.stat().st_mode & 0o777 for file in run.path.iterdir()} == {0o444}
    with pytest.raises(ValueError, match="closed"):
        run.save("more", pulses=([3], "1"))
    with pytest.raises(ValueError, match="closed"):
        Run.open(run.path).write_report("")


def test_the_record_of_a_closed_run_names_each_file_by_its_hash(tmp_path, record):
    with Run(tmp_path, record) as run:
        run.write_report("")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert run.record.files["report.html"] == empty
    assert set(run.record.files) == {"report.html", "log.jsonl"}


def test_runs_are_listed_oldest_first_and_other_directories_left_out(tmp_path):
    (tmp_path / "holiday").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("{", encoding="utf-8")
    for kind in ("scan", "demo"):
        with Run(tmp_path, RunRecord.begin(kind)):
            pass
    assert [run.record.kind for run in list_runs(tmp_path)] == ["scan", "demo"]


def test_a_root_that_is_no_folder_is_one_clear_line(tmp_path, record):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"^cannot make .*: Not a directory; .* another folder$"):
        Run(tmp_path / "file", record).__enter__()


def test_a_full_disk_is_one_clear_line_and_keeps_what_was_saved(tmp_path, record):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Run(tmp_path, record) as run:
        run.save("scan", conductance=(np.arange(9.0), "S"))
        before = (run.path / "data.h5").read_bytes()
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 4096, limits[1]))
        try:
            with pytest.raises(StorageError, match=r"^cannot write .*data\.h5: File too large"):
                run.save("noise", conductance=(np.random.default_rng(1).random(10_000), "S"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert (run.path / "data.h5").read_bytes() == before
        assert sorted(file.name for file in run.path.iterdir()) == ["data.h5", "log.jsonl", "run.json"]


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(StorageError, match=r"cannot read .*No such file"):
        Run.open(tmp_path)
    (tmp_path / "run.json").write_text('{"kind": "demo"}', encoding="utf-8")
    with pytest.raises(StorageError, match="not the record of a run"):
        Run.open(tmp_path)
