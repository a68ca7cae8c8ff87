/* The protocol between host and board, version 1.0, for C11.
 *
 * Written by `python -m firmware_protocol.c_header write` from the Python source: change that,
 * not this. Structures are the bytes of a payload: little-endian, no padding, perhaps unaligned. Text is
 * UTF-8, padded with NUL, not ended by it. A flexible array member takes what the payload has left.
 */
#ifndef CHIP_PROTOCOL_H
#define CHIP_PROTOCOL_H

#include <stdint.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "these structures are the wire's bytes on a little-endian processor only"
#endif

#define CHIP_PROTOCOL_MAJOR 1u

#define CHIP_PROTOCOL_MINOR 0u

/* Most payload bytes in a frame; with header and CRC it stays below 655 bytes, where CRC-32C still has
 * Hamming distance 6.
 */
#define CHIP_MAX_PAYLOAD 560u

/* Usual size of one staged or fetched piece. */
#define CHIP_CHUNK_BYTES 512u

/* Gain index that lets the chip choose per conversion. */
#define CHIP_AUTO_GAIN 7u

/* Bits after the point of a chain's scales, biases and thresholds, which count weighted sums of codes. */
#define CHIP_CHAIN_FRACTION_BITS 24u

/* Direction of a pulse that lowers conductance. */
#define CHIP_RESET 0u

/* Direction of a pulse that raises conductance. */
#define CHIP_SET 1u

#define CHIP_SCHEMA_HASH 0x408f3431u

/* Bytes a frame adds to a payload of less than 230 bytes: header, CRC, one of COBS, the delimiter. */
#define CHIP_OVERHEAD 20u

/* Longest run of non-zero bytes that can be a frame. */
#define CHIP_MAX_ENCODED 581u

/* What a frame is for. */
enum chip_kind {
    /* Host to board. */
    CHIP_KIND_REQUEST = 1,
    /* The board's final word on the request of the same session and sequence number. */
    CHIP_KIND_REPLY = 2,
    /* The board's link speaking, not the request's handler: out of order, no such session, stale. */
    CHIP_KIND_NOTICE = 3,
    /* Answers a request of class SAFE, which stands outside every sequence. */
    CHIP_KIND_SAFE_REPLY = 4,
};

/* What repeating a request would do; it decides how a request may be retried. */
enum chip_op_class {
    /* No effect on the chip: may be repeated freely. */
    CHIP_OP_CLASS_PURE = 0,
    /* Reads devices: repeatable, but each execution is counted (noise draws, energy). */
    CHIP_OP_CLASS_READ = 1,
    /* Changes devices or outputs: executed at most once, never re-sent under a new sequence number. */
    CHIP_OP_CLASS_EFFECT = 2,
    /* Permits or sets something on the board: harmless when repeated, but not for who may only read. */
    CHIP_OP_CLASS_SETTING = 4,
    /* Brings the chip to its safe state: always accepted, bypasses sequence, window and fault. */
    CHIP_OP_CLASS_SAFE = 3,
};

/* The status byte of a reply frame; the tens digit names the part that refuses. */
enum chip_status {
    CHIP_STATUS_OK = 0,
    /* 1x, the link: length or CRC wrong. Send the frame again. */
    CHIP_STATUS_BAD_FRAME = 10,
    /* A frame before this one is missing. Send from the expected sequence number on. */
    CHIP_STATUS_OUT_OF_ORDER = 11,
    /* Older than the reply cache reaches; nothing was executed now. */
    CHIP_STATUS_STALE = 12,
    /* The board has no such session (it was reset, or another host said hello). */
    CHIP_STATUS_NO_SESSION = 13,
    /* A request before this one was refused while this one was already under way; not executed. */
    CHIP_STATUS_DISCARDED = 14,
    /* A request that came again is waiting or being executed. Wait. */
    CHIP_STATUS_AT_WORK = 15,
    /* 2x, the protocol: this firmware has no such request. */
    CHIP_STATUS_UNKNOWN_OPCODE = 20,
    /* The payload does not fit the request's layout. */
    CHIP_STATUS_BAD_MESSAGE = 21,
    /* Another major version of the protocol. */
    CHIP_STATUS_VERSION_MISMATCH = 22,
    /* Other message layouts: reads only, unless forced. */
    CHIP_STATUS_SCHEMA_MISMATCH = 23,
    /* 3x, the request: an index, count or code that the chip does not have. */
    CHIP_STATUS_BAD_ARGUMENT = 30,
    /* A voltage, gate, width or pulse count above the board's limits. */
    CHIP_STATUS_OVER_LIMIT = 31,
    /* The staged bytes are not the ones the request was made for. */
    CHIP_STATUS_STAGING_INCOMPLETE = 32,
    /* More bytes than a buffer holds. */
    CHIP_STATUS_TOO_LARGE = 33,
    /* 4x, the state: high voltage needs an armed lease. */
    CHIP_STATUS_NOT_ARMED = 40,
    /* A job is running. */
    CHIP_STATUS_BUSY = 41,
    /* A fault is latched; clear it first. */
    CHIP_STATUS_FAULT = 42,
    /* There is no such result or job. */
    CHIP_STATUS_NO_RESULT = 43,
    /* The session may only read (layouts differ). */
    CHIP_STATUS_READ_ONLY = 44,
    /* Stored limits change only in the commissioning state. */
    CHIP_STATUS_NOT_COMMISSIONING = 45,
    /* `Safe` or a fault ended it before it was done; `executed` and `done` say how far it came. */
    CHIP_STATUS_ABORTED = 46,
    /* The board was asked to be safe, which the author of this request did not know; not executed. */
    CHIP_STATUS_MADE_SAFE = 47,
    /* 5x, the hardware: an ADC did not finish. */
    CHIP_STATUS_CONVERTER_TIMEOUT = 50,
    /* A rail is outside its window. */
    CHIP_STATUS_SUPPLY_OUT_OF_RANGE = 51,
    /* 6x: the firmware failed. */
    CHIP_STATUS_INTERNAL = 60,
};

