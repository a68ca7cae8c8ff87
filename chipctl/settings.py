"""Policy and limits a person writes in TOML, validated as a whole before anything is sent."""

import tomllib
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from chipctl.chip import HostLimits
from chipctl.faults import ScanSchedule
from chipctl.programming import PulseSchedule


class WearLimits(BaseModel):
    """How much use of a device is worth a warning."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pulses_per_device: int = Field(100_000, gt=0)
    """Over the chip's life. Assumed: a tenth of the shortest life reported for TaOx devices, 1e6."""


class Settings(BaseModel):
    """One file: `[programming]`, `[scan]`, `[limits]` and `[wear]`; what is not named keeps its default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    programming: PulseSchedule = PulseSchedule()
    scan: ScanSchedule = ScanSchedule()
    limits: HostLimits = HostLimits()
    wear: WearLimits = WearLimits()

    @classmethod
    def load(cls, path: Path | None) -> Self:
        """Read a TOML file; the defaults if there is none.

        Raises:
            ValueError: The file is no TOML, or a value is not allowed; the message names it.
        """
        if path is None:
            return cls()
        try:
            return cls.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is no TOML file: {error}") from None
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ValueError(f"{path}: {where}: {first['msg']}") from None
