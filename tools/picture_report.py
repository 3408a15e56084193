"""Take the pictures of a report that the README shows: `python -m tools.picture_report REPORT`.

REPORT is the report.html of a release, such as that of `make run`. The pictures show the top of the
page as a person with a light or a dark screen sees it. It needs Chromium (`make chromium`).
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
WIDTH = 1280
# The first sections of the page, as far as one picture stays readable in the README.
LAST_SECTION = "#curves"


def take_picture(browser: Browser, report: Path, scheme: str, target: Path) -> None:
    """Save the top of the page, down to the end of `LAST_SECTION`, in a colour scheme."""
    page = browser.new_page(viewport={"width": WIDTH, "height": 900}, color_scheme=scheme)
    page.goto(report.resolve().as_uri())
    box = page.locator(LAST_SECTION).bounding_box()
    if box is None:
        sys.exit(f"{report} has no section {LAST_SECTION}; expected a report.html of Graft.")
    height = box["y"] + box["height"]
    clip = {"x": 0, "y": 0, "width": WIDTH, "height": height}
    page.screenshot(path=target, full_page=True, clip=clip)
    page.close()


def main(report: Path) -> None:
    """Write report-light.png and report-dark.png."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        # Chromium's own sandbox does not work for root in a container.
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        for scheme in ("light", "dark"):
            target = IMAGES / f"report-{scheme}.png"
            take_picture(browser, report, scheme, target)
            print(f"{target}  {target.stat().st_size // 1000} kB")
        browser.close()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
