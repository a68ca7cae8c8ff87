"""The long proof that nothing is lost: kill -9 at random instants of programming, then `chipctl resume`.

    python -m benchmarks.prove_resume                 120 kills
    python -m benchmarks.prove_resume --kills 6 --json

Every case goes through real processes and a real pseudo-terminal: `chipctl program` on a board that keeps its
chip in a file. Host, board or both are killed; boards are started again; `chipctl resume` goes on until the
run is done, at times killed again. Then the chip's own counters, device by device, are held against the
journal. Exit status 1 if a bound fails.
"""

import argparse
import json
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib import import_module
from pathlib import Path

import numpy as np

from benchmarks.measure import ANY, Measured, at_most, exit_status
from benchmarks.proof import ChipFile, Counts, targets
from chipctl.runs.journal import Entry, Journal
from chipctl.runs.programmed import pulses_of
from chipctl.runs.record import Outcome
from chipctl.runs.store import DATA, Run, list_runs
from firmware_protocol.jobs import Verdict

KILLS = 120
PATIENCE_S = 90.0
"""A host that takes longer has hung."""

MODES = {
    "fast": ("--schedule", "fast"),
    "paper": ("--schedule", "paper"),
    "host": ("--schedule", "fast", "--on-host"),
}
"""Ways of programming; the last one pulses in hundreds of requests, the others in one job."""
VICTIMS = ("host", "board", "both")
TOO_LATE = "after its end"
"""Moment of a kill that missed: such a case is judged like all others, and does not count."""

KILLED_AGAIN = 0.3
"""Share of the cases in which the first `chipctl resume` is killed too."""

GIVES_UP = 0.2
"""Share of the killed boards that come back only when the host has given up."""

FIRST_CHIP = 4200
"""Seed of the chip; that of the instants is added."""

_ARRAY, _SHAPE = 1, (64, 64)

_IN_USE, _TRIES = "is in use by", 30
"""The number of a pseudo-terminal may still be locked by a process, of another proof, whose board is gone."""


@dataclass(frozen=True)
class Fresh:
    """The files of a chip and its board as they were made."""

    place: Path
    seed: int


@dataclass(frozen=True)
class Undisturbed:
    """The same programming on the same chip, left alone."""

    verified: float
    """Share of the devices."""
    seconds: float
    """From the run's first file to its last array: the report that is drawn then is not programming."""


@dataclass
class Found:
    """One case."""

    victim: str
    mode: str
    moment: str = "before the first pulse"
    """What had been done when it was killed."""
    kills: int = 0
    wrong_counters: int = 0
    """Devices whose counter is not what the journal has, or pulses that it has not as a whole."""
    unknown: int = 0
    """Pulses of which the journal knows the number and not the devices."""
    guessed: int = 0
    """Devices that were pulsed in a resumption without a reading before that found them out of tolerance."""
    unjudged: int = 0
    """Devices without a verdict from a reading at the end."""
    undone: int = 0
    """1 if the run could not be brought to its end."""
    yield_loss: float = 0.0
    """Of the undisturbed run, absolute; negative where more devices were verified."""
    said: list[str] = field(default_factory=list)


class Started:
    """A process of its own, forked from one that has imported everything, so that it starts in no time."""

    def __init__(self, program: str, folder: Path, *words: str) -> None:
        self._said = folder / f"said-{uuid.uuid4().hex}"
        self._said.touch()
        arguments = program, str(folder), words, str(self._said)
        self._process = _FORKED.Process(target=_alone, args=arguments)
        self._process.start()

    @property
    def runs(self) -> bool:
        """Whether it is there."""
        return self._process.is_alive()

    @property
    def said(self) -> str:
        """What it said on stderr so far."""
        return self._said.read_text(encoding="utf-8", errors="replace")

    def kill(self) -> None:
        """`kill -9`."""
        self._process.kill()
        self._process.join()

    def ends_within(self, seconds: float) -> bool:
        """Wait for its end, not for ever."""
        self._process.join(seconds)
        return not self.runs

    def ended(self) -> str:
        """Wait for its end; what it said on stderr. One that hangs is killed, and its words say so."""
        if self.ends_within(PATIENCE_S):
            return self.said
        self.kill()
        return f"hung: {self.said}"


_FORKED = multiprocessing.get_context("forkserver")


def _alone(program: str, folder: str, words: tuple[str, ...], said: str) -> None:
    """Be that program, with locks of its own: other proofs may get the same numbers of pseudo-terminals."""
    os.chdir(folder)
    os.environ["XDG_RUNTIME_DIR"] = folder
    for descriptor, path in ((1, os.devnull), (2, said)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), descriptor)
    sys.argv = [program, *words]
    import_module({"chipctl": "chipctl.cli.main", "sim-chip": "sim_chip.cli"}[program]).run()


