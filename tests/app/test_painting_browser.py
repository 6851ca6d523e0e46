"""Outpainting and inpainting in a real browser: what a visitor does, and what they see. Run by `make test-browser`."""

import base64
import io

import numpy
import pytest
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver

from browsing import IN_A_BROWSER, free_port, look_like_a_phone, screenshot, until
from r2id.app.page import build, launch
from r2id.app.studio import Studio

pytestmark = IN_A_BROWSER


@pytest.fixture(scope="module")
def port(word_pipeline):
    number = free_port()
    page = launch(build({"Drawings": Studio(word_pipeline)}), number)
    yield number
    page.close()


@pytest.fixture
def photograph(tmp_path):
    steps = numpy.random.default_rng(1).integers(0, 256, (6, 8, 3), dtype=numpy.uint8)
    picture = Image.fromarray(steps).resize((80, 60), Image.Resampling.BICUBIC)
    picture.save(tmp_path / "garden.png")
    return picture


def upload(browser: WebDriver, path) -> None:
    until(browser, lambda: browser.find_elements(By.XPATH, "//button[@role='tab'][contains(., 'Outpaint')]"))[0].click()
    chooser = until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "#given input[type=file]"))[0]
    chooser.send_keys(str(path))
    until(browser, lambda: sign(browser) == "60x80")


def sign(browser: WebDriver) -> str:
    """The size, or the step, that the page writes beside the picture; empty where none is shown."""
    return browser.execute_script("return document.querySelector('#easel .sign')?.innerText ?? ''")


def picture(browser: WebDriver) -> numpy.ndarray:
    """What a visitor downloads."""
    address = browser.find_element(By.CSS_SELECTOR, "#easel a.save").get_attribute("href")
    return numpy.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))).astype(int)


def is_another(browser: WebDriver, size: str, before: numpy.ndarray) -> bool:
    """Whether the page shows another finished picture of that size. Those of steps on the way have other sizes."""
    present = picture(browser)
    return sign(browser) == size and present.shape == before.shape and bool((present != before).any())


def scale(browser: WebDriver) -> float:
    """Pixels of the page to one of the picture."""
    image = browser.find_element(By.CSS_SELECTOR, "#easel .sheet img")
    return image.rect["width"] / image.get_property("naturalWidth")


def edge(browser: WebDriver, side: str):
    return browser.find_element(By.CSS_SELECTOR, f"#easel .edge[data-side={side}]")


def added(browser: WebDriver) -> dict[str, int]:
    fields = browser.find_elements(By.CSS_SELECTOR, "#easel input[type=number]")
    return {field.get_attribute("name"): int(field.get_property("value")) for field in fields}


def body(browser: WebDriver) -> str:
    return browser.find_element(By.TAG_NAME, "body").text


def press(browser: WebDriver, selector: str) -> None:
    browser.find_element(By.CSS_SELECTOR, selector).click()


def test_an_edge_that_is_dragged_continues_the_picture_there(visit, photograph, tmp_path):
    browser = visit("--window-size=1280,1250")
    upload(browser, tmp_path / "garden.png")
    given = numpy.asarray(photograph).astype(int)
    assert (picture(browser) == given).all()
    by = round(40 * scale(browser))
    ActionChains(browser).click_and_hold(edge(browser, "right")).move_by_offset(by, 30).perform()
    assert added(browser) == {"left": 0, "right": 40, "top": 0, "bottom": 0} and sign(browser) == "60x80 → 60x120"
    screenshot(browser, "outpaint-drag")
    ActionChains(browser).release().perform()
    until(browser, lambda: sign(browser) == "60x120")
    wide = picture(browser)
    assert wide.shape == (60, 120, 3) and (wide[:, :80] == given).all()
    assert set(added(browser).values()) == {0}
    screenshot(browser, "outpainted")

    # Inwards there is nothing to add, and more than four times a side is too much.
    top = edge(browser, "top")
    ActionChains(browser).click_and_hold(top).move_by_offset(0, 20).release().perform()
    assert sign(browser) == "60x120"

    press(browser, "#again")
    until(browser, lambda: is_another(browser, "60x120", wide))
    assert (picture(browser)[:, :80] == given).all()
    press(browser, "#undo")
    until(browser, lambda: sign(browser) == "60x80")
    assert (picture(browser) == given).all()


def test_fields_do_the_same_on_several_sides_and_say_what_is_too_much(visit, photograph, tmp_path):
    browser = visit("--window-size=1280,1250")
    upload(browser, tmp_path / "garden.png")
    press(browser, "#easel [data-do=grow]")
    until(browser, lambda: "are all 0; give the pixels to add on at least one side" in body(browser))

    def write(**sides: int) -> None:
        for side, count in sides.items():
            field = browser.find_element(By.CSS_SELECTOR, f"#easel input[name={side}]")
            field.send_keys(Keys.CONTROL, "a")
            field.send_keys(str(count))

    write(left=12, bottom=900)
    press(browser, "#easel [data-do=grow]")
    until(browser, lambda: "a side of 60 pixels 960; it may grow to at most 240" in body(browser))
    assert added(browser) == {"left": 12, "right": 0, "top": 0, "bottom": 900}
    write(bottom=20)
    press(browser, "#easel [data-do=grow]")
    until(browser, lambda: sign(browser) == "80x92")
    assert (picture(browser)[:60, 12:] == numpy.asarray(photograph)).all()


