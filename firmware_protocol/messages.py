"""Every request and reply between host and board, once.

Integer codes and counts only: no float ever crosses the wire. Arrays of numbers travel as little-endian
bytes, through the board's two buffers: the host fills the *staging* buffer with `Stage`, the board
fills the *result* buffer and answers with a `Result`, whose first bytes it carries; `Fetch` pulls
the others by offset. Staging and fetching may be repeated at no harm; what changes the chip is one
short request that runs once.

Replies have opcodes from 0x80 up; several requests may share one.
"""

from dataclasses import dataclass
from typing import Any

from firmware_protocol.wire import (
    I32,
    U8,
    U16,
    U32,
    U64,
    Message,
    OpClass,
    Request,
    Tail,
    Text16,
    Text32,
    Text64,
    U16x16,
    U32x8,
    U64x8,
    schema_hash,
)

PROTOCOL_MAJOR = 1
PROTOCOL_MINOR = 0

MAX_PAYLOAD = 560
"""Most payload bytes in a frame; with header and CRC it stays below 655 bytes, where CRC-32C still
has Hamming distance 6."""

CHUNK_BYTES = 512
"""Usual size of one staged or fetched piece."""

AUTO_GAIN = 7
"""Gain index that lets the chip choose per conversion."""

CHAIN_FRACTION_BITS = 24
"""Bits after the point of a chain's scales, biases and thresholds, which count weighted sums of codes."""

RESET = 0
"""Direction of a pulse that lowers conductance."""
SET = 1
"""Direction of a pulse that raises conductance."""


@dataclass(frozen=True)
class Refusal(Message):
    """Sent instead of a reply when the frame's status is not OK."""

    OPCODE = 0xFF

    executed: U8
    """`Executed`: no, yes or partial."""

    done: U32
    """Elements completed before the refusal, where executed is partial."""

    reason: Text64
    """For people; never parsed."""


@dataclass(frozen=True)
class Result(Message):
    """Numbers are in the result buffer; the first of them are here."""

    OPCODE = 0xA0

    total: U32
    """Bytes in the result buffer."""
    crc: U32
    """CRC-32C over all of them."""
    head: Tail
    """The first bytes, as many as the frame holds."""


# Session and identity


@dataclass(frozen=True)
class Welcome(Message):
    """Who the board is and what it can hold. Opens a session."""

    OPCODE = 0x81

    protocol_major: U8
    protocol_minor: U8
    schema_hash: U32
    boot_id: U32
    """Random at every start of the board's processor: another value means that its memory was lost."""
    reset_cause: U8
    """`ResetCause` of the last start."""
    window: U8
    """Requests that may be under way at once."""
    frame_bytes: U16
    """Largest payload this session uses."""
    staging_bytes: U32
    result_bytes: U32
    config_crc: U32
    """CRC-32C over stored limits and configuration."""
    commissioning: U8
    """1 while stored limits may be changed (a jumper on hardware)."""
    firmware: Text32
    """Version and source revision."""
    board: Text16
    serial: Text16
    """Of the chip."""
    safes: U32
    """As in `State`."""


@dataclass(frozen=True)
class Hello(Request[Welcome]):
    """Open a session. The frame header carries a random session number of the host's, and the sequence
    number after which requests are counted."""

    OPCODE = 0x01
    CLASS = OpClass.PURE
    REPLY = Welcome

    protocol_major: U8
    protocol_minor: U8
    schema_hash: U32
    frame_bytes: U16
    """Largest payload that the host wants to see."""
    force: U8 = 0
    """1 to use more than reads although message layouts differ."""


@dataclass(frozen=True)
class Info(Message):
    """Geometry and nominal converters of the chip."""

    OPCODE = 0x82

    arrays: U8
    rows: U16
    cols: U16
    input_bits: U8
    """Bits of one row driver; inputs of more bits are sent bit by bit by the board."""
    dac_bits: U8
    dac_min_uv: I32
    dac_max_uv: I32
    adc_bits: U8
    adc_min_uv: I32
    adc_max_uv: I32
    zero_codes: U16
    """Nominal ADC code of zero current."""
    read_uv: U32
    """Read voltage across a device."""
    tick_ns: U32
    """Grid of pulse widths up to `fine_width_ns`."""
    fine_width_ns: U32
    """Longest pulse that the chip times itself."""
    coarse_tick_ns: U32
    """Grid of longer pulses, which the board times."""
    gain_ohms: U32x8
    """Transimpedance by gain index; 0 where there is none."""


