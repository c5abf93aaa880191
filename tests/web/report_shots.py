#!/usr/bin/env python3
"""usage: report_shots.py REPORT.html OUT NAME: the first screen of a page of saelab, light and dark, as OUT/NAME-{light,dark}.png."""
import os
import sys

from pages import Page


def main():
    report, out, name = sys.argv[1:4]
    for dark in (False, True):
        page = Page(1200, 1000, dark)
        page.open("file://" + os.path.abspath(report))
        page.shot(os.path.join(out, f"{name}-{'dark' if dark else 'light'}.png"))
        page.close()


main()
