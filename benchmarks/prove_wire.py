"""The long proof of the wire: bad and pulled cables, killed processes, failing supplies, broken frames.

    python -m benchmarks.prove_wire                     everything, in its long form
    python -m benchmarks.prove_wire --cables 2 --kills 3 --fuzz 100000 --json

Every case goes through real processes: this host, the cable (`benchmarks.bad_cable`), and a board that keeps
its chip in a file. What the chip's file says is held against what the host believes, device by device.
Exit status 1 if any pulse was given twice, any belief was wrong, or anything hung.
"""

import argparse
import json
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import structlog

from benchmarks.proof import (
    HANG_S,
    ChipFile,
    Tally,
    believed,
    deadline,
    faults_of,
    journaled_pulses,
    plugged,
    serving,
    targets,
)
from benchmarks.prove_effects import faulty_boards, many_effects
from chipctl import board as host_board
from chipctl.chip import connect
from chipctl.errors import ChipctlError
from chipctl.programming import program
from chipctl.runs import journaled
from chipctl.runs.journal import Journal
from firmware_protocol.bulk import LoggedEffect
from firmware_protocol.frame import MAX_ENCODED, Decoder, Frame, Kind, encode
from firmware_protocol.messages import MESSAGES, REQUESTS, GetInfo, Message
from firmware_protocol.status import Fault
from firmware_protocol.wire import WireError

LONG = {"cables": 50, "unplugs": 50, "kills": 100, "faults": 30, "fuzz": 10_000_000}
LOSS = ("--drop", "0.2", "--flip", "1e-5")
NOISE = ("--flip", "1e-3")
UNPLUG_BYTES = (40_000, 120_000)
"""Mean between two pulls, in turn: more often than a host resumes one job, and about once a job."""
BACK_S = 3.0
"""Longest time that a cable is out: longer than the lease."""
PULLED_SINGLES = ("--unplug-bytes", "20000", "--back-s", "0.3")
"""Often, for single pulses need few bytes; and soon back."""
MIXED = ("--drop", "0.05", "--duplicate", "0.05", "--stall", "0.005", "--stall-s", "0.1", "--flip", "1e-4")


def bad_cables(name: str, troubles: tuple[str, ...], line: str, cases: int) -> Tally:
    """Program a whole array through a bad cable, `cases` times; the host's journal knows every pulse."""
    tally = Tally(f"{name}, {line}")
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder), line) as board,
        Journal(Path(folder)) as journal,
    ):
        chip_file = ChipFile(Path(folder) / "state")
        for seed in range(cases):
            with plugged(Path(folder), board, *troubles, "--seed", str(seed)) as cable, deadline(tally):
                before = chip_file.pulses
                with journaled.connect(cable.address, journal, "") as chip:
                    report = program(chip, seed % chip.arrays, targets(seed))
                    total, serial = chip.board.state().total_pulses, chip.board.welcome.serial
                tally.judge(chip_file.pulses - before, believed(report, before))
                tally.judge(chip_file.pulses, journaled_pulses(journal, serial, before))
                tally.wrong_beliefs += int(total != chip_file.pulses.sum())
            tally.faults += faults_of(cable.process)
            tally.cases += 1
    return tally


def pulled_cables(line: str, cases: int) -> Tally:
    """Program through a cable that is pulled out at random bytes and comes back: the host goes on or says so.

    Where it ends with an error it vouches for nothing but what the board's log says afterwards.
    """
    tally = Tally(f"cable pulled out and back, {line}")
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), line) as board:
        chip_file = ChipFile(Path(folder) / "state")
        for seed in range(cases):
            before, report = chip_file.pulses, None
            pulls = ("--unplug-bytes", str(UNPLUG_BYTES[seed % 2]), "--back-s", str(BACK_S))
            with plugged(Path(folder), board, *pulls, "--seed", str(seed)) as cable, deadline(tally):
                try:
                    with connect(cable.address) as chip:
                        report = program(chip, seed % chip.arrays, targets(seed))
                except ChipctlError as error:
                    print(f"{tally.name}, seed {seed}: {error}", file=sys.stderr, flush=True)
            with deadline(tally):
                logged = _logged_pulses(board.address, int(before.sum()), tally)
                given = chip_file.pulses - before
                tally.wrong_beliefs += int(given.sum() != logged) + int(not chip_file.is_safe)
                if report is not None:
                    tally.judge(given, believed(report, before))
            tally.faults += faults_of(cable.process)
            tally.cases += 1
    return tally


def _logged_pulses(address: str, since: int, tally: Tally) -> int:
    """Pulses after the first `since`, by the board's own log; whatever still runs is ended first."""
    with connect(address) as chip:
        chip.safe()
        chip.clear_fault()
        log, total = chip.op_log(), chip.board.state().total_pulses
        effects = [effect for effect in log.effects if effect.pulses_before >= since]
        tally.wrong_beliefs += int(log.since_pulses > since) + int(total != since + _sum(effects))
    return total - since


def _sum(effects: list[LoggedEffect]) -> int:
    return sum(effect.pulses for effect in effects)


