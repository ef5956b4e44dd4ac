"""The report in a real browser: headless Chromium, driven through its driver."""

import json
import re
import shutil

import pytest
from report_records import CODECS, SCANS, hostile, write

from vecstore.bench.report import build, html

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--force-prefers-reduced-motion", "--window-size=1280,900",
)  # fmt: skip
WAIT_S = 60
DRAWN = "return document.documentElement.dataset.drawn"
LEAST_CONTRAST = 4.5

# The contrast of a text with what is painted behind it, for all texts that are seen.
CONTRAST = """
const lightness = (rgb) => {
  const bent = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const [r, g, b] = rgb.map((v) => bent(v / 255));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
const behind = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const colour = parts(getComputedStyle(at).backgroundColor);
    if (colour.length < 4 || colour[3] > 0) return colour.slice(0, 3);
  }
  return parts(getComputedStyle(document.body).backgroundColor).slice(0, 3);
};
const found = [];
for (const element of document.querySelectorAll("body *")) {
  const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
  if (!own || !element.checkVisibility() || ["SCRIPT", "STYLE"].includes(element.tagName)) continue;
  const style = getComputedStyle(element);
  const text = element.closest("svg") ? style.fill : style.color;
  if (text === "none") continue;
  const [one, two] = [lightness(parts(text).slice(0, 3)), lightness(behind(element))].sort((a, b) => b - a);
  const contrast = (one + 0.05) / (two + 0.05);
  if (contrast < arguments[0]) found.push([element.tagName, element.textContent.slice(0, 40), contrast]);
}
return found;
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    pytest.importorskip("vl_convert", reason="the page's charts are not installed")
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("there is no Chromium with its driver here")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_page_load_timeout(WAIT_S)
    driver.set_script_timeout(WAIT_S)
    yield driver
    driver.quit()


def made(folder, *records):
    path = folder / "report.html"
    path.write_text(html.page(build.report([write(folder / "records.jsonl", *records)])[0]), "utf-8")
    return path


def opened(driver, path):
    driver.get_log("performance")
    size(driver, 1280)
    driver.get(path.as_uri())
    until(driver, DRAWN)


def until(driver, script, *arguments):
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(driver, WAIT_S).until(lambda d: d.execute_script(script, *arguments))


def size(driver, width):
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


@pytest.fixture(scope="module")
def path(driver, tmp_path_factory):
    others = [
        {**CODECS[0], "method": f"pq:bytes={n}", "bytes_per_row": float(n), "gap_codes_db": None}
        for n in (9, 12, 33)
    ]
    folder = tmp_path_factory.mktemp("page")
    return made(folder, *CODECS, *others, *SCANS, {"task": "novel", "method": "x"}, "{")


@pytest.fixture
def page(driver, path):
    opened(driver, path)
    return driver


def table(driver, title):
    found = driver.execute_script(
        "return [...document.querySelectorAll('table')].find((t) => t.caption.textContent === arguments[0])",
        title,
    )
    driver.execute_script("arguments[0].closest('details').open = true; arguments[0].scrollIntoView()", found)
    return found


def column(driver, table, at):
    rows = "[...arguments[0].tBodies[0].rows].filter((r) => !r.hidden)"
    return driver.execute_script(f"return {rows}.map((r) => r.cells[arguments[1]].textContent)", table, at)


def heading(driver, table, at):
    return driver.execute_script("return arguments[0].tHead.rows[0].cells[arguments[1]]", table, at)


BEST, QUALITY = "some: what to take at which budget", "some: quality at all sizes"


def test_it_draws_without_a_word_on_the_console_and_without_a_request(page, path):
    drawn = page.execute_script(
        "return [...document.querySelectorAll('.chart')].map((c) => c.querySelectorAll('svg path').length)"
    )
    assert len(drawn) == 4 and min(drawn) > 3
    assert page.get_log("browser") == []
    sent = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    addresses = {m["params"]["request"]["url"] for m in sent if m["method"] == "Network.requestWillBeSent"}
    assert {address for address in addresses if not address.startswith("data:")} == {path.as_uri()}


def test_what_is_first_is_the_conclusion(page):
    text = page.execute_script("return document.querySelector('main section').innerText")
    assert text.startswith("Conclusions") and "targets kept" in text and BEST in text


def test_a_table_sorts_by_the_mouse_and_by_the_keyboard(page):
    from selenium.webdriver.common.keys import Keys

    best = table(page, BEST)
    first, recall = heading(page, best, 0), heading(page, best, 2)
    before = column(page, best, 0)
    recall.find_element("tag name", "button").click()
    assert recall.get_attribute("aria-sort") == "ascending"
    found = [float(cell) for cell in column(page, best, 2)]
    assert found == sorted(found)
    button = first.find_element("tag name", "button")
    page.execute_script("arguments[0].focus()", button)
    button.send_keys(Keys.ENTER)
    assert (first.get_attribute("aria-sort"), recall.get_attribute("aria-sort")) == ("ascending", None)
    button.send_keys(Keys.SPACE)
    assert first.get_attribute("aria-sort") == "descending"
    assert column(page, best, 0) == sorted(before, key=int, reverse=True)
    assert "descending" in page.execute_script("return document.getElementById('status').textContent")
    outline = page.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


def test_cells_without_a_figure_come_last_either_way(page):
    found = table(page, QUALITY)
    for _ in range(2):
        heading(page, found, 4).find_element("tag name", "button").click()
        cells = column(page, found, 4)
        assert "-" in cells and "1.50" in cells
        assert cells == [c for c in cells if c != "-"] + [c for c in cells if c == "-"]


def test_rows_are_filtered_by_all_words(page):
    found = table(page, QUALITY)
    field = page.execute_script(
        "return document.querySelector(`input[data-table=${arguments[0].id}]`)", found
    )
    assert page.execute_script("return arguments[0].labels.length", field) == 1
    field.send_keys("faiss 8")
    assert column(page, found, 0) == ["faiss sq:8bit", "faiss pq:m=8"]
    count = page.execute_script(
        "return arguments[0].closest('.tools').querySelector('output').textContent", field
    )
    assert count == "2 of 10 rows"
    field.clear()
    field.send_keys("no such row")
    assert column(page, found, 0) == []


def test_a_family_is_brought_to_the_front_and_back(page):
    marks = "[...document.querySelectorAll('#chart-0 svg path')]"
    faint = f"return {marks}.filter((p) => p.getAttribute('opacity') === '0.1').length"
    button = page.execute_script("return document.querySelector('.legend button')")
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    assert until(page, faint) > 0
    button.click()
    until(page, f"{faint.replace('return', 'return 0 ===')}")


def test_every_chart_has_words_and_figures(page):
    for label in page.execute_script(
        "return [...document.querySelectorAll('[role=img]')].map((c) => c.ariaLabel)"
    ):
        assert len(label) > 60 and re.search(r"\d", label)
    assert page.execute_script(
        "return [...document.querySelectorAll('figure')].every((f) => f.querySelector('table'))"
    )


def test_a_phone_scrolls_tables_and_not_the_page(page):
    size(page, 360)
    until(page, "return document.documentElement.scrollWidth === 360")
    page.execute_script("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert page.execute_script("return document.documentElement.scrollWidth") == 360
    found = table(page, QUALITY)
    wide = page.execute_script(
        "const b = arguments[0].closest('.scroll'); return [b.scrollWidth, b.clientWidth, b.tabIndex]", found
    )
    assert wide[0] > wide[1] and wide[1] <= 360 and wide[2] == 0
    ends = "[...document.querySelectorAll('.chart svg')].map((s) => s.getBoundingClientRect().right)"
    until(page, f"return Math.max(...{ends}) <= 360")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_is_legible_by_the_system_and_by_choice(page, theme):
    other = {"light": "dark", "dark": "light"}[theme]
    for wanted, chosen in ((theme, False), (other, True)):
        count = page.execute_script(DRAWN)
        if chosen:
            page.execute_script("document.getElementById('theme').click()")
        else:
            features = [{"name": "prefers-color-scheme", "value": theme}]
            page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
            page.refresh()
            count = None
        until(page, f"{DRAWN} !== arguments[0] && {DRAWN[7:]} !== undefined", count)
        paper = page.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert (paper == "rgb(255, 255, 255)") == (wanted == "light")
        page.execute_script("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        assert page.execute_script(CONTRAST, LEAST_CONTRAST) == []
        assert page.get_log("browser") == []
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_the_keyboard_reaches_the_conclusions_past_the_navigation(page):
    from selenium.webdriver.common.keys import Keys

    body = page.find_element("tag name", "body")
    body.send_keys(Keys.TAB)
    assert page.execute_script("return document.activeElement.className") == "skip"
    box = page.execute_script(
        "const b = document.activeElement.getBoundingClientRect(); return [b.left, b.top]"
    )
    assert min(box) >= 0, "it is seen when it has the focus"
    page.switch_to.active_element.send_keys(Keys.ENTER)
    assert until(page, "return document.activeElement.id") == "main"


def test_hostile_text_stays_text(driver, tmp_path):
    opened(driver, made(tmp_path, *hostile()))
    assert driver.execute_script("return [window.owned, document.querySelectorAll('img').length]") == [
        None,
        0,
    ]
    assert driver.get_log("browser") == []
    assert "</script><script>" in driver.execute_script("return document.querySelector('main').innerText")


def test_the_page_forbids_every_request_and_every_other_script(driver, tmp_path):
    opened(driver, made(tmp_path, *CODECS))
    script = """
        const done = arguments[0];
        const s = document.createElement("script");
        s.textContent = "window.owned = 1";
        document.body.append(s);
        fetch("data:text/plain,x").then(() => done("fetched"), () => done(window.owned === undefined));
    """
    assert driver.execute_async_script(script) is True
    assert "Content Security Policy" in json.dumps(driver.get_log("browser"))
