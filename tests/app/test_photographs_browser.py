"""Photographs in a real browser: what a visitor does, and what they see. Run by `make test-browser`."""

import base64
import io
import time

import numpy
import pytest
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver

from browsing import IN_A_BROWSER, browsers, free_port, look_like_a_phone, screenshot, until
from r2id.app.enlarger import Enlarger, View
from r2id.app.page import build, launch

pytestmark = IN_A_BROWSER
SHOWN = 96, 144


@pytest.fixture(scope="module")
def enlarger(make_pyramid):
    return Enlarger(make_pyramid, SHOWN)


@pytest.fixture(scope="module")
def port(enlarger):
    number = free_port()
    page = launch(build({"Photographs": enlarger}), number)
    yield number
    page.close()


@pytest.fixture
def visit(port, tmp_path):
    with browsers(port, tmp_path, "example") as open_page:
        yield open_page


@pytest.fixture
def photograph(enlarger, tmp_path):
    steps = numpy.random.default_rng(1).integers(0, 256, (16, 24, 3), dtype=numpy.uint8)
    Image.fromarray(steps).resize((96, 64), Image.Resampling.BICUBIC).save(tmp_path / "garden.png")
    return enlarger.open(str(tmp_path / "garden.png"))


def upload(browser: WebDriver, photograph) -> None:
    chooser = until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "#photograph input[type=file]"))[0]
    chooser.send_keys(photograph.path)
    until(browser, lambda: ready(browser))


def ready(browser: WebDriver) -> bool:
    """Whether R2IR's view is there, and nothing is waiting for another."""
    names = [name.text for name in browser.find_elements(By.CSS_SELECTOR, "#compare .name")]
    moved = browser.find_elements(By.CSS_SELECTOR, "#compare .half img[style*=translate]")
    return names == ["Lanczos", "R2IR"] and not moved


def zoom(browser: WebDriver) -> str:
    return browser.find_element(By.CSS_SELECTOR, "#compare .place strong").text


def zoomed_to(browser: WebDriver, expected: str) -> None:
    until(browser, lambda: zoom(browser) == expected and ready(browser))


def picture(browser: WebDriver, name: str) -> numpy.ndarray:
    address = browser.find_element(By.CSS_SELECTOR, f"#compare img.{name}").get_attribute("src")
    return numpy.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))).astype(int)


def frame(browser: WebDriver):
    return browser.find_element(By.CSS_SELECTOR, "#compare .frame")


def divider(browser: WebDriver) -> float:
    """Where the divider is drawn, from 0 to 1."""
    script = """const box = document.querySelector('#compare .frame').getBoundingClientRect();
        const line = document.querySelector('#compare .divider').getBoundingClientRect();
        return (line.left + line.width / 2 - box.left) / box.width"""
    return browser.execute_script(script)


def test_a_visitor_compares_zooms_and_downloads(visit, enlarger, photograph):
    browser = visit("--window-size=1280,1250")
    upload(browser, photograph)
    assert zoom(browser) == "×4"
    lanczos, r2ir = picture(browser, "lanczos"), picture(browser, "r2ir")
    assert lanczos.shape == r2ir.shape == (*SHOWN, 3) and numpy.abs(lanczos - r2ir).mean() > 1
    screenshot(browser, "photograph")

    width, height = frame(browser).size["width"], frame(browser).size["height"]
    line = browser.find_element(By.CSS_SELECTOR, "#compare .divider")
    ActionChains(browser).click_and_hold(line).move_by_offset(round(0.2 * width), 0).release().perform()
    assert divider(browser) == pytest.approx(0.7, abs=0.01) and zoom(browser) == "×4"
    line.send_keys(Keys.ARROW_LEFT)
    assert divider(browser) == pytest.approx(0.68, abs=0.01)

    # The place under the pointer, a quarter from the left and the top, stays there.
    ActionChains(browser).move_to_element_with_offset(frame(browser), -width // 4, -height // 4).click().perform()
    zoomed_to(browser, "×8")
    text = browser.find_element(By.CSS_SELECTOR, "#compare .place span").text
    assert text.startswith("12x18 of 64x96 pixels, around row ")
    row, column = (float(part.split()[-1]) for part in text.split("around ")[1].split(", "))
    assert (row, column) == (pytest.approx(32 - 3, abs=0.2), pytest.approx(48 - 4.5, abs=0.2))
    deep = picture(browser, "r2ir")
    enlarged = Image.fromarray(r2ir.astype(numpy.uint8)[24:72, 36:108]).resize(SHOWN[::-1], Image.Resampling.BICUBIC)
    assert numpy.abs(deep - numpy.asarray(enlarged)).mean() > 1
    assert numpy.abs(deep - numpy.asarray(enlarger.r2ir(photograph, View(row, column, 8)))).mean() < 0.5
    # The divider is where it was.
    assert divider(browser) == pytest.approx(0.68, abs=0.01)

    for expected in ("×16", "×32"):
        browser.find_element(By.CSS_SELECTOR, "#compare .in").click()
        zoomed_to(browser, expected)
    ActionChains(browser).key_down(Keys.SHIFT).click(frame(browser).find_element(By.CSS_SELECTOR, ".half")).key_up(
        Keys.SHIFT
    ).perform()
    zoomed_to(browser, "×16")

    browser.find_element(By.ID, "enlarge").click()
    link = until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "#enlarged a"))[0]
    address = link.get_attribute("href")
    assert address.endswith("garden-128x192.png")
    # As the browser has it.
    script = """const [address, done] = arguments, picture = new Image();
        picture.onload = () => done([picture.naturalHeight, picture.naturalWidth]);
        picture.src = address"""
    assert browser.execute_async_script(script, address) == [128, 192]
    screenshot(browser, "photograph-enlarged")


