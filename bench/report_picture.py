# SPDX-License-Identifier: MIT
"""The picture of a report in the README: `python bench/report_picture.py` makes it of MiniLM.

Needs `pip install 'bitmill[test-browser]'`, a Chromium, and the weights (see `minilm.py`).
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

import bitmill as bm
from minilm import MISSING, folder

PICTURE = Path(__file__).parent / "pictures" / "report.png"
CANDIDATES = ["W2", "W3", "W4", "W5", "W6", "W8", "KEEP"]


def main() -> None:
    """Quantize to 4.25 bits per weight, and take a picture of what a reader sees first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=Path, default=PICTURE, help="where the picture goes")
    to = parser.parse_args().to
    model = folder()
    if model is None:
        raise SystemExit(MISSING)
    with tempfile.TemporaryDirectory() as work:
        plan = bm.plan_budget(model, "4.25bpw", CANDIDATES, scale_dtype="auto")
        bm.quantize_checkpoint(model, Path(work) / "dst", plan)
        page = Path(work) / "report.html"
        bm.report(Path(work) / "dst", source=model, html=page)
        to.parent.mkdir(exist_ok=True)
        take(page, to)
    print(f"{to}: {to.stat().st_size:,} bytes")


def take(page: Path, to: Path) -> None:
    """A picture of the first 1,480 pixels of a page, smaller, the fourth-worst tensor chosen."""
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=sandbox)
        size = {"width": 1280, "height": 1480}
        tab = browser.new_page(viewport=size, device_scale_factor=0.7, reduced_motion="reduce")
        tab.goto(page.as_uri())
        tab.locator("#table tbody tr").nth(3).locator(".c-sqnr").click()
        tab.evaluate("scrollTo(0, 0)")
        tab.mouse.move(0, 0)
        tab.screenshot(path=to)
        browser.close()


if __name__ == "__main__":
    main()