VICTIM_LEASE_MS = 300
_SLACK_S = 0.2


def victim(port: str) -> None:
    """Program one array after the other until killed or interrupted; takes a short lease."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    host_board.LEASE_MS = VICTIM_LEASE_MS
    with connect(port) as chip:
        for seed in range(1000):
            program(chip, seed % chip.arrays, targets(seed))


def killed_hosts(cases: int) -> Tally:
    """Kill the host while it programs: the board stops within the lease and the next host goes on."""
    return _ended_hosts(
        "host killed while programming", signal.SIGKILL, VICTIM_LEASE_MS * 1e-3 + _SLACK_S, cases
    )


def interrupted_hosts(cases: int) -> Tally:
    """Interrupt the host while it programs: it makes the board safe before it ends, without the lease."""
    return _ended_hosts("host interrupted while programming", signal.SIGINT, 0.0, cases)


def _ended_hosts(name: str, number: signal.Signals, until_safe_s: float, cases: int) -> Tally:
    tally = Tally(name)
    dice = random.Random(1)
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)):
        place = Path(folder)
        chip_file = ChipFile(place / "state")
        for seed in range(cases):
            with deadline(tally):
                _start_and_end(place, chip_file, dice, number)
                time.sleep(until_safe_s)
                at_end = chip_file.pulses
                tally.wrong_beliefs += int(not chip_file.is_safe)
                time.sleep(0.3)
                tally.double_pulses += int((chip_file.pulses - at_end).sum())
                _next_session(place, chip_file, seed, tally)
            tally.faults += 1
            tally.cases += 1
    return tally


def _start_and_end(place: Path, chip_file: ChipFile, dice: random.Random, number: signal.Signals) -> None:
    before = chip_file.pulses.sum()
    command = [sys.executable, "-m", "benchmarks.prove_wire", "--victim", str(place / "board")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while chip_file.pulses.sum() == before and process.poll() is None:
            time.sleep(0.005)
        time.sleep(dice.uniform(0, 1.0))
        process.send_signal(number)
        process.wait()
    finally:
        process.kill()
        process.wait()


def _next_session(place: Path, chip_file: ChipFile, seed: int, tally: Tally) -> None:
    """A new host clears what is latched, programs, and knows every pulse it gave."""
    before = chip_file.pulses
    with connect(str(place / "board")) as chip:
        found = chip.board.state()
        tally.wrong_beliefs += int(found.total_pulses != before.sum())
        if found.fault != Fault.NONE:
            chip.board.clear_fault(found.fault)
        mask = np.zeros((chip.rows, chip.cols), np.bool_)
        mask[:8] = True
        report = program(chip, seed % chip.arrays, targets(seed), mask=mask)
    tally.judge(chip_file.pulses - before, believed(report, before))
    tally.wrong_beliefs += int(not chip_file.is_safe)


def killed_boards(cases: int) -> Tally:
    """Kill the board while it programs: its file stays whole, it starts safe, the next session is right."""
    tally = Tally("board killed while programming")
    dice = random.Random(2)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for seed in range(cases):
            with deadline(tally):
                _kill_board(place, dice, tally)
                with serving(place):
                    chip_file = ChipFile(place / "state")
                    tally.wrong_beliefs += int(not chip_file.is_safe)
                    _next_session(place, chip_file, seed, tally)
            tally.faults += 1
            tally.cases += 1
    return tally


def _kill_board(place: Path, dice: random.Random, tally: Tally) -> None:
    with serving(place) as board:
        chip_file = ChipFile(place / "state")
        before = chip_file.pulses.sum()
        command = [sys.executable, "-m", "benchmarks.prove_wire", "--victim", str(place / "board")]
        host = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while chip_file.pulses.sum() == before and host.poll() is None:
            time.sleep(0.005)
        time.sleep(dice.uniform(0, 1.0))
        board.process.kill()
        board.process.wait()
        at_end = chip_file.pulses
        try:
            host.wait(HANG_S / 4)
        except subprocess.TimeoutExpired:
            tally.hangs += 1
            host.kill()
            host.wait()
        tally.double_pulses += int((chip_file.pulses - at_end).sum())


def fuzz(cases: int, seed: int = 0) -> Tally:
    """Feed the decoder what is no frame, each time followed by one that is; and payloads to every message.

    Wrong beliefs: a frame out of nothing, a good frame missed, or a buffer beyond one frame.
    """
    tally = Tally("decoder fed with what is no frame")
    dice = random.Random(seed)
    decoder, good = Decoder(), Frame(Kind.REPLY, GetInfo.OPCODE, 7, 8, payload=b"good")
    after = b"\0" + encode(good)
    corpus = _corpus(dice)
    for case in range(cases):
        broken = _broken(dice, corpus[case % len(corpus)])
        found = decoder.feed(broken + after)
        if len(found) != 1 or found[0] != good or len(decoder._partial) > MAX_ENCODED:  # noqa: SLF001
            tally.wrong_beliefs += not _harmless(found, good, corpus)
        if case % 8 == 0:
            _unpack(MESSAGES[case // 8 % len(MESSAGES)], broken)
    tally.cases = tally.faults = cases
    return tally


def _harmless(found: list[Frame], good: Frame, corpus: list[bytes]) -> bool:
    """Whether all that was found was sent: a cut may fall on a frame's end."""
    return found[-1:] == [good] and all(encode(frame)[:-1] in corpus for frame in found[:-1])


