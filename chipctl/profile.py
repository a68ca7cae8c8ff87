"""What is known of one physical chip beyond its board's word: calibration results, zeros, faults."""

from pathlib import Path
from typing import Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from chipctl.fault_map import FaultKind as FaultKind
from chipctl.fault_map import FaultMap as FaultMap
from chipctl.fault_map import KeptFaults
from chipctl.files import replace_file
from chipctl.results import CalibrationResult

FORMAT: Final = 2
"""Of the file. 1, without the field: zeros and fault maps only."""

ZEROS: Final = "zeros"
"""Name of the procedure that measures zeros."""


class ArrayProfile(KeptFaults, BaseModel):
    """What is known of one array."""

    model_config = ConfigDict(extra="forbid")

    zero_codes: list[float] | None = None
    """ADC code of zero current per column, as measured last, by whatever command; nominal if not measured."""
    calibration: dict[str, CalibrationResult] = {}
    """The latest result of each procedure that measures an array, by its name."""


class ChipProfile(BaseModel):
    """One chip's measured properties, as kept in a file between runs."""

    model_config = ConfigDict(extra="forbid")

    format: int = Field(FORMAT, ge=1, le=FORMAT)
    serial: str
    """Of the chip it belongs to; another chip's profile is refused."""
    rows: int
    cols: int
    arrays: dict[int, ArrayProfile]
    calibration: dict[str, CalibrationResult] = {}
    """The latest result of each procedure that measures the board or the chip as a whole, by its name."""

    @model_validator(mode="after")
    def _fits_its_geometry(self) -> Self:
        for index, array in self.arrays.items():
            if array.zero_codes is not None and len(array.zero_codes) != self.cols:
                raise ValueError(f"array {index}: {len(array.zero_codes)} zeros for {self.cols} columns")
            try:
                array.fault_map(self.rows, self.cols)
            except IndexError:
                raise ValueError(f"array {index}: a faulty device outside {self.rows}x{self.cols}") from None
        return self

    @classmethod
    def nominal(cls, serial: str, arrays: int, rows: int, cols: int) -> Self:
        """A profile that knows nothing beyond the board's own word."""
        known = {array: ArrayProfile() for array in range(arrays)}
        return cls(serial=serial, rows=rows, cols=cols, arrays=known)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a profile.

        Raises:
            ValueError: The file is no profile.
        """
        try:
            return cls.model_validate_json(path.read_text())
        except ValidationError as error:
            reason = error.errors(include_url=False)[0]["msg"]
            raise ValueError(f"{path} is no chip profile ({reason}); make one with `chipctl scan`") from None
        except UnicodeDecodeError:
            raise ValueError(f"{path} is no chip profile; make one with `chipctl scan`") from None

    def save(self, path: Path) -> None:
        """Write the profile; the old file stays whole until the new one is."""
        replace_file(path, self.model_dump_json(indent=1).encode())

    def result(self, procedure: str, array: int | None = None) -> CalibrationResult | None:
        """What a procedure found last, of an array or (None) of the chip as a whole; None if it never ran."""
        kept = self.calibration if array is None else self.arrays[array].calibration
        return kept.get(procedure)

    def keep(self, result: CalibrationResult, array: int | None = None) -> None:
        """Keep what a procedure found in place of what it found before; its zeros are used from now on."""
        kept = self.calibration if array is None else self.arrays[array].calibration
        kept[result.procedure] = result
        if array is not None and result.procedure == ZEROS and result.usable:
            self.arrays[array].zero_codes = [float(code) for code in result.value("zero_codes")[0]]

    def fault_map(self, array: int) -> FaultMap:
        """The fault map of one array; empty if it was never scanned."""
        return self.arrays[array].fault_map(self.rows, self.cols)

    def set_fault_map(self, array: int, faults: FaultMap) -> None:
        """Keep a freshly scanned map."""
        self.arrays[array].take(faults)
