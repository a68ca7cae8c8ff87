"""`chipctl list` and `doctor` find boards and say what to mend; a board is found by its serial number."""

import json
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from chipctl.discovery import ports, probe, system_findings
from chipctl.errors import LinkError
from chipctl.link import Link
from chipctl.transport import open_transport


@pytest.fixture
def plugged_in(port, monkeypatch):
    """The operating system's list of ports, with the board in it."""
    usb = SimpleNamespace(
        device=str(port), vid=0x04D8, pid=0x000A, serial_number="A1B2", description="board", hwid="USB"
    )
    monkeypatch.setattr("serial.tools.list_ports.comports", lambda: [usb])


def run(*arguments):
    command = [sys.executable, "-c", "from chipctl.cli.main import run; run()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.usefixtures("plugged_in")
def test_boards_are_listed_by_usb_identity_and_by_what_answers():
    (found,) = ports()
    assert (found.vid, found.serial_number, found.trouble) == (0x04D8, "A1B2", None)
    assert found.board == "virtual chip"


@pytest.mark.usefixtures("plugged_in")
def test_a_board_opens_by_its_serial_number():
    with Link(open_transport("serial://A1B2")) as link:
        assert link.welcome.board == "virtual chip"
    with pytest.raises(LinkError, match="no port has serial number C3"):
        open_transport("serial://C3")


def test_a_port_without_a_board_is_given_half_a_second(pty_pair):
    before = time.monotonic()
    assert "nothing answers" in probe(pty_pair[1])["trouble"]
    assert time.monotonic() - before < 2


@pytest.fixture
def pty_pair():
    ours, theirs = os.openpty()
    yield ours, os.ttyname(theirs)
    os.close(theirs)
    os.close(ours)


@pytest.mark.usefixtures("plugged_in")
def test_a_port_in_use_is_listed_with_its_holder(port):
    with Link(open_transport(str(port))):
        (found,) = ports()
    assert found.trouble.startswith(f"in use by process {os.getpid()} (")


@pytest.mark.parametrize("form", ["{}", "spy://{}"])
def test_doctor_finds_nothing_to_mend_on_a_good_line(port, form):
    done = run("doctor", "--chip", form.format(port), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    names = [finding["name"] for finding in json.loads(done.stdout)]
    assert {"permission", "ModemManager", "protocol", "round trip", "fault"} <= set(names)


def test_doctor_has_nothing_to_say_of_a_good_a0_board_but_its_findings():
    done = run("doctor", "--chip", "a0+sim://?preset=good", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert "A0 board" in [finding["name"] for finding in json.loads(done.stdout)]


def test_doctor_says_what_is_wrong_where_no_board_is(tmp_path):
    done = run("doctor", "--chip", str(tmp_path / "none"), "--json")
    assert done.returncode == 1
    (finding,) = json.loads(done.stdout)
    assert "no such port" in finding["found"]


def test_list_is_json_for_machines():
    assert isinstance(json.loads(run("list", "--json").stdout), list)


def test_a_port_that_may_not_be_read_has_a_remedy(tmp_path):
    permission = system_findings(tmp_path / "none")[0]
    assert not permission.good
    assert "60-chipctl.rules" in permission.remedy
