"""Ports open, carry bytes, end, and say in one line what is wrong with them."""

import fcntl
import os
import pty
import socket
import stat
import subprocess
import sys
import threading
import time
import tty
from pathlib import Path

import pytest
import structlog

from chipctl.errors import LinkError, PortBusy
from chipctl.ownership import _files
from chipctl.transport import open_transport


@pytest.fixture
def pty_pair():
    """(our file descriptor, path of the port)."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    yield ours, os.ttyname(theirs)
    os.close(theirs)
    os.close(ours)


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def url(server):
    return f"socket://127.0.0.1:{server.getsockname()[1]}"


def arrived(transport, count):
    data, end = b"", time.monotonic() + 5
    while len(data) < count and time.monotonic() < end:
        data += transport.read(0.1)
    return data


@pytest.mark.parametrize("form", ["{}", "{}?baud=921600", "spy://{}"])
def test_a_serial_port_carries_bytes_both_ways(pty_pair, form):
    ours, path = pty_pair
    port = open_transport(form.format(path))
    try:
        port.write(bytes(range(256)))
        assert os.read(ours, 1000) == bytes(range(256))
        os.write(ours, bytes(range(255, -1, -1)))
        assert arrived(port, 256) == bytes(range(255, -1, -1))
        assert port.read(0.0) == b""
    finally:
        port.close()


def test_a_tcp_connection_carries_bytes_both_ways(listener):
    port = open_transport(url(listener))
    peer, _ = listener.accept()
    with peer:
        port.write(b"there")
        assert peer.recv(100) == b"there"
        peer.sendall(b"back")
        assert arrived(port, 4) == b"back"
        assert port.read(0.01) == b""
    port.close()


def test_reading_waits_no_longer_than_it_was_told(pty_pair):
    port = open_transport(pty_pair[1])
    before = time.monotonic()
    assert port.read(0.1) == b""
    assert 0.09 < time.monotonic() - before < 0.3
    port.close()


def test_a_port_that_takes_no_bytes_does_not_hang(pty_pair):
    port = open_transport(pty_pair[1])
    with pytest.raises(LinkError, match="takes no bytes"):
        port.write(bytes(200_000))
    before = time.monotonic()
    port.close()
    assert time.monotonic() - before < 1


def test_a_port_that_vanishes_says_so():
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    port = open_transport(os.ttyname(theirs))
    os.close(theirs)
    os.close(ours)
    with pytest.raises(LinkError, match="the other side is gone"):
        arrived(port, 1)
    with pytest.raises(LinkError, match="the other side is gone"):
        port.write(b"x")
    port.close()


def test_a_server_that_hangs_up_says_so(listener):
    port = open_transport(url(listener))
    listener.accept()[0].close()
    with pytest.raises(LinkError, match="the other side is gone"):
        arrived(port, 1)
    port.close()


def test_the_terminal_of_a_killed_server_is_not_mistaken_for_its_successors(tmp_path):
    link, others = tmp_path / "port", []
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    link.symlink_to(os.ttyname(theirs))
    open_transport(str(link)).close()
    os.close(theirs)
    os.close(ours)
    while not link.exists():
        others += pty.openpty()
    try:
        for address in (str(link), f"spy://{link}", f"ASRL{link}::INSTR"):
            with pytest.raises(LinkError, match="the server that made this port has ended"):
                open_transport(address)
    finally:
        for fd in others:
            os.close(fd)


def test_a_missing_port_lists_what_there_is():
    with pytest.raises(LinkError, match=r"no such port; (ports found|no serial port)"):
        open_transport("/dev/ttyNOWHERE0")


def test_a_file_is_not_a_serial_device(tmp_path):
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(LinkError, match="is not a serial device"):
        open_transport(str(path))


def test_a_port_of_another_process_names_it(pty_pair):
    path = pty_pair[1]
    code = (
        "import sys, time; from chipctl.transport import open_transport as o; "
        f"p = o({path!r}); print('open', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout.readline() == b"open\n"
            with pytest.raises(PortBusy, match=rf"in use by process {holder.pid} \("):
                open_transport(path)
        finally:
            holder.kill()
    open_transport(path).close()


def test_the_holders_run_is_named(pty_pair):
    port = open_transport(pty_pair[1])
    try:
        with structlog.contextvars.bound_contextvars(run="7f3a"):
            time.sleep(0.15)
            port.write(b"x")
            with pytest.raises(PortBusy, match=r"in use by process \d+ \(.*\), run 7f3a; stop it"):
                open_transport(pty_pair[1])
    finally:
        port.close()


@pytest.mark.parametrize("names", [("{}", "ASRL{}::INSTR"), ("ASRL{}::INSTR", "{}")])
def test_a_port_has_one_owner_by_whatever_name(pty_pair, names):
    first, second = (name.format(pty_pair[1]) for name in names)
    port = open_transport(first)
    with pytest.raises(PortBusy, match=f"in use by process {os.getpid()}"):
        open_transport(second)
    port.close()
    open_transport(second).close()


def test_a_port_that_another_program_locked_is_busy(pty_pair):
    fd = os.open(pty_pair[1], os.O_RDWR | os.O_NOCTTY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        with pytest.raises(PortBusy, match="another program"):
            open_transport(pty_pair[1])
    finally:
        os.close(fd)


def test_the_same_process_cannot_open_a_port_twice(pty_pair):
    first = open_transport(pty_pair[1])
    try:
        with pytest.raises(PortBusy):
            open_transport(pty_pair[1])
    finally:
        first.close()
        first.close()


def test_a_refused_connection_says_what_to_start(listener):
    address = url(listener)
    listener.close()
    with pytest.raises(LinkError, match="nothing listens on port"):
        open_transport(address)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "socket://",
        "socket://host",
        "socket://host:port",
        "sock://host:1",
        "/dev/ttyS0?baud=fast",
        "tty?x=1",
    ],
)
def test_what_is_no_address_is_the_callers_error(address):
    with pytest.raises(ValueError, match="address"):
        open_transport(address)


def test_the_lock_folder_is_private(pty_pair):
    open_transport(pty_pair[1]).close()
    folder = _files(Path(pty_pair[1]))[1].parent
    assert not os.stat(folder).st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def test_no_thread_outlives_its_port(pty_pair):
    before = threading.active_count()
    port = open_transport(pty_pair[1])
    port.close()
    assert threading.active_count() == before