@dataclass(frozen=True)
class GetInfo(Request[Info]):
    """Ask for geometry and converters."""

    OPCODE = 0x02
    CLASS = OpClass.PURE
    REPLY = Info


@dataclass(frozen=True)
class Limits(Message):
    """What no pulse and no rail may exceed; kept in the board and checked before every pulse.

    Those of a running job are those it was started under.
    """

    OPCODE = 0x83

    set_code: U16
    """Highest DAC code of a SET voltage."""
    reset_code: U16
    """Highest DAC code of a RESET voltage."""
    gate_code: U16
    """Highest DAC code of a gate voltage."""
    width_ns: U32
    pulses_per_device: U32
    """In one request or job."""
    pulses_per_second: U32
    """Averaged over one second; 0 for no bound."""
    rail_low_codes: U16x16
    """Lowest DAC code that each rail may be set to, by channel."""
    rail_high_codes: U16x16
    """Highest DAC code; pulse and gate rail must obey the limits above as well."""


@dataclass(frozen=True)
class GetLimits(Request[Limits]):
    """Ask for the limits in force."""

    OPCODE = 0x03
    CLASS = OpClass.PURE
    REPLY = Limits


@dataclass(frozen=True)
class TightenLimits(Request[Limits]):
    """Tighten limits for this session; one wider than the limit in force is refused."""

    OPCODE = 0x04
    CLASS = OpClass.PURE
    REPLY = Limits

    set_code: U16
    reset_code: U16
    gate_code: U16
    width_ns: U32
    pulses_per_device: U32
    pulses_per_second: U32
    rail_low_codes: U16x16
    rail_high_codes: U16x16


@dataclass(frozen=True)
class StoreLimits(Request[Limits]):
    """Replace the limits that the board keeps without power; in the commissioning state only.

    They are in force at once, also in place of those tightened for this session.
    """

    OPCODE = 0x08
    CLASS = OpClass.EFFECT
    REPLY = Limits

    set_code: U16
    reset_code: U16
    gate_code: U16
    width_ns: U32
    pulses_per_device: U32
    pulses_per_second: U32
    rail_low_codes: U16x16
    rail_high_codes: U16x16


@dataclass(frozen=True)
class State(Message):
    """What the board is doing."""

    OPCODE = 0x85

    armed: U8
    lease_ms: U16
    """Left of the lease that permits high voltage."""
    fault: U8
    """`Fault`, latched until cleared."""
    job_id: U32
    """Of the last job; 0 if none since the board started."""
    job_state: U8
    total_pulses: U64
    """Pulses since the chip was made."""
    uptime_ms: U64
    bad_frames: U32
    """Frames dropped for length or CRC since the board started."""
    log_lost: U8
    """1 if the board found its log of effects missing, damaged or of another chip when it started: what
    happened before is not in it, and all that may have been touched must be read again."""
    limits_lost: U8
    """1 if the board found its stored limits damaged: nothing may be pulsed until new ones are stored."""
    safes: U32
    """Requests for safety since the board started, one that came twice counted once. Whoever does not know
    of the last may read and change nothing: what it ended does not go on by itself."""
    dropped_bytes: U32
    """To the host, dropped since the board started because the host did not read them."""


@dataclass(frozen=True)
class GetState(Request[State]):
    """Ask what the board is doing."""

    OPCODE = 0x05
    CLASS = OpClass.PURE
    REPLY = State


@dataclass(frozen=True)
class Arm(Request[State]):
    """Permit pulses while traffic goes on: the lease ends `ttl_ms` after the last request of this session."""

    OPCODE = 0x06
    CLASS = OpClass.SETTING
    REPLY = State

    ttl_ms: U16
    """50 to 2000."""


