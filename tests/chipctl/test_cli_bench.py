"""`chipctl adc`, `timing`, `probe`, `wait`, `fault` and `doctor` as real processes."""

import json
import signal
import subprocess
import sys
import time

import pytest

COMMANDS = [sys.executable, "-c", "from chipctl.cli.main import run; run()"]


@pytest.fixture
def chipctl(tmp_path):
    """Runs a command on one chip that lives from command to command."""

    def run(command, *words, kind="ideal"):
        chip = ("--chip", f"sim://?preset={kind}&seed=3&state={tmp_path / kind}")
        line = [*COMMANDS, command, *chip, *map(str, words)]
        return subprocess.run(line, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)

    return run


@pytest.mark.parametrize("command", ["adc", "timing", "probe", "wait", "fault"])
def test_a_command_explains_itself(chipctl, command):
    done = chipctl(command, "--help")
    assert (done.returncode, len(done.stdout.splitlines()) > 15) == (0, True)


def test_every_adc_shows_the_voltage_at_its_test_input(chipctl):
    facts = json.loads(chipctl("adc", "--volts", 1.5, "--json").stdout)
    assert facts["applied_volts"] == pytest.approx(1.5, abs=4e-4)
    assert facts["converted_volts"] == pytest.approx([1.5] * 12, abs=3.5 / 1023)


def test_a_voltage_that_the_test_input_may_not_have_is_refused(chipctl):
    done = chipctl("adc", "--volts", 9)
    assert (done.returncode, "ADC_TEST may be" in done.stderr) == (2, True)


def test_a_device_sampled_too_soon_reads_too_low(chipctl):
    chipctl(
        "pulse", "--rows", 3, "--cols", 4, "--direction", "set", "--volts", 2, "--gate", 1.1, "--count", 5
    )
    device = ("--row", 3, "--col", 4, "--json")
    settled = json.loads(chipctl("timing", *device).stdout)[2]
    hasty = json.loads(chipctl("timing", *device, "--set", "2=60e-9").stdout)[2]
    assert hasty["sample_seconds"] == pytest.approx(60e-9)
    assert settled["sample_seconds"] > 100e-9
    assert 0 < hasty["siemens"] < 0.95 * settled["siemens"]


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (("--set", "2"), 2, "GAIN=SECONDS"),
        (("--set", "5=1e-6"), 2, "0 to 4"),
        (("--set", "2=30e-9"), 30, "20 ns"),
        (("--row", 3), 2, "both --row and --col"),
    ],
)
def test_a_timing_that_cannot_be_is_explained(chipctl, words, status, says):
    done = chipctl("timing", *words)
    assert (done.returncode, says in done.stderr) == (status, True), done.stderr


def test_a_node_stays_at_the_pad_while_a_device_is_read(chipctl):
    words = ("tia_output", "--row", 3, "--col", 63, "--seconds", 0.3, "--json")
    done = chipctl("probe", *words)
    facts = json.loads(done.stdout)
    assert (facts["point"], facts["col"], facts["reads"] >= 2) == ("tia_output", 63, True)


def test_a_probe_without_end_ends_with_ctrl_c():
    line = [*COMMANDS, "probe", "--chip", "sim://", "vref_tia"]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as process:
        assert "until Ctrl-C" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130


def test_a_rest_moves_the_clock_of_a_virtual_chip_at_once(chipctl):
    before = json.loads(chipctl("wait", 0, "--json").stdout)["clock_seconds"]
    start = time.monotonic()
    after = json.loads(chipctl("wait", 3600, "--json").stdout)["clock_seconds"]
    assert after - before == pytest.approx(3600, abs=1e-3)
    assert time.monotonic() - start < 60


def test_a_board_without_a_fault_says_so_and_has_nothing_to_clear(chipctl):
    done = chipctl("fault", "--clear", "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"fault": "none", "cleared": "none"})


PULSE_AND_VANISH = """
import os, sys
from chipctl.chip import connect
from firmware_protocol.rails import Rail
with connect(sys.argv[1]) as chip:
    chip.read(0)
    chip.set_rail(Rail.VP_PAD, 1.0)
    os._exit(0)
"""


def test_a_lapsed_lease_is_shown_until_it_is_cleared(port):
    subprocess.run([sys.executable, "-c", PULSE_AND_VANISH, str(port)], check=True, timeout=30)
    time.sleep(2.2)
    found = [
        subprocess.run(
            [*COMMANDS, "fault", "--chip", str(port), *words], capture_output=True, text=True, timeout=30
        )
        for words in ((), ("--clear",), ())
    ]
    assert [done.returncode for done in found] == [1, 0, 0]
    assert [done.stdout.strip() for done in found] == ["lease_lapsed", "none", "none"]
