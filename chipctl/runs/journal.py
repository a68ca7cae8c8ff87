"""The journal: what each effect on a chip is to do, on the disk before it is sent, and what became of it.

One SQLite file beside the runs. An entry is open until the board has said what became of its effect, so
that a process killed at any instant leaves behind the question that has to be asked. The sums over a chip's
entries are its wear, device by device, kept in the same transaction as the entry that adds to them.
"""

import sqlite3
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np
import structlog
from numpy.typing import NDArray

from chipctl.runs.store import StorageError

Counts = NDArray[np.int64]

JOURNAL: Final = "journal.sqlite"
_APPLICATION: Final = 0x63686970
"""Tells our files from other SQLite files ("chip")."""
_VERSION: Final = 1
_PATIENCE_S: Final = 5.0
"""How long another process may be writing its entry."""

_TABLES: Final = """
CREATE TABLE chip (
    id INTEGER PRIMARY KEY,
    serial TEXT NOT NULL,
    found_total INTEGER NOT NULL,
    total INTEGER NOT NULL
);
CREATE TABLE entry (
    id INTEGER PRIMARY KEY,
    chip INTEGER NOT NULL REFERENCES chip,
    run TEXT NOT NULL,
    request TEXT NOT NULL,
    array INTEGER NOT NULL,
    job_id INTEGER NOT NULL,
    boot_id INTEGER NOT NULL,
    total_before INTEGER NOT NULL,
    fields BLOB NOT NULL,
    staged BLOB NOT NULL,
    began TEXT NOT NULL,
    began_monotonic_ns INTEGER NOT NULL,
    fate TEXT,
    pulses BLOB,
    set_pulses BLOB,
    unknown INTEGER,
    ended TEXT,
    ended_monotonic_ns INTEGER
);
CREATE INDEX open_entries ON entry (chip) WHERE fate IS NULL;
CREATE INDEX entries_of_run ON entry (run);
CREATE TABLE wear (
    chip INTEGER NOT NULL REFERENCES chip,
    array INTEGER NOT NULL,
    pulses BLOB NOT NULL,
    unknown INTEGER NOT NULL,
    PRIMARY KEY (chip, array)
);
"""

_INTENT: Final = ("run", "request", "array", "job_id", "boot_id", "total_before", "fields")
"""Columns that hold an intent as it is."""

_log = structlog.get_logger()


class Fate(StrEnum):
    """What became of an effect."""

    PLACED = "placed"
    """Every pulse is counted at its device."""
    UNPLACED = "unplaced"
    """The board counted pulses and no longer knows of which devices: a reset took its memory."""
    NEVER = "never"
    """Nothing was carried out."""
    FORGOTTEN = "forgotten"
    """The board's log no longer reaches back so far: `unknown` is what it may have been at most."""
    LOST = "lost"
    """The chip was made anew since; nobody can say."""


@dataclass(frozen=True)
class JournaledChip:
    """A chip as the journal knows it."""

    id: int
    serial: str
    total: int
    """Pulses that its board last said it had."""


@dataclass(frozen=True)
class Intent:
    """One effect before it is sent."""

    run: str
    """Name of the run's directory; empty outside one."""
    request: str
    """Name of the message."""
    array: int
    job_id: int
    """0 if it is no job."""
    boot_id: int
    total_before: int
    """The board's count of pulses before it."""
    fields: bytes
    """The message as packed."""
    staged: bytes = b""
    """What is staged for it."""


@dataclass(frozen=True)
class Done:
    """What became of an effect; counts of shape (rows, cols)."""

    fate: Fate
    pulses: Counts
    """Given to each device."""
    set_pulses: Counts | None = None
    """SET pulses of these; None where the board's report does not tell them apart (scans)."""
    unknown: int = 0
    """Pulses that were or may have been given, nobody knows to which devices of the array."""

    @classmethod
    def nowhere(cls, fate: Fate, shape: tuple[int, int], unknown: int = 0) -> Self:
        """No pulse is known to have reached a certain device."""
        return cls(fate, np.zeros(shape, np.int64), np.zeros(shape, np.int64), unknown)


@dataclass(frozen=True)
class Entry:
    """One effect in the journal."""

    id: int
    intent: Intent
    began: datetime
    done: Done | None
    """None while it is open."""


@dataclass(frozen=True)
class Wear:
    """Pulses given to the devices of one array over the chip's life, as far as this journal goes."""

    pulses: Counts
    """Shape (rows, cols)."""
    unknown: int
    """Pulses of the array of which the devices are not known."""