@dataclass(frozen=True)
class ClearFault(Request[State]):
    """Clear the latched fault, named so that another one is not cleared unseen."""

    OPCODE = 0x07
    CLASS = OpClass.SETTING
    REPLY = State

    fault: U8


@dataclass(frozen=True)
class Safe(Request[State]):
    """Zero the outputs in order, end any job, drop the lease. Always accepted."""

    OPCODE = 0x7F
    CLASS = OpClass.SAFE
    REPLY = State


@dataclass(frozen=True)
class GetOpLog(Request[Result]):
    """Ask which effects the board has begun, oldest first, and how far each came.

    The board keeps at least the last 64 without power, each written down as begun before anything is
    carried out and once more at its end. An effect of the last session that is not in the log was not
    carried out, unless the log has forgotten it.
    Result: u64 pulse total from which on the log knows every pulse; then 36 bytes an effect: u32 number
    of the effect, u32 boot id, u16 session, u16 sequence number, u8 opcode, u8 `Executed`, u8 array (255
    if none), u8 spare, u32 job id (0 if none), u64 pulse total before, u64 pulse total after.
    """

    OPCODE = 0x09
    CLASS = OpClass.PURE
    REPLY = Result

    most: U16
    """Effects wanted, the newest."""


# Bulk data


@dataclass(frozen=True)
class Staged(Message):
    """How many bytes of the staging buffer are filled without a hole."""

    OPCODE = 0x90

    filled: U32


@dataclass(frozen=True)
class Stage(Request[Staged]):
    """Put bytes into the staging buffer; offset 0 empties it first. Repeating a piece does no harm."""

    OPCODE = 0x10
    CLASS = OpClass.PURE
    REPLY = Staged

    offset: U32
    data: Tail


@dataclass(frozen=True)
class Chunk(Message):
    """A piece of the result buffer."""

    OPCODE = 0x91

    offset: U32
    data: Tail


@dataclass(frozen=True)
class Fetch(Request[Chunk]):
    """Ask for a piece of the result buffer."""

    OPCODE = 0x11
    CLASS = OpClass.PURE
    REPLY = Chunk

    offset: U32
    length: U16


# Reading


@dataclass(frozen=True)
class ReadCells(Request[Result]):
    """Read every device of a rectangle by itself, unselected rows floating.

    Result, row by row: u16 sums of ADC codes over the reads; with automatic gain followed by a u8 gain
    index per device (the first read chooses it, the others keep it).
    """

    OPCODE = 0x20
    CLASS = OpClass.READ
    REPLY = Result

    array: U8
    gain: U8
    """Gain index, or `AUTO_GAIN`."""
    reads: U8
    """Reads summed, 1 to 64."""
    row: U8
    row_count: U8
    col: U8
    col_count: U8


@dataclass(frozen=True)
class Multiply(Request[Result]):
    """Drive rows by the staged vectors and sample columns.

    Staged, vector by vector: one i8 per row (i16 if `input_bits` is above 7), at most 2**input_bits - 1
    in magnitude, negative only if `signed`. The board sends the bits one by one, positive and negative
    parts apart; a board whose row drivers have just `input_bits` sends them at once and counts the codes
    2**input_bits - 1 times, so that the sums are on one scale. Where a conversion is at either end of the
    ADC, all is done again at the next lower gain, as long as that is not below `least_gain`.
    Result, vector by vector: a number per chosen column, the sum over bits k and reads of
    2**k (positive phase - negative phase) codes, i16 if 1023 reads (2**input_bits - 1) fits one, else i32;
    then, over the whole batch, one bit per vector and column, least significant first, that is 1 where a
    conversion was at either end of the ADC; then a u8, the gain index that all this is of.
    """

    OPCODE = 0x21
    CLASS = OpClass.READ
    REPLY = Result

    array: U8
    gain: U8
    """Gain index to begin with; not `AUTO_GAIN`, which chooses per conversion: sums need one scale."""
    least_gain: U8
    """0 for automatic gain, `gain` for this one alone."""
    reads: U8
    input_bits: U8
    signed: U8
    col: U8
    col_count: U8
    vectors: U16
    staged_crc: U32
    """CRC-32C over the staged bytes this product is for."""


