"""The jobs a board has started: one runs, the last ones keep their reports, none starts twice."""

from collections.abc import Generator
from typing import Final

from firmware_protocol.jobs import JobState
from firmware_protocol.status import Fault, Status
from sim_chip.guard import Refused
from sim_chip.program import Program

REPORTS_KEPT: Final = 16


class Jobs:
    """Every job since the board started."""

    def __init__(self) -> None:
        self._programs: dict[int, Program] = {}
        self._started: set[int] = set()
        self._running: tuple[Program, Generator[None]] | None = None
        self.last_id = 0
        """Of the last job started; 0 if none was."""

    @property
    def running(self) -> bool:
        """Whether a job is under way."""
        return self._running is not None

    @property
    def array(self) -> int | None:
        """What the running job works on."""
        return self._running[0].plan.array if self._running else None

    @property
    def last_state(self) -> JobState:
        """How the last job stands."""
        return self._programs[self.last_id].state if self.last_id else JobState.NONE

    def knows(self, job_id: int) -> bool:
        """Whether a job of this id was ever started."""
        return job_id in self._started

    def start(self, program: Program, rounds: Generator[None]) -> None:
        """Make this the running job."""
        self.last_id = program.plan.job_id
        self._started.add(self.last_id)
        self._programs[self.last_id] = program
        self._running = (program, rounds)
        while len(self._programs) > REPORTS_KEPT:
            del self._programs[next(iter(self._programs))]

    def step(self) -> None:
        """Run one round of the running job."""
        if self._running is not None and next(self._running[1], self) is self:
            self._running = None

    def abort(self, fault: Fault) -> None:
        """End the running job where it is; its report stays."""
        if self._running is not None:
            program, rounds = self._running
            self._running = None
            rounds.close()
            program.abort(fault)

    def find(self, job_id: int) -> Program:
        """The job of this id; refused if there is none."""
        if job_id not in self._programs:
            raise Refused(Status.NO_RESULT, f"no job {job_id}")
        return self._programs[job_id]
