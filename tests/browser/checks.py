"""The checks of check.py. Each adds its complaints to a Report; none stops at the first."""

import collections
import contextlib
import io
import pathlib

from PIL import Image

PROBES = (pathlib.Path(__file__).parent / "probes.js").read_text()
# Of tables with more columns than this, the first and the last ones are sorted.
MOST_COLUMNS = 10


class Report:
    """What was looked at, and what was wrong."""

    def __init__(self):
        self.failures = []
        self.counts = collections.Counter()

    def add(self, where, complaints):
        self.failures += [f"{where}: {c}" for c in complaints if f"{where}: {c}" not in self.failures]

    def check(self, where, good, complaint):
        self.add(where, [] if good else [complaint])

    def summary(self):
        counted = ", ".join(f"{n} {what}" for what, n in sorted(self.counts.items()))
        return f"{len(self.failures)} failures ({counted})"


@contextlib.contextmanager
def opened(browser, path, report, scheme, width, **options):
    """The page in a fresh context without network; whatever it logs, throws or asks for is a failure."""
    context = browser.new_context(
        offline=True, color_scheme=scheme, viewport={"width": width, "height": 900}, **options
    )
    page = context.new_page()
    where = f"{scheme} {width}px"
    url = path.resolve().as_uri()

    def logged(message):
        report.check(where, message.type not in ("warning", "error"), f"console {message.type}: {message.text}")

    def requested(request):
        inside = request.url.split("#")[0] == url or request.url.startswith("data:")
        report.check(where, inside, f"the page asks for {request.url[:120]}")

    page.on("console", logged)
    page.on("pageerror", lambda error: report.add(where, [f"script error: {error}"]))
    page.on("request", requested)
    page.where = where
    try:
        page.goto(url)
        if options.get("java_script_enabled", True):
            page.evaluate(PROBES)
        yield page
    finally:
        context.close()


def probe(page, name, argument=None):
    return page.evaluate(f"argument => probes.{name}(argument)", argument)


def static(page, report):
    """What can be seen without touching anything, folded parts included."""
    report.add(page.where, probe(page, "pageOverflow"))
    for name in ("images", "chartBoxes", "chartOverlaps", "chartContrast"):
        report.add(page.where, probe(page, name))
    was_open = page.evaluate("[...document.querySelectorAll('details')].map(d => d.open)")
    probe(page, "openAllDetails")
    report.add(f"{page.where} unfolded", probe(page, "pageOverflow"))
    page.evaluate("open => document.querySelectorAll('details').forEach((d, i) => { d.open = open[i]; })", was_open)
    report.counts["charts"] = page.locator("svg").count()
    report.counts["images"] = page.locator("img").count()
    report.counts["tables"] = page.locator("table").count()


def picture(png):
    return Image.open(io.BytesIO(png)).convert("RGB")


def colours(image):
    """Pixels by colour, most frequent first."""
    return sorted(image.getcolors(image.width * image.height), reverse=True)


def charts_are_drawn(page, report):
    """Every chart has pixels that are not its ground, in several colours. Fonts differ between machines, so that
    pixels are counted and not compared with a stored picture."""
    probe(page, "openAllDetails")
    charts = page.locator("svg")
    for i in range(charts.count()):
        chart = charts.nth(i)
        title = chart.locator("> title").text_content()
        counted = colours(picture(chart.screenshot()))
        drawn = 1 - counted[0][0] / sum(n for n, _ in counted)
        report.check(page.where, drawn > 0.005, f"chart {title!r} is blank: {drawn:.2%} of it is drawn")
        report.check(page.where, len(counted) >= 8, f"chart {title!r} has only {len(counted)} colours")
    page.evaluate("document.querySelectorAll('details:not(.zoom)').forEach(d => { d.open = false; })")


def screenshot(page, report, folder, name):
    """A picture of the page, which must not be blank."""
    page.evaluate("scrollTo(0, 0)")
    png = page.screenshot(full_page=True)
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.png").write_bytes(png)
    found = len(colours(picture(png)))
    report.check(page.where, found >= 32, f"the screenshot has only {found} colours")


def theme_button(page, report, scheme):
    """The button turns the theme and back, and nothing is stored."""
    button = page.locator("#theme")
    if button.count() == 0:
        return
    ground = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(ground)
    button.click()
    turned = page.evaluate(ground)
    report.check(page.where, before != turned, "the theme button changes nothing")
    other = "dark" if scheme == "light" else "light"
    report.add(f"{page.where} turned {other}", probe(page, "chartContrast"))
    button.press("Enter")
    report.check(page.where, page.evaluate(ground) == before, "the theme button does not turn back")
    report.add(page.where, probe(page, "storage"))


