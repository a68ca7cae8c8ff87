"""What `run.json` holds: who did what, when, to which chip, with which software, and how it ended."""

import os
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from chipctl.runs import provenance


class Outcome(StrEnum):
    """How a run ended. One still `running` without its process was killed."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"


class ChipIdentity(BaseModel):
    """Which chip, as it named itself when the link was opened."""

    model_config = ConfigDict(extra="forbid")

    address: str
    serial: str | None = None
    board: str | None = None
    firmware: str | None = None
    schema_hash: str | None = None


class Process(BaseModel):
    """The process that works on a run, and the software that it is."""

    model_config = ConfigDict(extra="forbid")

    started: datetime
    monotonic_s: float | None = None
    """The computer's monotonic clock at `started`; the journal's times are by the same clock."""
    pid: int | None = None
    operator: str | None = None
    command_line: list[str] = []
    python: str
    packages: dict[str, str] = {}
    source_revision: str | None = None

    @classmethod
    def this(cls) -> Self:
        """Everything this process knows of itself."""
        return cls(
            started=datetime.now(UTC),
            monotonic_s=round(time.monotonic(), 6),
            pid=os.getpid(),
            operator=provenance.operator(),
            command_line=provenance.command_line(),
            python=provenance.python_version(),
            packages=provenance.package_versions(),
            source_revision=provenance.source_revision(),
        )


class RunRecord(Process):
    """The record of one run. Times are UTC; the duration is taken from the monotonic clock."""

    format: int = 1
    id: str
    kind: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    finished: datetime | None = None
    duration_s: float | None = None
    outcome: Outcome = Outcome.RUNNING
    error: str | None = None
    chip: ChipIdentity | None = None
    seeds: dict[str, int] = {}
    policy: dict[str, JsonValue] = {}
    summary: dict[str, JsonValue] = {}
    profile_sha256: str | None = None
    """Of the chip's profile as it was used."""
    resumed: list[Process] = []
    """Processes that went on with the run after an earlier one was stopped, failed or was killed."""
    files: dict[str, str] = {}
    """SHA-256 of every other file of the run, written when it is closed."""

    @classmethod
    def begin(
        cls,
        kind: str,
        *,
        seeds: Mapping[str, int] | None = None,
        policy: Mapping[str, Any] | None = None,
        chip: ChipIdentity | None = None,
    ) -> Self:
        """A record that starts now, with everything the process knows of itself."""
        return cls(
            id=uuid.uuid4().hex[:6],
            kind=kind,
            chip=chip,
            seeds=dict(seeds or {}),
            policy=dict(policy or {}),
            **Process.this().model_dump(),
        )

    @property
    def name(self) -> str:
        """The name of the run's directory; names sort by time."""
        return f"{self.started:%Y%m%dT%H%M%SZ}-{self.kind}-{self.id}"