class Journal:
    """The journal of all runs under one root; open as a context manager.

    Every entry is on the disk when `intend` and `settle` return (WAL, synchronous FULL); processes on
    several chips may share it. It must lie on a file system of this computer: SQLite's WAL does not work
    over a network.

    Raises:
        StorageError: It cannot be opened or written, or is damaged; the message says what to do. From
            `intend` it means that nothing was sent.
    """

    def __init__(self, root: Path) -> None:
        self.path = Path(root) / JOURNAL
        self._connection: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            words = f"cannot make {self.path.parent}: {error.strerror}; choose another folder with --runs"
            raise StorageError(words) from error
        with _storage(self.path):
            self._connection = sqlite3.connect(self.path, timeout=_PATIENCE_S, isolation_level=None)
            try:
                self._prepare(self._connection)
            except BaseException:
                self._connection.close()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _prepare(self, db: sqlite3.Connection) -> None:
        db.execute("PRAGMA synchronous = FULL")
        (found,), (version,) = (
            db.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
        )
        empty = db.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
        if not empty and (found, version) != (_APPLICATION, _VERSION):
            raise StorageError(
                f"{self.path} is not a journal that this chipctl reads (version {version}, this one has "
                f"{_VERSION}); use the chipctl that wrote it, or another folder with --runs"
            )
        db.execute("PRAGMA journal_mode = WAL")
        if empty:
            with self._writing() as fresh:
                if fresh.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,):
                    for statement in _TABLES.split(";"):
                        fresh.execute(statement)
                    fresh.execute(f"PRAGMA application_id = {_APPLICATION}")
                    fresh.execute(f"PRAGMA user_version = {_VERSION}")
        elif (verdict := db.execute("PRAGMA quick_check(1)").fetchone()) != ("ok",):
            raise sqlite3.DatabaseError(f"malformed: {verdict[0]}")

    # Chips

    def chip(self, serial: str, total: int) -> int:
        """The journal's number of the chip that calls itself so and counts `total` pulses.

        A chip that counts fewer pulses than it did is another one: a virtual chip made anew, or a board that
        was replaced. It gets a number and wear of its own.
        """
        query = "SELECT id, total FROM chip WHERE serial = ? ORDER BY id DESC LIMIT 1"
        with self._writing() as db:
            known = db.execute(query, (serial,)).fetchone()
            if known is not None and known[1] <= total:
                db.execute("UPDATE chip SET total = ? WHERE id = ?", (total, known[0]))
                return int(known[0])
            if known is not None:
                _give_up(db, known[0])
            made = db.execute(
                "INSERT INTO chip (serial, found_total, total) VALUES (?, ?, ?)", (serial, total, total)
            )
        if known is not None and total > 0:
            _log.warning(
                "the board counts fewer pulses than the journal: it is taken as another chip, its wear "
                "starts anew",
                chip=serial,
                board=total,
                journal=known[1],
            )
        assert made.lastrowid is not None
        return made.lastrowid

    def known_chip(self, serial: str, total: int) -> int | None:
        """As `chip`, but nothing is written; None if it is not known here."""
        rows = self._rows("SELECT id, total FROM chip WHERE serial = ? ORDER BY id DESC LIMIT 1", serial)
        return rows[0]["id"] if rows and rows[0]["total"] <= total else None

    def chips(self) -> list[JournaledChip]:
        """All chips, in the order in which they were met."""
        return [JournaledChip(*row) for row in self._rows("SELECT id, serial, total FROM chip ORDER BY id")]

    def wear(self, chip: int) -> dict[int, Wear]:
        """Pulses over the chip's life, by array."""
        rows = self._rows("SELECT * FROM wear WHERE chip = ? ORDER BY array", chip)
        return {row["array"]: Wear(_counts(row["pulses"]), row["unknown"]) for row in rows}

    def unaccounted(self, chip: int) -> int:
        """Pulses that the board counted and no entry tells of: given without this journal."""
        (found,) = self._rows("SELECT total FROM chip WHERE id = ?", chip)
        known = sum(int(wear.pulses.sum()) + wear.unknown for wear in self.wear(chip).values())
        return max(0, int(found["total"]) - known)

    # Entries

    def intend(self, chip: int, intent: Intent) -> int:
        """Write down an effect before it is sent; the entry's number."""
        values = [getattr(intent, name) for name in _INTENT]
        now = datetime.now(UTC).isoformat(), time.monotonic_ns()
        with self._writing() as db:
            made = db.execute(
                f"INSERT INTO entry (chip, {', '.join(_INTENT)}, staged, began, began_monotonic_ns) "
                f"VALUES ({', '.join('?' * (len(_INTENT) + 4))})",
                (chip, *values, zlib.compress(intent.staged), *now),
            )
        assert made.lastrowid is not None
        return made.lastrowid

    def settle(self, number: int, done: Done, total: int) -> None:
        """Write down what became of an effect, and add it to the chip's wear.

        `total` is the board's count of pulses now. An entry is settled once; later words change nothing.
        """
        blobs = _packed(done.pulses), None if done.set_pulses is None else _packed(done.set_pulses)
        now = datetime.now(UTC).isoformat(), time.monotonic_ns()
        with self._writing() as db:
            settled = db.execute(
                "UPDATE entry SET fate = ?, pulses = ?, set_pulses = ?, unknown = ?, ended = ?, "
                "ended_monotonic_ns = ? WHERE id = ? AND fate IS NULL",
                (done.fate, *blobs, done.unknown, *now, number),
            )
            if settled.rowcount:
                chip, array = db.execute("SELECT chip, array FROM entry WHERE id = ?", (number,)).fetchone()
                db.execute("UPDATE chip SET total = max(total, ?) WHERE id = ?", (total, chip))
                _add_wear(db, (chip, array), done)

    def open_entries(self, chip: int) -> list[Entry]:
        """The effects on this chip of which the outcome is not known, oldest first."""
        return self._entries("chip = ? AND fate IS NULL", chip)

    def entries(self, run: str) -> list[Entry]:
        """All effects of a run, oldest first."""
        return self._entries("run = ?", run)

    def entries_since(self, chip: int, total: int) -> list[Entry]:
        """The effects on a chip, by any run, that began when the board counted `total` pulses or later."""
        return self._entries("chip = ? AND total_before >= ?", chip, total)

    def chip_of(self, run: str) -> int | None:
        """The number of the chip that a run worked on; None if it came to no effect."""
        rows = self._rows("SELECT chip FROM entry WHERE run = ? ORDER BY id DESC LIMIT 1", run)
        return rows[0][0] if rows else None

    def _entries(self, where: str, *values: object) -> list[Entry]:
        return [_entry(row) for row in self._rows(f"SELECT * FROM entry WHERE {where} ORDER BY id", *values)]

    # The database

    def _rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        with _storage(self.path):
            cursor = self._opened.execute(query, values)
            cursor.row_factory = sqlite3.Row
            return cursor.fetchall()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, on the disk as a whole or not at all."""
        with _storage(self.path):
            db = self._opened
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    @property
    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            raise ValueError("the journal is closed")
        return self._connection


def _entry(row: sqlite3.Row) -> Entry:
    intent = Intent(**{name: row[name] for name in _INTENT}, staged=zlib.decompress(row["staged"]))
    began = datetime.fromisoformat(row["began"])
    if row["fate"] is None:
        return Entry(row["id"], intent, began, None)
    set_pulses = None if row["set_pulses"] is None else _counts(row["set_pulses"])
    done = Done(Fate(row["fate"]), _counts(row["pulses"]), set_pulses, row["unknown"])
    return Entry(row["id"], intent, began, done)


def _give_up(db: sqlite3.Connection, chip: int) -> None:
    """Close what is open on a chip that can no longer be asked."""
    nothing = _packed(np.zeros((0, 0), np.int64))
    db.execute(
        "UPDATE entry SET fate = ?, pulses = ?, unknown = 0 WHERE chip = ? AND fate IS NULL",
        (Fate.LOST, nothing, chip),
    )


def _add_wear(db: sqlite3.Connection, place: tuple[int, int], done: Done) -> None:
    known = db.execute("SELECT pulses, unknown FROM wear WHERE chip = ? AND array = ?", place).fetchone()
    pulses, unknown = done.pulses, done.unknown
    if known is not None:
        pulses, unknown = pulses + _counts(known[0]), unknown + known[1]
    db.execute("INSERT OR REPLACE INTO wear VALUES (?, ?, ?, ?)", (*place, _packed(pulses), unknown))


def _packed(counts: Counts) -> bytes:
    """Shape and numbers, compressed."""
    shape = np.array(counts.shape, "<u4").tobytes()
    return zlib.compress(shape + counts.astype("<u4").tobytes(), 1)


def _counts(blob: bytes) -> Counts:
    numbers = np.frombuffer(zlib.decompress(blob), "<u4").astype(np.int64)
    return numbers[2:].reshape(*numbers[:2])


_ELSEWHERE: Final = "mend the permissions, or choose another folder with --runs"
_SAID: Final = {
    sqlite3.SQLITE_BUSY: "another process is writing it; wait for that one and try again",
    sqlite3.SQLITE_READONLY: f"it may not be written; {_ELSEWHERE}",
    sqlite3.SQLITE_CANTOPEN: f"it may not be made or opened here; {_ELSEWHERE}",
    sqlite3.SQLITE_FULL: "the disk is full; free some room",
    sqlite3.SQLITE_IOERR: "the disk does not take it; free some room, or choose another folder with --runs",
}
"""What SQLite's result codes mean to a person."""


@contextmanager
def _storage(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        said = _SAID.get(code)
        if said is None:
            said = (
                f"it is damaged; move it away (mv {path} {path}.damaged) and go on: the runs are whole, the "
                "wear counted in it is not carried on"
            )
        raise StorageError(f"cannot use the journal {path}: {error}: {said}") from error
