"""The self-test passes sound chips, names what is wrong, and moves nothing; log and limits on the screen."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from chipctl.converters import adcs_of_array
from chipctl.errors import DeviceError
from chipctl.readings import converter_errors
from chipctl.self_test import adc_lines, self_test
from sim_chip.presets import preset

COMMANDS = [sys.executable, "-c", "from chipctl.cli.main import run; run()"]


def chipctl(*words):
    done = subprocess.run([*COMMANDS, *words], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("kind", ["ideal", "good", "poor"])
def test_a_sound_board_passes_and_no_device_moves(make_chip, kind):
    chip = make_chip(kind, seed=4)
    before = chip.truth.pulse_counts(0).sum()
    items = list(self_test(chip))
    assert [(item.name, item.found) for item in items if not item.passed] == []
    assert sum(item.name.startswith("ADC") for item in items) == 12
    assert sum(item.name.startswith("rail") for item in items) == 16
    assert chip.truth.pulse_counts(0).sum() == before == 0


def test_the_adcs_of_an_ideal_chip_are_straight_lines(make_chip):
    for line in adc_lines(make_chip("ideal")).values():
        assert line.gain == pytest.approx(1, abs=2e-3)
        assert abs(line.offset_codes) < 1
        assert line.bent_codes < 1


def test_a_chip_of_one_array_has_the_adcs_that_serve_it(make_chip):
    chip = make_chip(replace(preset("ideal"), arrays=1))
    lines = adc_lines(chip)
    assert list(lines) == list(adcs_of_array(0)) == [4, 5, 10, 11]
    assert [line.gain for line in lines.values()] == pytest.approx([1] * 4, abs=2e-3)
    assert np.isfinite(converter_errors(chip, 0).off).all()
    with pytest.raises(DeviceError, match="no array of this chip has ADC 0"):
        chip.board.convert_test_input(0, 1)


def test_a_rail_that_strays_and_an_adc_without_clock_are_named(make_chip):
    chip = make_chip("good", seed=4)
    chip.bench.stopped_arrays.add(1)
    failed = {item.name: item.found for item in self_test(chip) if not item.passed}
    assert "timeout" in failed["converters"]
    other = make_chip("good", seed=5)
    other.read(0)
    other.bench.stray_codes[2] = 900
    assert "supply" in " ".join(item.found for item in self_test(other) if not item.passed)


def test_the_command_prints_every_item_and_its_exit_status_is_the_verdict():
    status, out, _ = chipctl("self-test", "--chip", "sim://?preset=good&seed=7", "--json")
    assert status == 0
    assert {item["name"] for item in json.loads(out)} >= {"round trip", "ADC 11", "zero of array 2"}


def test_the_log_names_what_was_done_over_restarts_of_the_board(tmp_path):
    address = f"sim://?preset=good&seed=7&state={tmp_path / 'chip'}"
    shape = ("--volts", "1.2", "--gate", "1", "--rows", "3", "--cols", "4", "--direction", "set")
    assert chipctl("pulse", "--chip", address, "--runs", str(tmp_path), *shape)[0] == 0
    status, out, _ = chipctl("log", "--chip", address, "--json")
    effects = json.loads(out)["effects"]
    assert status == 0
    assert (effects[-1]["request"], effects[-1]["executed"], effects[-1]["pulses"]) == ("Pulse", "yes", 1)
    assert "executed" in chipctl("log", "--chip", address)[1]


def test_limits_are_stored_in_the_commissioning_state_only(tmp_path):
    address = f"sim://?preset=good&seed=7&state={tmp_path / 'chip'}"
    words = ("limits", "--store", "set_volts=3.0", "--store", "vp_pad.high=3.1", "--json", "--chip")
    status, _, err = chipctl(*words, address)
    assert status == 45
    assert "commissioning" in err
    assert chipctl(*words, address + "&commission=1")[0] == 0
    limits = json.loads(chipctl("limits", "--chip", address, "--json")[1])
    assert not limits["commissioning"]
    kept = limits["limits"]
    assert (kept["set_volts"], kept["vp_pad.high"]) == pytest.approx((3.0, 3.1), abs=1e-3)


def test_a_limit_that_there_is_not_is_refused_with_those_there_are():
    status, _, err = chipctl("limits", "--chip", "sim://?commission=1", "--store", "set_code=3")
    assert status == 2
    assert "set_volts" in err