def test_a_view_is_moved_by_dragging_and_by_the_map(visit, photograph):
    browser = visit("--window-size=1280,1250")
    upload(browser, photograph)
    width = frame(browser).size["width"]

    def column() -> float:
        return float(browser.find_element(By.CSS_SELECTOR, "#compare .place span").text.split()[-1])

    before = column()
    ActionChains(browser).move_to_element_with_offset(frame(browser), -width // 3, 0).click_and_hold().move_by_offset(
        width // 4, 0
    ).release().perform()
    # A quarter of the 36 columns that are shown.
    until(browser, lambda: ready(browser) and column() == pytest.approx(before - 9, abs=0.3))
    chart = browser.find_element(By.CSS_SELECTOR, "#compare .map")
    ActionChains(browser).move_to_element_with_offset(chart, chart.size["width"] // 2 - 2, 0).click().perform()
    # The view stays within the photograph.
    until(browser, lambda: ready(browser) and column() == 96 - 18)


@pytest.mark.parametrize("pause", [0, 0.5])
def test_clicks_while_a_view_is_rendered_are_answered_with_the_last(visit, enlarger, photograph, monkeypatch, pause):
    browser = visit("--window-size=1280,1250")
    upload(browser, photograph)
    r2ir = enlarger.r2ir
    monkeypatch.setattr(enlarger, "r2ir", lambda *view: time.sleep(1.2) or r2ir(*view))
    for _ in range(4):
        browser.find_element(By.CSS_SELECTOR, "#compare .in").click()
        time.sleep(pause)
    zoomed_to(browser, "×64")


def test_what_is_no_photograph_is_said(visit, tmp_path):
    (tmp_path / "note.png").write_text("no picture")
    browser = visit("--window-size=1280,1250")
    chooser = until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "#photograph input[type=file]"))[0]
    chooser.send_keys(str(tmp_path / "note.png"))
    until(browser, lambda: "note.png cannot be read as an image" in browser.find_element(By.TAG_NAME, "body").text)
    assert not browser.find_elements(By.CSS_SELECTOR, "#compare .frame")


def test_a_phone_in_the_dark(visit):
    browser = visit(query="?__theme=dark")
    look_like_a_phone(browser)
    browser.find_element(By.ID, "example").click()
    until(browser, lambda: ready(browser))
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    box = frame(browser).size
    assert box["width"] > 320 and box["width"] / box["height"] == pytest.approx(1.5, abs=0.02)

    left, top = browser.execute_script(
        "const box = document.querySelector('#compare .frame').getBoundingClientRect(); return [box.left, box.top]"
    )

    def touch(*places: float) -> None:
        for kind, points in (
            ("touchStart", places[:1]), *(("touchMove", [place]) for place in places[1:]), ("touchEnd", []),
        ):  # fmt: skip
            marks = [{"x": left + x * box["width"], "y": top + box["height"] / 3} for x in points]
            browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": marks})

    touch(0.5, 0.45, 0.35, 0.25)
    assert divider(browser) == pytest.approx(0.25, abs=0.02)
    touch(0.8)
    zoomed_to(browser, "×8")
    screenshot(browser, "photograph-phone")
