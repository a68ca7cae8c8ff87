"""One process per port: a lock that names its holder, and the socket at which the holder can be asked."""

import contextlib
import hashlib
import json
import os
import shlex
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import structlog
from filelock import FileLock, Timeout
from platformdirs import user_runtime_path

from chipctl.errors import LinkError, PortBusy

NATIVE, A0 = "native", "a0"
"""What the owner of a port speaks there."""

_LOOK_S = 0.1
"""Time between two looks at who owns the port."""


@dataclass(frozen=True)
class Holder:
    """The process that has a port."""

    pid: int
    command: str
    socket: Path

    @property
    def is_alive(self) -> bool:
        """Whether the process still runs."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


class Ownership:
    """The right to use a port, held until `release` or the end of the process."""

    def __init__(self, lock: FileLock, note: Path, address: str, protocol: str) -> None:
        self.protocol = protocol
        self._lock = lock
        self._note = note
        self._address = address
        self._run = _run()
        self._looked_s = time.monotonic()

    @classmethod
    def take(cls, address: str, port: Path, protocol: str = NATIVE) -> Self:
        """Become the owner of `port`, who speaks `protocol` there.

        Raises:
            PortBusy: Another process is; the message names it.
        """
        lock, note = _files(port)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise PortBusy(f"{address} is in use by {_named(note)}; stop it or wait for it") from None
        owned = cls(lock, note, address, protocol)
        owned._tell()
        return owned

    def _tell(self) -> None:
        """Write down who holds the port, what is spoken there, and for which run."""
        run = {} if self._run is None else {"run": self._run}
        facts = {"port": self._address, "protocol": self.protocol}
        _write(self._note, {**_this_process(), **run, **facts})

    def check(self) -> None:
        """See now and then that the port is still ours; and tell of the run that has begun meanwhile.

        Raises:
            LinkError: Another process has taken it over to make the board safe.
        """
        now_s = time.monotonic()
        if now_s <= self._looked_s + _LOOK_S:
            return
        self._looked_s = now_s
        if self.was_taken_over:
            raise LinkError(f"{self._address} was taken over to make the board safe; connect again")
        if _run() != self._run:
            self._run = _run()
            self._tell()

    @property
    def was_taken_over(self) -> bool:
        """Whether another process has taken the port over to make the board safe."""
        return "taken_over_by" in _read(self._note)

    @property
    def socket(self) -> Path:
        """Where other processes of this user ask this one."""
        return self._note.with_suffix(".sock")

    def release(self) -> None:
        """Let others use the port; nothing happens the second time."""
        if not self._lock.is_locked:
            return
        with contextlib.suppress(OSError):
            self._note.unlink(missing_ok=True)
        self._lock.release()


def holder(port: Path) -> Holder | None:
    """Who has `port`, if somebody does."""
    _, note = _files(port)
    facts = _read(note)
    try:
        found = Holder(int(facts["pid"]), str(facts["command"]), note.with_suffix(".sock"))
    except (KeyError, ValueError, TypeError):
        return None
    return found if found.is_alive else None


def spoken(port: Path) -> str | None:
    """What the owner of `port` speaks there, or spoke until it was killed; None if nobody knows."""
    _, note = _files(port)
    protocol = _read(note).get("protocol")
    return protocol if protocol in (NATIVE, A0) else None


def take_over(port: Path) -> None:
    """Write into the lock's note that this process takes the port over, whoever holds it."""
    _, note = _files(port)
    _write(note, {**_read(note), "taken_over_by": _this_process()})


def _this_process() -> dict[str, Any]:
    return {"pid": os.getpid(), "command": shlex.join(sys.argv)}


def _run() -> str | None:
    """The run that is being recorded, as it is bound for the log."""
    return structlog.contextvars.get_contextvars().get("run")


def _read(note: Path) -> dict[str, Any]:
    try:
        facts = json.loads(note.read_text())
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _write(note: Path, facts: dict[str, Any]) -> None:
    fresh = note.with_name(f"{note.name}.{os.getpid()}")
    fresh.write_text(json.dumps(facts))
    fresh.replace(note)


def _files(port: Path) -> tuple[FileLock, Path]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = user_runtime_path("chipctl", ensure_exists=True)
    real = str(port.resolve())
    stem = Path(real).name + "-" + hashlib.sha256(real.encode()).hexdigest()[:8]
    return FileLock(folder / f"{stem}.lock"), folder / f"{stem}.json"


def _named(note: Path) -> str:
    facts = _read(note)
    try:
        run = f", run {facts['run']}" if "run" in facts else ""
        return f"process {facts['pid']} ({facts['command']}){run}"
    except KeyError:
        return "another chipctl process"