def accessibility(page, report, axe, scheme):
    """No serious or critical violation of axe-core's rules, folded parts included."""
    if axe is None:
        return
    probe(page, "openAllDetails")
    page.evaluate(axe)
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    report.counts[f"axe rules passed ({scheme})"] = len(found["passes"])
    for violation in found["violations"]:
        if violation["impact"] in ("serious", "critical"):
            nodes = [n["html"][:120] for n in violation["nodes"][:3]]
            report.add(page.where, [f"axe {violation['id']} ({violation['impact']}): {violation['help']}: {nodes}"])
        else:
            print(f"  note: axe {violation['id']} ({violation['impact']}): {violation['help']}")


def images_enlarge(page, report):
    """Images grow by click and by the Enter key, and Escape closes them."""
    zooms = page.locator("details.zoom")
    for i in range(min(zooms.count(), 3)):
        summary, image = zooms.nth(i).locator("summary"), zooms.nth(i).locator("img")
        small = image.bounding_box()["width"]
        for open_it in (summary.click, lambda: summary.press("Enter")):
            open_it()
            grown = image.bounding_box()["width"]
            report.check(page.where, grown > 1.5 * small, f"image {i} does not enlarge ({small} to {grown} px)")
            page.keyboard.press("Escape")
            report.check(page.where, image.bounding_box()["width"] == small, f"image {i} does not close with Escape")


def tables_sort(page, report):
    """Every column sorts up and down, by click and by key; undefined cells stay last."""
    probe(page, "openAllDetails")
    tables = page.locator("table.sortable")
    for t in range(tables.count()):
        table = tables.nth(t)
        if table.locator("tbody tr").count() < 2:
            continue
        heads = table.locator("thead th")
        columns = list(range(heads.count()))
        if len(columns) > MOST_COLUMNS:
            columns = columns[: MOST_COLUMNS // 2] + columns[-MOST_COLUMNS // 2 :]
        caption = table.locator("caption").text_content() if table.locator("caption").count() else t
        for c in columns:
            button = heads.nth(c).locator("button")
            before = collections.Counter(map(repr, probe(page, "columnKeys", [t, c])))
            steps = [
                ("a click", button.click, "ascending"),
                ("a second click", button.click, "descending"),
                ("the Enter key", lambda: button.press("Enter"), "ascending"),
                ("the space bar", lambda: button.press("Space"), "descending"),
            ]
            for how, act, direction in steps:
                act()
                keys = probe(page, "columnKeys", [t, c])
                where = f"{page.where} table {str(caption)[:40]!r} column {c} after {how}"
                report.check(where, heads.nth(c).get_attribute("aria-sort") == direction, f"aria-sort is not {direction}")
                report.check(where, probe(page, "inOrder", [keys, direction == "descending"]), f"not {direction}: {keys[:8]}")
                report.check(where, collections.Counter(map(repr, keys)) == before, "cells got lost")
            report.counts["columns sorted"] += 1


def prints(page, report, folder):
    """On paper: white, nothing folded, no buttons; and a PDF comes out."""
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = false; })")
    page.emulate_media(media="print", color_scheme="dark")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    report.check("print", ground in ("rgb(255, 255, 255)", "rgba(0, 0, 0, 0)"), f"the ground is {ground}")
    report.add("print", probe(page, "foldedInPrint"))
    report.add("print", probe(page, "visibleButtonsOutsideTables"))
    pdf = page.pdf()
    report.check("print", pdf.startswith(b"%PDF-") and len(pdf) > 5000, f"no PDF ({len(pdf)} bytes)")
    if folder:
        (folder / "print.pdf").write_bytes(pdf)
    page.emulate_media(media="screen")


def without_script(browser, path, report):
    """Without JavaScript the page reads; what cannot work is not shown."""
    with opened(browser, path, report, "light", 1280, java_script_enabled=False) as page:
        report.check("no script", page.locator("h1").is_visible(), "the title is not visible")
        report.check("no script", not page.locator("#theme").is_visible(), "the theme button is shown")
        found = len(colours(picture(page.screenshot())))
        report.check("no script", found >= 8, f"the page has only {found} colours")
