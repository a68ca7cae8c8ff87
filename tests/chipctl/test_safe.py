"""`chipctl safe` reaches the board whoever has the port: through its owner, or past it."""

import json
import signal
import socket
import subprocess
import sys
import time

import pytest

from chipctl import doorbell
from chipctl.link import Link
from chipctl.ownership import holder
from chipctl.transport import open_transport
from firmware_protocol import messages as m

OWNER = """
import sys, time
from chipctl.link import Link
from chipctl.transport import open_transport
from firmware_protocol import messages as m
with Link(open_transport(sys.argv[1])) as link:
    while True:
        state = link.request(m.GetState())
        if not state.armed:
            print("disarmed", flush=True)
            link.request(m.Arm(2000))
            print("armed", flush=True)
        time.sleep(0.01)
"""


@pytest.fixture
def owner(port):
    process = subprocess.Popen([sys.executable, "-c", OWNER, str(port)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "disarmed\n"
    assert process.stdout.readline() == "armed\n"
    yield process
    process.send_signal(signal.SIGCONT)
    process.kill()
    process.wait(10)
    process.stdout.close()


def make_safe(port):
    run = "from chipctl.cli.main import run; run()"
    command = [sys.executable, "-c", run, "safe", "--chip", str(port), "--json"]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout)


def test_a_free_port_is_made_safe(port):
    assert make_safe(port) == {"safe": True, "by": "this process"}


def test_the_owner_of_a_port_makes_it_safe_for_another(port, owner):
    assert make_safe(port)["by"] == f"the port's owner, process {owner.pid}"
    assert owner.stdout.readline() == "disarmed\n"


def test_a_port_is_taken_over_from_an_owner_that_hangs(port, owner):
    owner.send_signal(signal.SIGSTOP)
    assert make_safe(port)["by"] == f"taking over from process {owner.pid}"
    owner.send_signal(signal.SIGCONT)
    assert owner.wait(10) != 0


def test_the_owner_says_how_it_stands(port, owner):
    status = doorbell.ask(holder(port).socket, "status", 1.0)
    assert (status["pid"], status["port"]) == (owner.pid, str(port))


def test_events_are_seen_live(port):
    with Link(open_transport(str(port))) as link, socket.socket(socket.AF_UNIX) as line:
        line.settimeout(5)
        line.connect(str(holder(port).socket))
        line.sendall(b'{"ask": "events"}\n')
        time.sleep(0.2)
        link.request(m.GetState())
        with line.makefile() as lines:
            event = json.loads(lines.readline())
    assert (event["kind"], event["opcode"]) == ("reply", m.State.OPCODE)
