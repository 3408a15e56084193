"""A checkpoint over a slow connection: the relay lets no more through than it may."""

from tools.torture.durable import measure_saves, open_bucket


def test_a_checkpoint_takes_as_long_as_its_bytes_take() -> None:
    with open_bucket(2e6) as address:
        (seconds,), _ = measure_saves(address, megabytes=1, count=1)
    # A lower bound, which no other work on the machine can break.
    assert seconds >= 0.45
