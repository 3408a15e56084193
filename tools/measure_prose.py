"""Measure how pages of Markdown read: `python -m tools.measure_prose README.md docs/*.md`.

What is in code blocks, inline code, comments and addresses is not prose and is not counted.
"""

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

NOT_PROSE = re.compile(
    r"^(```|~~~).*?^\1[^\n]*$"  # a fenced block
    r"|(?<=\n\n)(?:(?: {4}|\t)[^\n]*\n)+"  # an indented block
    r"|<!--.*?-->"
    r"|<[a-z/][^>]*>"
    r"|^\|?(?: *:?-{3,}:? *\|)+(?: *:?-{3,}:?)? *$",  # the line below the head of a table
    re.MULTILINE | re.DOTALL,
)
INLINE_CODE = re.compile(r"`[^`\n]+`")
LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
# A new item, cell or heading ends the sentence before it, which may have no full stop.
BLOCK_END = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*#|]|\d+\. ))|(?<=\|) |\s\|")
SENTENCE_END = re.compile(r"[.!?][\"')*_]*(?=\s|$)")
WORD = re.compile(r"[A-Za-zÀ-ÿ0-9][\w'/-]*")
# Turns that docs/style.md names.
ARCHAIC = re.compile(
    r"\b(?:mend(?:s|ed|ing)?|anew|whoever|whatsoever|told|lies|lay|stands|stood"
    r"|(?<!there )is no|(?<!there )are no|nobody would)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class PageFigures:
    """What one page holds."""

    words: int
    sentences: int
    semicolons: int
    archaic: tuple[str, ...]

    @property
    def semicolons_per_100(self) -> float:
        """Semicolons for each 100 sentences."""
        return 100 * self.semicolons / max(1, self.sentences)

    @property
    def words_per_sentence(self) -> float:
        return self.words / max(1, self.sentences)


def measure_page(text: str) -> PageFigures:
    """Count the prose of a page."""
    prose = NOT_PROSE.sub("\n", text)
    prose = LINK.sub(r"\1", INLINE_CODE.sub("code", prose))
    sentences = 0
    for block in BLOCK_END.split(prose):
        # A heading or a cell without a full stop is a name, not a sentence.
        sentences += len(SENTENCE_END.findall(block.strip()))
    archaic = tuple(match.group().lower() for match in ARCHAIC.finditer(prose))
    return PageFigures(len(WORD.findall(prose)), sentences, prose.count(";"), archaic)


def main(pages: Iterable[str]) -> None:
    """Print one line for each page, and the archaic turns in it."""
    print(f"{'words':>6} {'sentences':>9} {'words/s.':>8} {'; /100 s.':>9}  page")
    for page in pages:
        figures = measure_page(Path(page).read_text())
        print(
            f"{figures.words:6} {figures.sentences:9} {figures.words_per_sentence:8.1f} "
            f"{figures.semicolons_per_100:9.1f}  {page}  {', '.join(figures.archaic)}"
        )


if __name__ == "__main__":
    main(sys.argv[1:] or ["README.md"])
