"""At the wall's pace the chip rests while nobody asks, and a rest takes as long as it says."""

import time

from chipctl.chip import connect


def test_a_chip_left_alone_ages_with_the_wall():
    with connect("sim://?preset=ideal&pace=real") as chip:
        before = chip.board.book().clock_ns
        time.sleep(0.3)
        aged_s = (chip.board.book().clock_ns - before) * 1e-9
    assert 0.3 <= aged_s < 1.0


def test_a_rest_lasts_on_the_wall():
    with connect("sim://?preset=ideal&pace=real") as chip:
        start, before = time.monotonic(), chip.board.book().clock_ns
        chip.wait(0.5)
        took_s, aged_s = time.monotonic() - start, (chip.board.book().clock_ns - before) * 1e-9
    assert took_s >= 0.5
    assert 0.5 <= aged_s <= took_s + 0.01


def test_at_its_own_pace_a_day_passes_at_once():
    with connect("sim://?preset=ideal") as chip:
        start = time.monotonic()
        chip.wait(86_400)
        assert time.monotonic() - start < 5
        assert chip.board.book().clock_ns >= 86_400 * 10**9