/* How much of an effect was carried out. */
enum chip_executed {
    CHIP_EXECUTED_NO = 0,
    CHIP_EXECUTED_YES = 1,
    CHIP_EXECUTED_PARTIAL = 2,
    /* Begun, and its end not recorded: under way, or cut off by a reset. In the log of effects only. */
    CHIP_EXECUTED_OPEN = 3,
};

/* Why the board latched a fault and went to its safe state. */
enum chip_fault {
    CHIP_FAULT_NONE = 0,
    CHIP_FAULT_LEASE_LAPSED = 1,
    CHIP_FAULT_BAD_FRAME_STORM = 2,
    CHIP_FAULT_CONVERTER_TIMEOUT = 3,
    CHIP_FAULT_SUPPLY_OUT_OF_RANGE = 4,
    CHIP_FAULT_BROWN_OUT = 5,
    CHIP_FAULT_INTERNAL = 6,
};

/* Why the board's processor last started. */
enum chip_reset_cause {
    CHIP_RESET_CAUSE_POWER_ON = 0,
    CHIP_RESET_CAUSE_WATCHDOG = 1,
    CHIP_RESET_CAUSE_BROWN_OUT = 2,
    CHIP_RESET_CAUSE_COMMAND = 3,
};

/* How a job stands. */
enum chip_job_state {
    CHIP_JOB_STATE_NONE = 0,
    CHIP_JOB_STATE_RUNNING = 1,
    /* Ran to its own end. */
    CHIP_JOB_STATE_DONE = 2,
    /* Ended early on request, after a whole round. */
    CHIP_JOB_STATE_STOPPED = 3,
    /* Ended in mid-round by `Safe` or by a fault. */
    CHIP_JOB_STATE_ABORTED = 4,
};

/* How write-and-verify left one device. */
enum chip_verdict {
    /* Not selected. */
    CHIP_VERDICT_SKIPPED = 0,
    /* Its last read was within tolerance. */
    CHIP_VERDICT_VERIFIED = 1,
    /* Below tolerance when the job ended. */
    CHIP_VERDICT_LOW = 2,
    /* Above tolerance when the job ended. */
    CHIP_VERDICT_HIGH = 3,
    /* Below tolerance at the highest SET voltages, retries spent. */
    CHIP_VERDICT_GAVE_UP_LOW = 4,
    /* Above tolerance at the highest RESET voltages, retries spent. */
    CHIP_VERDICT_GAVE_UP_HIGH = 5,
};

/* In which order write-and-verify pulses the devices of a round. */
enum chip_order {
    /* Row by row. */
    CHIP_ORDER_ROWS = 0,
    /* Each far from the one before, so that what one pulse leaves behind nearby fades before the next. */
    CHIP_ORDER_SPREAD = 1,
};

/* Channels of the board's 16-channel DAC. */
enum chip_rail {
    /* Drives selected rows in a read; the read voltage is `VREF_TIA` less this. */
    CHIP_RAIL_PLANE_VPP = 0,
    CHIP_RAIL_VREF_ARRAY = 1,
    /* Where the TIAs hold their columns. */
    CHIP_RAIL_VREF_TIA = 2,
    /* Upper end of the ADCs' conversion window. */
    CHIP_RAIL_VREF_HI_CMP = 3,
    /* Bias of the sample-and-hold stages. */
    CHIP_RAIL_VREF_SH = 4,
    /* Pulse voltage. */
    CHIP_RAIL_VP_PAD = 5,
    /* Gates of the access transistors. */
    CHIP_RAIL_TVDD = 6,
    CHIP_RAIL_VAGC_0 = 7,
    /* TIA output above which automatic gain steps down. */
    CHIP_RAIL_VAGC_1 = 8,
    /* Test input of all ADCs. */
    CHIP_RAIL_ADC_TEST = 9,
    CHIP_RAIL_AMP_VREF = 10,
    CHIP_RAIL_AMP_INPUT = 11,
    CHIP_RAIL_SPARE_12 = 12,
    CHIP_RAIL_SPARE_13 = 13,
    CHIP_RAIL_DRIVE_VN = 14,
    CHIP_RAIL_SCHOTTKY = 15,
};

/* What the chip can route to its probe pad. */
enum chip_probe_point {
    CHIP_PROBE_POINT_NONE = 0,
    /* Of one column. */
    CHIP_PROBE_POINT_TIA_OUTPUT = 1,
    /* Behind the sample-and-hold of one column. */
    CHIP_PROBE_POINT_HELD_SAMPLE = 2,
    CHIP_PROBE_POINT_VREF_TIA = 3,
    CHIP_PROBE_POINT_VREF_HI_CMP = 4,
};

