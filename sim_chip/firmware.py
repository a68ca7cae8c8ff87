"""What the board does with its chip: one handler per request, on integer codes."""

from collections.abc import Callable, Generator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from firmware_protocol import bulk
from firmware_protocol import messages as m
from firmware_protocol.jobs import JobState
from firmware_protocol.plans import chain_report_bytes, scan_plan_bytes
from firmware_protocol.rails import PULSE_RAILS, ProbePoint
from firmware_protocol.status import Status
from firmware_protocol.wire import Message, Request
from firmware_protocol.write_verify import staged_bytes
from sim_chip.buffers import ResultBuffer, Staging
from sim_chip.chain_job import ChainJob
from sim_chip.chip import VirtualChip
from sim_chip.converters import fifo_owner
from sim_chip.guard import COARSE_TICK_NS, Permits, PulseRules, Refused, check_range
from sim_chip.jobs import BoardJob, Jobs
from sim_chip.limits import LimitStore, storable
from sim_chip.oplog import EffectLog
from sim_chip.program import Program, check_plan
from sim_chip.pulses import PulseBatch, Pulser, mapped_pulses, same_pulse, staircase
from sim_chip.readout import (
    CODE_MASK,
    check_gain,
    check_multiply,
    check_read,
    multiply,
    read_cells,
    vectors,
)
from sim_chip.scan_job import ScanJob
from sim_chip.supply import Supply

STAGING_BYTES: Final = 128 * 1024
RESULT_BYTES: Final = 320 * 1024

_MOST_CONVERSIONS: Final = 4096
_DAC_BITS: Final = 16
_DAC_SPAN_UV: Final = (-10_000_000, 10_000_000)
_READ_UV: Final = 200_000

MOST_CLOCK_NS: Final = 1 << 62
"""To which a host may let the clock run: 146 years."""

Reply = Message
Steps = Generator[int, None, Message]
"""A request that takes long: yields the elements done so far, returns its reply."""

Handlers = dict[type[Request[Any]], Callable[[Any], Reply | Steps]]


