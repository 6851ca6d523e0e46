"""The page in a real browser: what a visitor does, and what they see. Run by `make test-browser`."""

import re

import pytest
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver

from browsing import IN_A_BROWSER, free_port, look_like_a_phone, screenshot, until
from r2id import R2Pipeline
from r2id.app.page import build, launch
from r2id.app.studio import Studio
from r2id.errors import InputError

pytestmark = IN_A_BROWSER


@pytest.fixture(scope="module")
def port():
    number = free_port()
    pipeline = R2Pipeline.from_pretrained("mnist")
    pipeline.set_progress_bar_config(disable=True)
    page = launch(build({"Digits": Studio(pipeline)}), number)
    yield number
    page.close()


def line(browser: WebDriver) -> str:
    return browser.find_element(By.ID, "line").text


def generate(browser: WebDriver) -> None:
    # One label is enough.
    for box in browser.find_elements(By.CSS_SELECTOR, "input[type=checkbox]")[1:10]:
        browser.execute_script("arguments[0].click()", box)
    browser.find_element(By.ID, "generate").click()


def keep_lines(browser: WebDriver) -> None:
    """Have the page note every line of text that it shows, as some are there for a moment only."""
    browser.execute_script(
        "window.lines = []; new MutationObserver(() => window.lines.push(document.querySelector('#line').innerText))"
        ".observe(document.body, {subtree: true, childList: true, characterData: true})"
    )


def preset(browser: WebDriver) -> list[str]:
    """The proposed size that is marked as chosen, if any."""
    return [box.get_attribute("value") for box in browser.find_elements(By.CSS_SELECTOR, "#preset input:checked")]


def downloads(browser: WebDriver) -> str:
    """The addresses of all files that are offered."""
    return " ".join(link.get_attribute("href") or "" for link in browser.find_elements(By.CSS_SELECTOR, "#files a"))


def text_level(browser: WebDriver) -> float:
    """How light the line of text is, from 0, black, to 255."""
    colour = browser.execute_script("return getComputedStyle(document.querySelector('#line p')).color")
    return sum(map(float, re.findall(r"[\d.]+", colour)[:3])) / 3


def viewed(browser: WebDriver) -> str:
    return browser.find_element(By.CSS_SELECTOR, "#viewer img").get_attribute("src")


def test_a_visitor_generates_decodes_again_and_zooms(visit):
    browser = visit("--window-size=1280,1400")
    keep_lines(browser)
    generate(browser)
    until(browser, lambda: line(browser) == "1 latent of 8x8, decoded at 32x32")
    lines = [text.strip() for text in browser.execute_script("return window.lines")]
    steps = [text for text in lines if re.fullmatch(r"step \d+ of 20", text)]
    assert steps == sorted(steps, key=lambda text: int(text.split()[1])) and len(set(steps)) > 1
    picture = browser.find_element(By.CSS_SELECTOR, "#strip img")
    assert picture.get_property("naturalHeight") == 32
    assert not browser.find_elements(By.CSS_SELECTOR, "#viewer input, #viewer ellipse")

    browser.find_element(By.CSS_SELECTOR, "#preset input[value='27x18']").click()
    until(browser, lambda: line(browser) == "1 latent of 8x8, decoded at 27x18")
    size = browser.find_element(By.CSS_SELECTOR, "#strip img")
    assert (size.get_property("naturalHeight"), size.get_property("naturalWidth")) == (27, 18)

    whole = viewed(browser)
    frame = browser.find_element(By.CSS_SELECTOR, "#viewer .frame")
    width, height = frame.size["width"], frame.size["height"]
    # The lower right quarter, which is as tall and wide on the page as the whole was.
    ActionChains(browser).move_to_element(frame).click_and_hold().move_by_offset(
        width // 2 - 3, height // 2 - 3
    ).release().perform()
    until(browser, lambda: viewed(browser) != whole)
    part = browser.find_element(By.CSS_SELECTOR, "#viewer img")
    assert max(part.get_property("naturalHeight"), part.get_property("naturalWidth")) == 480
    browser.find_element(By.ID, "zoom-out").click()
    until(browser, lambda: viewed(browser) == whole)

    browser.find_element(By.CSS_SELECTOR, "#strip .picture").click()
    browser.find_element(By.XPATH, "//button[contains(., 'channel by channel')]").click()
    latent = until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "#latent img"))[0]
    assert until(browser, lambda: latent.get_property("naturalWidth")) > 100
    screenshot(browser, "page")

    browser.find_element(By.ID, "save").click()
    until(browser, lambda: len(browser.find_elements(By.CSS_SELECTOR, "#files a")) >= 2)
    links = downloads(browser)
    assert "27x18.png" in links and "latents.safetensors" in links
    screenshot(browser, "downloads")
    # They are no longer the pictures on the page.
    browser.find_element(By.CSS_SELECTOR, "#preset input[value='64x64']").click()
    until(browser, lambda: "64x64" in line(browser) and not downloads(browser))
    browser.find_element(By.ID, "save").click()
    until(browser, lambda: "64x64.png" in downloads(browser))