/* The third byte of a frame's header. */
enum chip_opcode {
    CHIP_OPCODE_HELLO = 0x01,
    CHIP_OPCODE_GET_INFO = 0x02,
    CHIP_OPCODE_GET_LIMITS = 0x03,
    CHIP_OPCODE_TIGHTEN_LIMITS = 0x04,
    CHIP_OPCODE_STORE_LIMITS = 0x08,
    CHIP_OPCODE_GET_OP_LOG = 0x09,
    CHIP_OPCODE_GET_STATE = 0x05,
    CHIP_OPCODE_ARM = 0x06,
    CHIP_OPCODE_CLEAR_FAULT = 0x07,
    CHIP_OPCODE_SAFE = 0x7f,
    CHIP_OPCODE_STAGE = 0x10,
    CHIP_OPCODE_FETCH = 0x11,
    CHIP_OPCODE_READ_CELLS = 0x20,
    CHIP_OPCODE_MULTIPLY = 0x21,
    CHIP_OPCODE_GET_BOOK = 0x22,
    CHIP_OPCODE_WAIT = 0x23,
    CHIP_OPCODE_PULSE = 0x30,
    CHIP_OPCODE_PULSE_MAP = 0x31,
    CHIP_OPCODE_SWEEP = 0x32,
    CHIP_OPCODE_START_PROGRAM = 0x38,
    CHIP_OPCODE_START_CHAIN = 0x3c,
    CHIP_OPCODE_START_SCAN = 0x3d,
    CHIP_OPCODE_GET_JOB = 0x39,
    CHIP_OPCODE_STOP_JOB = 0x3a,
    CHIP_OPCODE_OPEN_REPORT = 0x3b,
    CHIP_OPCODE_GET_RAILS = 0x40,
    CHIP_OPCODE_SET_RAIL = 0x41,
    CHIP_OPCODE_CONVERT_TEST_INPUT = 0x42,
    CHIP_OPCODE_GET_SAMPLING = 0x43,
    CHIP_OPCODE_SET_SAMPLING = 0x44,
    CHIP_OPCODE_SELECT_PROBE = 0x45,
    CHIP_OPCODE_GET_PLANTED = 0x70,
    CHIP_OPCODE_WELCOME = 0x81,
    CHIP_OPCODE_INFO = 0x82,
    CHIP_OPCODE_LIMITS = 0x83,
    CHIP_OPCODE_RESULT = 0xa0,
    CHIP_OPCODE_STATE = 0x85,
    CHIP_OPCODE_STAGED = 0x90,
    CHIP_OPCODE_CHUNK = 0x91,
    CHIP_OPCODE_BOOK = 0xa2,
    CHIP_OPCODE_WAITED = 0xa3,
    CHIP_OPCODE_PULSED = 0xb0,
    CHIP_OPCODE_STARTED = 0xb8,
    CHIP_OPCODE_JOB = 0xb9,
    CHIP_OPCODE_RAILS = 0xc0,
    CHIP_OPCODE_CONVERTED = 0xc2,
    CHIP_OPCODE_SAMPLING = 0xc3,
    CHIP_OPCODE_PROBED = 0xc5,
    CHIP_OPCODE_REFUSAL = 0xff,
};

#pragma pack(push, 1)

/* Before the payload; a CRC-32C follows it. */
struct chip_frame_header {
    uint8_t major;
    /* `Kind`. */
    uint8_t kind;
    uint8_t opcode;
    /* From the board: `Status`. Request: how many requests for safety its author knows of, modulo 256. */
    uint8_t status;
    uint16_t session;
    uint16_t seq;
    /* Request: the newest reply its author knew. From the board: the newest request it has accepted. */
    uint16_t ack;
    /* Request: most payload bytes wanted in the reply. From the board: bytes it can hold unread. */
    uint16_t room;
    uint16_t payload_length;
};
_Static_assert(sizeof(struct chip_frame_header) == 14, "layout of chip_frame_header");

/* Hello, 0x01, PURE, answered by chip_welcome.
 *
 * Open a session. The frame header carries a random session number of the host's, and the sequence number
 * after which requests are counted.
 */
struct chip_hello {
    uint8_t protocol_major;
    uint8_t protocol_minor;
    uint32_t schema_hash;
    /* Largest payload that the host wants to see. */
    uint16_t frame_bytes;
    /* 1 to use more than reads although message layouts differ. */
    uint8_t force;
};
_Static_assert(sizeof(struct chip_hello) == 9, "layout of chip_hello");

/* GetInfo, 0x02, PURE, answered by chip_info.
 *
 * Ask for geometry and converters.
 *
 * It has no payload.
 */

/* GetLimits, 0x03, PURE, answered by chip_limits.
 *
 * Ask for the limits in force.
 *
 * It has no payload.
 */

/* TightenLimits, 0x04, PURE, answered by chip_limits.
 *
 * Tighten limits for this session; one wider than the limit in force is refused.
 */
struct chip_tighten_limits {
    uint16_t set_code;
    uint16_t reset_code;
    uint16_t gate_code;
    uint32_t width_ns;
    uint32_t pulses_per_device;
    uint32_t pulses_per_second;
    uint16_t rail_low_codes[16];
    uint16_t rail_high_codes[16];
};
_Static_assert(sizeof(struct chip_tighten_limits) == 82, "layout of chip_tighten_limits");

/* StoreLimits, 0x08, EFFECT, answered by chip_limits.
 *
 * Replace the limits that the board keeps without power; in the commissioning state only.
 *
 * They are in force at once, also in place of those tightened for this session.
 */
struct chip_store_limits {
    uint16_t set_code;
    uint16_t reset_code;
    uint16_t gate_code;
    uint32_t width_ns;
    uint32_t pulses_per_device;
    uint32_t pulses_per_second;
    uint16_t rail_low_codes[16];
    uint16_t rail_high_codes[16];
};
_Static_assert(sizeof(struct chip_store_limits) == 82, "layout of chip_store_limits");

/* GetOpLog, 0x09, PURE, answered by chip_result.
 *
 * Ask which effects the board has begun, oldest first, and how far each came.
 *
 * The board keeps at least the last 64 without power, each written down as begun before anything is carried
 * out and once more at its end. An effect of the last session that is not in the log was not carried out,
 * unless the log has forgotten it. Result: u64 pulse total from which on the log knows every pulse; then 36
 * bytes an effect: u32 number of the effect, u32 boot id, u16 session, u16 sequence number, u8 opcode, u8
 * `Executed`, u8 array (255 if none), u8 spare, u32 job id (0 if none), u64 pulse total before, u64 pulse
 * total after.
 */
struct chip_get_op_log {
    /* Effects wanted, the newest. */
    uint16_t most;
};
_Static_assert(sizeof(struct chip_get_op_log) == 2, "layout of chip_get_op_log");

/* GetState, 0x05, PURE, answered by chip_state.
 *
 * Ask what the board is doing.
 *
 * It has no payload.
 */

/* Arm, 0x06, SETTING, answered by chip_state.
 *
 * Permit pulses while traffic goes on: the lease ends `ttl_ms` after the last request of this session.
 */
