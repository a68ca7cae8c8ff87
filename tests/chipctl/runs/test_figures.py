"""Figures say in numbers what they show, and refuse what they cannot show."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from chipctl.runs import figures
from firmware_protocol.jobs import Verdict


def words(svg):
    return " ".join(element.text or "" for element in ElementTree.fromstring(svg).iter())


def alt(svg):
    return ElementTree.fromstring(svg).attrib["aria-label"]


def test_the_histogram_states_mean_and_sigma_beside_the_published_ones():
    errors = np.array([-3e-6, 1e-6, 1e-6, 5e-6])
    svg = figures.error_histogram(errors)
    assert alt(svg) == "Programming error: mean +1.00 µS, standard deviation 2.83 µS, 4 devices"
    assert "He et al.: +0.11 µS, σ 3.89 µS" in words(svg)


def test_the_histogram_counts_what_lies_outside_its_axis_and_leaves_out_nan():
    svg = figures.error_histogram([0.0, 25e-6, np.nan])
    assert "1 beyond ±20 µS" in words(svg)
    assert "50.0% within ±5 µS" in words(svg)


def test_the_fault_map_counts_each_kind():
    kinds = np.zeros((2, 8, 8), int)
    kinds[0, 1, 1:4] = 1, 2, 3
    kinds[1, 0, 0] = 3
    text = words(figures.fault_map(kinds))
    assert "stuck low (1)" in text
    assert "stuck between (2)" in text
    assert "array 0: 3 of 64 stuck" in text


@pytest.mark.parametrize("arrays", [1, 2, 3])
def test_the_words_of_the_fault_map_fit_into_it(arrays):
    kinds = np.full((arrays, 64, 64), 3)
    drawing = figures.fault_map(kinds, rings=dict.fromkeys(("noisy", "slow"), kinds))
    width = float(re.search(r'viewBox="0 0 ([\d.]+)', drawing)[1])
    said = re.findall(r'text-anchor: start[^>]* x="(-?[\d.]+)"[^>]*>([^<]+)', drawing)
    assert len(said) == 5
    least_width_of_a_letter = 4.0
    for x, text in said:
        assert 0 <= float(x) <= width - least_width_of_a_letter * len(text), text


def test_maps_are_named_by_the_arrays_they_show():
    text = words(figures.fault_map(np.zeros((2, 4, 4), int), arrays=[1, 2]))
    assert "array 2: 0 of 16 stuck" in text
    assert "array 0" not in text


def test_conductance_maps_keep_one_pixel_per_device():
    target = np.full((2, 4, 4), 75e-6)
    svg = figures.conductance_maps(target, target, np.eye(4, dtype=bool)[np.newaxis].repeat(2, axis=0))
    pictures = re.findall(r'<image [^>]*width="(\d+)"', svg)
    assert len(pictures) >= 6
    assert "conductance / µS" in words(svg)


def test_pulses_and_verdicts_count_each_device_once():
    verdicts = np.array([[Verdict.VERIFIED, Verdict.VERIFIED], [Verdict.GAVE_UP_LOW, Verdict.SKIPPED]])
    svg = figures.pulses_and_verdicts([[3, 4], [70, 0]], verdicts)
    assert alt(svg) == "Pulses of each device, at most 70; 2 of 4 devices verified"
    for name in ("low (0)", "high (0)", "gave up low (1)", "gave up high (0)", "skipped (1)"):
        assert name in words(svg)


def test_digits_outline_exactly_the_wrong_pixels():
    stored = -np.ones((2, 64))
    cue = stored.copy()
    cue[0, [3, 9, 17]] = 1
    svg = figures.digits(cue, stored, stored, "01")
    assert alt(svg) == "2 patterns: 3 wrong pixels in the cues, 0 after recall"
    assert len(re.findall(r"fill: none; stroke: #dd6b20", svg)) == 3


def test_digits_state_the_cosine_of_what_was_recalled():
    stored = np.ones((1, 64))
    recalled = stored.copy()
    recalled[0, :8] = -1
    assert "0.750" in words(figures.digits(stored, recalled, stored))


def test_recalls_of_different_length_share_one_axis():
    svg = figures.energy_and_cosine([[-1, -3], [-1, -2, -4]], [[0.8, 1.0], [0.8, 0.9, 1.0]])
    assert "mean of 2 recalls" in words(svg)


def test_bars_state_each_mean():
    svg = figures.memory_bars({"64": {"programmed": [1.0, 0.99], "not programmed": [0.5, -0.1]}})
    assert "0.995" in words(svg)
    assert "0.200" in words(svg)


def test_text_follows_the_page_and_no_date_or_address_is_left_in():
    svg = figures.fault_map(np.zeros((4, 4), int))
    assert "currentColor" in svg
    assert "#010203" not in svg
    assert "<metadata" not in svg
    assert svg == figures.fault_map(np.zeros((4, 4), int))


@pytest.mark.parametrize(
    "draw",
    [
        lambda: figures.error_histogram([np.nan]),
        lambda: figures.fault_map(np.zeros(4)),
        lambda: figures.fault_map(np.zeros((2, 4, 4)), arrays=[1]),
        lambda: figures.digits(np.ones((1, 60)), np.ones((1, 60)), np.ones((1, 60))),
    ],
    ids=["no error", "one axis", "unnamed", "not square"],
)
def test_what_cannot_be_drawn_is_refused(draw):
    with pytest.raises(ValueError, match=r"no programming error|expected \(rows|2 maps but|not square"):
        draw()