def served(place: Path, seed: int) -> Started:
    """A board at `place`/board that keeps its chip in `place`/state.

    `seed` is of the chip, and so its serial number: a host whose board is gone may find that of another proof
    at the same pseudo-terminal, and has to see that it is another one.
    """
    where = ("--pty", str(place / "board"), "--state", str(place / "state"))
    board = Started("sim-chip", place, "serve", *where, "--seed", str(seed))
    while "serving" not in board.said:
        if not board.runs:
            raise RuntimeError(f"the board did not start: {board.said}")
        time.sleep(0.002)
    return board


class Case:
    """A fresh chip, its board, and the hosts that work on it one after the other."""

    def __init__(self, place: Path, fresh: Fresh, mode: tuple[str, ...]) -> None:
        self.place, self.seed, self.mode = place, fresh.seed, mode
        for name in ("state", "state.board"):
            shutil.copy(fresh.place / name, place / name)
        np.save(place / "targets.npy", targets(1))
        self.board = served(place, self.seed)

    def __enter__(self) -> "Case":
        return self

    def __exit__(self, *_: object) -> None:
        self.board.kill()

    @property
    def run(self) -> Run | None:
        """The newest run, as soon as it is there."""
        runs = list_runs(self.place / "runs") if (self.place / "runs").is_dir() else []
        return runs[-1] if runs else None

    @property
    def counters(self) -> Counts:
        """Pulses of each device of the array, as the chip counts them."""
        return ChipFile(self.place / "state").pulses[_ARRAY].reshape(_SHAPE)

    def start(self, *words: str) -> Started:
        """A host that runs `chipctl`."""
        return Started("chipctl", self.place, *words, "--json")

    def program(self) -> Started:
        """A host that programs, past the moment at which its run begins."""
        known = ("--chip", "board", "--array", str(_ARRAY), "--least", "0")
        for _ in range(_TRIES):
            before = len(list(self.place.glob("runs/*/run.json")))
            host = self.start("program", "targets.npy", *known, *self.mode)
            while host.runs:
                if len(list(self.place.glob("runs/*/run.json"))) > before:
                    return host
                time.sleep(0.002)
            if _IN_USE not in (said := host.ended()):
                break
            time.sleep(1.0)
        raise RuntimeError(f"programming does not start: {said}")

    def go_on(self) -> Started:
        """A host that goes on with the run, or begins anew if it had no plan yet: then nothing was pulsed."""
        has_plan = self.run is not None and any(group.startswith("plan/") for group in self.run.groups())
        return self.start("resume", "--least", "0") if has_plan else self.program()

    def restart_board(self) -> None:
        """Serve the same chip again."""
        self.board = served(self.place, self.seed)


def left_alone(fresh: Fresh, mode: tuple[str, ...]) -> Undisturbed:
    """Program without a disturbance."""
    with tempfile.TemporaryDirectory() as folder, Case(Path(folder), fresh, mode) as case:
        said = case.program().ended()
        run = case.run
        if run is None or run.record.outcome is not Outcome.DONE:
            raise RuntimeError(f"undisturbed programming failed: {said}")
        began = datetime.fromisoformat(run.events()[0]["time"]).timestamp()
        return Undisturbed(_share_verified(run), (run.path / DATA).stat().st_mtime - began)


def killed(
    fresh: Fresh, mode: tuple[str, ...], victim: str, usual: Undisturbed, dice: random.Random
) -> Found:
    """Program, kill, go on until it is done; what was found then."""
    found = Found(victim, " ".join(mode))
    with tempfile.TemporaryDirectory() as folder, Case(Path(folder), fresh, mode) as case:
        host = case.program()
        time.sleep(dice.uniform(0, usual.seconds))
        found.moment = _moment(case)
        _strike(case, host, victim, dice, found)
        again = dice.random() < KILLED_AGAIN
        for _ in range(_TRIES):
            run = case.run
            if run is not None and run.record.outcome is Outcome.DONE:
                break
            before = case.counters
            host = case.go_on()
            if again:
                again = False
                _kill_soon(host, dice.uniform(0.5, 1.0) * usual.seconds, found, case, before)
            else:
                found.said.append(host.ended())
                time.sleep(_IN_USE in found.said[-1])
        _judge(case, usual, found)
    return found


def _strike(case: Case, host: Started, victim: str, dice: random.Random, found: Found) -> None:
    """Kill host, board or both, see to it that a board runs again, and that the host is gone."""
    found.kills += 1 if victim != "both" else 2
    if victim != "board":
        host.kill()
    if victim != "host":
        case.board.kill()
        if victim == "board" and dice.random() < GIVES_UP:
            found.said.append(host.ended())
        else:
            time.sleep(dice.uniform(0, 1.0))
        case.restart_board()
    found.said.append(host.ended())


def _kill_soon(host: Started, seconds: float, found: Found, case: Case, before: Counts) -> None:
    """Kill a resumption a while after it began to pulse; not at all if it is done first."""
    while np.array_equal(case.counters, before) and host.runs:
        time.sleep(0.005)
    if not host.ends_within(seconds * 0.3):
        found.kills += 1
        host.kill()
    found.said.append(host.ended())


def _moment(case: Case) -> str:
    run = case.run
    if run is not None and run.record.outcome is Outcome.DONE:
        return TOO_LATE
    return "after pulses" if case.counters.any() else "before the first pulse"


