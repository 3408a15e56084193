"""Links between the members of an archive, which are followed inside it and never outside."""

from bisect import bisect_left
from collections.abc import Mapping

# As many as Linux follows.
MOST_STEPS = 40


def find_target(name: str, target: str, *, is_hard: bool) -> str | None:
    """The normalised name that a link leads to, or None if that is outside the archive.

    A symbolic link is relative to its own folder, and a hard link to the archive.
    """
    if target.startswith("/") or "\0" in target:
        return None
    folder = [] if is_hard else name.split("/")[:-1]
    for part in target.split("/"):
        if part in ("", "."):
            continue
        if part != "..":
            folder.append(part)
        elif folder:
            folder.pop()
        else:
            return None
    return "/".join(folder)


def resolve_links(
    files: Mapping[str, int], links: Mapping[str, str], most: int
) -> tuple[dict[str, str], list[str]]:
    """Which file has the content of each name, and what is wrong with the links.

    A link to a folder stands for all files in that folder.

    Args:
        files: the names of all files.
        links: the target of each link.
        most: how many names there may be at most.
    """
    sources = {name: name for name in files}
    ordered = sorted(files)
    faults = []
    for name in links:
        target = _follow_links(name, links)
        if target is None:
            faults.append(f"{name} is a link that leads in a circle")
        elif target in files:
            sources[name] = target
        elif target == "" or f"{name}/".startswith(f"{target}/"):
            faults.append(f"{name} is a link to a folder around it")
        else:
            at = bisect_left(ordered, f"{target}/")
            first = at
            while at < len(ordered) and ordered[at].startswith(f"{target}/"):
                inner = ordered[at][len(target) :]
                sources.setdefault(f"{name}{inner}", ordered[at])
                at += 1
            if at == first:
                faults.append(f"{name} is a link to {target}, which is not in the archive")
            if len(sources) > most:
                faults.append(f"{name} is one of too many links to folders")
                break
    return sources, faults


def _follow_links(name: str, links: Mapping[str, str]) -> str | None:
    """The name that is no link any more, where folders in it may be links. None is a circle."""
    for _ in range(MOST_STEPS):
        parts = name.split("/")
        for end in range(1, len(parts) + 1):
            folder = "/".join(parts[:end])
            if folder in links:
                name = "/".join(filter(None, [links[folder], *parts[end:]]))
                break
        else:
            return name
    return None