struct chip_arm {
    /* 50 to 2000. */
    uint16_t ttl_ms;
};
_Static_assert(sizeof(struct chip_arm) == 2, "layout of chip_arm");

/* ClearFault, 0x07, SETTING, answered by chip_state.
 *
 * Clear the latched fault, named so that another one is not cleared unseen.
 */
struct chip_clear_fault {
    uint8_t fault;
};
_Static_assert(sizeof(struct chip_clear_fault) == 1, "layout of chip_clear_fault");

/* Safe, 0x7f, SAFE, answered by chip_state.
 *
 * Zero the outputs in order, end any job, drop the lease. Always accepted.
 *
 * It has no payload.
 */

/* Stage, 0x10, PURE, answered by chip_staged.
 *
 * Put bytes into the staging buffer; offset 0 empties it first. Repeating a piece does no harm.
 */
struct chip_stage {
    uint32_t offset;
    uint8_t data[];
};
_Static_assert(sizeof(struct chip_stage) == 4, "layout of chip_stage");

/* Fetch, 0x11, PURE, answered by chip_chunk.
 *
 * Ask for a piece of the result buffer.
 */
struct chip_fetch {
    uint32_t offset;
    uint16_t length;
};
_Static_assert(sizeof(struct chip_fetch) == 6, "layout of chip_fetch");

/* ReadCells, 0x20, READ, answered by chip_result.
 *
 * Read every device of a rectangle by itself, unselected rows floating.
 *
 * Result, row by row: u16 sums of ADC codes over the reads; with automatic gain followed by a u8 gain index
 * per device (the first read chooses it, the others keep it).
 */
struct chip_read_cells {
    uint8_t array;
    /* Gain index, or `AUTO_GAIN`. */
    uint8_t gain;
    /* Reads summed, 1 to 64. */
    uint8_t reads;
    uint8_t row;
    uint8_t row_count;
    uint8_t col;
    uint8_t col_count;
};
_Static_assert(sizeof(struct chip_read_cells) == 7, "layout of chip_read_cells");

/* Multiply, 0x21, READ, answered by chip_result.
 *
 * Drive rows by the staged vectors and sample columns.
 *
 * Staged, vector by vector: one i8 per row (i16 if `input_bits` is above 7), at most 2**input_bits - 1 in
 * magnitude, negative only if `signed`. The board sends the bits one by one, positive and negative parts
 * apart; a board whose row drivers have just `input_bits` sends them at once and counts the codes
 * 2**input_bits - 1 times, so that the sums are on one scale. Where a conversion is at either end of the
 * ADC, all is done again at the next lower gain, as long as that is not below `least_gain`. Result, vector
 * by vector: a number per chosen column, the sum over bits k and reads of 2**k (positive phase - negative
 * phase) codes, i16 if 1023 reads (2**input_bits - 1) fits one, else i32; then, over the whole batch, one
 * bit per vector and column, least significant first, that is 1 where a conversion was at either end of the
 * ADC; then a u8, the gain index that all this is of.
 */
struct chip_multiply {
    uint8_t array;
    /* Gain index to begin with; not `AUTO_GAIN`, which chooses per conversion: sums need one scale. */
    uint8_t gain;
    /* 0 for automatic gain, `gain` for this one alone. */
    uint8_t least_gain;
    uint8_t reads;
    uint8_t input_bits;
    uint8_t signed_;
    uint8_t col;
    uint8_t col_count;
    uint16_t vectors;
    /* CRC-32C over the staged bytes this product is for. */
    uint32_t staged_crc;
};
_Static_assert(sizeof(struct chip_multiply) == 14, "layout of chip_multiply");

/* GetBook, 0x22, PURE, answered by chip_book.
 *
 * Ask for the chip's time and energy.
 *
 * It has no payload.
 */

/* Wait, 0x23, EFFECT, answered by chip_waited.
 *
 * Let the chip rest. Hardware waits; the virtual chip moves its clock at once.
 */
struct chip_wait {
    uint32_t duration_ms;
};
_Static_assert(sizeof(struct chip_wait) == 4, "layout of chip_wait");

/* Pulse, 0x30, EFFECT, answered by chip_pulsed.
 *
 * Give every device of a rectangle the same pulses, one device at a time. Needs the lease.
 */
struct chip_pulse {
    uint8_t array;
    /* `SET` or `RESET`. */
    uint8_t direction;
    uint16_t volt_code;
    uint16_t gate_code;
    uint32_t width_ns;
    /* Pulses per device. */
    uint16_t count;
    uint8_t row;
    uint8_t row_count;
    uint8_t col;
    uint8_t col_count;
};
_Static_assert(sizeof(struct chip_pulse) == 16, "layout of chip_pulse");

/* PulseMap, 0x31, EFFECT, answered by chip_pulsed.
 *
 * Give each device its own pulse. Needs the lease.
 *
 * Staged: a u16 voltage code per device, row by row, then a u16 gate code per device; a device with code 0
 * in either is skipped.
 */
struct chip_pulse_map {
    uint8_t array;
    uint8_t direction;
    uint32_t width_ns;
    uint32_t staged_crc;
};
_Static_assert(sizeof(struct chip_pulse_map) == 10, "layout of chip_pulse_map");

/* Sweep, 0x32, EFFECT, answered by chip_result.
 *
 * Give one device a DC staircase and read its current at every step. Needs the lease.
 *
 * Staged: a u16 voltage code per step. Each voltage is held for the dwell and changes the device as a pulse
 * of that width does; the current is converted at the end of the dwell, with automatic gain. Result: one u16
 * word per step, gain index << 10 | ADC code.
 */
struct chip_sweep {
    uint8_t array;
    /* `SET` or `RESET`. */
    uint8_t direction;
    uint8_t row;
    uint8_t col;
    uint16_t gate_code;
    /* At each voltage; bounded as a pulse's width is, and the steps as pulses per device. */
    uint32_t dwell_ns;
    uint16_t steps;
    uint32_t staged_crc;
};
_Static_assert(sizeof(struct chip_sweep) == 16, "layout of chip_sweep");

