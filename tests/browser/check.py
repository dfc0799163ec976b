"""Drives a headless Chromium over one self-contained page and fails if anything is wrong with it.

    check.py PAGE.html --chromium PATH (--axe axe.min.js | --without-axe) [--screenshot-dir DIR]

`tests/browser/run` installs what this needs and calls it. The checks are in checks.py; what they ask inside the page is
in probes.js.
"""

import argparse
import pathlib
import sys

from playwright.sync_api import sync_playwright

import checks


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("page", type=pathlib.Path)
    parser.add_argument("--chromium", required=True, help="path of the browser's executable")
    axe = parser.add_mutually_exclusive_group(required=True)
    axe.add_argument("--axe", type=pathlib.Path, help="path of axe.min.js")
    axe.add_argument("--without-axe", action="store_true", help="leave the accessibility rules of axe-core out")
    parser.add_argument("--screenshot-dir", type=pathlib.Path)
    return parser.parse_args()


def main():
    args = arguments()
    if not args.page.is_file():
        sys.exit(f"error: no such page: {args.page}")
    axe = args.axe.read_text() if args.axe else None
    report = checks.Report()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=args.chromium, args=["--no-sandbox"])
        try:
            for scheme in ("light", "dark"):
                with checks.opened(browser, args.page, report, scheme, width=1280) as page:
                    checks.static(page, report)
                    checks.charts_are_drawn(page, report)
                    checks.screenshot(page, report, args.screenshot_dir, scheme)
                    checks.theme_button(page, report, scheme)
                    checks.accessibility(page, report, axe, scheme)
            with checks.opened(browser, args.page, report, "light", width=1280) as page:
                checks.images_enlarge(page, report)
                checks.tables_sort(page, report)
                checks.prints(page, report, args.screenshot_dir)
            for scheme in ("light", "dark"):
                with checks.opened(browser, args.page, report, scheme, width=360) as page:
                    checks.static(page, report)
                    name = "phone" if scheme == "light" else "phone-dark"
                    checks.screenshot(page, report, args.screenshot_dir, name)
            checks.without_script(browser, args.page, report)
        finally:
            browser.close()
    print(f"{args.page.name}: {report.summary()}")
    for failure in report.failures:
        print(f"  FAIL {failure}")
    if axe is None:
        print("  axe-core was left out: the accessibility rules are not checked")
    sys.exit(1 if report.failures else 0)


if __name__ == "__main__":
    main()
