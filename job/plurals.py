"""Counts with their nouns, in the one way of all messages: `1 image`, `1,024 images`."""


def format_count(count: int, noun: str, plural: str = "") -> str:
    """Format a count with its noun.

    Args:
        count: 0 or more.
        noun: for one of them.
        plural: for any other number, where it is more than the noun and an s.
    """
    if count == 1:
        return f"{count:,} {noun}"
    plural = plural or f"{noun}s"
    return f"{count:,} {plural}"