/* StartProgram, 0x38, EFFECT, answered by chip_started.
 *
 * Write-and-verify a whole array inside the board, on integers alone. Needs the lease.
 *
 * Staged: one bit per device, row by row, least significant bit first, that selects the devices to program;
 * then a u16 target per device, row by row: the sum of ADC codes over `reads` reads that the device should
 * show. Each round reads every selected device that is not done. One within `tolerance_in` of its target is
 * done; one below gets a SET pulse, one above a RESET pulse. The levels of a direction are its voltages at
 * the first gate, then those at the next, and so on. A device's first pulse is at level 0, each further one
 * in the same direction a level higher, and level 0 again after a change of direction; past the last level
 * its voltages are kept and retries counted.
 *
 * Where `predicts` is 1, a u16 per SET level, not falling, and one per RESET level, not rising, follow the
 * targets: the sum that a typical device shows after a pulse of that level; t(x), the first level that leads
 * as far as x. A pulse is then at level t(target) + shift, less `set_short` for SET, but in the same
 * direction at least a level higher than the one before, and not past the last level. Each device has a
 * shift per direction, kept in 1/16 of a level, 0 at first. When it is read after a pulse of level l and
 * shows s, l - t(s) is observed: where it moved by more than half of `tolerance_in`, the shift goes a n-th
 * of the way to that, n the observations so far, at most 4; else it is raised to that.
 *
 * At the end every device within `tolerance_out` counts as verified.
 *
 * Report, see `OpenReport`.
 */
struct chip_start_program {
    /* Chosen by the host, not 0; a job of the same id is never started twice. */
    uint32_t job_id;
    uint8_t array;
    uint8_t gain;
    uint8_t reads;
    uint8_t max_retries;
    uint16_t max_rounds;
    /* Sum of codes. */
    uint16_t tolerance_in;
    uint16_t tolerance_out;
    uint16_t set_volt_first;
    uint16_t set_volt_last;
    uint16_t set_volt_step;
    uint16_t set_gate_first;
    uint16_t set_gate_last;
    uint16_t set_gate_step;
    uint32_t set_width_ns;
    uint16_t reset_volt_first;
    uint16_t reset_volt_last;
    uint16_t reset_volt_step;
    uint16_t reset_gate_first;
    uint16_t reset_gate_last;
    uint16_t reset_gate_step;
    uint32_t reset_width_ns;
    /* 1: voltages start where a typical device should land, and follow what each device did. */
    uint8_t predicts;
    /* Levels; SET overshoots are costlier than a second pulse. */
    uint8_t set_short;
    /* `Order` in which the devices of a round are pulsed. */
    uint8_t order;
    uint32_t staged_crc;
};
_Static_assert(sizeof(struct chip_start_program) == 53, "layout of chip_start_program");

/* StartChain, 0x3c, READ, answered by chip_started.
 *
 * Recall cues inside the board, on integers alone: all layers, again and again, until all are stable.
 *
 * Pulses nothing and needs no lease. Staged, layer by layer: u8 tiles, u8 bits of the inputs, u16 outputs,
 * u16 inputs, u16 thresholds; per tile u8 array, gain index, u16 first output, first input, then a bit per
 * row of an array and a bit per pair of its columns, each block from a byte of its own, least significant
 * first, set where the tile lies; a u32 scale per output, an i64 bias per output, an i64 per threshold,
 * ascending. Then a u16 neuron per update, and the cues: with one state bit, a bit per cue and neuron, cue
 * by cue, least significant first, 1 for +1; with more, an i8 each, in steps of a full input.
 *
 * A tile drives its rows, in their order, with its inputs, positive and negative parts apart, and each of
 * its pairs of columns adds (even column - odd column) * common_ohms / transimpedance to its output; the sum
 * is taken times the output's scale, then its bias added. Columns are sampled from the tile's first pair to
 * its last. A hidden unit answers +1 or -1, by its sign, where the layer has no thresholds; else the number
 * of thresholds that its sum reaches less half their number; and so do the last layer's, whose answers are
 * the new state, but that a sign of 0 keeps the old one. Where a conversion is at either end of the ADC, the
 * tile's gain is lowered by one and its product made again.
 *
 * Without updates all neurons are updated at a time. A cue stops when none differs by more than `still`
 * steps from before, which it then keeps, or when it comes back to an earlier state. With updates the named
 * neurons are updated one after the other, in the cues that have not stopped, each from products of its own
 * pair alone; a cue stops when every neuron was looked at since one changed, by more than `still`.
 *
 * Report, see `OpenReport`: u8 layer and u8 tile with conversions at their end at the lowest gain, which
 * ends the job (255: none); u16 number of tiles, u16 number of states S, u32 number of sums T; u8 gain index
 * per tile; u16 per cue, its changes, or the number of the last update that changed it; u8 per cue, 1 if it
 * is stable, the length of the cycle it is in, or 0; S times the states as cues are staged: with a trace all
 * from the cues on, or every one after as many updates as there are neurons, and the last; else the last
 * alone; T times an i64 per cue: states times biased sums, over all neurons, for every state of a trace of
 * whole iterations.
 */
struct chip_start_chain {
    /* As of `StartProgram`. */
    uint32_t job_id;
    uint8_t layers;
    uint16_t neurons;
    uint16_t cues;
    uint8_t max_iterations;
    /* Updates of single neurons at most; 0 to update all at a time. */
    uint16_t updates;
    /* Bits of magnitude of a neuron's state: 1 for ±1, at most 7. */
    uint8_t state_bits;
    /* Steps by which a neuron that has not changed may differ; 0 for ±1. */
    uint8_t still;
    /* Products summed. */
    uint8_t reads;
    /* 1 to report the states on the way. */
    uint8_t trace;
    /* A multiple of every transimpedance of the chip. */
    uint32_t common_ohms;
    uint32_t staged_bytes;
    uint32_t staged_crc;
};
_Static_assert(sizeof(struct chip_start_chain) == 28, "layout of chip_start_chain");

