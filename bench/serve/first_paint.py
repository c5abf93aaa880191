#!/usr/bin/env python3
"""usage: first_paint.py URL TIMES: how long a headless Chromium takes, nothing cached, from the start of a load until it paints first
("first-contentful-paint" of the Paint Timing API, W3C) and until rows of the table are drawn, ms. Prints "ok PAINT LARGEST ROWS LARGEST",
medians and largest of TIMES loads after one to warm up. Needs Chromium, its driver and Selenium as tests/web does (Debian has them for its own Python)."""
import pathlib
import statistics
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests" / "web"))
from pages import Page

PAINT = "const e = performance.getEntriesByName('first-contentful-paint')[0]; return e ? e.startTime : 0"
WATCH = """new MutationObserver((_, o) => {
    if (!document.querySelector('#rows tr.row')) return;
    window.rowsDrawn = performance.now();
    o.disconnect();
}).observe(document, { childList: true, subtree: true })"""


def main():
    url, times = sys.argv[1], int(sys.argv[2])
    page, paint, rows = Page(), [], []
    page.d.execute_cdp_cmd("Network.enable", {})
    page.d.execute_cdp_cmd("Network.setCacheDisabled", {"cacheDisabled": True})
    page.d.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH})
    for _ in range(times + 1):
        page.open("about:blank")
        page.open(url)
        paint.append(page.until(lambda: page.d.execute_script(PAINT)))
        rows.append(page.until(lambda: page.d.execute_script("return window.rowsDrawn")))
    page.close()
    print("ok", *(f(v[1:]) for v in (paint, rows) for f in (statistics.median, max)))


main()
