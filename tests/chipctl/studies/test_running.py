"""A study goes on with its last unfinished run, if that is of the same source and was asked for alike."""

import pytest

from chipctl.memory.answers import Answer
from chipctl.progress import Progress
from chipctl.runs.store import Run
from chipctl.studies.catalogue import studies
from chipctl.studies.running import begin, run_study
from chipctl.studies.study import Asked

STUDY, ASKED = studies()["3h"], Asked("quick", count=2)


def instant(_answer, tasks):
    return (Answer(task, 1.0 - task.at, 0.0) for task in tasks)


def broken(_answer, tasks):
    yield from instant(None, tasks[:7])
    raise KeyboardInterrupt


@pytest.fixture
def stopped(tmp_path):
    """The name of a run that was stopped after seven answers."""
    with pytest.raises(KeyboardInterrupt), begin(STUDY, ASKED, tmp_path) as run:
        run_study(STUDY, ASKED, run, broken, Progress())
    return run.path.name


def test_a_stopped_run_is_gone_on_with_and_only_the_rest_is_asked(tmp_path, stopped):
    asked = []

    def counted(answer, tasks):
        asked.extend(tasks)
        return instant(answer, tasks)

    with begin(STUDY, ASKED, tmp_path) as run:
        run_study(STUDY, ASKED, run, counted, Progress())
    assert run.path.name == stopped
    assert len(asked) == 40 - 7
    assert Run.open(run.path).load("series/pseudo-inverse")["values"][0].shape == (10, 2)


def test_a_finished_run_is_not_gone_on_with(tmp_path):
    with begin(STUDY, ASKED, tmp_path) as first:
        run_study(STUDY, ASKED, first, instant, Progress())
    assert begin(STUDY, ASKED, tmp_path).path != first.path


@pytest.mark.parametrize("asked", [Asked("full", count=2), Asked("quick"), Asked("quick", 1, count=2)])
def test_one_that_was_asked_for_otherwise_is_left_alone(tmp_path, stopped, asked):
    assert begin(STUDY, asked, tmp_path).path.name != stopped


def test_one_of_another_source_is_left_alone(tmp_path, stopped, monkeypatch):
    monkeypatch.setattr("chipctl.runs.provenance.source_revision", lambda: "another")
    assert begin(STUDY, ASKED, tmp_path).path.name != stopped


def test_the_verdict_follows_from_the_rows(tmp_path):
    with begin(STUDY, ASKED, tmp_path) as run:
        result = run_study(STUDY, ASKED, run, instant, Progress())
    assert result.record()["verdict"] == "falls short"  # a cosine of 0.5 where 0.95 is asked
    assert run.record.summary["verdict"] == "falls short"
    assert (run.path / "3h.svg").read_text("utf-8").startswith("<svg")
    assert "falls short" in run.report_path.read_text("utf-8")