/* StartScan, 0x3d, EFFECT, answered by chip_started.
 *
 * Look for devices that do not move, inside the board. Needs the lease; moves every selected device.
 *
 * Staged: a u16 code per SET voltage, then one per RESET voltage; then a bit per device, row by row, set
 * where it may be pulsed. A look is a read of every device, a sum of `reads` codes each.
 *
 * First come `looks` looks without a pulse: n of them, S in all, their squares Q in all. Then, pair by pair,
 * twice: of the selected devices that have not moved, those with S < n `turning` get the SET pulse, the
 * others the RESET pulse, and the second time the other one each; every time all are looked at. A device has
 * moved when the range R from lowest to highest of S and n times every look since is n `moved` or more, and
 * (n - 1) R^2 >= 2 `sigmas`^2 n (n Q - S^2). With `lower`, devices that have moved then get the RESET pulses
 * one after the other, with a look after each, until they are below `turning`.
 *
 * Report, see `OpenReport`, each block over all devices row by row: u16 number, u32 total and u64 total of
 * the squares of the looks before lowering since, and with, the one at which it moved (of all of them, if it
 * did not); u8 pair at which it moved, from 1 (0: it did not); u8 RESET pulses to lower it; u16 last look;
 * u16 pulses in all.
 */
struct chip_start_scan {
    /* As of `StartProgram`. */
    uint32_t job_id;
    uint8_t array;
    uint8_t gain;
    uint8_t reads;
    /* 2 or more. */
    uint8_t looks;
    uint8_t pairs;
    /* Difference of sums of codes. */
    uint32_t moved;
    uint8_t sigmas;
    /* Sum of codes. */
    uint32_t turning;
    /* 1 to leave what moved below `turning`. */
    uint8_t lower;
    uint16_t set_gate_code;
    uint16_t reset_gate_code;
    uint32_t width_ns;
    uint32_t staged_crc;
};
_Static_assert(sizeof(struct chip_start_scan) == 31, "layout of chip_start_scan");

/* GetJob, 0x39, PURE, answered by chip_job.
 *
 * Ask how far a job is.
 */
struct chip_get_job {
    uint32_t job_id;
};
_Static_assert(sizeof(struct chip_get_job) == 4, "layout of chip_get_job");

/* StopJob, 0x3a, PURE, answered by chip_job.
 *
 * End a job after its current round; its report stays.
 */
struct chip_stop_job {
    uint32_t job_id;
};
_Static_assert(sizeof(struct chip_stop_job) == 4, "layout of chip_stop_job");

/* OpenReport, 0x3b, PURE, answered by chip_result.
 *
 * Put a finished job's report into the result buffer.
 *
 * Chain and scan: see `StartChain`, `StartScan`. Write-and-verify, each block over all devices row by row:
 * u16 final sum of codes; u16 SET pulses; u16 RESET pulses; u16 last voltage code; u16 last gate code; u8
 * `Verdict`.
 */
struct chip_open_report {
    uint32_t job_id;
};
_Static_assert(sizeof(struct chip_open_report) == 4, "layout of chip_open_report");

/* GetRails, 0x40, PURE, answered by chip_rails.
 *
 * Ask what the rails were set to and what they are.
 *
 * It has no payload.
 */

/* SetRail, 0x41, EFFECT, answered by chip_rails.
 *
 * Set one rail, within its window. Pulse and gate rail (5, 6) need the lease, and fall with it.
 */
struct chip_set_rail {
    /* 0 to 15. */
    uint8_t channel;
    uint16_t code;
};
_Static_assert(sizeof(struct chip_set_rail) == 3, "layout of chip_set_rail");

/* ConvertTestInput, 0x42, READ, answered by chip_converted.
 *
 * Convert the test input, which rail 9 drives, with one ADC.
 */
struct chip_convert_test_input {
    /* FIFO of the ADC, 0 to 11 on a chip of three arrays. */
    uint8_t adc;
    /* Conversions summed, 1 to 4096. */
    uint16_t reads;
};
_Static_assert(sizeof(struct chip_convert_test_input) == 3, "layout of chip_convert_test_input");

/* GetSampling, 0x43, PURE, answered by chip_sampling.
 *
 * Ask for the sampling times.
 *
 * It has no payload.
 */

/* SetSampling, 0x44, SETTING, answered by chip_sampling.
 *
 * Set the sampling time of one gain, until the session ends.
 */
struct chip_set_sampling {
    uint8_t gain;
    uint32_t sample_ns;
};
_Static_assert(sizeof(struct chip_set_sampling) == 5, "layout of chip_set_sampling");

/* SelectProbe, 0x45, SETTING, answered by chip_probed.
 *
 * Route one internal node to the probe pad, for a scope, until another one is or the session ends.
 *
 * A virtual chip has no pad: it answers which node would be there.
 */
struct chip_select_probe {
    uint8_t array;
    /* `ProbePoint`. */
    uint8_t point;
    /* Column, of nodes that each column has. */
    uint8_t line;
};
_Static_assert(sizeof(struct chip_select_probe) == 3, "layout of chip_select_probe");

/* GetPlanted, 0x70, PURE, answered by chip_result.
 *
 * Ask a virtual chip which devices it was made stuck; hardware answers `UNKNOWN_OPCODE`.
 *
 * For judging a fault scan after the fact. Result: one u8 per device: 0 healthy, 1 stuck on, 2 stuck off, 3
 * stuck at a value; then an i32 per device: its conductance in 10 pS now.
 */
struct chip_get_planted {
    uint8_t array;
};
_Static_assert(sizeof(struct chip_get_planted) == 1, "layout of chip_get_planted");

/* Welcome, 0x81.
 *
 * Who the board is and what it can hold. Opens a session.
 */