def _judge(case: Case, usual: Undisturbed, found: Found) -> None:
    run = case.run
    if run is None or run.record.outcome is not Outcome.DONE:
        found.undone = 1
        return
    with Journal(case.place / "runs") as journal:
        entries = journal.entries(run.path.name)
    placed, _, found.unknown = pulses_of(entries, _SHAPE)
    found.wrong_counters = int(np.count_nonzero(placed > case.counters))
    everywhere = int(ChipFile(case.place / "state").pulses.sum())
    found.wrong_counters += int(everywhere != placed.sum() + found.unknown)
    found.wrong_counters += sum(entry.done is None for entry in entries)
    found.guessed = _guessed(run, entries)
    report = run.load(f"programming/array{_ARRAY}")
    verdicts, final = report["verdicts"][0], report["final"][0]
    found.unjudged = int(np.count_nonzero((verdicts == Verdict.SKIPPED) | np.isnan(final)))
    found.yield_loss = usual.verified - _share_verified(run)


def _guessed(run: Run, entries: list[Entry]) -> int:
    """Devices that a resumption pulsed although its own reading had found them within tolerance, or had not
    been kept."""
    count, kept = 0, run.groups()
    for number, resumed in enumerate(run.record.resumed, 1):
        group = f"judged{number}/array{_ARRAY}"
        allowed = run.load(group)["out_of_tolerance"][0] if group in kept else np.zeros(_SHAPE, np.bool_)
        until = [later.started for later in run.record.resumed[number:]]
        mine = [e for e in entries if e.began > resumed.started and (not until or e.began < until[0])]
        pulses, _, _ = pulses_of(mine, _SHAPE)
        count += int(np.count_nonzero((pulses > 0) & ~allowed))
    return count


def _share_verified(run: Run) -> float:
    verdicts = run.load(f"programming/array{_ARRAY}")["verdicts"][0]
    return float(np.mean(verdicts == Verdict.VERIFIED))


def cases(kills: int, seed: int = 0, modes: Sequence[str] = tuple(MODES)) -> Iterator[Found]:
    """Cases with their own victim, way of programming and instant, until `kills` hit a run under way."""
    os.environ |= {"OMP_NUM_THREADS": "1"}
    _FORKED.set_forkserver_preload(
        [__name__, "chipctl.cli.main", "sim_chip.cli", "matplotlib.backends.backend_svg"]
    )
    dice = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        fresh = Fresh(Path(folder), FIRST_CHIP + seed)
        served(fresh.place, fresh.seed).kill()
        usual = {name: left_alone(fresh, MODES[name]) for name in modes}
        number = 0
        while number < kills:
            name = modes[number // len(VICTIMS) % len(modes)]
            found = killed(fresh, MODES[name], VICTIMS[number % len(VICTIMS)], usual[name], dice)
            number += found.moment != TOO_LATE
            yield found


def lines(kills: int, seed: int = 0) -> list[Measured]:
    """What the proof comes to, against its bounds."""
    found = list(cases(kills, seed))
    return summed_up(found)


def summed_up(found: list[Found]) -> list[Measured]:
    """The lines of the table."""

    def line(name: str, unit: str, bound: float, values: list[float]) -> Measured:
        return Measured(f"kill -9 and resume: {name}", unit, at_most(bound), tuple(values))

    def told(name: str, *values: float) -> Measured:
        return Measured(f"kill -9 and resume: {name}", "1", ANY, values)

    hit = [case for case in found if case.moment != TOO_LATE]
    busy = [case for case in found if case.moment == "after pulses"]
    return [
        told("cases", len(found)),
        told("processes killed", sum(case.kills for case in found)),
        told("cases hit while the run was under way", len(hit)),
        told("cases hit when pulses had been given", len(busy)),
        told("pulses of unknown devices", *(case.unknown for case in found)),
        line("counters that differ from the journal", "1", 0, [c.wrong_counters for c in found]),
        line("devices pulsed on a guess", "1", 0, [c.guessed for c in found]),
        line("devices not judged by a reading", "1", 0, [c.unjudged for c in found]),
        line("runs not brought to their end", "1", 0, [c.undone for c in found]),
        line("yield lost against undisturbed", "1", 0.01, [abs(c.yield_loss) for c in found]),
    ]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=KILLS, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the instants")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES), metavar="MODE")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def main() -> int:
    """Run the proof and print its table."""
    arguments = _arguments()
    found = []
    for case in cases(arguments.kills, arguments.seed, arguments.modes):
        found.append(case)
        bad = case.wrong_counters or case.guessed or case.unjudged or case.undone or case.yield_loss > 0.01
        told = case if bad else f"{case.victim} killed, {case.mode}, {case.moment}"
        print(f"{len(found)}: {told}", file=sys.stderr, flush=True)
    table = summed_up(found)
    if arguments.json:
        print(json.dumps([line.record() for line in table], indent=1, ensure_ascii=False))
    else:
        print("\n".join(line.row() for line in table))
    return exit_status(table)


if __name__ == "__main__":
    sys.exit(main())
