"""A board by its VISA resource name, over a real TCP socket and a real serial port."""

import os
import subprocess
import sys
import time

import pytest

from chipctl.errors import LinkError
from chipctl.link import Link
from chipctl.transport import open_transport
from chipctl.visa import is_visa
from firmware_protocol import messages as m


@pytest.fixture
def board(tmp_path):
    command = [sys.executable, "-m", "sim_chip.cli", "serve", "--tcp", "127.0.0.1:0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        yield process.stderr.readline().rpartition(":")[2].strip()
        process.terminate()


def test_a_board_answers_by_its_visa_name(board):
    with Link(open_transport(f"TCPIP0::127.0.0.1::{board}::SOCKET")) as link:
        assert link.request(m.GetInfo()).rows == 64
        assert len(link.collect(link.request(m.ReadCells(0, 2, 1, 0, 64, 0, 64)))) == 2 * 64 * 64
        before = time.monotonic()
        for _ in range(20):
            link.request(m.GetState())
        assert time.monotonic() - before < 2


def test_a_serial_port_opens_by_its_visa_name(tmp_path):
    command = [sys.executable, "-m", "sim_chip.cli", "serve", "--pty", str(tmp_path / "port")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        while not os.path.exists(tmp_path / "port"):
            time.sleep(0.01)
        with Link(open_transport(f"ASRL{tmp_path / 'port'}::INSTR")) as link:
            assert link.request(m.GetInfo()).rows == 64
        process.terminate()


def test_a_visa_name_with_nothing_behind_it_says_so():
    with (
        pytest.raises(LinkError, match=r"does not open|the other side is gone"),
        Link(open_transport("TCPIP0::127.0.0.1::1::SOCKET")),
    ):
        pass


def test_visa_names_are_told_from_paths_and_urls():
    names = ["ASRL/dev/ttyACM0::INSTR", "TCPIP0::bench::5025::SOCKET", "/dev/ttyACM0", "socket://bench:5025"]
    assert [is_visa(name) for name in names] == [True, True, False, False]
