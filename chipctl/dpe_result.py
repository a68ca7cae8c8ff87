"""What tuning by the rules of the group's earlier software came to."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Map = NDArray[np.float64]


class TuneResult(dict[str, Any]):
    """What `DPE.tune_conductance` reached, by the names of the earlier object's result: a dictionary.

    Each name is an attribute as well: result["Gread"] is result.Gread. Maps have shape (rows, cols). Besides
    what follows it holds the options as they were used, by the names of `Tuning`: the ramps, Gtol, Gtol_in,
    Gtol_out (maps, S, where they were relative), GtolType, maxSteps, maxRetry, numReads, method, Tdly,
    Twidth, TwidthSet, TwidthReset and saveHistory.
    """

    array: int
    Gread: Map
    """Conductance of all devices, S, read after the last pulse."""
    Gtarget: Map
    """S."""
    Msel: NDArray[Any]
    """Devices that were to be tuned, as given; ones by default."""
    Mset: NDArray[Any]
    """Those that are still too low, in the numbers of `Msel`."""
    Mreset: NDArray[Any]
    """Those that are still too high."""
    Mbound: NDArray[np.int64]
    """Pulses that each device has had at the end of its ramps."""
    vSet: Map
    vGateSet: Map
    vReset: Map
    vGateReset: Map
    """Voltages of the last pulse of each device that is not done, V; 0 for those that are."""
    Gtol_in: ArrayLike
    Gtol_out: ArrayLike
    s: int
    """Steps made."""
    numLeft: int
    """Devices out of tolerance that might still have got pulses."""
    unknown: int
    """Batches that the board did not confirm; what they did shows in `Gread`."""
    hist_data: dict[str, list[Map]]
    """Maps of each step, as Ghist, vSetHist, vGateSetHist, vResetHist, vGateResetHist; a gate of 0 V where a
    device was given up. Only with `saveHistory`."""

    @property
    def share_within(self) -> tuple[float, float]:
        """Share of the devices within `Gtol_in`, and within `Gtol_out`, of their targets."""
        off, chosen = np.abs(self.Gread - self.Gtarget), self.Msel.astype(np.bool_)
        within = (off < self.Gtol_in)[chosen], (off < self.Gtol_out)[chosen]
        inside, outside = (float(np.mean(each)) if each.size else 1.0 for each in within)
        return inside, outside

    def __missing__(self, name: str) -> Any:
        history: dict[str, Any] = self.get("hist_data", {})
        if name in history:  # as of the object's first versions, which returned the history alone
            return history[name]
        kept = "" if history else "; histories are kept with saveHistory=True"
        raise KeyError(f"{name}; there are {', '.join(self)}{kept}")

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        raise AttributeError(f"a TuneResult has no {name}; it has {', '.join(self)}")
