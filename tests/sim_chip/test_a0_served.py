"""The client's sequences against a served A0 board, over a pty and TCP, with the client's own time-outs."""

import contextlib
import importlib.util
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from firmware_protocol import a0
from sim_chip import cli
from sim_chip.server import connect

_spec = importlib.util.spec_from_file_location("a0_sequences", Path(__file__).with_name("a0_sequences.py"))
assert _spec is not None
assert _spec.loader is not None
s = importlib.util.module_from_spec(_spec)
sys.modules["a0_sequences"] = s
_spec.loader.exec_module(s)


@contextlib.contextmanager
def serving(*options):
    """A `sim-chip serve --board a0` process; yields it and where it serves."""
    command = [sys.executable, "-m", "sim_chip.cli", "serve", "--board", "a0", *map(str, options)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stderr.readline()
        assert line.startswith("serving"), line + process.stderr.read()
        yield process, line.split(" on ")[1].strip()
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def messages(client, call, *arguments, **options):
    """What a call returns, and the messages it sent."""
    before = client.link.messages
    return call(*arguments, **options), client.link.messages - before


def test_every_call_of_the_client_on_a_pseudo_terminal(tmp_path):
    """Counts of messages are those of the client itself; a late or stalled reply raises in `Link`."""
    with serving("--pty", tmp_path / "chip", "--seed", 3) as (process, where):
        client = s.Client(s.Link(where))
        assert client.link.messages == 157
        assert messages(client, client.set_clock, 50)[1] == 6
        slow, slow_count = messages(client, client.read_slow)
        fast, fast_count = messages(client, client.read_fast)
        assert (slow_count, fast_count) == (574, 1351)
        agree(slow, fast)
        cell = np.unravel_index(np.argsort(slow, axis=None)[-40], slow.shape)
        single, count = messages(client, client.read_single, *(int(place) for place in cell))
        assert count == 164
        assert single == pytest.approx(slow[cell], rel=0.2)
        chosen = np.zeros((64, 64))
        chosen[3:9, 5:12] = 1
        assert messages(client, client.set, 2.5 * chosen, 1.2 * chosen, 1e-6) == ([b"0", b"0"], 137)
        moved = client.read_fast() - fast
        assert np.median(moved[chosen > 0]) > 50e-6
        assert np.abs(np.median(moved[chosen == 0])) < 0.5e-6
        assert np.percentile(np.abs(moved[chosen == 0]), 99) < 5e-6
        assert messages(client, client.reset, 1.8 * chosen, 5.0 * chosen, 10e-6) == ([b"0"], 101)
        assert np.median((client.read_fast() - fast - moved)[chosen > 0]) < -30e-6
        assert messages(client, client.power_off)[1] == 56
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert process.stderr.read() == ""


def agree(slow, fast):
    """Within noise: a device's fluctuation grows with it, a product's lines take a little more."""
    apart = np.abs(slow - fast)
    assert np.median(apart) < 0.3e-6
    assert (apart < 1e-6 + 0.1 * slow).mean() > 0.99


def test_the_same_over_tcp_and_products_have_slopes_near_one():
    """On devices without noise or lines, so that the slope is the converters' and the arithmetic's alone."""
    with serving("--tcp", "localhost:0", "--preset", "ideal", "--seed", 2) as (_, where):
        client = s.Client(s.Link(f"socket://{where}"))
        client.set_clock(50)
        conductance = client.read_fast()
        assert np.abs(client.read_slow() - conductance).max() < 0.2e-6
        inputs = np.random.default_rng(2).uniform(0, 1, (4, 64))
        for unary, top in ((False, 3), (True, 2)):
            found = client.multiply(inputs, bits=2, unary=unary)
            ideal = (np.round(inputs * top) / top) @ conductance
            assert np.polyfit(ideal.ravel(), found.ravel(), 1)[0] == pytest.approx(1.0, abs=0.02)
        client.power_off()


def test_what_a_host_set_is_there_for_the_next_one_and_hosts_take_turns():
    with serving("--tcp", "localhost:0") as (_, where):
        name, port = where.rsplit(":", 1)
        first = socket.create_connection((name, int(port)))
        second = socket.create_connection((name, int(port)))
        second.sendall(a0.SetFifoEnable(3).encode() + a0.ReadPort("K").encode())
        time.sleep(0.1)
        first.sendall(a0.SetLineBank(5).encode() + a0.ReadPort("K").encode())
        assert first.recv(100) == b"\x05\0\0\0"
        second.settimeout(0.1)
        with pytest.raises(TimeoutError):
            second.recv(100)
        first.close()
        second.settimeout(10.0)
        assert second.recv(100) == b"\x30\0\0\0"
        second.close()


def test_all_a_host_wrote_before_it_hung_up_is_done():
    with serving("--tcp", "localhost:0") as (_, where):
        name, port = where.rsplit(":", 1)
        for _ in range(20):
            with socket.create_connection((name, int(port))) as host:
                host.sendall(b"".join(command.encode() for command in [*s.PADS, a0.SetPin("K", 2)]))
            with socket.create_connection((name, int(port))) as host:
                host.settimeout(10.0)
                host.sendall(a0.ReadPort("K").encode())
                assert host.recv(100) == b"\x04\0\0\0"
                host.sendall(a0.SetLineBank(0).encode())


def test_whole_arrays_come_in_blocks_without_a_stall_though_the_next_command_waits(tmp_path):
    with serving("--pty", tmp_path / "chip") as (_, where):
        link = s.Link(where)
        link.call([*s.CONSTRUCT, *s.set_clock(50), *s.configure(2)])
        answers = link.call([a0.ReadCells(0, 0, 500)] * 3)
        assert [words.shape for words in answers] == [(64, 64)] * 3


def test_a_read_without_clock_is_silence_until_the_reset_button(tmp_path):
    with serving("--pty", tmp_path / "chip") as (process, where):
        link = s.Link(where)
        link.call([*s.CONSTRUCT, a0.StopClock(2)])
        with pytest.raises(s.LateError):
            link.call([a0.ReadCell(0, 0, 0, 0)])
        process.send_signal(signal.SIGUSR1)
        time.sleep(0.2)
        assert len(link.call([*s.CONSTRUCT, *s.set_clock(50), a0.ReadCell(0, 0, 0, 0)])) == 2
        process.terminate()
        assert "hangs until its reset button is pressed" in process.stderr.read()


def test_the_board_answers_in_process_as_behind_a_port():
    endpoint = connect("sim://?board=a0&preset=ideal&a0_faults=dropped-reply,lost-packet")
    endpoint.write(a0.Count().encode())
    assert len(endpoint.read(1.0)) == 256
    assert endpoint.read(0.0) == b""
    endpoint.close()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--a0-fault", "bang"), "no fault bang"),
        (("--preset", "mao22"), "for 3 arrays"),
        (("--board", "native", "--a0-fault", "lost-packet"), "only the A0 board"),
        (("--board", "b0"), "no board 'b0'"),
    ],
)
def test_what_there_is_not_ends_in_one_line(tmp_path, monkeypatch, capsys, options, reason):
    command = ["sim-chip", "serve", "--board", "a0", *options, "--pty", str(tmp_path / "chip")]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as ended:
        cli.run()
    said = capsys.readouterr().err
    assert (ended.value.code, len(said.splitlines())) == (1, 1)
    assert reason in said
