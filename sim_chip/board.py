"""A virtual chip with its microcontroller, as one names it, and the file that keeps its state."""

import fcntl
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self
from urllib.parse import parse_qsl, urlsplit

import numpy as np
from numpy.typing import NDArray

from firmware_protocol.status import ResetCause
from sim_chip.a0_mcu import A0Mcu
from sim_chip.chip import VirtualChip
from sim_chip.faults import FaultPlan, load_plan
from sim_chip.flash import Flash
from sim_chip.incidents import Incidents
from sim_chip.limits import provision
from sim_chip.mcu import BAD_FRAMES_PER_SECOND, VirtualMcu
from sim_chip.presets import preset
from sim_chip.twin import Twin, twin

SCHEME = "sim"


@dataclass(frozen=True)
class Setup:
    """Which virtual chip, and where its state is kept."""

    preset: str = "good"
    seed: int = 0
    state: Path | None = None
    """File the chip lives in, new or from last time; what is done to the chip is in it at once."""
    commission: bool = False
    """Whether stored limits may be changed."""
    faults: Path | None = None
    """An .npz of what is wrong with a new chip, and what goes wrong around it: the fields of `FaultPlan` but
    shares."""
    conductance: Path | None = None
    """An .npy (arrays, rows, cols) of where a new chip's devices start, S; NaN keeps the kind's own."""
    profile: Path | None = None
    """A calibrated chip's profile that this one is a twin of; the preset stands for what it does not know."""
    readback: Path | None = None
    """As `conductance`, but as read, device by device, with transistor and lines in series."""
    pace: str = "free"
    """`real` ties the chip's clock to the wall's; `free` moves it as fast as it goes."""
    storm: int = BAD_FRAMES_PER_SECOND
    """Bad frames in a second at which the board gives up its line."""
    board: str = "native"
    """`native`, or `a0` for the board with the A0 command set."""
    a0_faults: str = ""
    """What is wrong with an A0 board's firmware and line: names of `sim_chip.a0_firmware`, with commas."""

    def __post_init__(self) -> None:
        """Raises ValueError where there is no such pace or board, or things do not go together."""
        if self.board not in ("native", "a0"):
            raise ValueError(f"no board {self.board!r}; there are native and a0")
        if self.board != "a0" and self.a0_faults:
            raise ValueError("only the A0 board has such faults")
        if self.pace not in ("free", "real"):
            raise ValueError(f"no pace {self.pace!r}; there are free and real")
        if self.profile is not None and self.faults is not None:
            raise ValueError("a twin has the faults of its profile; leave out either")
        if self.conductance is not None and self.readback is not None:
            raise ValueError("say where devices start either by themselves or as read, not both")

    @classmethod
    def from_address(cls, address: str) -> Self:
        """What `sim://?preset=good&seed=7&state=FILE&commission=1` says; all keys optional.

        Raises:
            ValueError: The address has another form, or a key there is not.
        """
        parts = urlsplit(address)
        if parts.scheme != SCHEME or parts.netloc or parts.path not in ("", "/"):
            raise ValueError(f"{address!r} is no virtual chip; write {SCHEME}://?preset=good&seed=7")
        values = dict(parse_qsl(parts.query, keep_blank_values=True))
        keys = [field.name for field in fields(cls)]
        for key in values:
            if key not in keys:
                raise ValueError(f"no key {key!r} in {address!r}; there are {', '.join(keys)}")
        return cls(
            preset=values.get("preset", cls.preset),
            seed=_whole("seed", values.get("seed", str(cls.seed))),
            state=Path(values["state"]) if values.get("state") else None,
            faults=Path(values["faults"]) if values.get("faults") else None,
            conductance=Path(values["conductance"]) if values.get("conductance") else None,
            profile=Path(values["profile"]) if values.get("profile") else None,
            readback=Path(values["readback"]) if values.get("readback") else None,
            commission=values.get("commission", "0") not in ("0", "false", "no"),
            pace=values.get("pace", cls.pace),
            board=values.get("board", cls.board),
            a0_faults=values.get("a0_faults", cls.a0_faults),
            storm=_whole("storm", values.get("storm", str(cls.storm))),
        )