@dataclass(frozen=True)
class Book(Message):
    """The chip's time and energy since it was powered, by cause."""

    OPCODE = 0xA2

    clock_ns: U64
    """The chip's own clock; on a virtual chip it runs by simulated time."""
    time_ns: U64x8
    """What of it went into settling, converting, reading out, pulses, their set-up, waiting; two spare."""
    energy_fj: U64x8
    """Row drivers, array, TIA, ADC, SET pulses, RESET pulses, board, spare."""
    reads: U64
    """Single-device reads."""
    products: U64
    """Analog vector products (one per bit and sign)."""
    set_pulses: U64
    reset_pulses: U64


@dataclass(frozen=True)
class GetBook(Request[Book]):
    """Ask for the chip's time and energy."""

    OPCODE = 0x22
    CLASS = OpClass.PURE
    REPLY = Book


@dataclass(frozen=True)
class Waited(Message):
    """The wait is over."""

    OPCODE = 0xA3

    clock_ns: U64


@dataclass(frozen=True)
class Wait(Request[Waited]):
    """Let the chip rest. Hardware waits; the virtual chip moves its clock at once."""

    OPCODE = 0x23
    CLASS = OpClass.EFFECT
    REPLY = Waited

    duration_ms: U32


# Pulses and jobs


@dataclass(frozen=True)
class Pulsed(Message):
    """Pulses are done."""

    OPCODE = 0xB0

    pulses: U32
    """Given by this request."""
    total_pulses: U64
    """Since the chip was made."""


@dataclass(frozen=True)
class Pulse(Request[Pulsed]):
    """Give every device of a rectangle the same pulses, one device at a time. Needs the lease."""

    OPCODE = 0x30
    CLASS = OpClass.EFFECT
    REPLY = Pulsed

    array: U8
    direction: U8
    """`SET` or `RESET`."""
    volt_code: U16
    gate_code: U16
    width_ns: U32
    count: U16
    """Pulses per device."""
    row: U8
    row_count: U8
    col: U8
    col_count: U8


@dataclass(frozen=True)
class PulseMap(Request[Pulsed]):
    """Give each device its own pulse. Needs the lease.

    Staged: a u16 voltage code per device, row by row, then a u16 gate code per device; a device with
    code 0 in either is skipped.
    """

    OPCODE = 0x31
    CLASS = OpClass.EFFECT
    REPLY = Pulsed

    array: U8
    direction: U8
    width_ns: U32
    staged_crc: U32


@dataclass(frozen=True)
class Sweep(Request[Result]):
    """Give one device a DC staircase and read its current at every step. Needs the lease.

    Staged: a u16 voltage code per step. Each voltage is held for the dwell and changes the device as a
    pulse of that width does; the current is converted at the end of the dwell, with automatic gain.
    Result: one u16 word per step, gain index << 10 | ADC code.
    """

    OPCODE = 0x32
    CLASS = OpClass.EFFECT
    REPLY = Result

    array: U8
    direction: U8
    """`SET` or `RESET`."""
    row: U8
    col: U8
    gate_code: U16
    dwell_ns: U32
    """At each voltage; bounded as a pulse's width is, and the steps as pulses per device."""
    steps: U16
    staged_crc: U32


@dataclass(frozen=True)
class Started(Message):
    """The job runs."""

    OPCODE = 0xB8

    job_id: U32


