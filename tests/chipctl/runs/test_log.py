"""Every event reaches the run's log with its run and operation; a person sees the warnings."""

import json
import threading

import numpy as np
import pytest
import structlog

from chipctl.runs.log import bind_operation, configure
from chipctl.runs.record import RunRecord
from chipctl.runs.store import Run


@pytest.fixture(autouse=True)
def _leave_logging_as_it_was():
    yield
    structlog.reset_defaults()


@pytest.fixture
def run(tmp_path):
    with Run(tmp_path, RunRecord.begin("test")) as opened:
        yield opened


def test_an_event_carries_run_operation_time_and_level(run):
    with bind_operation("scan") as operation:
        structlog.get_logger().info("array read", array=2)
    event = next(e for e in run.events() if e["event"] == "array read")
    assert (event["run"], event["op"], event["array"]) == (run.record.id, operation, 2)
    assert event["level"] == "info"
    assert event["time"].endswith("Z")


def test_operations_log_how_they_ended(run):
    with pytest.raises(ValueError, match="row 70"), bind_operation("read"):
        raise ValueError("row 70")
    last = run.events()[-1]
    assert (last["event"], last["outcome"]) == ("operation ended", "failed")
    assert last["duration_s"] >= 0


def test_an_event_of_another_thread_still_names_the_run(run):
    thread = threading.Thread(target=lambda: structlog.get_logger().debug("frame received"))
    thread.start()
    thread.join()
    assert run.events()[-1]["run"] == run.record.id


def test_numpy_values_are_numbers_in_the_log(run):
    structlog.get_logger().info("read", codes=np.arange(3), mean=np.float32(0.5))
    assert run.events()[-1]["codes"] == [0, 1, 2]
    assert run.events()[-1]["mean"] == 0.5


@pytest.mark.parametrize(
    ("verbosity", "seen"),
    [(-1, ["error"]), (0, ["warning", "error"]), (2, ["debug", "info", "warning", "error"])],
)
def test_verbosity_chooses_what_a_person_sees(verbosity, seen):
    lines = []
    configure(verbosity, lines.append)
    log = structlog.get_logger()
    for level in ("debug", "info", "warning", "error"):
        getattr(log, level)("link resent", attempts=3)
    assert lines == [f"{level}: link resent (attempts 3)" for level in seen]


def test_a_warning_goes_to_stderr_and_nothing_to_stdout(capsys):
    configure()
    structlog.get_logger().warning("device discarded a frame")
    assert capsys.readouterr() == ("", "warning: device discarded a frame\n")


def test_the_log_is_one_json_object_per_line(run):
    structlog.get_logger().info("two\nlines")
    lines = (run.path / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["run started", "two\nlines"]


def test_nothing_is_logged_to_a_closed_run(tmp_path):
    with Run(tmp_path, RunRecord.begin("test")) as run:
        pass
    structlog.get_logger().info("afterwards")
    assert run.events()[-1]["event"] == "run done"
