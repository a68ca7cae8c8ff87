"""Every published figure has a study, and what each plans to measure is what its table and picture need."""

import pytest

from chipctl.memory.answers import Answer
from chipctl.studies.catalogue import chosen, studies
from chipctl.studies.study import Asked, Result

FLOAT = [name for name, study in studies().items() if not study.on_chip]


def answered(study, asked):
    """All tasks, with numbers that grow with their place."""
    return [Answer(task, 2.0 + task.at, 1.0) for task in study.plan(asked)]


@pytest.mark.parametrize("name", FLOAT)
def test_plans_tables_and_pictures_fit(name):
    study = studies()[name]
    for scale in ("quick", "full"):
        asked = Asked(scale)
        result = Result.of(study, asked, answered(study, asked))
        assert len(result.rows) >= 1
        assert any(row.holds is not None for row in result.rows)
        assert result.record()["seeds"] == sorted({a.task.question.seed for a in answered(study, asked)})
    assert study.draw(result.found).startswith("<svg")


def test_seeds_count_from_where_they_are_asked_to():
    study = studies()["3h"]
    seeds = {task.question.seed for task in study.plan(Asked("quick", first_seed=100))}
    assert min(seeds) == 100


def test_each_virtual_chip_has_a_seed_of_its_own_unless_a_chip_is_named():
    study = studies()["6a"]
    assert [task.address for task in study.plan(Asked("quick"))] == [
        "sim://?preset=good&seed=0",
        "sim://?preset=good&seed=1",
    ]
    assert {task.address for task in study.plan(Asked("quick", chip="/dev/ttyACM0"))} == {"/dev/ttyACM0"}


@pytest.mark.parametrize("name", ["3b-f", "4b-d", "5b-e", "6c", "6d"])
def test_the_chip_that_chose_the_settings_is_none_of_those_measured(name):
    for scale in ("quick", "full"):
        tasks = studies()[name].plan(Asked(scale))
        assert [task.seed for task in tasks] == list(range(1, 1 + len(tasks)))
        assert tasks[0].address == "sim://?preset=good&seed=1"
    assert studies()[name].plan(Asked("quick", first_seed=0))[0].seed == 0


def test_a_study_is_concerned_with_a_chip_and_digits_only_if_it_has_any(tmp_path):
    asked = Asked("quick", chip="/dev/ttyACM0", digits=tmp_path)
    concerned = {name: studies()[name].concerned(asked) for name in ("3h", "6a", "6d")}
    assert {name: (one.chip, one.digits) for name, one in concerned.items()} == {
        "3h": (None, tmp_path),
        "6a": ("/dev/ttyACM0", None),
        "6d": ("/dev/ttyACM0", tmp_path),
    }


def test_a_study_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(ValueError, match="there is no study '9z'; there are 3b-f, 3g, 3h"):
        chosen(["9z"])
    with pytest.raises(ValueError, match="say --all"):
        chosen([])