class Firmware:
    """The requests about the chip, its data and its jobs; knows nothing of bytes and sessions."""

    def __init__(
        self, chip: VirtualChip, permits: Permits, limits: LimitStore, supply: Supply, log: EffectLog
    ) -> None:
        self.chip = chip
        self.limits = limits
        self.supply = supply
        self.jobs = Jobs()
        self.pulser = Pulser(chip)
        self.staging = Staging(STAGING_BYTES)
        self.result = ResultBuffer(RESULT_BYTES)
        self._permits = permits
        self._log = log
        self.forget_session()

    @property
    def handlers(self) -> Handlers:
        """What to call with which request."""
        return {
            m.GetInfo: self._get_info,
            m.GetLimits: self._get_limits,
            m.TightenLimits: self._tighten_limits,
            m.StoreLimits: self._store_limits,
            m.GetOpLog: self._get_op_log,
            m.Stage: self._stage,
            m.Fetch: self._fetch,
            m.ReadCells: self._read_cells,
            m.Multiply: self._multiply,
            m.GetBook: self._get_book,
            m.Wait: self._wait,
            m.Pulse: self._pulse,
            m.PulseMap: self._pulse_map,
            m.Sweep: self._sweep,
            m.StartProgram: self._start_program,
            m.StartChain: self._start_chain,
            m.StartScan: self._start_scan,
            m.GetJob: self._get_job,
            m.StopJob: self._stop_job,
            m.OpenReport: self._open_report,
            m.GetRails: lambda _: self.supply.state(),
            m.SetRail: self._set_rail,
            m.ConvertTestInput: self._convert_test_input,
            m.GetSampling: lambda _: self._sampling(),
            m.SetSampling: self._set_sampling,
            m.SelectProbe: self._select_probe,
            m.GetPlanted: self._get_planted,
        }

    def forget_session(self) -> None:
        """Empty the buffers, put the stored limits in force and the sampling times back."""
        self.limits.forget_session()
        self._pace_pulses()
        self._forgotten_sampling = True
        self.job_over()
        self.staging.clear()
        self.result.clear()

    def job_over(self) -> None:
        """Put back the sampling times of a session that ended while a job went on with them."""
        if self._forgotten_sampling and not self.jobs.running:
            self._sample_as_designed()
            self._forgotten_sampling = False

    def _use_chip(self, request: Request[Any]) -> None:
        """Refuse `request` if it may not use the chip now; else see that the chip can be read."""
        self._permits.check(request)
        self._permits.check_supply()
        self._check_no_job()
        self.supply.wake()

    def _check_no_job(self) -> None:
        if self.jobs.running:
            raise Refused(Status.BUSY, f"job {self.jobs.last_id} is running")

    # Identity and limits

    def _get_info(self, _: m.GetInfo) -> Reply:
        parameters = self.chip.parameters
        converters = parameters.converters
        gains = converters.gain_ohms
        return m.Info(
            arrays=parameters.arrays,
            rows=parameters.rows,
            cols=parameters.cols,
            input_bits=converters.row_bits,
            dac_bits=_DAC_BITS,
            dac_min_uv=_DAC_SPAN_UV[0],
            dac_max_uv=_DAC_SPAN_UV[1],
            adc_bits=(converters.adc_codes - 1).bit_length(),
            adc_min_uv=converters.floor_uv,
            adc_max_uv=converters.floor_uv + converters.span_uv,
            zero_codes=converters.zero_codes,
            read_uv=_READ_UV,
            tick_ns=parameters.timing.timer_step_ns,
            fine_width_ns=parameters.timing.timer_limit_ns,
            coarse_tick_ns=COARSE_TICK_NS,
            gain_ohms=gains + (0,) * (8 - len(gains)),
        )

    def _get_limits(self, _: m.GetLimits) -> Reply:
        return self.limits.in_force

    def _tighten_limits(self, request: m.TightenLimits) -> Reply:
        self.limits.tighten(request)
        self._pace_pulses()
        return self.limits.in_force

    def _store_limits(self, request: m.StoreLimits) -> Steps:
        self._permits.check(request)
        self._permits.check_commissioning()
        self._check_no_job()
        return self._stored(storable(request))

    def _stored(self, limits: m.Limits) -> Steps:
        yield from ()
        self.limits.store(limits)
        self._pace_pulses()
        return self.limits.in_force

    def _pace_pulses(self) -> None:
        self.pulser.pulses_per_second = self.limits.in_force.pulses_per_second

    @property
    def _rules(self) -> PulseRules:
        return PulseRules(self.limits.in_force, self.chip.parameters.timing)

    def _get_op_log(self, request: m.GetOpLog) -> Reply:
        return self.result.fill(self._log.newest(request.most).pack())

    # Rails

    def _set_rail(self, request: m.SetRail) -> Steps:
        self._use_chip(request)
        self.supply.check(request.channel, request.code, self.limits.in_force)
        if request.channel in PULSE_RAILS:
            self._permits.check_lease()
        return self._rail_set(request)

    def _rail_set(self, request: m.SetRail) -> Steps:
        yield from ()
        self.supply.set(request.channel, request.code)
        return self.supply.state()

    # Converters

    def _convert_test_input(self, request: m.ConvertTestInput) -> Steps:
        self._use_chip(request)
        if fifo_owner(request.adc)[0] >= self.chip.parameters.arrays:
            raise Refused(Status.BAD_ARGUMENT, f"no array of this chip has ADC {request.adc}")
        check_range("reads", request.reads, 1, _MOST_CONVERSIONS)
        return self._converted(request)

    def _converted(self, request: m.ConvertTestInput) -> Steps:
        yield from ()
        words = self.chip.convert_test_input(request.adc, request.reads)
        return m.Converted(int((words & CODE_MASK).sum()))

    def _sampling(self) -> m.Sampling:
        times = self.chip.sample_ns
        return m.Sampling(times + (0,) * (8 - len(times)))

    def _set_sampling(self, request: m.SetSampling) -> Reply:
        self._check_no_job()
        check_gain(request.gain, self.chip)
        try:
            self.chip.set_sample_ns(request.gain, request.sample_ns)
        except ValueError as error:
            raise Refused(Status.BAD_ARGUMENT, str(error)) from None
        return self._sampling()

    def _select_probe(self, request: m.SelectProbe) -> Reply:
        check_range("array", request.array, 0, self.chip.parameters.arrays - 1)
        check_range("point", request.point, 0, max(ProbePoint))
        check_range("line", request.line, 0, self.chip.parameters.cols - 1)
        return m.Probed(request.array, request.point, request.line)

    def _sample_as_designed(self) -> None:
        for gain, nominal_ns in enumerate(self.chip.parameters.timing.settle_ns):
            if self.chip.sample_ns[gain] != nominal_ns:
                self.chip.set_sample_ns(gain, nominal_ns)

    # Bulk data

    def _stage(self, request: m.Stage) -> Reply:
        return m.Staged(self.staging.put(request.offset, request.data))

    def _fetch(self, request: m.Fetch) -> Reply:
        return self.result.chunk(request.offset, request.length)

    # Reading

    def _read_cells(self, request: m.ReadCells) -> Steps:
        self._use_chip(request)
        check_read(request, self.chip)
        return self._into_result(read_cells(self.chip, request))

    def _multiply(self, request: m.Multiply) -> Steps:
        self._use_chip(request)
        check_multiply(request, self.chip)
        rows = self.chip.parameters.rows
        self.result.check_fits(bulk.products_bytes(request))
        staged = self.staging.take(bulk.inputs_bytes(request, rows), request.staged_crc)
        return self._into_result(multiply(self.chip, request, vectors(request, staged, rows)))

    def _into_result(self, reading: Generator[int, None, bytes]) -> Steps:
        return self.result.fill((yield from reading))

    def _get_book(self, _: m.GetBook) -> Reply:
        chip = self.chip
        return m.Book(
            clock_ns=chip.clock_ns,
            time_ns=(*map(int, chip.book.time_ns), 0, 0),
            energy_fj=(*chip.book.energy_fj, chip.board_fj, 0),
            reads=chip.book.reads,
            products=chip.book.products,
            set_pulses=chip.book.set_pulses,
            reset_pulses=chip.book.reset_pulses,
        )

    def _get_planted(self, request: m.GetPlanted) -> Reply:
        check_range("array", request.array, 0, self.chip.parameters.arrays - 1)
        kinds, conductances = self.chip.planted(request.array)
        return self.result.fill(bulk.pack_planted(kinds.astype(np.int64), conductances.astype(np.int64)))

    def _wait(self, request: m.Wait) -> Steps:
        self._use_chip(request)
        left_ms = (MOST_CLOCK_NS - self.chip.clock_ns) // 1_000_000
        check_range("duration_ms", request.duration_ms, 0, left_ms)
        return self._waited(request)

    def _waited(self, request: m.Wait) -> Steps:
        self.chip.advance(request.duration_ms * 1_000_000)
        yield 0  # at the wall's pace the rest is over when the next slice begins
        return m.Waited(self.chip.clock_ns)

    # Pulses and jobs

    def _pulse(self, request: m.Pulse) -> Steps:
        self._use_chip(request)
        self._permits.check_lease()
        return self._pulsed(same_pulse(request, self.chip, self._rules), request.count)

    def _pulse_map(self, request: m.PulseMap) -> Steps:
        self._use_chip(request)
        self._permits.check_lease()
        staged = self.staging.take(4 * self.chip.parameters.devices, request.staged_crc)
        return self._pulsed(mapped_pulses(request, self.chip, self._rules, staged), 1)

    def _pulsed(self, batch: PulseBatch, count: int) -> Steps:
        pulses = yield from self.pulser.give_in_slices(batch, count)
        return m.Pulsed(pulses, self.pulser.total)

    def _sweep(self, request: m.Sweep) -> Steps:
        self._use_chip(request)
        self._permits.check_lease()
        staged = self.staging.take(bulk.staircase_bytes(request.steps), request.staged_crc)
        return self._swept(request, staircase(request, self.chip, self._rules, staged))

    def _swept(self, request: m.Sweep, volt_codes: NDArray[np.uint16]) -> Steps:
        words = yield from self.pulser.sweep_in_slices(request, volt_codes)
        return self.result.fill(bulk.pack_words(words))

    def _start_program(self, request: m.StartProgram) -> Reply | Steps:
        if self.jobs.knows(request.job_id):
            return m.Started(request.job_id)
        self._may_start(request)
        check_plan(request, self.chip, self._rules)
        shape = self.chip.parameters
        staged = self.staging.take(staged_bytes(request, shape.devices), request.staged_crc)
        program = Program(request, shape, staged)
        return self._started(program, program.rounds(self.chip, self._job_pulser().give_in_slices))

    def _start_scan(self, request: m.StartScan) -> Reply | Steps:
        if self.jobs.knows(request.job_id):
            return m.Started(request.job_id)
        self._may_start(request)
        staged = self.staging.take(
            scan_plan_bytes(request.pairs, self.chip.parameters.devices), request.staged_crc
        )
        scan = ScanJob(request, self.chip, self._rules, staged)
        return self._started(scan, scan.rounds(self._job_pulser().give_in_slices))

    def _start_chain(self, request: m.StartChain) -> Reply | Steps:
        if self.jobs.knows(request.job_id):
            return m.Started(request.job_id)
        self._use_chip(request)
        longest = chain_report_bytes(request, request.max_iterations, trace=bool(request.trace))
        self.result.check_fits(longest)
        chain = ChainJob(request, self.chip, self.staging.take(request.staged_bytes, request.staged_crc))
        return self._started(chain, chain.rounds())

    def _may_start(self, request: m.StartProgram | m.StartScan) -> None:
        if self._log.knows_job(request.job_id):
            raise Refused(Status.BAD_ARGUMENT, f"job {request.job_id} was begun before; take another number")
        self._use_chip(request)
        self._permits.check_lease()

    def _job_pulser(self) -> Pulser:
        """A job keeps the pace it was started with, whatever later sessions may do faster."""
        pulser = Pulser(self.chip)
        pulser.pulses_per_second = self.pulser.pulses_per_second
        pulser.follows_wall = self.pulser.follows_wall
        return pulser

    def _started(self, job: BoardJob, rounds: Generator[None]) -> Steps:
        yield from ()
        self.jobs.start(job, rounds)
        return m.Started(job.job_id)

    def _get_job(self, request: m.GetJob) -> Reply:
        return self.jobs.find(request.job_id).progress()

    def _stop_job(self, request: m.StopJob) -> Reply:
        job = self.jobs.find(request.job_id)
        job.stop_wanted = True
        return job.progress()

    def _open_report(self, request: m.OpenReport) -> Reply:
        job = self.jobs.find(request.job_id)
        if job.state is JobState.RUNNING:
            raise Refused(Status.BUSY, f"job {request.job_id} is running")
        return self.result.fill(job.report())