def _whole(name: str, text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"the {name} is a whole number from 0 up, not {text!r}")
    return int(text)


class Board:
    """A microcontroller and its chip; what outlives both is in files if there is one for the state."""

    mcu: VirtualMcu | A0Mcu

    def __init__(self, setup: Setup) -> None:
        """Raises ValueError where the state file is of another chip, is none, or is in use."""
        with ExitStack() as stack:
            wanted = _wanted(setup)
            self.sources = wanted.sources
            """Of a twin, where each part of it comes from, one line a subject; else empty."""
            is_new = setup.state is None or not setup.state.exists()
            chip = _new_chip(setup, wanted) if setup.state is None else _kept_chip(setup, wanted, stack)
            self._setup = setup
            self._chip, self._flash = chip, Flash.open(board_file(setup.state)) if setup.state else Flash()
            self._incidents = Incidents(wanted.faults, chip)
            if is_new:
                provision(self._flash)
            self.reset(ResetCause.POWER_ON)
            self._held = stack.pop_all()

    def reset(self, cause: ResetCause = ResetCause.COMMAND) -> None:
        """Start the processor anew: session, buffers, lease and jobs are lost, chip and flash are not."""
        self.mcu = self._a0_mcu() if self._setup.board == "a0" else self._native_mcu(cause)
        if self._setup.pace == "real":
            self.mcu.follow_wall()

    def _native_mcu(self, cause: ResetCause) -> VirtualMcu:
        mcu = VirtualMcu(
            self._chip,
            flash=self._flash,
            cause=cause,
            commissioning=self._setup.commission,
            bad_frames_per_second=self._setup.storm,
        )
        mcu.incidents = self._incidents
        return mcu

    def _a0_mcu(self) -> A0Mcu:
        return A0Mcu(self._chip, faults=frozenset(filter(None, self._setup.a0_faults.split(","))))

    @property
    def takes_turns(self) -> bool:
        """Whether it hears one host to the end before the next: it has nothing to tell them apart by."""
        return self._setup.board == "a0"

    def close(self) -> None:
        """Bring the chip to its safe state and let go of its file."""
        self.mcu.power_down()
        self._held.close()


def board_file(state: Path) -> Path:
    """Where the board of the chip in the file `state` keeps limits and log."""
    return state.with_name(f"{state.name}.board")


def _wanted(setup: Setup) -> Twin:
    """The kind of chip asked for, and what is wrong with it."""
    kind = preset(setup.preset)
    if setup.profile is not None:
        return twin(setup.profile, kind, setup.seed)
    return Twin(kind, FaultPlan() if setup.faults is None else load_plan(setup.faults), ())


def _new_chip(setup: Setup, wanted: Twin) -> VirtualChip:
    start = None
    if setup.conductance is not None:
        start = _start_state(setup.conductance)
    elif setup.readback is not None:
        start = wanted.start(_start_state(setup.readback))
    return VirtualChip(
        wanted.parameters, setup.seed, faults=wanted.faults, conductance=start, path=setup.state
    )


def _start_state(path: Path) -> NDArray[np.float64]:
    siemens = np.load(path, allow_pickle=False)
    if not isinstance(siemens, np.ndarray) or siemens.dtype.kind not in "fiu":
        raise ValueError(f"{path} is not an .npy of conductances")
    return siemens.astype(np.float64)


def _kept_chip(setup: Setup, wanted: Twin, stack: ExitStack) -> VirtualChip:
    """The chip in the setup's state file, made there if there is none; nobody else can open it then."""
    path = setup.state
    assert path is not None
    chip = VirtualChip.restore(path, mapped=True) if path.exists() else _new_chip(setup, wanted)
    try:
        fcntl.flock(stack.enter_context(path.open("rb")), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ValueError(f"{path} is in use by another virtual chip") from None
    if (chip.parameters, chip.seed) != (wanted.parameters, setup.seed):
        found = f"preset {chip.parameters.name}, seed {chip.seed}"
        raise ValueError(f"{path} holds another chip: {found}; ask for that or name another file")
    return chip