def test_a_visitor_goes_back_to_earlier_pictures(visit):
    browser = visit("--window-size=1280,1400")
    generate(browser)
    until(browser, lambda: line(browser) == "1 latent of 8x8, decoded at 32x32")
    first = viewed(browser)
    assert not browser.find_elements(By.ID, "earlier")
    browser.find_element(By.CSS_SELECTOR, "#preset input[value='27x18']").click()
    until(browser, lambda: line(browser) == "1 latent of 8x8, decoded at 27x18")
    browser.find_element(By.ID, "generate").click()
    until(browser, lambda: len(browser.find_elements(By.CSS_SELECTOR, "#gallery .picture")) == 2)
    browser.find_elements(By.CSS_SELECTOR, "#gallery .picture")[1].click()
    until(browser, lambda: line(browser) == "1 latent of 8x8, decoded at 32x32" and viewed(browser) == first)
    screenshot(browser, "earlier")


def test_the_proposed_size_that_is_marked_is_the_one_written(visit):
    browser = visit("--window-size=1280,1400")
    assert preset(browser) == ["32x32"]
    height = browser.find_element(By.CSS_SELECTOR, "#height input")
    height.send_keys(Keys.CONTROL, "a")
    height.send_keys("40")
    until(browser, lambda: preset(browser) == [])
    for name in ("height", "width"):
        browser.find_element(By.CSS_SELECTOR, f"#{name} input").send_keys(Keys.CONTROL, "a")
        browser.find_element(By.CSS_SELECTOR, f"#{name} input").send_keys("64")
    until(browser, lambda: preset(browser) == ["64x64"])


def test_an_error_is_said_once_and_leaves_the_pictures(visit):
    browser = visit("--window-size=1280,1400")
    generate(browser)
    until(browser, lambda: line(browser) == "1 latent of 8x8, decoded at 32x32")
    browser.find_element(By.CSS_SELECTOR, "#height input").send_keys("0000")
    browser.find_element(By.ID, "decode").click()
    until(browser, lambda: "at most 2048 on a side" in browser.find_element(By.TAG_NAME, "body").text)
    screenshot(browser, "error")
    assert line(browser) == "1 latent of 8x8, decoded at 32x32"


def test_uploads_good_and_bad(visit, tmp_path):
    Image.new("L", (40, 20), 128).save(tmp_path / "grey.png")
    (tmp_path / "note.png").write_text("no picture")
    browser = visit("--window-size=1280,1400")
    browser.find_element(By.XPATH, "//button[@role='tab'][contains(., 'Your picture')]").click()
    chooser = until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "#upload input[type=file]"))[0]
    chooser.send_keys(str(tmp_path / "note.png"))
    until(browser, lambda: "note" in browser.find_element(By.ID, "upload").text)
    browser.find_element(By.ID, "encode").click()
    until(browser, lambda: "cannot be read as an image" in browser.find_element(By.TAG_NAME, "body").text)

    browser.find_element(By.CSS_SELECTOR, "#upload button[aria-label*='lear'], #upload button[title*='lear']").click()
    chooser = until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "#upload input[type=file]"))[0]
    chooser.send_keys(str(tmp_path / "grey.png"))
    until(browser, lambda: "grey" in browser.find_element(By.ID, "upload").text)
    browser.find_element(By.ID, "encode").click()
    until(browser, lambda: line(browser) == "1 latent of 8x8, decoded at 32x32")


