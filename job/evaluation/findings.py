"""Say what the audit found in the data, with the images that each finding is about."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# So many findings of a kind are shown as pictures. The others are lines of text.
PICTURED = 12


@dataclass(frozen=True, slots=True)
class PicturedFinding:
    """One finding. `images` are the names of those to be shown side by side."""

    images: tuple[str, ...]
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class FindingGroup:
    """All findings of one kind, and what was done about them."""

    title: str
    note: str
    findings: tuple[PicturedFinding, ...]

    def list_lines(self, pictures: Mapping[str, str]) -> list[str]:
        """List the findings that are not shown by a picture, as text."""
        lines = []
        for index, finding in enumerate(self.findings):
            if index >= PICTURED or finding.images[0] not in pictures:
                lines.append(f"{finding.title} · {finding.text}")
        return lines


def group_findings(content: Mapping[str, Any]) -> tuple[FindingGroup, ...]:
    """Group the findings in the content of report.json. A kind that was not found has no group."""
    contradictions = []
    contradicting = set()
    for images in content["contradictions"]:
        names = [image["name"] for image in images]
        labels = dict.fromkeys(image["label"] for image in images)
        contradicting |= set(names)
        # They all show the same.
        finding = PicturedFinding(tuple(names[:1]), " or ".join(labels), ", ".join(names))
        contradictions.append(finding)

    left_out = [row for row in content["left_out"] if row[0] not in contradicting]
    leaks = [(leak["name"], leak["reason"]) for leak in content["leaks"]]
    alike = []
    for pair in content["near_duplicates"]:
        first, second = pair["name"], pair["other"]
        title = f"{first} ({pair['split']}) and {second} ({pair['other_split']})"
        text = f"{pair['bits']} of 64 bits of their hashes differ"
        alike.append(PicturedFinding((first, second), title, text))

    groups = (
        FindingGroup(
            "Left out",
            "These files are broken or of a kind that is not supported. They were not used.",
            tuple(_describe_images(left_out)),
        ),
        FindingGroup(
            "One content under several labels",
            "Only you can say which label is right. None of these files was used.",
            tuple(contradictions),
        ),
        FindingGroup(
            "In two parts of the given split",
            "They were left out of the earlier part.",
            tuple(_describe_images(leaks)),
        ),
        FindingGroup(
            "The same content as another image",
            "Each copy is kept, in the same part of the split as its original. Where a class must "
            "have enough images, a content counts once.",
            tuple(_describe_images(content["duplicates"])),
        ),
        FindingGroup(
            "Similar images in different parts of the split",
            "They were not moved. If many test images are like this, the scores are too good.",
            tuple(alike),
        ),
    )
    return tuple(group for group in groups if group.findings)


def list_pictured_images(groups: tuple[FindingGroup, ...]) -> Iterator[str]:
    """Yield the names of the images that the page shows for its findings."""
    for group in groups:
        for finding in group.findings[:PICTURED]:
            yield from finding.images


def _describe_images(rows: Any) -> Iterator[PicturedFinding]:
    """Make a finding of each image and its reason."""
    for name, reason in rows:
        yield PicturedFinding((name,), name, reason)