def _unpack(message: type[Message], payload: bytes) -> None:
    with suppress(WireError):
        message.unpack(payload)


def _corpus(dice: random.Random) -> list[bytes]:
    sizes = (0, 1, 4, 31, 100, 253, 254, 255, 512, 560)
    frames = (
        Frame(dice.choice(list(Kind)), request.OPCODE, dice.randrange(1 << 16), dice.randrange(1 << 16),
              payload=dice.randbytes(size))
        for request in REQUESTS
        for size in sizes
    )  # fmt: skip
    return [encode(frame)[:-1] for frame in frames]


def _broken(dice: random.Random, frame: bytes) -> bytes:
    """A frame with flipped bits, cut, grown, doubled, or replaced; at times far too long."""
    kind = dice.getrandbits(3)
    at = int(dice.random() * len(frame))
    if kind < 3:
        broken = bytearray(frame)
        for _ in range(kind + 1):
            broken[int(dice.random() * len(frame))] ^= 1 << dice.getrandbits(3)
        return bytes(broken) if broken != frame else b"\1"
    if kind == 3:
        return frame[:at]
    if kind == 4:
        return frame[:at] + dice.randbytes(3) + frame[at:]
    if kind == 5:
        return frame[:at] + frame
    if kind == 6:
        return dice.randbytes(at)
    return dice.randbytes(2000) if at % 64 == 0 else frame[at + 1 :] + b"\0" + frame[:at]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name, count in LONG.items():
        parser.add_argument(f"--{name}", type=int, default=count, metavar="N")
    parser.add_argument("--only", nargs="+", metavar="KIND", help="one or more of docs/wire-proved.md")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--record", type=Path, help="write the table to this file too")
    parser.add_argument("--victim", help=argparse.SUPPRESS)
    return parser.parse_args()


def proofs(sizes: argparse.Namespace) -> Iterator[Tally]:
    """Run each proof that has cases."""
    kinds = {
        "loss": ("20 % loss each way, 1e-5 bit errors", LOSS),
        "noise": ("1e-3 bit errors", NOISE),
        "mixed": ("loss, doubles, stalls, 1e-4 bit errors", MIXED),
    }
    runs: dict[str, tuple[int, Callable[[int], Tally]]] = {}
    for line, ending in (("pty", ""), ("TCP", "-tcp")):
        for kind, (name, troubles) in kinds.items():
            runs[kind + ending] = sizes.cables, partial(bad_cables, name, troubles, line)
            runs[f"singles-{kind}{ending}"] = sizes.cables, partial(many_effects, name, troubles, line)
        pulled = partial(many_effects, "cable pulled out and back", PULLED_SINGLES, line)
        runs[f"singles-unplug{ending}"] = sizes.unplugs, pulled
        runs["unplug" + ending] = sizes.unplugs, partial(pulled_cables, line)
    runs |= {
        "host": (sizes.kills, killed_hosts),
        "interrupt": (sizes.kills, interrupted_hosts),
        "board": (sizes.kills, killed_boards),
        "faults": (sizes.faults, faulty_boards),
        "fuzz": (sizes.fuzz, fuzz),
    }
    if unknown := set(sizes.only or ()) - runs.keys():
        raise SystemExit(f"no kind {', '.join(sorted(unknown))}; there are {', '.join(runs)}")
    for name, (count, prove) in runs.items():
        if count and name in (sizes.only or runs):
            start = time.monotonic()
            tally = prove(count)
            tally.seconds = round(time.monotonic() - start, 1)
            yield tally


def _table(tallies: list[Tally]) -> str:
    heads = ("", "cases", "faults injected", "double pulses", "wrong beliefs", "hangs", "seconds")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for t in tallies:
        cells = (t.name, t.cases, t.faults, t.double_pulses, t.wrong_beliefs, t.hangs, t.seconds)
        lines.append(f"| {' | '.join(str(cell) for cell in cells)} |")
    return "\n".join(lines)


def main() -> int:
    """Run the proofs and print their table."""
    arguments = _arguments()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    if arguments.victim:
        victim(arguments.victim)
        return 0
    tallies = []
    for tally in proofs(arguments):
        print(f"{tally.name}: {'holds' if tally.holds else 'FAILS'}", file=sys.stderr, flush=True)
        tallies.append(tally)
    print(json.dumps([asdict(tally) for tally in tallies], indent=1) if arguments.json else _table(tallies))
    if arguments.record:
        when = datetime.now(UTC).strftime("%Y-%m-%d")
        head = f"# The wire, proved\n\n`make prove`, {when}, Python {platform.python_version()}.\n\n"
        arguments.record.write_text(head + _table(tallies) + "\n", encoding="utf-8")
    return 0 if all(tally.holds for tally in tallies) else 1


if __name__ == "__main__":
    sys.exit(main())
