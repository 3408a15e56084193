"""Take pictures of a report.

    python -m tools.picture_report REPORT            # the two that the README shows
    python -m tools.picture_report --sample FOLDER   # a sample with every section, in FOLDER

REPORT is the report.html of a release, such as that of `make run`. The pictures for the README show
the top of the page as a person with a light or a dark screen sees it. Those of the sample show the
whole page on a desktop and on a phone, in both colour schemes. Both need Chromium (`make
chromium`), and the sample needs the photographs (`make photographs`).
"""

import shutil
import sys
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, FloatRect, Page, sync_playwright

from tools.paths import ROOT
from tools.photographs import ensure_photographs
from tools.sample_report import write_sample

Scheme = Literal["light", "dark"]

IMAGES = ROOT / "docs" / "images"
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
# Widths of the window in pixels.
WIDTHS = {"desktop": 1280, "phone": 390}
# The first sections of the page, as far as one picture stays readable in the README.
LAST_SECTION = "#square"


def open_report(browser: Browser, report: Path, width: int, scheme: Scheme) -> Page:
    """Open a report in a window of this width and colour scheme."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.goto(report.resolve().as_uri())
    return page


def picture_top(browser: Browser, report: Path) -> None:
    """Save the top of the page, down to the end of `LAST_SECTION`, as the README shows it."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    width = WIDTHS["desktop"]
    for scheme in SCHEMES:
        page = open_report(browser, report, width, scheme)
        box = page.locator(LAST_SECTION).bounding_box()
        if box is None:
            sys.exit(f"{report} has no section {LAST_SECTION}; expected a report.html of Graft.")
        height = box["y"] + box["height"]
        clip: FloatRect = {"x": 0, "y": 0, "width": width, "height": height}
        target = IMAGES / f"report-{scheme}.png"
        page.screenshot(path=target, full_page=True, clip=clip)
        page.close()
        print(f"{target}  {target.stat().st_size // 1000} kB")


def picture_sample(browser: Browser, folder: Path) -> None:
    """Write a sample report into a folder, and a picture of each screen beside it."""
    write_sample(ensure_photographs(), folder)
    for screen, width in WIDTHS.items():
        for scheme in SCHEMES:
            page = open_report(browser, folder / "report.html", width, scheme)
            # What is folded or switched off would not be seen.
            page.locator("#evidence").check()
            page.locator("#suspects summary").click()
            target = folder / f"{screen}-{scheme}.png"
            page.screenshot(path=target, full_page=True)
            page.close()
            print(f"{target}  {target.stat().st_size // 1000} kB")


def main(arguments: list[str]) -> None:
    """Take the pictures that the arguments ask for."""
    with sync_playwright() as playwright:
        # Chromium's own sandbox does not work for root in a container.
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        match arguments:
            case ["--sample", folder]:
                picture_sample(browser, Path(folder))
            case [report]:
                picture_top(browser, Path(report))
            case _:
                sys.exit(__doc__)
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
