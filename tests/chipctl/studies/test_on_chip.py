"""Ten digits stored on a chip and recalled by it, as a study measures it."""

import pytest

from chipctl.studies.on_chip import FIGURE_3BF, OURS, Digits, _binary
from chipctl.studies.study import Asked, Result
from chipctl.studies.trials import Trial, on_one_chip


@pytest.fixture
def result(make_chip):
    trial = Trial(_binary, 3, Digits((), 4), "sim://")
    (answer,) = on_one_chip(make_chip("good", 3))(None, [trial])
    return Result.of(FIGURE_3BF, Asked("quick"), [answer])


def test_the_digits_come_back_and_the_picture_shows_them(result):
    assert result.found(f"mean cosine, {OURS}")[0] > 0.99
    assert result.found("cosine", 0)[0] == pytest.approx(0.8, abs=0.06)  # 10 % of 64 pixels flipped
    assert result.found("correlation of fields")[0] > 0.98
    assert result.found("programming error, σ")[0] < 4.4
    assert FIGURE_3BF.draw(result.found).startswith("<svg")