@dataclass(frozen=True)
class StartProgram(Request[Started]):
    """Write-and-verify a whole array inside the board, on integers alone. Needs the lease.

    Staged: one bit per device, row by row, least significant bit first, that selects the devices to
    program; then a u16 target per device, row by row: the sum of ADC codes over `reads` reads that the
    device should show. Each round reads every selected device that is not done. One within
    `tolerance_in` of its target is done; one below gets a SET pulse, one above a RESET pulse. The levels of
    a direction are its voltages at the first gate, then those at the next, and so on. A device's first pulse
    is at level 0, each further one in the same direction a level higher, and level 0 again after a change of
    direction; past the last level its voltages are kept and retries counted.

    Where `predicts` is 1, a u16 per SET level, not falling, and one per RESET level, not rising, follow the
    targets: the sum that a typical device shows after a pulse of that level; t(x), the first level that
    leads as far as x. A pulse is then at level t(target) + shift, less `set_short` for SET, but in the same
    direction at least a level higher than the one before, and not past the last level. Each device has a
    shift per direction, kept in 1/16 of a level, 0 at first. When it is read after a pulse of level l and
    shows s, l - t(s) is observed: where it moved by more than half of `tolerance_in`, the shift
    goes a n-th of the way to that, n the observations so far, at most 4; else it is raised to that.

    At the end every device within `tolerance_out` counts as verified.

    Report, see `OpenReport`.
    """

    OPCODE = 0x38
    CLASS = OpClass.EFFECT
    REPLY = Started

    job_id: U32
    """Chosen by the host, not 0; a job of the same id is never started twice."""
    array: U8
    gain: U8
    reads: U8
    max_retries: U8
    max_rounds: U16
    tolerance_in: U16
    """Sum of codes."""
    tolerance_out: U16
    set_volt_first: U16
    set_volt_last: U16
    set_volt_step: U16
    set_gate_first: U16
    set_gate_last: U16
    set_gate_step: U16
    set_width_ns: U32
    reset_volt_first: U16
    reset_volt_last: U16
    reset_volt_step: U16
    reset_gate_first: U16
    reset_gate_last: U16
    reset_gate_step: U16
    reset_width_ns: U32
    predicts: U8
    """1: voltages start where a typical device should land, and follow what each device did."""
    set_short: U8
    """Levels; SET overshoots are costlier than a second pulse."""
    order: U8
    """`Order` in which the devices of a round are pulsed."""
    staged_crc: U32


@dataclass(frozen=True)
class StartChain(Request[Started]):
    """Recall cues inside the board, on integers alone: all layers, again and again, until all are stable.

    Pulses nothing and needs no lease. Staged, layer by layer: u8 tiles, u8 bits of the inputs, u16 outputs,
    u16 inputs, u16 thresholds; per tile u8 array, gain index, u16 first output, first input, then a bit per
    row of an array and a bit per pair of its columns, each block from a byte of its own, least significant
    first, set where the tile lies; a u32 scale per output, an i64 bias per output, an i64 per threshold,
    ascending. Then a u16 neuron per update, and the cues: with one state bit, a bit per cue and neuron, cue
    by cue, least significant first, 1 for +1; with more, an i8 each, in steps of a full input.

    A tile drives its rows, in their order, with its inputs, positive and negative parts apart, and each of
    its pairs of columns adds (even column - odd column) * common_ohms / transimpedance to its output; the sum
    is taken times the output's scale, then its bias added. Columns are sampled from the tile's first pair to
    its last. A hidden unit answers +1 or -1, by its sign, where the layer has no thresholds; else the number
    of thresholds that its sum reaches less half their number; and so do the last layer's, whose answers are
    the new state, but that a sign of 0 keeps the old one. Where a conversion is at either end of the ADC, the
    tile's gain is lowered by one and its product made again.

    Without updates all neurons are updated at a time. A cue stops when none differs by more than `still`
    steps from before, which it then keeps, or when it comes back to an earlier state. With updates the named
    neurons are updated one after the other, in the cues that have not stopped, each from products of its own
    pair alone; a cue stops when every neuron was looked at since one changed, by more than `still`.

    Report, see `OpenReport`: u8 layer and u8 tile with conversions at their end at the lowest gain, which
    ends the job (255: none); u16 number of tiles, u16 number of states S, u32 number of sums T; u8 gain index
    per tile; u16 per cue, its changes, or the number of the last update that changed it; u8 per cue, 1 if it
    is stable, the length of the cycle it is in, or 0; S times the states as cues are staged: with a trace all
    from the cues on, or every one after as many updates as there are neurons, and the last; else the last
    alone; T times an i64 per cue: states times biased sums, over all neurons, for every state of a trace of
    whole iterations.
    """

    OPCODE = 0x3C
    CLASS = OpClass.READ
    REPLY = Started

    job_id: U32
    """As of `StartProgram`."""
    layers: U8
    neurons: U16
    cues: U16
    max_iterations: U8
    updates: U16
    """Updates of single neurons at most; 0 to update all at a time."""
    state_bits: U8
    """Bits of magnitude of a neuron's state: 1 for ±1, at most 7."""
    still: U8
    """Steps by which a neuron that has not changed may differ; 0 for ±1."""
    reads: U8
    """Products summed."""
    trace: U8
    """1 to report the states on the way."""
    common_ohms: U32
    """A multiple of every transimpedance of the chip."""
    staged_bytes: U32
    staged_crc: U32


