"""What lies in series with a device that is read by itself: access transistor, driver, wires and TIA."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chipctl.profile import ChipProfile

Floats = NDArray[np.float64]

_MEASURED = {
    "transistor": ("transistor", "ohms"),
    "driver": ("lines", "driver_ohms"),
    "tia": ("lines", "tia_ohms"),
    "segment": ("lines", "segment_ohms"),
}
"""Procedure and quantity in which a profile knows each resistance."""

_NOMINAL_SIGMA = {"transistor": 30.0, "driver": 20.0, "tia": 10.0, "segment": 0.25}
"""Of resistances that were not measured, Ω: assumed."""


@dataclass(frozen=True)
class Series:
    """Resistances in the path of a single read, Ω, with the transistor's gate as for reads."""

    transistor: float = 330.0
    driver: float = 50.0
    tia: float = 25.0
    segment: float = 1.0
    sigma: float = 40.0
    """Uncertainty of all of it together."""

    @classmethod
    def of(cls, profile: ChipProfile, array: int) -> Self:
        """As the profile of a chip knows them; nominal where it does not."""
        found, errors = {}, dict(_NOMINAL_SIGMA)
        for name, (procedure, quantity) in _MEASURED.items():
            result = profile.result(procedure, array)
            if result is not None and result.usable:
                found[name] = float(result.value(quantity))
                errors[name] = float(result.sigma(quantity))
        errors["segment"] *= profile.rows
        return cls(**found, sigma=float(np.linalg.norm(list(errors.values()))))

    def ohms(self, rows: ArrayLike, cols: ArrayLike, line_rows: int) -> Floats:
        """Of devices (any shape): rows are driven before column 0, columns are read past the last row."""
        segments = (np.asarray(cols) + 1) + (line_rows - np.asarray(rows))
        return np.asarray(self.transistor + self.driver + self.tia + self.segment * segments)
