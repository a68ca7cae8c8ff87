"""The run store: one directory per run with its record, its log, its data and its report."""

import fcntl
import hashlib
import io
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
import structlog
from numpy.typing import ArrayLike, NDArray
from pydantic import ValidationError

from chipctl.errors import ChipctlError
from chipctl.files import replace_file
from chipctl.runs.log import LogFile, logging_to, plain
from chipctl.runs.record import Outcome, Process, RunRecord

RECORD, LOG, DATA, REPORT = "run.json", "log.jsonl", "data.h5", "report.html"

_LOCK_TRIES, _LOCK_PAUSE_S = 5, 0.05
"""Somebody who only asks whether a run is being recorded holds its lock for an instant."""

_log = structlog.get_logger()


class StorageError(ChipctlError):
    """The disk would not take a run's file, or holds one that is no run's file."""

    exit_status = 4


class Run:
    """One run and its directory, `<root>/<UTC time>-<kind>-<id>/`.

    Used as a context manager it records: every file is replaced as a whole, so a reader never finds
    half of one; an exception ends the run as failed, Ctrl-C as stopped; when it is closed its files
    become read-only. `Run.open` gives a run to read, `Run.resume` one that was not done to go on with.
    While it records it holds a lock that ends with its process, however that ends.

    Raises:
        StorageError: The directory cannot be made or a file cannot be written.
    """

    def __init__(self, root: Path, record: RunRecord, *, resumes: bool = False) -> None:
        self.record = record
        self.path = Path(root) / record.name
        self._resumes = resumes
        self._recording = False
        self._locked: int | None = None
        self._started = 0.0
        self._log_file: LogFile | None = None
        self._exits = ExitStack()

    @classmethod
    def open(cls, path: Path) -> Self:
        """The run kept in the directory `path`, to read."""
        path = Path(path)
        with _storage(path / RECORD, "read"):
            text = (path / RECORD).read_text(encoding="utf-8")
        try:
            run = cls(path.parent, RunRecord.model_validate_json(text))
        except ValidationError as error:
            reason = error.errors(include_url=False)[0]["msg"]
            raise StorageError(f"{path / RECORD} is not the record of a run: {reason}") from None
        run.path = path
        return run

    @classmethod
    def resume(cls, path: Path) -> Self:
        """The run kept in the directory `path`, to go on with: it was stopped, failed or was killed.

        Entering it raises `StorageError` if the run is done, or if another process records it.
        """
        run = cls(path.parent, cls.open(path).record, resumes=True)
        run.path = path
        return run

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        if self._resumes:
            self._take_up()
        else:
            self._make()
        self._log_file = self._exits.enter_context(logging_to(self.path / LOG, self.record.id))
        _log.info("run resumed" if self._resumes else "run started", kind=self.record.kind, path=self.path)
        return self

    def _make(self) -> None:
        with _storage(self.path, "make"):
            self.path.mkdir(parents=True)
        self._recording = True
        try:
            self._write_record()
            self._lock()
        except StorageError:
            self._unlock()
            for name in (LOG, RECORD):
                (self.path / name).unlink(missing_ok=True)
            self.path.rmdir()
            raise

    def _take_up(self) -> None:
        self._lock()
        try:
            self.record = type(self).open(self.path).record
            if self.record.outcome is Outcome.DONE:
                raise StorageError(f"{self.path} is done: its files are read-only; start a new run")
            with _storage(self.path, "write"):
                for file in self.path.iterdir():
                    file.chmod(0o644)
            self._recording = True
            again = [*self.record.resumed, Process.this()]
            self.update(outcome=Outcome.RUNNING, error=None, finished=None, files={}, resumed=again)
        except BaseException:
            self._unlock()
            raise

    def _lock(self) -> None:
        """Be the one process that records this run, until `_unlock` or the end of the process."""
        with _storage(self.path / LOG, "write"):
            self._locked = os.open(self.path / LOG, os.O_RDONLY | os.O_CREAT, 0o644)
        for _ in range(_LOCK_TRIES):
            try:
                return fcntl.flock(self._locked, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_LOCK_PAUSE_S)
        self._unlock()
        record = Run.open(self.path).record
        pid = record.resumed[-1].pid if record.resumed else record.pid
        who = f"{self.path.name} is being recorded by process {pid}"
        raise StorageError(f"{who}; stop that one or wait for its end")

    def _unlock(self) -> None:
        if self._locked is not None:
            os.close(self._locked)
            self._locked = None

    @property
    def is_being_recorded(self) -> bool:
        """Whether a process is at work on it now; one that says `running` and is not was killed."""
        try:
            descriptor = os.open(self.path / LOG, os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    @property
    def outcome(self) -> str:
        """How it ended, in one word; `killed` where its process went without a word."""
        if self.record.outcome is Outcome.RUNNING and not self.is_being_recorded:
            return "killed"
        return self.record.outcome

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            outcome = Outcome.STOPPED if isinstance(error, KeyboardInterrupt) else Outcome.FAILED
            self.record.outcome = outcome
            self.record.error = f"{type(error).__name__}: {error}".rstrip(": ")
            _log.info(f"run {outcome}", error=self.record.error, exc_info=error)
        else:
            self.record.outcome = Outcome.DONE
            _log.info("run done")
        self._exits.close()
        try:
            self._close()
        except StorageError as failure:
            if error is None:
                raise
            error.add_note(f"and the run could not be closed: {failure}")
        finally:
            self._unlock()

    @property
    def report_path(self) -> Path:
        """Where the report is, or will be."""
        return self.path / REPORT

    def update(self, **facts: Any) -> None:
        """Set fields of the record (`chip`, `summary`, ...) and write it.

        Raises:
            ValueError: A field does not exist or its value does not fit.
        """
        self.record = RunRecord.model_validate(self.record.model_dump() | _plain_json(facts))
        self._write_record()

    def save(
        self,
        group: str,
        /,
        *,
        attributes: Mapping[str, str | int | float] | None = None,
        **arrays: tuple[ArrayLike, str],
    ) -> None:
        """Add named arrays, each with its unit, under `group` of the data file.

        `run.save("programming/array0", target=(target, "S"), pulses=(pulses, "1"))`: a number
        without a unit says "1". A group is written once.

        Raises:
            ValueError: The group exists or an array is not one of numbers.
        """
        self._require_recording()
        with self._edited() as file:
            _add_group(file, group, arrays)
            file[group].attrs.update(attributes or {})

    def discard(self, group: str) -> None:
        """Take a group back out of a run that is still being recorded, if it is there."""
        self._require_recording()
        if group in self.groups():
            with self._edited() as file:
                del file[group]

    @contextmanager
    def _edited(self) -> Iterator[Any]:
        """The data file to change; it is replaced as a whole at the end."""
        path = self.path / DATA
        with _storage(path, "write"):
            memory = io.BytesIO(path.read_bytes() if path.exists() else b"")
            with h5py.File(memory, "a") as file:
                yield file
            replace_file(path, memory.getvalue())

    def load(self, group: str) -> dict[str, tuple[NDArray[Any], str]]:
        """The arrays saved under `group`, each with its unit."""
        with _storage(self.path / DATA, "read"), h5py.File(self.path / DATA, "r") as file:
            if group not in file:
                raise ValueError(f"no group {group!r} in {self.path / DATA}")
            items = file[group].items()
            return {
                name: (item[()], str(item.attrs["unit"]))
                for name, item in items
                if isinstance(item, h5py.Dataset)
            }

    def groups(self) -> list[str]:
        """The names of all groups that hold arrays."""
        found: set[str] = set()
        if not (self.path / DATA).exists():
            return []
        with _storage(self.path / DATA, "read"), h5py.File(self.path / DATA, "r") as file:
            file.visititems(lambda name, item: _note_parent(name, item, found))
        return sorted(found)

    def events(self) -> list[dict[str, Any]]:
        """The log, one dict per event, oldest first."""
        with _storage(self.path / LOG, "read"):
            lines = (self.path / LOG).read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    def write_report(self, html: str) -> Path:
        """Write the report and say where it is."""
        self._require_recording()
        with _storage(self.report_path, "write"):
            replace_file(self.report_path, html.encode())
        return self.report_path

    def _write_record(self) -> None:
        self._require_recording()
        with _storage(self.path / RECORD, "write"):
            replace_file(self.path / RECORD, (self.record.model_dump_json(indent=2) + "\n").encode())

    def _close(self) -> None:
        with _storage(self.path, "close"):
            files = sorted(file for file in self.path.iterdir() if file.name != RECORD)
            self.record.files = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
            for file in files:
                file.chmod(0o444)
        self.record.finished = datetime.now(UTC)
        took = time.monotonic() - self._started
        self.record.duration_s = round(took + (self.record.duration_s or 0.0), 6)
        self._write_record()
        self._recording = False
        with _storage(self.path, "close"):
            (self.path / RECORD).chmod(0o444)
            if self._log_file is not None and self._log_file.failure is not None:
                raise self._log_file.failure

    def _require_recording(self) -> None:
        if not self._recording:
            raise ValueError(f"run {self.path.name} is closed: its files are read-only")


def list_runs(root: Path) -> list[Run]:
    """The runs kept under `root`, oldest first; directories that are no runs are left out."""
    with _storage(Path(root), "read"):
        records = sorted(Path(root).glob(f"*/{RECORD}"))
    runs = []
    for record in records:
        try:
            runs.append(Run.open(record.parent))
        except StorageError as error:
            _log.warning("not a run", reason=str(error))
    return sorted(runs, key=lambda run: run.record.started)


def find_run(root: Path, name: Path) -> Run:
    """The run in the folder `name`, or of that name under `root`, as `list_runs` has it.

    Raises:
        StorageError: There is neither.
    """
    places = (Path(name), Path(root) / name)
    found = next((place for place in places if (place / RECORD).exists()), None)
    if found is None:
        raise StorageError(f"no run {name}, neither by this path nor under {root}: `chipctl runs list`")
    return Run.open(found.resolve())


def _add_group(file: Any, group: str, arrays: Mapping[str, tuple[ArrayLike, str]]) -> None:
    if group in file:
        raise ValueError(f"group {group!r} is already saved")
    target = file.create_group(group)
    for name, (values, unit) in arrays.items():
        array = np.asarray(values)
        if array.dtype.kind not in "biuf":
            raise ValueError(f"{group}/{name} has the type {array.dtype}: only numbers are saved")
        packing = {"compression": "gzip", "shuffle": True} if array.size > 1024 else {}
        target.create_dataset(name, data=array, **packing).attrs["unit"] = unit


def _note_parent(name: str, item: object, found: set[str]) -> None:
    if isinstance(item, h5py.Dataset):
        found.add(name.rpartition("/")[0])


def _plain_json(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: json.loads(json.dumps(fact, default=plain)) if isinstance(fact, Mapping) else fact
        for name, fact in facts.items()
    }


@contextmanager
def _storage(path: Path, verb: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        remedy = "" if verb == "read" else "; free some room or choose another folder"
        raise StorageError(f"cannot {verb} {path}: {reason}{remedy}") from error
