"""The structured log: JSON lines in the run's directory, warnings in plain words on stderr.

Modules log with `structlog.get_logger()` and pass facts as keywords; `run`, `op` and `session` come
from the context they are called in. Without `configure` structlog prints everything on stdout.
"""

import json
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog
from structlog.typing import EventDict

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
_BOUND = ("run", "op", "session", "time", "level", "exception")


class LogFile:
    """One JSON object per line, each written whole; threads may share it.

    A line that cannot be written is dropped, never raised where something else was going on:
    `failure` keeps the first reason for whoever closes the file.
    """

    def __init__(self, path: Path, run_id: str) -> None:
        self.path = path
        self.failure: OSError | None = None
        self._run_id = run_id
        self._lock = threading.Lock()

    def write(self, event: EventDict) -> None:
        """Append one event; the run's id is added where the calling thread had none bound."""
        line = json.dumps({"run": self._run_id, **event}, default=plain, ensure_ascii=False)
        try:
            with self._lock, self.path.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(line + "\n")
        except OSError as error:
            self.failure = self.failure or error


_open_files: list[LogFile] = []


def configure(verbosity: int = 0, echo: Callable[[str], None] | None = None) -> None:
    """Send log events where they belong, for the whole process.

    On stderr (or to `echo`, one line at a time, for a program that draws progress bars there):
    errors at verbosity -1, warnings at 0, then information, then everything. The log files of open
    runs take every event.
    """
    threshold = {-1: 40, 0: 30, 1: 20}.get(max(verbosity, -1), 10)

    def emit(_logger: object, method: str, event: EventDict) -> EventDict:
        for file in _open_files:
            file.write(event)
        if LEVELS.get(method, 50) >= threshold:
            (echo or _to_stderr)(_one_line(method, event))
        raise structlog.DropEvent

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.format_exc_info,
            emit,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS["debug"]),
        logger_factory=structlog.ReturnLoggerFactory(),
        cache_logger_on_first_use=False,
    )


@contextmanager
def logging_to(path: Path, run_id: str) -> Iterator[LogFile]:
    """Append every event of this process to `path` and bind `run` in this context."""
    if not structlog.is_configured():
        configure()
    file = LogFile(path, run_id)
    _open_files.append(file)
    try:
        with structlog.contextvars.bound_contextvars(run=run_id):
            yield file
    finally:
        _open_files.remove(file)


@contextmanager
def bind_operation(name: str) -> Iterator[str]:
    """Bind an operation's id (`scan-3f9a2c`) to every event inside, and log its start and end."""
    operation = f"{name}-{uuid.uuid4().hex[:6]}"
    log = structlog.get_logger()
    started = time.monotonic()
    with structlog.contextvars.bound_contextvars(op=operation):
        log.info("operation started")
        outcome = "failed"
        try:
            yield operation
            outcome = "done"
        finally:
            duration_s = round(time.monotonic() - started, 6)
            log.info("operation ended", outcome=outcome, duration_s=duration_s)


def plain(value: Any) -> Any:
    """What JSON takes in place of `value`: numpy scalars and arrays as numbers, the rest as text."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, bytes):
        return value.hex()
    return str(value)


def _one_line(level: str, event: EventDict) -> str:
    facts = ", ".join(
        f"{key} {value}" for key, value in event.items() if key != "event" and key not in _BOUND
    )
    line = f"{level}: {event.get('event')}" + (f" ({facts})" if facts else "")
    return " ".join(line.split())


def _to_stderr(line: str) -> None:
    sys.stderr.write(line + "\n")
