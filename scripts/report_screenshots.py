"""Screenshots of a report into docs/figures: report_screenshots.py FOLDER/index.html [OUT].

Needs playwright (pip install 'bgp4[browser]') and the system's Chromium.
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

FIGURES = Path(__file__).parents[1] / "docs" / "figures"
ARGUMENTS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
SHOTS = {
    "report_light.png": ({"width": 1180, "height": 1330}, "light", 1.0),
    "report_dark.png": ({"width": 1180, "height": 1330}, "dark", 1.0),
    "report_phone.png": ({"width": 360, "height": 1500}, "light", 2.0),
}
"""File to the viewport, the colour scheme, and device pixels for each of the page's."""

POINT = (-75, -20)
"""φ and ψ in degrees, of what the viewer shows."""


def shoot(browser: Browser, page: Path, out: Path, name: str) -> None:
    size, scheme, scale = SHOTS[name]
    context = browser.new_context(viewport=size, color_scheme=scheme, device_scale_factor=scale)
    tab = context.new_page()
    tab.goto(page.resolve().as_uri())
    tab.wait_for_function("window.bgp4Report && bgp4Report.explorer")
    if name == "report_phone.png":
        tab.locator("h2", has_text="Conformations").evaluate("(e) => e.scrollIntoView()")
    target = tab.locator(".target").first
    if target.count():
        box = target.bounding_box()
        at = [(POINT[0] + 180) / 360 * box["width"], (180 - POINT[1]) / 360 * box["height"]]
        target.click(position={"x": at[0], "y": at[1]})
    tab.wait_for_timeout(500)
    tab.screenshot(path=out / name)
    context.close()


def main() -> None:
    page, out = Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else FIGURES
    with sync_playwright() as runner:
        browser = runner.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        for name in SHOTS:
            shoot(browser, page, out, name)
        browser.close()


if __name__ == "__main__":
    main()
