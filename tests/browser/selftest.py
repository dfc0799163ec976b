"""Checks the checks: breaks a good page in many ways and fails if check.py's checks overlook one.

    selftest.py PAGE.html --chromium PATH [--axe axe.min.js]

PAGE.html is a page that passes, with charts, sortable tables and images.
"""

import argparse
import pathlib
import sys
import tempfile

from playwright.sync_api import sync_playwright

import checks

AT_END = "</body>"


def script(code):
    return (AT_END, f"<script>{code}</script>{AT_END}")


def style(rules):
    return ("</head>", f"<style>{rules}</style></head>")


FOREIGN_IMAGE = (AT_END, '<img alt="x" src="https://example.org/x.png">' + AT_END)

# What is done to the page (a replacement or several); the check that must see it; a word of its complaint.
BREAKS = [
    (script("console.warn('careful')"), None, "console warning"),
    (script("missing()"), None, "script error"),
    (FOREIGN_IMAGE, None, "console error"),
    ([("default-src 'none'; img-src data:;", "img-src * data:;"), FOREIGN_IMAGE], None, "the page asks for"),
    ((";base64,", ";base64,AAAA"), checks.static, "does not decode"),
    ((' alt="', ' alt="" data-alt="'), checks.static, "without alt"),
    ((AT_END, '<div style="width:3000px">wide</div>' + AT_END), checks.static, "wider than the window"),
    (style(".chart text { font-size: 40px; }"), checks.static, "beyond the viewBox"),
    (style(".chart text { font-size: 24px; }"), checks.static, "covers"),
    (style(".chart { height: 0 !important; }"), checks.static, "has the box"),
    (style(".chart text { fill: #999; }"), checks.static, "has a contrast of"),
    (style(".chart g { visibility: hidden; } .chart rect { visibility: hidden; }"), checks.charts_are_drawn, "is blank"),
    (("root.dataset.theme = ", "root.dataset.other = "), checks.theme_button, "changes nothing"),
    (script("localStorage.setItem('a', 'b')"), checks.theme_button, "stores something"),
    (style("body { color: #aaa; }"), "axe", "color-contrast"),
    ((' lang="en"', ""), "axe", "html-has-lang"),
    (style(".zoom[open] > summary { position: static; }"), checks.images_enlarge, "does not enlarge"),
    (('"Escape"', '"F9"'), checks.images_enlarge, "does not close"),
    (("a.value - b.value", "b.value - a.value"), checks.tables_sort, "not ascending"),
    (("if (a.rank === 2 || b.rank === 2)", "if (false)"), checks.tables_sort, "not descending"),
    (('<button type="button"', '<button type="button" onkeydown="event.preventDefault()"'), checks.tables_sort, "after the Enter key"),
    (('head.setAttribute("aria-sort"', 'head.setAttribute("data-sort"'), checks.tables_sort, "aria-sort"),
    (("body.append(...rows.map", "body.replaceChildren(...rows.slice(1).map"), checks.tables_sort, "cells got lost"),
    (("::details-content", "::nothing"), checks.prints, "stays folded"),
    (style("body { background: black !important; }"), checks.prints, "the ground is"),
    (style("#theme { display: block !important; }"), checks.prints, "button on paper"),
]


def broken(html, change):
    for before, after in change if isinstance(change, list) else [change]:
        if before not in html:
            sys.exit(f"error: the page has no {before!r} to break")
        html = html.replace(before, after)
    return html


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("page", type=pathlib.Path)
    parser.add_argument("--chromium", required=True)
    parser.add_argument("--axe", type=pathlib.Path)
    args = parser.parse_args()
    html = args.page.read_text()
    axe = args.axe.read_text() if args.axe else None
    overlooked = []
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=args.chromium, args=["--no-sandbox"])
        page_file = pathlib.Path(folder) / "broken.html"
        for change, check, word in BREAKS:
            if check == "axe" and axe is None:
                continue
            page_file.write_text(broken(html, change))
            report = checks.Report()
            with checks.opened(browser, page_file, report, "light", 1280) as page:
                page.set_default_timeout(5000)
                if check == "axe":
                    checks.accessibility(page, report, axe, "light")
                elif check is checks.theme_button:
                    check(page, report, "light")
                elif check is checks.prints:
                    check(page, report, None)
                elif check is not None:
                    check(page, report)
            seen = any(word in failure for failure in report.failures)
            print(f"  {'seen' if seen else 'OVERLOOKED'}: {word}")
            if not seen:
                overlooked.append((change, report.failures[:3]))
        browser.close()
    for change, failures in overlooked:
        print(f"overlooked: {change!r}; the complaints were {failures}")
    sys.exit(1 if overlooked else 0)


if __name__ == "__main__":
    main()