def test_two_visitors_at_once_each_get_their_own(visit):
    first, second = visit("--window-size=1280,1400"), visit()
    look_like_a_phone(second)
    second.execute_script(
        "window.tops = []; new MutationObserver(() => { const line = document.querySelector('#line'); "
        "if (line.innerText.startsWith('step')) window.tops.push(line.getBoundingClientRect().top) })"
        ".observe(document.body, {subtree: true, childList: true, characterData: true})"
    )
    generate(first)
    generate(second)
    for browser in (first, second):
        until(browser, lambda browser=browser: "decoded at 32x32" in line(browser))
    first.find_element(By.CSS_SELECTOR, "#preset input[value='32x32']").click()
    until(first, lambda: "decoded at 32x32" in line(first))
    assert "decoded at 32x32" in line(second)
    # The pictures of a phone lie below the controls, and come into sight by themselves, from the first steps on.
    top = "document.querySelector('#line').getBoundingClientRect().top"
    at_the_end = "scrollY + innerHeight >= document.documentElement.scrollHeight - 1"
    until(second, lambda: second.execute_script(f"return 0 <= {top} && ({top} < 100 || {at_the_end})"))
    assert second.execute_script(
        "return document.querySelector('#viewer img').getBoundingClientRect().bottom < innerHeight"
    )
    assert min(second.execute_script("return window.tops")) < 840
    # It has no need to scroll sideways.
    assert second.execute_script("return document.documentElement.scrollWidth") <= 390
    screenshot(second, "phone")


def test_a_finger_scrolls_up_and_down_and_zooms_sideways(visit):
    browser = visit()
    look_like_a_phone(browser)
    generate(browser)
    until(browser, lambda: "decoded at 32x32" in line(browser))
    whole = viewed(browser)

    def centre() -> tuple[float, float]:
        """Of the picture, in the window."""
        frame = "document.querySelector('#viewer .frame')"
        browser.execute_script(f"{frame}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
        box = browser.execute_script(f"return {frame}.getBoundingClientRect().toJSON()")
        return box["left"] + box["width"] / 2, box["top"] + box["height"] / 2

    def swipe(*places: tuple[float, float]) -> None:
        for place in places:
            kind = "touchStart" if place is places[0] else "touchMove"
            points = [{"x": place[0], "y": place[1]}]
            browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    x, y = centre()
    before = browser.execute_script("return window.scrollY")
    swipe(*((x + step / 5, y + 5 * step) for step in range(20)))
    until(browser, lambda: browser.execute_script("return window.scrollY") < before)
    assert viewed(browser) == whole

    x, y = centre()
    swipe(*((x + 5 * step, y + max(0, 5 * step - 30)) for step in range(20)))
    until(browser, lambda: viewed(browser) != whole)


@pytest.mark.parametrize("query", ["", "?__theme=dark"], ids=["as the system", "as the address says"])
def test_it_is_dark_where_that_is_wished(visit, query):
    browser = visit("--window-size=1280,1400", query=query)
    if not query:
        assert text_level(browser) < 128
        dark = [{"name": "prefers-color-scheme", "value": "dark"}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": dark})
        browser.refresh()
        until(browser, lambda: browser.find_elements(By.ID, "generate"))
    generate(browser)
    until(browser, lambda: line(browser) == "1 latent of 8x8, decoded at 32x32")
    assert text_level(browser) > 128
    screenshot(browser, "dark" if query else "dark-as-the-system")


def test_a_port_that_is_taken_is_named(port):
    with pytest.raises(InputError, match=f"port {port} is taken"):
        launch(build({"Digits": Studio(R2Pipeline.from_pretrained("mnist"))}), port)
