"""What the relay's producer is fast by."""

from __future__ import annotations

from kafka.record import util


def test_checksums_are_computed_by_the_processor() -> None:
    """In Python they would take most of the relay's time, and nothing would say so."""
    assert util.crc32c_c is not None
    assert util.calc_crc32c(b"123456789") == 0xE3069283, "the check value of CRC-32C (RFC 3720, B.4)"
