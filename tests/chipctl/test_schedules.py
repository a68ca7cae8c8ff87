"""Policies by name and in settings; what none may say."""

import pytest
from pydantic import ValidationError

from chipctl.schedules import PulseSchedule, Ramp, named
from chipctl.settings import Settings


def test_settings_begin_with_a_named_schedule_and_change_what_they_name(tmp_path):
    path = tmp_path / "chip.toml"
    path.write_text('[programming]\nschedule = "fine"\nreads = 8\nrevisits = { most = 3 }\n')
    found = Settings.load(path).programming
    fine = named("fine")
    assert (found.reads, found.revisits.most) == (8, 3)
    assert found.revisits.rest == fine.revisits.rest
    assert found.inner_tolerance == fine.inner_tolerance


def test_the_default_is_fast_and_paper_stops_anywhere_within_its_tolerance():
    assert PulseSchedule() == named("fast")
    assert named("paper").inner_tolerance == named("paper").tolerance
    assert not named("paper").predicts


def test_a_name_that_there_is_not_is_answered_with_those_there_are(tmp_path):
    path = tmp_path / "chip.toml"
    path.write_text('[programming]\nschedule = "quick"\n')
    with pytest.raises(ValueError, match="no schedule 'quick'; there are fast, fine, paper"):
        Settings.load(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"inner_tolerance": 6e-6},
        {"set_volts": Ramp(first=1.0, last=2.5, step=0.1)},
        {"reset_gate_volts": Ramp(first=5.0, last=5.5, step=0.5)},
        {"order": "columns"},
    ],
    ids=str,
)
def test_a_schedule_that_contradicts_itself_is_none(changes):
    with pytest.raises(ValidationError):
        PulseSchedule(**changes)
