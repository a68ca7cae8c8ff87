"""`chipctl pulse`, `multiply` and `rails` as real processes."""

import json
import subprocess
import sys

import numpy as np
import pytest

COMMANDS = [sys.executable, "-c", "from chipctl.cli.main import run; run()"]


@pytest.fixture
def chipctl(tmp_path):
    """Runs a command on one chip that lives from command to command."""

    def run(command, *words):
        chip = ("--chip", f"sim://?preset=ideal&seed=3&state={tmp_path / 'chip'}")
        line = [*COMMANDS, command, *chip, *map(str, words)]
        return subprocess.run(line, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)

    return run


ONE = ("--rows", 3, "--cols", "5:6", "--direction", "set", "--volts", 1.8, "--gate", 1.1)


@pytest.mark.parametrize("command", ["pulse", "multiply", "rails"])
def test_a_command_explains_itself(chipctl, command):
    done = chipctl(command, "--help")
    assert (done.returncode, len(done.stdout.splitlines()) > 15) == (0, True)


def test_a_set_pulse_raises_one_device_and_no_other(chipctl):
    before = json.loads(chipctl("read", "--json").stdout)["siemens"]
    done = chipctl("pulse", *ONE, "--count", 3, "--json")
    facts = json.loads(done.stdout)
    assert (done.returncode, facts["pulses_given"]) == (0, 3)
    assert facts["median_after_siemens"] > facts["median_before_siemens"] + 20e-6
    after = json.loads(chipctl("read", "--json").stdout)["siemens"]
    moved = np.abs(np.subtract(after, before)) > 5e-6
    assert np.argwhere(moved).tolist() == [[3, 5]]


WIDE = ("--rows", "0:4", "--cols", ":", "--direction", "set", "--volts", 1.8, "--gate", 1.1)


def test_pulses_go_to_the_devices_that_a_map_names_and_to_no_other(chipctl, tmp_path):
    named = np.zeros((64, 64))
    named[2, 7] = named[3, 63] = named[9, 9] = 1
    np.save(tmp_path / "mask.npy", named)
    before = json.loads(chipctl("read", "--json").stdout)["siemens"]
    facts = json.loads(
        chipctl("pulse", *WIDE, "--mask", tmp_path / "mask.npy", "--count", 3, "--json").stdout
    )
    assert (facts["devices"], facts["pulses_given"]) == (2, 6)
    after = json.loads(chipctl("read", "--json").stdout)["siemens"]
    assert np.argwhere(np.abs(np.subtract(after, before)) > 5e-6).tolist() == [[2, 7], [3, 63]]


@pytest.mark.parametrize(("shape", "says"), [((64, 63), "map of"), ((64, 64), "names no device")])
def test_a_map_that_does_not_fit_gives_no_pulse(chipctl, tmp_path, shape, says):
    np.save(tmp_path / "mask.npy", np.zeros(shape))
    done = chipctl("pulse", *WIDE, "--mask", tmp_path / "mask.npy")
    assert (done.returncode, says in done.stderr) == (2, True)


def test_a_dry_run_prints_the_plan_and_gives_no_pulse(chipctl):
    done = chipctl("pulse", *ONE, "--dry-run")
    assert (done.returncode, done.stdout) == (0, "")
    assert "1 SET pulses of 1.8 V" in " ".join(done.stderr.split())
    assert json.loads(chipctl("info", "--json").stdout)["state"]["total_pulses"] == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--volts", 3.6), "limit of 3.500 V"),
        (("--width", 5.1e-6), "multiples of 20 ns"),
        (("--rows", "60:70"), "not inside 0:64"),
    ],
)
def test_a_pulse_above_a_limit_is_refused_with_the_limit(chipctl, words, says):
    done = chipctl("pulse", *ONE, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr


def test_all_ones_times_an_array_is_the_current_of_its_columns(chipctl):
    conductance = np.array(json.loads(chipctl("read", "--json", "--reads", 16).stdout)["siemens"])
    facts = json.loads(chipctl("multiply", "--json", "--reads", 64).stdout)
    expected = 0.2 * conductance.sum(axis=0)
    assert facts["amps"][0] == pytest.approx(expected, rel=0.08, abs=1e-6)


def test_vectors_come_from_a_file_and_currents_go_to_one(chipctl, tmp_path):
    vectors = np.zeros((3, 64))
    vectors[0, 7], vectors[1, 7], vectors[2, 7] = 1, 0.5, -1
    np.save(tmp_path / "in.npy", vectors)
    done = chipctl("multiply", tmp_path / "in.npy", "--bits", 6, "--reads", 64, "-o", tmp_path / "out.csv")
    assert done.returncode == 0, done.stderr
    amps = np.loadtxt(tmp_path / "out.csv", delimiter=",")
    assert amps.shape == (3, 64)
    assert amps[1] == pytest.approx(amps[0] * 32 / 63, abs=3e-7)
    assert amps[2] == pytest.approx(-amps[0], abs=3e-7)


@pytest.mark.parametrize(
    ("vectors", "says"), [(np.ones((1, 63)), "64 numbers"), (np.full((1, 64), 1.1), "between -1 and 1")]
)
def test_vectors_that_do_not_fit_are_refused(chipctl, tmp_path, vectors, says):
    np.save(tmp_path / "in.npy", vectors)
    done = chipctl("multiply", tmp_path / "in.npy")
    assert (done.returncode, says in done.stderr) == (2, True)


def test_rails_are_set_read_back_and_zero_again(chipctl):
    rails = json.loads(chipctl("rails", "--set", "adc_test=2.0", "--json").stdout)
    assert rails[9]["rail"] == "adc_test"
    assert rails[9]["measured_volts"] == pytest.approx(2.0, abs=4e-4)
    at_rest = json.loads(chipctl("rails", "--at-rest", "--json").stdout)
    assert max(abs(rail["set_volts"]) for rail in at_rest) < 4e-4


@pytest.mark.parametrize(
    ("setting", "says"),
    [("tvdd=6", "5.500 V"), ("heater=1", "plane_vpp, vref_array")],
)
def test_a_rail_that_cannot_be_set_so_is_explained(chipctl, setting, says):
    done = chipctl("rails", "--set", setting)
    assert (done.returncode, says in done.stderr) == (2, True)
