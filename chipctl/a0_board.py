"""The lab's existing board, as it is, behind the same driver: what it cannot do for itself the host does.

It reads, multiplies and pulses. It has no jobs, lease, log of effects, limits, serial number or count of
pulses: `unpromised` says so, the chip's name and the limits are the host's, and a batch that is not confirmed
is unknown until its devices are read.
"""

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, NoReturn, Self
from urllib.parse import parse_qsl

import numpy as np

from chipctl import a0_facts as facts
from chipctl.a0_line import BUSY_S, PATIENCE_S, A0Line
from chipctl.a0_power import A0Power
from chipctl.a0_pulses import A0Pulser
from chipctl.a0_reads import A0Reader
from chipctl.a0_write_back import A0WriteBack, BatchCounts
from chipctl.board import REOPEN_S, Region
from chipctl.errors import DeviceError, LinkError
from chipctl.link import LinkStatistics
from chipctl.ownership import A0
from chipctl.transport import Transport, open_transport
from firmware_protocol import a0, bulk, plans
from firmware_protocol import messages as m
from firmware_protocol.rails import PULSE_RAILS, ProbePoint, Rail, window
from firmware_protocol.status import Executed, Status

SCHEME: Final = "a0+"
"""What stands before the address of an A0 board: a0+/dev/ttyACM0, a0+socket://HOST:PORT."""

MOST_DELAY_US: Final = 1_000_000
"""A reading of all devices takes over an hour then."""

ADDRESS: Final = (
    "an A0 board is a0+/dev/ttyACM0 or a0+socket://HOST:PORT, its chip named behind a #: "
    "a0+/dev/ttyACM0#chip=chip45&windows=off&delay_us=500"
)


@dataclass(frozen=True)
class A0Place:
    """Where an A0 board is, and what it cannot tell."""

    address: str
    """Of the line, without `SCHEME` and what follows the #."""
    chip: str = "a0"
    """Name of the chip, up to 16 characters; its profile and journal go by it."""
    windows: bool = True
    """Read again, with the conversion window moved, what lies outside the ADCs' fine middle."""
    delay_us: int = 0
    """The board's wait after each reading."""

    @classmethod
    def of(cls, address: str) -> "A0Place":
        """What an address with its `SCHEME` means.

        Raises:
            ValueError: Something behind the # that is none of the above.
        """
        line, _, fragment = address.removeprefix(SCHEME).partition("#")
        options = dict(parse_qsl(fragment, keep_blank_values=True))
        chip, delay = options.pop("chip", cls.chip), options.pop("delay_us", "0")
        windows = options.pop("windows", "on")
        named = 0 < len(chip.encode()) <= 16
        if options or not (line and named and delay.isdecimal() and windows in ("on", "off")):
            raise ValueError(f"{address!r} is no address; {ADDRESS}")
        if int(delay) > MOST_DELAY_US:
            raise ValueError(f"{address!r}: a board rests for 0 to {MOST_DELAY_US} us after each reading")
        if line.startswith("sim://"):
            if "board" in (options := dict(parse_qsl(line.partition("?")[2]))):
                raise ValueError(f"{address!r} is an A0 board, not board={options['board']}; leave one out")
            line += ("&" if "?" in line else "?") + "board=a0"
        return cls(line, chip, windows == "on", int(delay))


