"""Speed of the wire: codec, round trips through two processes, bulk data on slow and fast lines."""

import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from time import perf_counter

from benchmarks.bad_cable import Troubles
from benchmarks.measure import Measured, Plan, Scale, at_least, at_most, cpu_side_by_side
from benchmarks.proof import running, serving, targets
from chipctl import programming
from chipctl.chip import connect
from chipctl.link import Link
from chipctl.transport import open_transport
from firmware_protocol.frame import Decoder, Frame, Kind, encode
from firmware_protocol.messages import MAX_PAYLOAD, Fetch, GetState, Stage

CODEC_SECONDS = 6e-6
ROUND_TRIP_SECONDS = 0.3e-3
LINE_SHARE = 0.9
REPORT_BYTES, BYTES, ROUND_TRIPS = 75_000, 15_000, 25

LINES = {
    "115 200 baud": Troubles(bytes_per_second=11_520),
    "3 Mbaud": Troubles(bytes_per_second=300_000),
    "full-speed USB": Troubles(bytes_per_second=800_000, latency_s=0.0005),
}
"""8N1: ten bits a byte. USB: 0.8 MB/s and 1 ms there and back."""

_PIECE = Stage(0, bytes(MAX_PAYLOAD - 4)).pack()
PAYLOAD_SHARE = (len(_PIECE) - 4) / len(encode(Frame(Kind.REQUEST, Stage.OPCODE, 1, 1, payload=_PIECE)))
"""Data in the longest frame that stages some: all but offset, header, CRC and COBS."""

STAGED_SECONDS = 3.0
"""About as long as staging lasts on each line, within what the board holds."""


def measure(plan: Plan) -> Iterator[Measured]:
    """Everything that is asked of the wire's speed."""
    quick = plan.scale is Scale.QUICK
    yield from _codec(samples=200 if quick else 2000)
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)):
        place = Path(folder)
        yield _round_trip(place, count=2000 if quick else 20_000)
        for name, line in LINES.items():
            yield _staging(place, name, line, repeats=1 if quick else 5)
        yield from _programming(place, seeds=range(2 if quick else 6))


def _codec(samples: int) -> Iterator[Measured]:
    dice = random.Random(1)
    for size in (26, 512):
        frame = Frame(Kind.REPLY, Fetch.REPLY.OPCODE, 1, 2, 3, 4, 0, dice.randbytes(size))
        data, decoder = encode(frame), Decoder()
        calls = {"encode": lambda f=frame: encode(f), "decode": lambda d=data, x=decoder: x.feed(d)}
        for name, seconds in cpu_side_by_side(calls, samples, each=100).items():
            yield Measured(f"{name} a frame of {size} bytes", "s", at_most(CODEC_SECONDS), (seconds,))


def _round_trip(place: Path, count: int) -> Measured:
    """Request to reply between this process and the board's, over a pseudo-terminal."""
    with Link(open_transport(str(place / "board"))) as link:
        taken = []
        for _ in range(count):
            start = perf_counter()
            link.request(GetState())
            taken.append(perf_counter() - start)
    return Measured("round trip over a pty, median", "s", at_most(ROUND_TRIP_SECONDS), (median(taken),))


def _staging(place: Path, name: str, line: Troubles, repeats: int) -> Measured:
    """Bytes staged per second, as a share of what the line carries of them, the frames around them apart."""
    options = ("--bytes-per-second", str(line.bytes_per_second), "--latency-s", str(line.latency_s))
    cable = ("benchmarks.bad_cable", str(place / "cable"), str(place / "board"), *options)
    shares = []
    with ExitStack() as stack:
        stack.enter_context(running(*cable))
        link = stack.enter_context(Link(open_transport(str(place / "cable"))))
        wanted = int(STAGED_SECONDS * line.bytes_per_second)
        data = random.Random(1).randbytes(min(link.welcome.staging_bytes, wanted))
        link.stage(data[:2048])
        for _ in range(repeats):
            start, staged = time.monotonic(), 0
            while staged < wanted:
                link.stage(data)
                staged += len(data)
            shares.append(staged / (time.monotonic() - start) / (line.bytes_per_second * PAYLOAD_SHARE))
    return Measured(f"staging on {name}, share of its payload rate", "", at_least(LINE_SHARE), tuple(shares))


def _programming(place: Path, seeds: range) -> Iterator[Measured]:
    """What crosses the wire to program one array, with the report of every device and without."""
    trips, bytes_all, bytes_job = [], [], []
    with connect(str(place / "board")) as chip:
        for seed in seeds:
            before = chip.board.link_statistics()
            programming.program(chip, seed % chip.arrays, targets(seed))
            after = chip.board.link_statistics()
            crossed = after.bytes_out + after.bytes_in - before.bytes_out - before.bytes_in
            trips.append(float(after.round_trips - before.round_trips))
            bytes_all.append(float(crossed))
            job_id = chip.board.state().job_id
            before = chip.board.link_statistics()
            chip.board.program_report(job_id)
            after = chip.board.link_statistics()
            fetched = after.bytes_out + after.bytes_in - before.bytes_out - before.bytes_in
            bytes_job.append(float(crossed - fetched))
    yield Measured("programming an array with its report", "B", at_most(REPORT_BYTES), tuple(bytes_all))
    yield Measured("programming an array without report", "B", at_most(BYTES), tuple(bytes_job))
    yield Measured(
        "programming an array with its report, round trips", "", at_most(ROUND_TRIPS), tuple(trips)
    )
