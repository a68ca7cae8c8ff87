"""What each released version of the protocol looked like, so that none changes unseen.

A version is a draft until it is released. A draft may be recorded anew as often as its layouts change.
After a release, an addition needs a higher minor version, and a change or removal a higher major one.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from firmware_protocol import definition
from firmware_protocol.messages import MESSAGES, PROTOCOL_MAJOR, PROTOCOL_MINOR, SCHEMA_HASH
from firmware_protocol.wire import Message, Request, describe

RECORD = Path(__file__).with_name("released.json")

COMMAND = "python -m firmware_protocol.c_header release"

_FREE = {"PROTOCOL_MAJOR", "PROTOCOL_MINOR", "SCHEMA_HASH"}
_FREE |= {"MAX_PAYLOAD", "MAX_ENCODED", "CHUNK_BYTES", "OVERHEAD"}
"""Versions, and sizes that follow from layouts or that board and host announce to each other."""


@dataclass(frozen=True)
class Version:
    """One version of the protocol and all that a peer of it relies on."""

    number: tuple[int, int]
    """Major, minor."""
    schema_hash: int
    lines: frozenset[str]
    """One for each layout, enum member and shared constant."""
    released: bool = False


Record = dict[tuple[int, int], Version]


def present() -> Version:
    """The version that the source defines now."""
    header = ", ".join(f"{field.name}:{field.kind.format}" for field in definition.header_fields())
    lines = {f"frame header({header})"}
    lines |= {_line(message) for message in MESSAGES}
    lines |= {f"{enum.__name__}.{member.name} = {member}" for enum in definition.enums() for member in enum}
    lines |= {f"{name} = {value}" for name, (value, _) in definition.constants().items() if name not in _FREE}
    return Version((PROTOCOL_MAJOR, PROTOCOL_MINOR), SCHEMA_HASH, frozenset(lines))


def _line(message: type[Message]) -> str:
    answer = f" -> {message.REPLY.__name__}" if issubclass(message, Request) else ""
    return describe(message) + answer


def load(path: Path = RECORD) -> Record:
    """The recorded versions by number."""
    record = {}
    for name, entry in json.loads(path.read_text(encoding="utf-8")).items():
        major, minor = name.split(".")
        number = (int(major), int(minor))
        lines = frozenset(entry["lines"])
        record[number] = Version(number, int(entry["schema_hash"], 16), lines, entry["released"])
    return record


def save(record: Record, path: Path = RECORD) -> None:
    """Write the versions, a line each for what they hold."""
    entries = {
        ".".join(map(str, number)): {
            "released": version.released,
            "schema_hash": f"{version.schema_hash:08x}",
            "lines": sorted(version.lines),
        }
        for number, version in sorted(record.items())
    }
    path.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")


def obstacle(record: Record, now: Version) -> str | None:
    """Why `now` must not be recorded under its number: which part of the version to raise, and for what."""
    before = [v for v in record.values() if v.released and v.number[0] == now.number[0]]
    if not before:
        return None
    last = max(before, key=lambda version: version.number)
    name = ".".join(map(str, last.number))
    gone, new = sorted(last.lines - now.lines), sorted(now.lines - last.lines)
    if gone:
        return _text(f"raise PROTOCOL_MAJOR: changed or removed since {name}, which is released", gone)
    if now.number < last.number:
        return f"{name} is released; a version before it cannot come after it"
    if now.number == last.number and (new or now.schema_hash != last.schema_hash):
        return _text(f"raise PROTOCOL_MINOR: added since {name}, which is released", new)
    return None


def complaint(record: Record, now: Version) -> str | None:
    """What to do before `now` may be committed; None if it is on record."""
    reason = obstacle(record, now)
    if reason is not None:
        return f"{reason}\nThen record the new version: {COMMAND}"
    known = record.get(now.number)
    if known is not None and (known.lines, known.schema_hash) == (now.lines, now.schema_hash):
        return None
    changed = sorted(now.lines ^ known.lines) if known else []
    return _text(f"the wire is not as recorded; if it is meant so: {COMMAND}", changed)


def with_version(record: Record, now: Version) -> Record:
    """The record with `now` in it; drafts of other numbers, which nobody ever met, are dropped.

    Raises:
        ValueError: The version number must be raised first.
    """
    reason = obstacle(record, now)
    if reason is not None:
        raise ValueError(reason)
    return {**{n: v for n, v in record.items() if v.released}, now.number: now}


def _text(reason: str, lines: list[str]) -> str:
    return "\n".join([reason, *(f"    {line}" for line in lines)])