@dataclass(frozen=True)
class StartScan(Request[Started]):
    """Look for devices that do not move, inside the board. Needs the lease; moves every selected device.

    Staged: a u16 code per SET voltage, then one per RESET voltage; then a bit per device, row by row, set
    where it may be pulsed. A look is a read of every device, a sum of `reads` codes each.

    First come `looks` looks without a pulse: n of them, S in all, their squares Q in all. Then, pair by pair,
    twice: of the selected devices that have not moved, those with S < n `turning` get the SET pulse, the
    others the RESET pulse, and the second time the other one each; every time all are looked at. A device
    has moved when the range R from lowest to highest of S and n times every look since is n `moved` or more,
    and (n - 1) R^2 >= 2 `sigmas`^2 n (n Q - S^2). With `lower`, devices that have moved then get the RESET
    pulses one after the other, with a look after each, until they are below `turning`.

    Report, see `OpenReport`, each block over all devices row by row: u16 number, u32 total and u64 total of
    the squares of the looks before lowering since, and with, the one at which it moved (of all of them, if
    it did not); u8 pair at which it moved, from 1 (0: it did not); u8 RESET pulses to lower it; u16 last
    look; u16 pulses in all.
    """

    OPCODE = 0x3D
    CLASS = OpClass.EFFECT
    REPLY = Started

    job_id: U32
    """As of `StartProgram`."""
    array: U8
    gain: U8
    reads: U8
    looks: U8
    """2 or more."""
    pairs: U8
    moved: U32
    """Difference of sums of codes."""
    sigmas: U8
    turning: U32
    """Sum of codes."""
    lower: U8
    """1 to leave what moved below `turning`."""
    set_gate_code: U16
    reset_gate_code: U16
    width_ns: U32
    staged_crc: U32


@dataclass(frozen=True)
class Job(Message):
    """How far a job is."""

    OPCODE = 0xB9

    job_id: U32
    state: U8
    """`JobState`."""
    fault: U8
    """`Fault` that ended it, if one did."""
    round: U16
    """Of a scan the pulses of a device so far, of a chain the times through all layers."""
    devices: U32
    """Selected; of a chain the cues."""
    verified: U32
    """Within tolerance at their last read; moved, in a scan; of a chain the cues that settled."""
    gave_up: U32
    pulses: U32
    reads: U32
    error_sum: I32 = 0
    """Of write-and-verify: last sum less target, over the selected devices that were read."""
    error_squares: U64 = 0
    """The same squared."""
    """Conversions of devices; of a chain vector products of its tiles."""


@dataclass(frozen=True)
class GetJob(Request[Job]):
    """Ask how far a job is."""

    OPCODE = 0x39
    CLASS = OpClass.PURE
    REPLY = Job

    job_id: U32


@dataclass(frozen=True)
class StopJob(Request[Job]):
    """End a job after its current round; its report stays."""

    OPCODE = 0x3A
    CLASS = OpClass.PURE
    REPLY = Job

    job_id: U32


@dataclass(frozen=True)
class OpenReport(Request[Result]):
    """Put a finished job's report into the result buffer.

    Chain and scan: see `StartChain`, `StartScan`.
    Write-and-verify, each block over all devices row by row: u16 final sum of codes; u16 SET pulses;
    u16 RESET pulses; u16 last voltage code; u16 last gate code; u8 `Verdict`.
    """

    OPCODE = 0x3B
    CLASS = OpClass.PURE
    REPLY = Result

    job_id: U32


# Rails and converters


