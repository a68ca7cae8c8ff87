"""Profiles keep calibration results whole, and older files still load."""

import json

import numpy as np
import pytest

from chipctl.profile import ChipProfile
from chipctl.results import CalibrationResult, Quantity

OLD = {
    "serial": "good-7",
    "rows": 2,
    "cols": 2,
    "arrays": {"0": {"zero_codes": [14.5, 15.0], "scanned": None, "stuck": []}},
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "chip.json"


def test_results_come_back_as_they_were_kept(path):
    profile = ChipProfile.nominal("x", 2, 2, 2)
    ratio = Quantity.of([[1.0, np.nan], [0.99, 1.01]], [[0.0, np.nan], [0.001, 0.002]], "1", "gain", "col")
    result = CalibrationResult.judged("tias", {"ohms_ratio": ratio}, valid_for={"reference_gain": 2})
    profile.keep(result, 1)
    profile.save(path)
    back = ChipProfile.load(path).result("tias", 1)
    assert back.measured == result.measured
    assert back.valid_for == {"reference_gain": 2}
    assert back.value("ohms_ratio") == pytest.approx(ratio.value, nan_ok=True)
    assert back.sigma("ohms_ratio") == pytest.approx(ratio.sigma, nan_ok=True)
    assert json.loads(path.read_text())["arrays"]["1"]["calibration"]["tias"]["values"]["ohms_ratio"][
        "value"
    ] == [
        [1.0, None],
        [0.99, 1.01],
    ]


def test_a_file_from_before_calibration_loads(path):
    path.write_text(json.dumps(OLD))
    profile = ChipProfile.load(path)
    assert profile.arrays[0].zero_codes == [14.5, 15.0]
    assert profile.result("zeros", 0) is None


def test_a_file_of_a_later_format_is_refused(path):
    path.write_text(json.dumps(OLD | {"format": 99}))
    with pytest.raises(ValueError, match="no chip profile"):
        ChipProfile.load(path)


def test_values_and_axes_must_fit_together():
    with pytest.raises(ValueError, match="do not fit together"):
        Quantity.of([1.0, 2.0], 0.1, "V")


@pytest.mark.parametrize(("value", "outside", "far"), [(1.0, 0, 0), (1.2, 1, 0), (2.0, 1, 1), (np.nan, 0, 0)])
def test_limits_tell_what_is_outside_and_what_is_broken(value, outside, far):
    quantity = Quantity.of(value, 0.01, "1").within(0.9, 1.1)
    assert quantity.outside == outside
    assert quantity.far_outside == far


def test_a_failed_result_says_why():
    result = CalibrationResult.judged(
        "adcs", {"gain": Quantity.of([1.0, 1.3], 0.01, "1", "adc").within(0.9, 1.1)}
    )
    assert not result.passed
    assert result.reasons == ["gain: 1 of 2 outside 0.9 to 1.1 1"]