class A0Board:
    """A `Board` over the A0 command set."""

    def __init__(
        self, place: A0Place, opener: Callable[[], Transport] | None = None, patience_s: float = PATIENCE_S
    ) -> None:
        """`opener` gives the transport, each time anew."""
        self._place = place
        self.line = A0Line(opener or (lambda: open_transport(place.address, A0)), patience_s)
        waits_s = facts.INFO.rows * facts.INFO.cols * place.delay_us * 1e-6
        self._power = A0Power(self.line, BUSY_S + waits_s)
        self.reader = A0Reader(self.line, self._power, windows=place.windows, delay_us=place.delay_us)
        self._write_back = A0WriteBack(self.reader.look)
        self.reader.saw = self._write_back.saw
        self._pulser = A0Pulser(self.line, self._power, self._write_back)
        self._boot_id = secrets.randbits(32)
        self._opened_s = time.monotonic()
        self._safes = 0
        self._counted_before = 0

    @contextlib.contextmanager
    def session(self) -> Iterator[Self]:
        """The open board; its outputs are zeroed first and last.

        Raises:
            LinkError: No board there.
        """
        self.open()
        try:
            yield self
            self.verify()
        except BaseException as error:
            try:
                self.safe()
            except LinkError:
                error.add_note("the A0 board could not be told to zero its outputs; the next connection does")
            raise
        else:
            self.safe()
            self._write_back.end()
        finally:
            self.line.close()

    @property
    def batches(self) -> BatchCounts:
        """What the devices showed of the batches of this connection."""
        return self._write_back.counts

    def verify(self) -> None:
        """Read the arrays whose last batches no reading has followed; what is wrong is a `BatchWarning`."""
        self._write_back.verify()

    def open(self) -> None:
        """Take the line, zero the outputs, then power the chip."""
        self.line.open()
        try:
            self._start()
        except BaseException:
            self.line.close()
            raise

    def _start(self) -> None:
        self._power.start()
        self._pulser.start()

    # Who it is

    @property
    def welcome(self) -> m.Welcome:
        """Who the board is, as this host says."""
        return m.Welcome(
            protocol_major=0,
            protocol_minor=0,
            schema_hash=0,
            boot_id=self._boot_id,
            reset_cause=0,
            window=1,
            frame_bytes=511,
            staging_bytes=0,
            result_bytes=0,
            config_crc=0,
            commissioning=0,
            firmware="not told by the board",
            board="A0",
            serial=self._place.chip,
            safes=self._safes,
        )

    @property
    def info(self) -> m.Info:
        """Geometry and nominal converters."""
        return facts.INFO

    @property
    def limits(self) -> m.Limits:
        """The limits that this host keeps."""
        return self._pulser.limits

    @property
    def runs_jobs(self) -> bool:
        """It runs none."""
        return False

    @property
    def unpromised(self) -> dict[str, str]:
        """What this board cannot promise, and what stands in for it."""
        return facts.UNPROMISED

    @property
    def moves_windows(self) -> bool:
        """Unless its address says windows=off."""
        return self._place.windows

    def tighten(self, limits: m.Limits) -> None:
        """Lower the limits for this session."""
        self._pulser.limits = limits

    def store_limits(self, limits: m.Limits) -> None:
        """It keeps none."""
        self._cannot("keep limits: they are this host's, in its configuration")

    # Reads

    def read_cells(self, array: int, gain: int, reads: int, region: Region) -> tuple[bulk.Ints, bulk.Ints]:
        """Sums of ADC codes and gain indices of single-device reads, each of the region's shape.

        With automatic gain the first read of a device decides it.
        """
        self._check_array(array)
        if gain != m.AUTO_GAIN and not 0 <= gain < len(facts.GAIN_OHMS):
            raise ValueError(f"no gain index {gain} on the A0 board")
        first = self.reader.cells(array, gain, region)
        sums, gains = first.codes.copy(), first.gains
        for _ in range(reads - 1):
            if gain == m.AUTO_GAIN:
                for index in np.unique(gains):
                    again = self.reader.cells(array, int(index), region)
                    sums += np.where(gains == index, again.codes, 0)
            else:
                sums += self.reader.cells(array, gain, region).codes
        return np.clip(sums, 0, facts.ADC_TOP * reads), gains

    def multiply(self, request: m.Multiply, inputs: bulk.Ints) -> tuple[bulk.Ints, bulk.Flags, bulk.Ints]:
        """Sums of codes and clipped flags, shape (vectors, columns) each, and gain indices (vectors,)."""
        self._check_array(request.array)
        if np.abs(inputs).max(initial=0) >= 2**request.input_bits or (
            inputs.min(initial=0) < 0 and not request.signed
        ):
            raise ValueError(f"inputs of {request.input_bits} bits, signed only if the request is")
        gain = request.gain
        while True:
            sums, clipped = self._products(request, gain, inputs)
            if not clipped.any() or gain <= request.least_gain:
                return sums, clipped, np.full(len(inputs), gain)
            gain -= 1

    def _products(self, request: m.Multiply, gain: int, inputs: bulk.Ints) -> tuple[bulk.Ints, bulk.Flags]:
        """All bits, signs and reads as one list of binary vectors, so that windows are moved once for all."""
        signs = (1, -1) if request.signed else (1,)
        weights = [sign * 2**bit for sign in signs for bit in range(request.input_bits)]
        parts = [np.maximum(sign * inputs, 0) for sign in signs]
        planes = [part >> bit & 1 for part in parts for bit in range(request.input_bits)]
        bits = np.concatenate(planes * request.reads).astype(np.bool_)
        words = self.reader.multiply(request, gain, bits)
        shape = (request.reads, len(planes), len(inputs), request.col_count)
        sums = np.einsum("p,rpvc->vc", np.array(weights), words.codes.reshape(shape))
        return sums, np.asarray(words.ended.reshape(shape).any(axis=(0, 1)))

    def convert_test_input(self, adc: int, reads: int) -> int:
        """Sum of codes that one ADC makes of its test input, which rail `ADC_TEST` drives."""
        self._power.check()
        words = [int(self.line.ask(a0.ConvertTestInput(adc))) for _ in range(reads)]
        return sum(word & 0x3FF for word in words)

    def _check_array(self, array: int) -> None:
        if not 0 <= array < facts.ARRAYS:
            raise ValueError(f"no array {array} on the A0 board")

    # Pulses

    def pulse(self, request: m.Pulse) -> m.Pulsed:
        """Give a rectangle the same pulses."""
        self._pulser.check_count(request.count)
        volts, gates = (np.zeros((facts.INFO.rows, facts.INFO.cols), np.int64) for _ in range(2))
        area = Region(request.row, request.row_count, request.col, request.col_count).slices
        volts[area], gates[area] = request.volt_code, request.gate_code
        given = 0
        for _ in range(request.count):
            given += self._pulser.pulse_map(request.array, request.direction, request.width_ns, volts, gates)
        return m.Pulsed(given, self._total)

    def pulse_map(
        self, array: int, direction: int, width_ns: int, volt_codes: bulk.Ints, gate_codes: bulk.Ints
    ) -> m.Pulsed:
        """Give each device its own pulse; code 0 skips it."""
        given = self._pulser.pulse_map(array, direction, width_ns, volt_codes, gate_codes)
        return m.Pulsed(given, self._total)

    def count_from(self, total: int) -> None:
        """Take up the count of pulses where a journal left it."""
        self._counted_before = total - self._pulser.given

    @property
    def _total(self) -> int:
        return self._counted_before + self._pulser.given

    # Rails

    def rails(self) -> m.Rails:
        """The codes rails were set to, twice: the board cannot read them back."""
        codes = tuple(self._power.codes[rail] for rail in Rail)
        return m.Rails(codes, codes)

    def set_rail(self, rail: Rail, code: int) -> m.Rails:
        """Set one rail; not those of pulses, which nobody would zero if this host went away."""
        if rail in PULSE_RAILS:
            self._cannot(f"hold {rail.name}: it has no lease, and pulses set it themselves")
        low, high = window(rail, self.limits)
        if not low <= code <= high:
            raise ValueError(f"{rail.name} may be {low} to {high}, not {code}")
        self._new_readings()
        self._power.put(rail, code)
        return self.rails()

    def sampling(self) -> m.Sampling:
        """When the outputs of the TIAs are sampled."""
        times = [(count + 2) * facts.TICK_NS for count in self.reader.sample_counts]
        return m.Sampling((*times, *[0] * (8 - len(times))))

    def set_sampling(self, gain: int, sample_ns: int) -> m.Sampling:
        """Sample sooner or later at one gain, for this session."""
        count, rest = divmod(sample_ns, facts.TICK_NS)
        if rest or not 2 <= count <= 257:
            raise ValueError(f"samples are taken after 40 to 5140 ns, in steps of 20, not {sample_ns}")
        self._new_readings()
        self.reader.sample_counts[gain] = count - 2
        return self.sampling()

    def _new_readings(self) -> None:
        """Verify what is to be: later readings say nothing beside those before."""
        self.verify()
        self._write_back.forget()

    # State

    def state(self) -> m.State:
        """What this host knows of the board."""
        return m.State(
            armed=0,
            lease_ms=0,
            fault=0,
            job_id=0,
            job_state=0,
            total_pulses=self._total,
            uptime_ms=self._clock_ns // 1_000_000,
            bad_frames=0,
            log_lost=0,
            limits_lost=0,
            safes=self._safes,
            dropped_bytes=0,
        )

    @property
    def _clock_ns(self) -> int:
        return round((time.monotonic() - self._opened_s) * 1e9)

    def op_log(self) -> bulk.OpLog:
        """An empty one, that knows of no pulse so far."""
        return bulk.OpLog(self._total, ())

    def clear_fault(self, fault: int) -> m.State:
        """It latches none."""
        return self.state()

    def safe(self) -> None:
        """Zero the outputs.

        Raises:
            LinkError: The board does not confirm.
        """
        self._safes += 1
        self._power.rest()

    def reopen(self) -> None:
        """Begin again after a `LinkError`: outputs to 0 V first, then power and references anew."""
        self.line.reopen(REOPEN_S)
        self._start()

    def wait(self, duration_ms: int) -> m.Waited:
        """Let the chip rest, its outputs at 0 V."""
        self.verify()
        self._power.rest()
        time.sleep(duration_ms * 1e-3)
        return m.Waited(self._clock_ns)

    def book(self) -> m.Book:
        """What this host did; time by cause and energy are not known to it."""
        given = self._pulser.given
        nothing = (0,) * 8
        return m.Book(self._clock_ns, nothing, nothing, self.reader.reads, self.reader.products, given, 0)

    def link_statistics(self) -> LinkStatistics:
        """What crossed the line so far."""
        return self.line.statistics

    def planted(self, array: int) -> tuple[bulk.Ints, bulk.Ints] | None:
        """Not told."""
        return None

    # What it cannot do

    def _cannot(self, what: str) -> NoReturn:
        raise DeviceError(Status.UNKNOWN_OPCODE, m.Refusal(Executed.NO, 0, f"an A0 board cannot {what}"))

    def sweep(self, request: m.Sweep, volt_codes: bulk.Ints) -> tuple[bulk.Ints, bulk.Ints]:
        """It reads at no other voltage than the read voltage."""
        self._cannot("read a device at a staircase's voltages")

    def program(
        self, request: m.StartProgram, staged: bytes, most_safes: int | None = None
    ) -> Iterator[m.Job]:
        """It runs no jobs."""
        self._cannot("run jobs: write and verify from the host")

    def chain(self, request: m.StartChain, staged: bytes) -> plans.ChainReport:
        """It runs no jobs."""
        self._cannot("run jobs: recall from the host")

    def scan(self, request: m.StartScan, staged: bytes) -> Iterator[m.Job]:
        """It runs no jobs."""
        self._cannot("run jobs: scan from the host")

    def scan_report(self, job_id: int) -> plans.ScanCodes:
        """It runs no jobs."""
        self._cannot("run jobs")

    def program_report(self, job_id: int) -> bulk.ProgramCodes:
        """It runs no jobs."""
        self._cannot("run jobs")

    def follow(self, job_id: int) -> Iterator[m.Job]:
        """There is no job."""
        return iter(())

    def stop_job(self) -> bool:
        """None runs."""
        return False

    def select_probe(self, array: int, point: ProbePoint, line: int = 0) -> m.Probed:
        """It has no such switches."""
        self._cannot("route nodes to a probe pad")