struct chip_welcome {
    uint8_t protocol_major;
    uint8_t protocol_minor;
    uint32_t schema_hash;
    /* Random at every start of the board's processor: another value means that its memory was lost. */
    uint32_t boot_id;
    /* `ResetCause` of the last start. */
    uint8_t reset_cause;
    /* Requests that may be under way at once. */
    uint8_t window;
    /* Largest payload this session uses. */
    uint16_t frame_bytes;
    uint32_t staging_bytes;
    uint32_t result_bytes;
    /* CRC-32C over stored limits and configuration. */
    uint32_t config_crc;
    /* 1 while stored limits may be changed (a jumper on hardware). */
    uint8_t commissioning;
    /* Version and source revision. */
    char firmware[32];
    char board[16];
    /* Of the chip. */
    char serial[16];
    /* As in `State`. */
    uint32_t safes;
};
_Static_assert(sizeof(struct chip_welcome) == 95, "layout of chip_welcome");

/* Info, 0x82.
 *
 * Geometry and nominal converters of the chip.
 */
struct chip_info {
    uint8_t arrays;
    uint16_t rows;
    uint16_t cols;
    /* Bits of one row driver; inputs of more bits are sent bit by bit by the board. */
    uint8_t input_bits;
    uint8_t dac_bits;
    int32_t dac_min_uv;
    int32_t dac_max_uv;
    uint8_t adc_bits;
    int32_t adc_min_uv;
    int32_t adc_max_uv;
    /* Nominal ADC code of zero current. */
    uint16_t zero_codes;
    /* Read voltage across a device. */
    uint32_t read_uv;
    /* Grid of pulse widths up to `fine_width_ns`. */
    uint32_t tick_ns;
    /* Longest pulse that the chip times itself. */
    uint32_t fine_width_ns;
    /* Grid of longer pulses, which the board times. */
    uint32_t coarse_tick_ns;
    /* Transimpedance by gain index; 0 where there is none. */
    uint32_t gain_ohms[8];
};
_Static_assert(sizeof(struct chip_info) == 74, "layout of chip_info");

/* Limits, 0x83.
 *
 * What no pulse and no rail may exceed; kept in the board and checked before every pulse.
 *
 * Those of a running job are those it was started under.
 */
struct chip_limits {
    /* Highest DAC code of a SET voltage. */
    uint16_t set_code;
    /* Highest DAC code of a RESET voltage. */
    uint16_t reset_code;
    /* Highest DAC code of a gate voltage. */
    uint16_t gate_code;
    uint32_t width_ns;
    /* In one request or job. */
    uint32_t pulses_per_device;
    /* Averaged over one second; 0 for no bound. */
    uint32_t pulses_per_second;
    /* Lowest DAC code that each rail may be set to, by channel. */
    uint16_t rail_low_codes[16];
    /* Highest DAC code; pulse and gate rail must obey the limits above as well. */
    uint16_t rail_high_codes[16];
};
_Static_assert(sizeof(struct chip_limits) == 82, "layout of chip_limits");

/* Result, 0xa0.
 *
 * Numbers are in the result buffer; the first of them are here.
 */
struct chip_result {
    /* Bytes in the result buffer. */
    uint32_t total;
    /* CRC-32C over all of them. */
    uint32_t crc;
    /* The first bytes, as many as the frame holds. */
    uint8_t head[];
};
_Static_assert(sizeof(struct chip_result) == 8, "layout of chip_result");

/* State, 0x85.
 *
 * What the board is doing.
 */
struct chip_state {
    uint8_t armed;
    /* Left of the lease that permits high voltage. */
    uint16_t lease_ms;
    /* `Fault`, latched until cleared. */
    uint8_t fault;
    /* Of the last job; 0 if none since the board started. */
    uint32_t job_id;
    uint8_t job_state;
    /* Pulses since the chip was made. */
    uint64_t total_pulses;
    uint64_t uptime_ms;
    /* Frames dropped for length or CRC since the board started. */
    uint32_t bad_frames;
    /* 1 if the board found its log of effects missing, damaged or of another chip when it started: what
     * happened before is not in it, and all that may have been touched must be read again.
     */
    uint8_t log_lost;
    /* 1 if the board found its stored limits damaged: nothing may be pulsed until new ones are stored. */
    uint8_t limits_lost;
    /* Requests for safety since the board started, one that came twice counted once. Whoever does not know
     * of the last may read and change nothing: what it ended does not go on by itself.
     */
    uint32_t safes;
    /* To the host, dropped since the board started because the host did not read them. */
    uint32_t dropped_bytes;
};
_Static_assert(sizeof(struct chip_state) == 39, "layout of chip_state");

/* Staged, 0x90.
 *
 * How many bytes of the staging buffer are filled without a hole.
 */
struct chip_staged {
    uint32_t filled;
};
_Static_assert(sizeof(struct chip_staged) == 4, "layout of chip_staged");

/* Chunk, 0x91.
 *
 * A piece of the result buffer.
 */
struct chip_chunk {
    uint32_t offset;
    uint8_t data[];
};
_Static_assert(sizeof(struct chip_chunk) == 4, "layout of chip_chunk");

/* Book, 0xa2.
 *
 * The chip's time and energy since it was powered, by cause.
 */
struct chip_book {
    /* The chip's own clock; on a virtual chip it runs by simulated time. */
    uint64_t clock_ns;
    /* What of it went into settling, converting, reading out, pulses, their set-up, waiting; two spare. */
    uint64_t time_ns[8];
    /* Row drivers, array, TIA, ADC, SET pulses, RESET pulses, board, spare. */
    uint64_t energy_fj[8];
    /* Single-device reads. */
    uint64_t reads;
    /* Analog vector products (one per bit and sign). */
    uint64_t products;
    uint64_t set_pulses;
    uint64_t reset_pulses;
};
_Static_assert(sizeof(struct chip_book) == 168, "layout of chip_book");

/* Waited, 0xa3.
 *
 * The wait is over.
 */
struct chip_waited {
    uint64_t clock_ns;
};
_Static_assert(sizeof(struct chip_waited) == 8, "layout of chip_waited");

