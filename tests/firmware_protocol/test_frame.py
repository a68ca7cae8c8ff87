"""Frames survive any stream, and nothing else is ever taken for one."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_protocol.frame import MAX_ENCODED, OVERHEAD, Decoder, Frame, Kind, encode
from firmware_protocol.messages import MAX_PAYLOAD, PROTOCOL_MAJOR

U16 = st.integers(0, 65535)
FRAMES = st.builds(
    Frame,
    kind=st.sampled_from(Kind),
    opcode=st.integers(0, 255),
    session=U16,
    seq=U16,
    ack=U16,
    room=U16,
    status=st.integers(0, 255),
    payload=st.binary(max_size=MAX_PAYLOAD),
)
PING = Frame(Kind.REQUEST, 0x23, 0x1234, 7, payload=b"\x00\x01\x00\xff")


@given(st.lists(FRAMES, max_size=5), st.integers(1, 100))
def test_frames_arrive_as_they_were_sent_whatever_the_pieces(frames, size):
    data = b"".join(encode(frame) for frame in frames)
    decoder = Decoder()
    pieces = (data[at : at + size] for at in range(0, len(data), size))
    assert [frame for piece in pieces for frame in decoder.feed(piece)] == frames
    assert decoder.bad_frames == 0


@given(st.lists(st.binary(max_size=2000), max_size=5))
def test_garbage_is_dropped_and_the_next_frame_but_one_is_read(garbage):
    decoder = Decoder()
    for piece in garbage:
        assert not decoder.feed(piece)
        assert len(decoder._partial) <= MAX_ENCODED
    found = decoder.feed(encode(PING) + encode(PING))
    assert found[-1] == PING


@given(FRAMES, st.integers(min_value=0))
def test_no_single_flipped_bit_passes(frame, place):
    data = bytearray(encode(frame))
    place %= 8 * len(data)
    data[place // 8] ^= 1 << place % 8
    assert Decoder().feed(bytes(data) + b"\0") == []


def test_random_bytes_are_no_frame():
    dice, decoder = random.Random(1), Decoder()
    for _ in range(300):
        assert decoder.feed(dice.randbytes(4096)) == []
    assert decoder.bad_frames > 1000


def test_a_run_that_is_too_long_costs_no_memory_and_the_frames_it_is_as_long_as():
    decoder = Decoder()
    for _ in range(1000):
        decoder.feed(b"\x55" * 1000)
        assert len(decoder._partial) <= MAX_ENCODED
    assert decoder.bad_frames == decoder.bytes_without // MAX_ENCODED
    assert decoder.feed(b"\0" + encode(PING)) == [PING]
    assert (decoder.bad_frames, decoder.bytes_without) == (1_000_000 // MAX_ENCODED, 0)


def test_a_frame_of_another_major_is_recognised_but_not_read(monkeypatch):
    monkeypatch.setattr("firmware_protocol.frame.PROTOCOL_MAJOR", PROTOCOL_MAJOR + 1)
    foreign = encode(PING)
    monkeypatch.undo()
    decoder = Decoder()
    assert decoder.feed(foreign) == []
    assert (decoder.foreign_frames, decoder.foreign_major) == (1, PROTOCOL_MAJOR + 1)


def test_a_wrong_length_field_is_no_frame(monkeypatch):
    class Lying(bytes):
        def __len__(self):
            return 3

    assert Decoder().feed(encode(Frame(Kind.REPLY, 1, 2, 3, payload=Lying(b"four")))) == []


def test_the_largest_frame_keeps_the_distance_of_the_crc():
    encoded = encode(Frame(Kind.REPLY, 255, 65535, 65535, 65535, 65535, 255, b"\xff" * MAX_PAYLOAD))
    assert len(encoded) - 1 <= MAX_ENCODED <= 655
    assert len(encode(Frame(Kind.REPLY, 1, 1, 1))) == OVERHEAD


@pytest.mark.parametrize(
    "frame", [Frame(Kind.REQUEST, 1, 1, 1, payload=bytes(MAX_PAYLOAD + 1)), Frame(Kind.REQUEST, 256, 1, 1)]
)
def test_what_does_not_fit_is_refused_before_it_is_sent(frame):
    with pytest.raises(ValueError, match=r"bytes|header"):
        encode(frame)