@dataclass(frozen=True)
class Rails(Message):
    """The board's supply and reference voltages, in codes of its DAC, by channel."""

    OPCODE = 0xC0

    set_codes: U16x16
    measured_codes: U16x16
    """As the board reads them back."""


@dataclass(frozen=True)
class GetRails(Request[Rails]):
    """Ask what the rails were set to and what they are."""

    OPCODE = 0x40
    CLASS = OpClass.PURE
    REPLY = Rails


@dataclass(frozen=True)
class SetRail(Request[Rails]):
    """Set one rail, within its window. Pulse and gate rail (5, 6) need the lease, and fall with it."""

    OPCODE = 0x41
    CLASS = OpClass.EFFECT
    REPLY = Rails

    channel: U8
    """0 to 15."""
    code: U16


@dataclass(frozen=True)
class Converted(Message):
    """What one ADC made of its test input."""

    OPCODE = 0xC2

    total: U32
    """Sum of codes over the reads."""


@dataclass(frozen=True)
class ConvertTestInput(Request[Converted]):
    """Convert the test input, which rail 9 drives, with one ADC."""

    OPCODE = 0x42
    CLASS = OpClass.READ
    REPLY = Converted

    adc: U8
    """FIFO of the ADC, 0 to 11 on a chip of three arrays."""
    reads: U16
    """Conversions summed, 1 to 4096."""


@dataclass(frozen=True)
class Sampling(Message):
    """When the outputs of the TIAs are sampled."""

    OPCODE = 0xC3

    sample_ns: U32x8
    """After the rows are driven, by gain index; 0 where there is none."""


@dataclass(frozen=True)
class GetSampling(Request[Sampling]):
    """Ask for the sampling times."""

    OPCODE = 0x43
    CLASS = OpClass.PURE
    REPLY = Sampling


@dataclass(frozen=True)
class SetSampling(Request[Sampling]):
    """Set the sampling time of one gain, until the session ends."""

    OPCODE = 0x44
    CLASS = OpClass.SETTING
    REPLY = Sampling

    gain: U8
    sample_ns: U32


@dataclass(frozen=True)
class Probed(Message):
    """Which node is at the probe pad."""

    OPCODE = 0xC5

    array: U8
    point: U8
    """`ProbePoint`."""
    line: U8


@dataclass(frozen=True)
class SelectProbe(Request[Probed]):
    """Route one internal node to the probe pad, for a scope, until another one is or the session ends.

    A virtual chip has no pad: it answers which node would be there.
    """

    OPCODE = 0x45
    CLASS = OpClass.SETTING
    REPLY = Probed

    array: U8
    point: U8
    """`ProbePoint`."""
    line: U8
    """Column, of nodes that each column has."""


# Virtual chips only


@dataclass(frozen=True)
class GetPlanted(Request[Result]):
    """Ask a virtual chip which devices it was made stuck; hardware answers `UNKNOWN_OPCODE`.

    For judging a fault scan after the fact. Result: one u8 per device: 0 healthy, 1 stuck on, 2 stuck off,
    3 stuck at a value; then an i32 per device: its conductance in 10 pS now.
    """

    OPCODE = 0x70
    CLASS = OpClass.PURE
    REPLY = Result

    array: U8


REQUESTS: tuple[type[Request[Any]], ...] = (
    Hello,
    GetInfo,
    GetLimits,
    TightenLimits,
    StoreLimits,
    GetOpLog,
    GetState,
    Arm,
    ClearFault,
    Safe,
    Stage,
    Fetch,
    ReadCells,
    Multiply,
    GetBook,
    Wait,
    Pulse,
    PulseMap,
    Sweep,
    StartProgram,
    StartChain,
    StartScan,
    GetJob,
    StopJob,
    OpenReport,
    GetRails,
    SetRail,
    ConvertTestInput,
    GetSampling,
    SetSampling,
    SelectProbe,
    GetPlanted,
)

MESSAGES: tuple[type[Message], ...] = (
    *REQUESTS,
    *dict.fromkeys(request.REPLY for request in REQUESTS),
    Refusal,
)

REQUEST_BY_OPCODE = {request.OPCODE: request for request in REQUESTS}

SCHEMA_HASH = schema_hash(MESSAGES)