def test_a_part_that_is_painted_over_is_made_anew(visit, photograph, tmp_path):
    browser = visit("--window-size=1280,1250")
    upload(browser, tmp_path / "garden.png")
    browser.find_element(By.CSS_SELECTOR, "#shows textarea").send_keys("a blue rocket, qwxzz")
    press(browser, "#easel [data-mode=paint]")
    press(browser, "#easel [data-do=paint]")
    until(browser, lambda: "nothing is painted over" in body(browser))
    mask = browser.find_element(By.CSS_SELECTOR, "#easel .mask")
    unit = scale(browser)
    ActionChains(browser).move_to_element(mask).click_and_hold().move_by_offset(round(16 * unit), 0).release().perform()
    screenshot(browser, "inpaint-mask")
    press(browser, "#easel [data-do=paint]")
    until(browser, lambda: is_another(browser, "60x80", numpy.asarray(photograph)))
    until(browser, lambda: "the word 'qwxzz' is not known" in body(browser))
    changed = (picture(browser) != numpy.asarray(photograph)).any(2)
    rows, columns = numpy.nonzero(changed)
    # A stroke from the middle to the right, as thick as the brush, an eighth of the width.
    assert 23 <= rows.min() <= 28 and 31 <= rows.max() <= 36
    assert 33 <= columns.min() <= 38 and 58 <= columns.max() <= 63
    screenshot(browser, "inpainted")


def test_a_finger_drags_an_edge_and_paints(visit, photograph, tmp_path):
    browser = visit()
    look_like_a_phone(browser)
    upload(browser, tmp_path / "garden.png")

    def swipe(selector: str, by: tuple[float, float]) -> None:
        place = f"document.querySelector('{selector}')"
        browser.execute_script(f"{place}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
        box = browser.execute_script(f"return {place}.getBoundingClientRect().toJSON()")
        x, y = box["left"] + box["width"] / 2, box["top"] + box["height"] / 2
        for step in range(9):
            kind = "touchMove" if step else "touchStart"
            points = [{"x": x + by[0] * step / 8, "y": y + by[1] * step / 8}]
            browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    swipe("#easel .edge[data-side=top]", (0, -15 * scale(browser)))
    until(browser, lambda: sign(browser) == "75x80")
    tall = picture(browser)
    assert (tall[15:] == numpy.asarray(photograph)).all()
    screenshot(browser, "outpaint-phone")
    press(browser, "#easel [data-mode=paint]")
    swipe("#easel .mask", (20 * scale(browser), 10 * scale(browser)))
    screenshot(browser, "inpaint-phone")
    press(browser, "#easel [data-do=paint]")
    until(browser, lambda: is_another(browser, "75x80", tall))
    # It has no need to scroll sideways.
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390


def test_prompts_on_several_canvases_and_one_of_them_continued(visit):
    browser = visit("--window-size=1280,1400")
    until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "#canvas label"))
    browser.find_element(By.CSS_SELECTOR, "#texts textarea").send_keys("a red rocket")
    browser.find_elements(By.CSS_SELECTOR, "#canvas label")[1].click()
    until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "#proportions label"))
    press(browser, "#generate")

    def line() -> str:
        return browser.find_element(By.ID, "line").text

    until(browser, lambda: line() == "6 latents of 4x4, 3x5, 5x3, decoded at 64x64, 48x85, 85x48")
    screenshot(browser, "joint")
    browser.find_elements(By.CSS_SELECTOR, "#strip .picture")[1].click()
    image = "document.querySelector('#viewer img')"
    until(browser, lambda: browser.execute_script(f"return {image}.naturalWidth > {image}.naturalHeight"))
    press(browser, "#continue")
    until(browser, lambda: sign(browser) == "48x85")
    assert browser.find_element(By.CSS_SELECTOR, "#shows textarea").get_property("value") == "a red rocket"

    browser.find_element(By.XPATH, "//button[@role='tab'][contains(., 'Generator')]").click()
    browser.find_elements(By.CSS_SELECTOR, "#canvas label")[2].click()
    press(browser, "#generate")
    until(browser, lambda: line() == "2 latents of 4x16, decoded at 64x256")
    screenshot(browser, "panorama")


def test_latents_follow_the_proportions_that_are_written(visit):
    browser = visit("--window-size=1280,1400")

    def latents() -> list[str]:
        fields = browser.find_elements(By.CSS_SELECTOR, "input[type=number][aria-label*='Latent']")
        return [field.get_property("value") for field in fields]

    until(browser, lambda: latents() == ["4", "4"])
    browser.find_element(By.CSS_SELECTOR, "#preset input[value='96x171']").click()
    until(browser, lambda: latents() == ["3", "5"])
    field = browser.find_element(By.CSS_SELECTOR, "#width input")
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys("96")
    until(browser, lambda: latents() == ["4", "4"])
