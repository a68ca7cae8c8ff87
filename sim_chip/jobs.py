"""The jobs a board has started: one runs, the last ones keep their reports, none starts twice."""

from collections.abc import Generator
from typing import Final, Protocol

from firmware_protocol.jobs import JobState
from firmware_protocol.messages import Job
from firmware_protocol.status import Fault, Status
from sim_chip.guard import Refused

REPORTS_KEPT: Final = 16


class BoardJob(Protocol):
    """What the board runs in slices, and keeps a report of."""

    needs_lease: bool
    stop_wanted: bool

    @property
    def job_id(self) -> int:
        """Chosen by the host."""
        ...

    @property
    def array(self) -> int | None:
        """The array that it works on now."""
        ...

    @property
    def state(self) -> JobState:
        """How it stands."""
        ...

    def abort(self, fault: Fault) -> None:
        """End it from outside."""
        ...

    def progress(self) -> Job:
        """How far it is."""
        ...

    def report(self) -> bytes:
        """The bytes for `OpenReport`."""
        ...


class Jobs:
    """Every job since the board started."""

    def __init__(self) -> None:
        self._jobs: dict[int, BoardJob] = {}
        self._started: set[int] = set()
        self._running: tuple[BoardJob, Generator[None]] | None = None
        self.last_id = 0
        """Of the last job started; 0 if none was."""

    @property
    def running(self) -> bool:
        """Whether a job is under way."""
        return self._running is not None

    @property
    def array(self) -> int | None:
        """What the running job works on."""
        return self._running[0].array if self._running else None

    @property
    def needs_lease(self) -> bool:
        """Whether the running job gives pulses."""
        return self._running is not None and self._running[0].needs_lease

    @property
    def last_state(self) -> JobState:
        """How the last job stands."""
        return self._jobs[self.last_id].state if self.last_id else JobState.NONE

    def knows(self, job_id: int) -> bool:
        """Whether a job of this id was ever started."""
        return job_id in self._started

    def start(self, job: BoardJob, rounds: Generator[None]) -> None:
        """Make this the running job."""
        self.last_id = job.job_id
        self._started.add(self.last_id)
        self._jobs[self.last_id] = job
        self._running = (job, rounds)
        while len(self._jobs) > REPORTS_KEPT:
            del self._jobs[next(iter(self._jobs))]

    def step(self) -> None:
        """Run one round of the running job."""
        if self._running is not None and next(self._running[1], self) is self:
            self._running = None

    def abort(self, fault: Fault) -> None:
        """End the running job where it is; its report stays."""
        if self._running is not None:
            job, rounds = self._running
            self._running = None
            rounds.close()
            job.abort(fault)

    def find(self, job_id: int) -> BoardJob:
        """The job of this id; refused if there is none."""
        if job_id not in self._jobs:
            raise Refused(Status.NO_RESULT, f"no job {job_id}")
        return self._jobs[job_id]
