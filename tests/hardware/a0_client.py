"""Runs the lab's own client for the A0 board, as it is, against a port: CHECKOUT PORT RESULTS.npz.

Nothing of that client is here; the user's checkout is put on the path and its class `DPE` is called as its
notebooks do. A notebook's display is all it wants of IPython, so where that is missing a stand-in serves.
"""

import importlib.util
import sys
import types

import numpy as np

ARRAY = 0
MHZ = 50


def block(rows, cols):
    mask = np.zeros((64, 64))
    mask[rows, cols] = 1
    return mask


def run(checkout, port, results):
    sys.path.insert(0, checkout)
    if importlib.util.find_spec("IPython") is None:
        display = types.ModuleType("IPython.display")
        display.clear_output = lambda wait=False: None
        sys.modules["IPython"] = types.ModuleType("IPython")
        sys.modules["IPython"].display = sys.modules["IPython.display"] = display
    from dpe import DPE  # the user's checkout

    board, found = DPE(port), {}
    board.set_clock(MHZ)
    found["slow"] = board.read(ARRAY, method="slow", Tdly=500)
    found["fast"] = board.read(ARRAY, method="fast")
    found["single"] = board.read(ARRAY, method="single", Msel=block(slice(4, 5), slice(0, 4)))
    chosen = block(slice(3, 9), slice(5, 12))
    board.set(ARRAY, 2.5, 1.2, mask=chosen, Twidth=1e-6)
    found["after_set"] = board.read(ARRAY, method="fast")
    board.reset(ARRAY, 1.8, 5.0, mask=chosen, Twidth=10e-6)
    found["after_reset"] = board.read(ARRAY, method="fast")
    inputs = np.random.default_rng(1).uniform(0, 1, (64, 6))
    found["inputs"] = inputs
    for name, mode in (("shifted", 0), ("unary", 1)):
        found[name] = board.multiply(ARRAY, inputs, c_sel=[0, 64], mode=mode, gain=2)
    target, mask = np.full((64, 64), 50e-6), block(slice(20, 28), slice(20, 28))
    options = {"Msel": mask, "method": "fast", "Twidth": 10e-6, "maxSteps": 150, "Gtol_out": 10e-6}
    board.tune_conductance(ARRAY, target, vSetRamp=[1, 3, 0.25], **options)
    found["tuned"] = board.read(ARRAY, method="fast")[20:28, 20:28]
    board.power_off()
    np.savez(results, **found)


if __name__ == "__main__":
    run(*sys.argv[1:])
