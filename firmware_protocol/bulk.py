"""How arrays of numbers lie in the staging and result buffers: both ways of each layout, once."""

import struct
from dataclasses import astuple, dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from firmware_protocol.messages import AUTO_GAIN, Multiply, ReadCells
from firmware_protocol.status import Executed
from firmware_protocol.wire import WireError

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

_MOST_CODE = 1023


def _numbers(data: bytes, kind: str, count: int, offset: int = 0) -> Ints:
    if len(data) < offset + np.dtype(kind).itemsize * count:
        raise WireError(f"{len(data)} bytes are too few for {count} numbers from byte {offset} on")
    return np.frombuffer(data, kind, count, offset).astype(np.int64)


def _packed(flags: Flags) -> bytes:
    return np.packbits(flags, bitorder="little").tobytes()


def _unpacked(data: bytes, count: int, offset: int = 0) -> Flags:
    octets = _numbers(data, "u1", (count + 7) // 8, offset).astype(np.uint8)
    return np.unpackbits(octets, count=count, bitorder="little").astype(np.bool_)


# Cells: sums, then gains if they were chosen by the chip


def pack_cells(request: ReadCells, sums: Ints, gains: Ints) -> bytes:
    """The result of `ReadCells`."""
    chosen = gains.astype(np.uint8).tobytes() if request.gain == AUTO_GAIN else b""
    return sums.astype("<u2").tobytes() + chosen


def unpack_cells(request: ReadCells, data: bytes) -> tuple[Ints, Ints]:
    """Sums of codes and gain indices, shape (row_count, col_count) each."""
    shape = (request.row_count, request.col_count)
    count = shape[0] * shape[1]
    sums = _numbers(data, "<u2", count)
    auto = request.gain == AUTO_GAIN
    gains = _numbers(data, "u1", count, 2 * count) if auto else np.full(count, request.gain)
    return sums.reshape(shape), gains.reshape(shape)


# Products: the narrowest numbers that hold what the request can ask for


def _input_kind(request: Multiply) -> str:
    return "i1" if request.input_bits <= 7 else "<i2"


def _sum_kind(request: Multiply) -> str:
    most = _MOST_CODE * request.reads * (2**request.input_bits - 1)
    return "<i2" if most <= 32767 else "<i4"


def pack_inputs(request: Multiply, inputs: Ints) -> bytes:
    """Inputs of shape (vectors, rows), staged for `Multiply`."""
    return inputs.astype(_input_kind(request)).tobytes()


def inputs_bytes(request: Multiply, rows: int) -> int:
    """Length of the staged inputs."""
    return np.dtype(_input_kind(request)).itemsize * request.vectors * rows


def unpack_inputs(request: Multiply, data: bytes, rows: int) -> Ints:
    """Staged inputs, shape (vectors, rows)."""
    inputs = _numbers(data, _input_kind(request), request.vectors * rows)
    return inputs.reshape(request.vectors, rows)


def pack_products(request: Multiply, sums: Ints, clipped: Flags, gain: int) -> bytes:
    """The result of `Multiply`."""
    return sums.astype(_sum_kind(request)).tobytes() + _packed(clipped) + bytes([gain])


def products_bytes(request: Multiply) -> int:
    """Length of the result of `Multiply`."""
    count = request.vectors * request.col_count
    return np.dtype(_sum_kind(request)).itemsize * count + (count + 7) // 8 + 1


def unpack_products(request: Multiply, data: bytes) -> tuple[Ints, Flags, int]:
    """Sums of codes and clipped flags, shape (vectors, col_count) each, and the gain index they are of."""
    shape = (request.vectors, request.col_count)
    count = shape[0] * shape[1]
    kind = _sum_kind(request)
    sums = _numbers(data, kind, count)
    clipped = _unpacked(data, count, np.dtype(kind).itemsize * count)
    gain = int(_numbers(data, "u1", 1, products_bytes(request) - 1)[0])
    return sums.reshape(shape), clipped.reshape(shape), gain


# Pulses of each device


def pack_pulse_map(volt_codes: Ints, gate_codes: Ints) -> bytes:
    """Codes of each device, staged for `PulseMap`."""
    return volt_codes.astype("<u2").tobytes() + gate_codes.astype("<u2").tobytes()


def unpack_pulse_map(data: bytes, devices: int) -> tuple[Ints, Ints]:
    """Voltage and gate codes, shape (devices,) each."""
    return _numbers(data, "<u2", devices), _numbers(data, "<u2", devices, 2 * devices)


# Staircases: a word holds gain and code

_CODE_BITS = 10


def pack_staircase(volt_codes: Ints) -> bytes:
    """Voltage codes of shape (steps,), staged for `Sweep`."""
    return volt_codes.astype("<u2").tobytes()


def staircase_bytes(steps: int) -> int:
    """Length of a staged staircase, and of its result."""
    return 2 * steps


def unpack_staircase(data: bytes, steps: int) -> Ints:
    """Voltage codes, shape (steps,)."""
    return _numbers(data, "<u2", steps)


def pack_words(words: Ints) -> bytes:
    """The result of `Sweep`."""
    return words.astype("<u2").tobytes()


def unpack_words(data: bytes, steps: int) -> tuple[Ints, Ints]:
    """ADC codes and gain indices, shape (steps,) each."""
    words = _numbers(data, "<u2", steps)
    return words & _MOST_CODE, words >> _CODE_BITS


# Write-and-verify


def pack_plan(mask: Flags, targets: Ints, expected: Ints | None = None) -> bytes:
    """Devices to program, their targets, and what each level is expected to do; staged for `StartProgram`."""
    levels = b"" if expected is None else expected.astype("<u2").tobytes()
    return _packed(mask) + targets.astype("<u2").tobytes() + levels


def plan_bytes(devices: int, levels: int = 0) -> int:
    """Length of a staged plan; of its levels only if it predicts."""
    return (devices + 7) // 8 + 2 * devices + 2 * levels


def unpack_plan(data: bytes, devices: int, predicts: bool = False) -> tuple[Flags, Ints, Ints | None]:
    """Mask and targets, shape (devices,) each, and the expected sums (levels,) of a plan that predicts."""
    start = plan_bytes(devices)
    expected = _numbers(data, "<u2", (len(data) - start) // 2, start) if predicts else None
    return _unpacked(data, devices), _numbers(data, "<u2", devices, (devices + 7) // 8), expected


@dataclass(frozen=True)
class ProgramCodes:
    """What a finished write-and-verify job says of each device; arrays of one shape."""

    final_sums: Ints
    set_pulses: Ints
    reset_pulses: Ints
    volt_codes: Ints
    gate_codes: Ints
    verdicts: Ints

    def pack(self) -> bytes:
        """The result of `OpenReport`."""
        words = (self.final_sums, self.set_pulses, self.reset_pulses, self.volt_codes, self.gate_codes)
        return (
            b"".join(block.astype("<u2").tobytes() for block in words) + self.verdicts.astype("u1").tobytes()
        )


def unpack_report(data: bytes, shape: tuple[int, int]) -> ProgramCodes:
    """The report of an array of `shape` (rows, cols)."""
    count = shape[0] * shape[1]
    words = [_numbers(data, "<u2", count, 2 * count * block).reshape(shape) for block in range(5)]
    words.append(_numbers(data, "u1", count, 10 * count).reshape(shape))
    return ProgramCodes(*words)


# The log of effects


@dataclass(frozen=True)
class LoggedEffect:
    """One effect as the board wrote it down."""

    number: int
    """Counts the effects in the log, from 1."""
    boot_id: int
    session: int
    seq: int
    opcode: int
    executed: Executed
    array: int
    """`NO_ARRAY` if it concerns none."""
    job_id: int
    """0 if it is no job."""
    pulses_before: int
    """The board's pulse total when it began."""
    pulses_after: int
    """The same when it ended, or now."""

    @property
    def pulses(self) -> int:
        """Pulses it gave."""
        return self.pulses_after - self.pulses_before

    def pack(self) -> bytes:
        """One effect in the result of `GetOpLog`."""
        return _EFFECT.pack(*astuple(self))

    @classmethod
    def unpack(cls, data: bytes, offset: int = 0) -> Self:
        """The effect at `offset`."""
        number, boot_id, session, seq, opcode, executed, *rest = _EFFECT.unpack_from(data, offset)
        return cls(number, boot_id, session, seq, opcode, Executed(executed), *rest)


NO_ARRAY = 0xFF
_EFFECT = struct.Struct("<IIHHBBBxIQQ")


@dataclass(frozen=True)
class OpLog:
    """The effects that a board remembers, oldest first."""

    since_pulses: int
    """Pulse total from which on the log knows every pulse."""
    effects: tuple[LoggedEffect, ...]

    def pack(self) -> bytes:
        """The result of `GetOpLog`."""
        return self.since_pulses.to_bytes(8, "little") + b"".join(effect.pack() for effect in self.effects)


def unpack_op_log(data: bytes) -> OpLog:
    """The log of effects."""
    count, rest = divmod(len(data) - 8, _EFFECT.size)
    if count < 0 or rest:
        raise WireError(f"{len(data)} bytes are no log of effects")
    effects = tuple(LoggedEffect.unpack(data, 8 + _EFFECT.size * n) for n in range(count))
    return OpLog(int.from_bytes(data[:8], "little"), effects)


# What a virtual chip was made with


def pack_planted(kinds: Ints, conductances: Ints) -> bytes:
    """The result of `GetPlanted`."""
    return kinds.astype("u1").tobytes() + conductances.astype("<i4").tobytes()


def unpack_planted(data: bytes, shape: tuple[int, int]) -> tuple[Ints, Ints]:
    """Kinds, and conductances in 10 pS, shape (rows, cols) each."""
    count = shape[0] * shape[1]
    return _numbers(data, "u1", count).reshape(shape), _numbers(data, "<i4", count, count).reshape(shape)
