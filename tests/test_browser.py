"""The page in a real browser: Chromium, opened from disk."""

from __future__ import annotations

import shutil

import pytest
from reports import make_store

from vitbench.report.html.page import write_report

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def browser():
    """A browser without a window."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install playwright"
    )
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Where a page of two tables lies."""
    folder = tmp_path_factory.mktemp("browser")
    return write_report(make_store(folder / "results"), folder / "report").as_uri()


@pytest.fixture
def open_page(browser, address):
    """Open the page, and afterwards hold that it neither complained nor asked for anything."""
    opened, said, asked = [], [], []

    def go(**context):
        page = browser.new_context(**context).new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        opened.append(page)
        return page

    yield go
    for page in opened:
        page.context.close()
    assert said == []
    assert {url for url in asked if not url.startswith("data:")} == {address}


def column(page, at):
    """The cells of a column of the first table, from top to bottom."""
    return page.eval_on_selector_all(
        "section:first-of-type table.sortable:not(.heat) tbody tr",
        f"rows => rows.map(row => row.cells[{at}].dataset.sort)",
    )


def test_it_opens_without_a_word_and_without_a_network(open_page):
    """No console message, no request but the file itself; nothing is wider than the window."""
    page = open_page(offline=True, viewport={"width": 390, "height": 800})
    assert page.locator("section").count() == 2
    assert page.locator("figure svg").count() >= 8
    wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0


def test_heads_sort_rows_by_raw_values(open_page):
    """Down, then up; empty cells last; a screen reader hears which."""
    page = open_page()
    head = page.locator("section:first-of-type table.sortable >> nth=0 >> th >> nth=5")
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    down = [float(value) for value in column(page, 5)]
    assert down == sorted(down, reverse=True)
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert [float(value) for value in column(page, 5)] == sorted(down)
    assert page.locator("thead [aria-sort]").count() == 2  # one a table
    assert "ascending" in page.locator("#told").text_content()
    page.locator("section:first-of-type table.sortable >> nth=0 >> th button >> nth=0").click()
    assert column(page, 0) == ["<script>alert(1)<&>", "learned1d", "rope2d"]
    page.locator("section:first-of-type table.sortable >> nth=0 >> th button >> nth=2").click()
    assert column(page, 2)[-1] == ""


def test_everything_can_be_done_by_keyboard(open_page):
    """Skip link, sorting, highlighting and opening a gallery, with visible focus."""
    page = open_page()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "studies"
    page.locator("section:first-of-type table.sortable >> nth=0 >> th button >> nth=5").focus()
    page.keyboard.press("Enter")
    down = [float(value) for value in column(page, 5)]
    assert down == sorted(down, reverse=True)
    outline = page.evaluate(
        "(() => { const s = getComputedStyle(document.activeElement); return s.outlineStyle + s.outlineWidth; })()"
    )
    assert outline == "solid2px"
    chosen = page.locator("section:first-of-type [data-highlight=rope2d]")
    chosen.focus()
    page.keyboard.press("Space")
    assert chosen.get_attribute("aria-pressed") == "true"
    lit = page.locator("section:first-of-type svg .lit")
    assert {each.get_attribute("data-arm") for each in lit.all()} == {"rope2d"}
    page.keyboard.press("Space")
    assert lit.count() == 0
    summary = page.locator("section:first-of-type details.pair summary >> nth=0")
    summary.focus()
    page.keyboard.press("Enter")
    picture = page.locator("section:first-of-type .picture >> nth=0")
    assert picture.is_visible()
    assert picture.get_attribute("aria-label").startswith("Image ")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_follows_the_reader_s_colours(open_page, scheme):
    """Page and figures, and the button that overrides them."""
    page = open_page(color_scheme=scheme)

    def luminance(selector, name):
        text = page.eval_on_selector(selector, f"e => getComputedStyle(e).{name}")
        return sum(map(float, text.removeprefix("rgb(").removesuffix(")").split(",")))

    def is_dark():
        ground = luminance("body", "backgroundColor")
        ink, line = luminance("body", "color"), luminance("svg.figure text", "fill")
        assert (ground < ink) == (ground < line)
        return ground < ink

    assert is_dark() == (scheme == "dark")
    theme = page.locator("#theme")
    theme.click()
    assert theme.text_content() == "Theme: light"
    assert not is_dark()
    theme.click()
    assert theme.text_content() == "Theme: dark"
    assert is_dark()


def test_pictures_are_those_that_are_kept(open_page):
    """Red grows with the number of the image; the background shows just that one."""
    page = open_page(device_scale_factor=1)
    page.evaluate("document.querySelectorAll('details.pair').forEach(each => each.open = true)")
    for picture in page.locator("section:first-of-type .picture").all()[:4]:
        number = int(picture.get_attribute("aria-label").split()[1].rstrip(","))
        expected = number // 2 * 20
        box = picture.bounding_box()
        shot = picture.screenshot()
        red = page.evaluate(
            """async ([data, x, y]) => {
                const image = new Image();
                image.src = data;
                await image.decode();
                const canvas = document.createElement('canvas');
                [canvas.width, canvas.height] = [image.width, image.height];
                const context = canvas.getContext('2d');
                context.drawImage(image, 0, 0);
                return context.getImageData(x, y, 1, 1).data[0];
            }""",
            [f"data:image/png;base64,{_base64(shot)}", box["width"] // 2, box["height"] // 2],
        )
        assert abs(red - expected) < 12


def _base64(data):
    import base64

    return base64.b64encode(data).decode()


def test_a_figure_is_saved_as_png_and_as_svg(open_page):
    """From the page alone, in its colours."""
    page = open_page(accept_downloads=True)
    figure = page.locator("section:first-of-type figure >> nth=0")
    for kind, start in (("PNG", b"\x89PNG"), ("SVG", b"<svg")):
        with page.expect_download() as waiting:
            figure.get_by_role("button", name=f"Save as {kind}").click()
        file = waiting.value.path()
        assert file.read_bytes().startswith(start)
        assert b"var(" not in file.read_bytes()
        assert waiting.value.suggested_filename.endswith(f"-differences.{kind.lower()}")


def test_it_prints_with_its_galleries_and_without_its_buttons(open_page):
    """In light colours."""
    page = open_page(color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print", color_scheme="light")
    assert not page.locator("#theme").is_visible()
    assert not page.locator(".highlight").first.is_visible()
    assert page.locator(".picture").first.is_visible()
    assert page.pdf(format="A4").startswith(b"%PDF")
