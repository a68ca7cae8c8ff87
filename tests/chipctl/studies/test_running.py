"""A study goes on with its last unfinished run, if that is of the same source and was asked for alike."""

import numpy as np
import pytest

from chipctl.memory.answers import Answer
from chipctl.memory.digits import load_digits
from chipctl.progress import Progress
from chipctl.runs.store import Run
from chipctl.studies.catalogue import studies
from chipctl.studies.running import begin, keep_record, record, run_study, tasks_of
from chipctl.studies.study import Asked

STUDY, ASKED = studies()["3h"], Asked("quick", count=2)


def instant(_answer, tasks):
    return (Answer(task, 1.0 - task.at, 0.0) for task in tasks)


def growing(_answer, tasks):
    return (Answer(task, task.at + task.question.seed, 0.0) for task in tasks)


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
    assert len(asked) == len(tasks_of(STUDY, ASKED)) - 7
    assert Run.open(run.path).load("series/pseudo-inverse")["values"][0].shape == (10, 2)


def test_every_value_is_kept_with_its_seed_where_places_have_different_ones(tmp_path):
    study, asked = studies()["3i"], Asked("full")
    with begin(study, asked, tmp_path) as run:
        run_study(study, asked, run, growing, Progress())
    kept = {name: array for name, (array, _) in Run.open(run.path).load("series/Hebb, digits").items()}
    assert kept["at"].tolist() == [64, 100, 196, 400]
    assert kept["seeds"].tolist() == list(range(10))
    assert np.isfinite(kept["values"]).sum(axis=1).tolist() == [10, 3, 3, 3]
    assert kept["values"][0].tolist() == [64 + seed for seed in range(10)]


def test_a_finished_run_is_not_gone_on_with(tmp_path):
    with begin(STUDY, ASKED, tmp_path) as first:
        run_study(STUDY, ASKED, first, instant, Progress())
    assert begin(STUDY, ASKED, tmp_path).path != first.path


@pytest.mark.parametrize("asked", [Asked("full", count=2), Asked("quick"), Asked("quick", 1, count=2)])
def test_one_that_was_asked_for_otherwise_is_left_alone(tmp_path, stopped, asked):
    assert begin(STUDY, asked, tmp_path).path.name != stopped


def test_one_of_other_digits_is_left_alone_even_in_the_same_folder(tmp_path, stopped, idx_folder):
    of_others = Asked("quick", count=2, digits=idx_folder(load_digits().images[:40]))
    with pytest.raises(KeyboardInterrupt), begin(STUDY, of_others, tmp_path) as run:
        run_study(STUDY, of_others, run, broken, Progress())
    assert run.path.name != stopped
    assert begin(STUDY, of_others, tmp_path).path == run.path
    idx_folder(load_digits().images[40:80])
    assert begin(STUDY, of_others, tmp_path).path != run.path


def test_a_record_of_other_digits_says_so_and_has_a_file_of_its_own(tmp_path, idx_folder):
    asked = Asked("quick", count=2, digits=idx_folder(load_digits().images[:40]))
    with begin(STUDY, asked, tmp_path) as run:
        kept = record(run_study(STUDY, asked, run, instant, Progress()), run)
    assert kept["digits"] == {"directory": str(asked.digits), "sha256": load_digits(asked.digits).sha256}
    keep_record(tmp_path / "kept", kept)
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["3h-quick-digits.json"]


def test_only_what_is_of_digits_is_of_the_folder(tmp_path):
    tasks = tasks_of(studies()["3i"], Asked("full", digits=tmp_path))
    assert {(task.question.source, task.question.digits) for task in tasks} == {
        ("digits", tmp_path),
        ("random", None),
    }
    assert {task.digits for task in tasks_of(studies()["5b-e"], Asked("full", digits=tmp_path))} == {tmp_path}


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