/* Pulsed, 0xb0.
 *
 * Pulses are done.
 */
struct chip_pulsed {
    /* Given by this request. */
    uint32_t pulses;
    /* Since the chip was made. */
    uint64_t total_pulses;
};
_Static_assert(sizeof(struct chip_pulsed) == 12, "layout of chip_pulsed");

/* Started, 0xb8.
 *
 * The job runs.
 */
struct chip_started {
    uint32_t job_id;
};
_Static_assert(sizeof(struct chip_started) == 4, "layout of chip_started");

/* Job, 0xb9.
 *
 * How far a job is.
 */
struct chip_job {
    uint32_t job_id;
    /* `JobState`. */
    uint8_t state;
    /* `Fault` that ended it, if one did. */
    uint8_t fault;
    /* Of a scan the pulses of a device so far, of a chain the times through all layers. */
    uint16_t round;
    /* Selected; of a chain the cues. */
    uint32_t devices;
    /* Within tolerance at their last read; moved, in a scan; of a chain the cues that settled. */
    uint32_t verified;
    uint32_t gave_up;
    uint32_t pulses;
    uint32_t reads;
    /* Of write-and-verify: last sum less target, over the selected devices that were read. */
    int32_t error_sum;
    /* The same squared. */
    uint64_t error_squares;
};
_Static_assert(sizeof(struct chip_job) == 40, "layout of chip_job");

/* Rails, 0xc0.
 *
 * The board's supply and reference voltages, in codes of its DAC, by channel.
 */
struct chip_rails {
    uint16_t set_codes[16];
    /* As the board reads them back. */
    uint16_t measured_codes[16];
};
_Static_assert(sizeof(struct chip_rails) == 64, "layout of chip_rails");

/* Converted, 0xc2.
 *
 * What one ADC made of its test input.
 */
struct chip_converted {
    /* Sum of codes over the reads. */
    uint32_t total;
};
_Static_assert(sizeof(struct chip_converted) == 4, "layout of chip_converted");

/* Sampling, 0xc3.
 *
 * When the outputs of the TIAs are sampled.
 */
struct chip_sampling {
    /* After the rows are driven, by gain index; 0 where there is none. */
    uint32_t sample_ns[8];
};
_Static_assert(sizeof(struct chip_sampling) == 32, "layout of chip_sampling");

/* Probed, 0xc5.
 *
 * Which node is at the probe pad.
 */
struct chip_probed {
    uint8_t array;
    /* `ProbePoint`. */
    uint8_t point;
    uint8_t line;
};
_Static_assert(sizeof(struct chip_probed) == 3, "layout of chip_probed");

/* Refusal, 0xff.
 *
 * Sent instead of a reply when the frame's status is not OK.
 */
struct chip_refusal {
    /* `Executed`: no, yes or partial. */
    uint8_t executed;
    /* Elements completed before the refusal, where executed is partial. */
    uint32_t done;
    /* For people; never parsed. */
    char reason[64];
};
_Static_assert(sizeof(struct chip_refusal) == 69, "layout of chip_refusal");

#pragma pack(pop)

/* Every request, for tables: X(NAME, name, class, bytes before the tail, 1 if it has a tail, REPLY). */
#define CHIP_REQUESTS(X) \
    X(HELLO, hello, PURE, 9, 0, WELCOME) \
    X(GET_INFO, get_info, PURE, 0, 0, INFO) \
    X(GET_LIMITS, get_limits, PURE, 0, 0, LIMITS) \
    X(TIGHTEN_LIMITS, tighten_limits, PURE, 82, 0, LIMITS) \
    X(STORE_LIMITS, store_limits, EFFECT, 82, 0, LIMITS) \
    X(GET_OP_LOG, get_op_log, PURE, 2, 0, RESULT) \
    X(GET_STATE, get_state, PURE, 0, 0, STATE) \
    X(ARM, arm, SETTING, 2, 0, STATE) \
    X(CLEAR_FAULT, clear_fault, SETTING, 1, 0, STATE) \
    X(SAFE, safe, SAFE, 0, 0, STATE) \
    X(STAGE, stage, PURE, 4, 1, STAGED) \
    X(FETCH, fetch, PURE, 6, 0, CHUNK) \
    X(READ_CELLS, read_cells, READ, 7, 0, RESULT) \
    X(MULTIPLY, multiply, READ, 14, 0, RESULT) \
    X(GET_BOOK, get_book, PURE, 0, 0, BOOK) \
    X(WAIT, wait, EFFECT, 4, 0, WAITED) \
    X(PULSE, pulse, EFFECT, 16, 0, PULSED) \
    X(PULSE_MAP, pulse_map, EFFECT, 10, 0, PULSED) \
    X(SWEEP, sweep, EFFECT, 16, 0, RESULT) \
    X(START_PROGRAM, start_program, EFFECT, 53, 0, STARTED) \
    X(START_CHAIN, start_chain, READ, 28, 0, STARTED) \
    X(START_SCAN, start_scan, EFFECT, 31, 0, STARTED) \
    X(GET_JOB, get_job, PURE, 4, 0, JOB) \
    X(STOP_JOB, stop_job, PURE, 4, 0, JOB) \
    X(OPEN_REPORT, open_report, PURE, 4, 0, RESULT) \
    X(GET_RAILS, get_rails, PURE, 0, 0, RAILS) \
    X(SET_RAIL, set_rail, EFFECT, 3, 0, RAILS) \
    X(CONVERT_TEST_INPUT, convert_test_input, READ, 3, 0, CONVERTED) \
    X(GET_SAMPLING, get_sampling, PURE, 0, 0, SAMPLING) \
    X(SET_SAMPLING, set_sampling, SETTING, 5, 0, SAMPLING) \
    X(SELECT_PROBE, select_probe, SETTING, 3, 0, PROBED) \
    X(GET_PLANTED, get_planted, PURE, 1, 0, RESULT)

#endif
