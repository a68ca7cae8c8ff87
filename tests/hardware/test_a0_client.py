"""The lab's own client for the A0 board, unmodified, cannot tell the virtual board from the real one.

That client has no open licence and is no part of this repository: name a checkout of it that you have,
CHIPCTL_A0_CLIENT=~/A0_DUT pytest tests/hardware/test_a0_client.py
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

CHECKOUT = "CHIPCTL_A0_CLIENT"
MINUTES = 5


@pytest.fixture(scope="module")
def checkout():
    named = os.environ.get(CHECKOUT)
    if not named:
        pytest.skip(f"{CHECKOUT} does not name a checkout of the A0 board's public client")
    path = Path(named).expanduser().resolve()
    if not (path / "dpe.py").is_file():
        pytest.fail(f"{CHECKOUT} is {path}, where there is no dpe.py")
    return path


@pytest.fixture(scope="module")
def found(checkout, tmp_path_factory):
    """What the client measured; it ran to its end and reported no error."""
    folder = tmp_path_factory.mktemp("a0")
    port, results = folder / "chip", folder / "results.npz"
    serve = [
        sys.executable,
        "-m",
        "sim_chip.cli",
        "serve",
        "--board",
        "a0",
        "--pty",
        str(port),
        "--seed",
        "3",
    ]
    board = subprocess.Popen(serve, stderr=subprocess.PIPE, text=True)
    try:
        assert board.stderr.readline().startswith("serving")
        script = Path(__file__).with_name("a0_client.py")
        command = [sys.executable, str(script), str(checkout), str(port), str(results)]
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60 * MINUTES)
    finally:
        board.terminate()
        complaints = board.communicate()[1]
    assert ran.returncode == 0, ran.stderr
    assert "[ERROR]" not in ran.stdout
    assert complaints == "", "the board had something to complain of"
    return dict(np.load(results))


pytestmark = pytest.mark.timeout(60 * (MINUTES + 1))


def test_slow_fast_and_single_reads_agree(found):
    slow, fast = found["slow"], found["fast"]
    assert np.median(np.abs(slow - fast)) < 0.3e-6
    assert (np.abs(slow - fast) < 1e-6 + 0.1 * slow).mean() > 0.99
    assert found["single"][4, :4] == pytest.approx(slow[4, :4], abs=2e-6, rel=0.2)


def test_selected_cells_move_and_others_do_not(found):
    chosen = np.zeros((64, 64), bool)
    chosen[3:9, 5:12] = True
    up = found["after_set"] - found["fast"]
    down = found["after_reset"] - found["after_set"]
    assert np.median(up[chosen]) > 50e-6
    assert np.median(down[chosen]) < -30e-6
    for moved in (up, down):
        assert abs(np.median(moved[~chosen])) < 0.5e-6
        assert np.percentile(np.abs(moved[~chosen]), 99) < 5e-6


def test_products_have_slopes_near_one(found):
    ideal = (found["inputs"].T @ found["after_reset"]).ravel()
    for name in ("shifted", "unary"):
        assert np.polyfit(ideal, found[name].ravel(), 1)[0] == pytest.approx(1.0, abs=0.25)


def test_most_cells_are_tuned(found):
    assert (np.abs(found["tuned"] - 50e-6) < 10e-6).mean() > 0.7
