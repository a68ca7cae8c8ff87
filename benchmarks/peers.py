"""Other simulators of crossbars, each where it is installed: what they take for the same work."""

import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.measure import ANY, Bound, at_least, cpu_seconds

Floats = npt.NDArray[np.float64]

CROSSSIM = "CROSSSIM"
"""Environment variable that names a checkout of CrossSim."""


class MissingError(Exception):
    """A peer is not installed here; says what would."""


def _module(name: str, how: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingError(f"{name.partition('.')[0]}: {error}; {how}") from None


# Exact wires: badcrossbar


def _badcrossbar() -> Any:
    logging.getLogger("badcrossbar").setLevel(logging.WARNING)
    return _module("badcrossbar", "make bench installs it")


def badcrossbar_currents(cells: Floats, volts: Floats, segment: float) -> Floats:
    """Column currents (vectors, cols) in A of cells (rows, cols) in S at row volts (vectors, rows)."""
    found = _badcrossbar().compute(volts.T, 1 / cells, segment, node_voltages=False, all_currents=False)
    return np.asarray(found.currents.output, dtype=np.float64).reshape(len(volts), cells.shape[1])


MANY = 17
"""Vectors in the longer of the two calls that tell what a further vector costs."""


def badcrossbar_calls(seed: int) -> dict[str, Callable[[], object]]:
    """New 64×64 cells of 10k to 100k with 1 Ω segments, and `one` or `many` vectors through them."""
    rng = np.random.default_rng(seed)
    volts = rng.uniform(0, 0.2, (MANY, 64))
    _badcrossbar()

    def solve(vectors: int) -> Floats:
        return badcrossbar_currents(rng.uniform(1e-5, 1e-4, (64, 64)), volts[:vectors], 1.0)

    return {"one": lambda: solve(1), "many": lambda: solve(MANY)}


# Products with converters and read noise: CrossSim, aihwkit


@dataclass(frozen=True)
class ProductPeer:
    """One way that a peer multiplies vectors of 64 by 64×64."""

    name: str
    bound: Bound
    """On its time over ours."""
    make: Callable[[], Callable[[], object]]
    """Builds the peer's array; the result multiplies `vectors` vectors."""
    vectors: int

    def seconds_per_vector(self, samples: int) -> float:
        """CPU time of the peer; raises `MissingError` where it is not installed."""
        return cpu_seconds(self.make(), samples) / self.vectors


def _crosssim(segment: float, vectors: int) -> Callable[[], object]:
    """12-bit converters, 1 % read noise of each cell drawn for every vector, one device a weight."""
    place = os.environ.get(CROSSSIM)
    if place is None:
        raise MissingError(f"no checkout of CrossSim: name one in the environment variable {CROSSSIM}")
    if not Path(place, "simulator").is_dir():
        raise MissingError(f"no CrossSim in {place}")
    if place not in sys.path:
        sys.path.append(place)
    simulator = _module("simulator", f"{CROSSSIM}={place} does not import")
    parameters: Any = simulator.CrossSimParameters()
    parameters.core.style = "OFFSET"
    device = parameters.xbar.device
    device.Rmin, device.Rmax = 1e4, 1e5
    device.read_noise.enable, device.read_noise.model = True, "NormalProportionalDevice"
    device.read_noise.magnitude = 0.01
    if segment:
        parasitics = parameters.xbar.array.parasitics
        # Ohms since 3.1, multiples of Rmin before
        wire = segment if hasattr(parasitics, "Rp_row_norm") else segment / device.Rmin
        parasitics.enable, parasitics.Rp_row, parasitics.Rp_col = True, wire, wire
    dac, adc = parameters.xbar.dac.mvm, parameters.xbar.adc.mvm
    dac.bits, dac.model = 12, "SignMagnitudeDAC"
    # The model comes last: naming it replaces these parameters by those of its kind
    adc.bits, adc.adc_range_option, adc.model = 12, "MAX", "SignMagnitudeADC"
    rng = np.random.default_rng(0)
    core = simulator.AnalogCore(rng.uniform(-1, 1, (64, 64)), params=parameters)
    inputs = rng.uniform(0, 1, (64, vectors))
    return lambda: core.matmat(inputs)


def _aihwkit(vectors: int) -> Callable[[], object]:
    """12-bit converters, weight noise as one draw per output that no conductance enters; no wires."""
    how = "pip install aihwkit (built from source where there is no wheel)"
    torch = _module("torch", how)
    configs: Any = _module("aihwkit.simulator.configs", how)
    tiles: Any = _module("aihwkit.simulator.tiles.inference", how)
    forward = configs.IOParameters(
        inp_res=1 / 4096,
        out_res=1 / 4096,
        out_noise=0.0,
        w_noise=0.01,
        w_noise_type=configs.WeightNoiseType.ADDITIVE_CONSTANT,
        noise_management=configs.NoiseManagementType.NONE,
        bound_management=configs.BoundManagementType.NONE,
    )
    torch.set_num_threads(1)
    tile = tiles.InferenceTile(64, 64, configs.InferenceRPUConfig(forward=forward))
    tile.set_weights(torch.rand(64, 64) - 0.5)
    inputs = torch.rand(vectors, 64)

    def multiply() -> object:
        with torch.no_grad():
            return tile.forward(inputs)

    return multiply


PRODUCTS = (
    ProductPeer("CrossSim, noise of each cell", at_least(60), lambda: _crosssim(0.0, 1000), 1000),
    ProductPeer("CrossSim, the same with wires", at_least(400), lambda: _crosssim(2.0, 200), 200),
    ProductPeer("aihwkit's C++ tile in float32, a weaker law", ANY, lambda: _aihwkit(10_000), 10_000),
)
