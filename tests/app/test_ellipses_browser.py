"""Splats as ellipses over the picture, in a real browser. Run by `make test-browser`."""

import io

import numpy
import pytest
import torch
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from browsing import IN_A_BROWSER, free_port, screenshot, until
from r2id.app.page import build, launch
from r2id.app.studio import Studio

pytestmark = IN_A_BROWSER

COUNT = 2 * 4 * 4
NEAR = 3
"""Pixels between an outline and where it should be, at most; its line is about as wide."""


class Watched(Studio):
    """A studio that notes the session whose splats the page asked for."""

    def splats(self, session):
        self.session = session
        return super().splats(session)


@pytest.fixture(scope="module")
def studio(splat_pipeline):
    return Watched(splat_pipeline)


@pytest.fixture(scope="module")
def port(studio):
    number = free_port()
    page = launch(build({"Digits": studio}), number)
    yield number
    page.close()


@pytest.fixture
def browser(visit):
    """The page with two generated pictures."""
    browser = visit("--window-size=1280,1600")
    until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "#viewer .splats"))
    assert not slider(browser).is_enabled()
    for box in browser.find_elements(By.CSS_SELECTOR, "input[type=checkbox]")[2:10]:
        browser.execute_script("arguments[0].click()", box)
    browser.find_element(By.ID, "generate").click()
    until(browser, lambda: line(browser) == "2 latents of 4x4, decoded at 32x32" and slider(browser).is_enabled())
    return browser


def line(browser):
    return browser.find_element(By.ID, "line").text


def slider(browser):
    return browser.find_element(By.CSS_SELECTOR, "#viewer input[type=range]")


def said(browser):
    return browser.find_element(By.CSS_SELECTOR, "#viewer output").text


def viewed(browser):
    return browser.find_element(By.CSS_SELECTOR, "#viewer img").get_attribute("src")


def drawn(browser):
    return len(browser.find_elements(By.CSS_SELECTOR, "#viewer .outlines ellipse"))


def move_to(browser, count):
    slider(browser).send_keys(Keys.HOME, *[Keys.ARROW_RIGHT] * count)
    assert drawn(browser) == count


def pixels(browser):
    """The part of the page that shows the picture."""
    frame = browser.find_element(By.CSS_SELECTOR, "#viewer .frame")
    return numpy.asarray(Image.open(io.BytesIO(frame.screenshot_as_png)).convert("RGB")).astype(int)


def outlines(studio, count, shape):
    """Points [count, 200, 2] of the outlines of the largest splats, as (y, x) in pixels of the visible part."""
    one = studio.session.picked_one
    splats = studio.resampler.splats(one.latents, one.canvas)
    splats = splats.each(splats.scales[0].prod(-1).argsort(descending=True)[:count])
    yy, xy, xx = (entry[0].double() for entry in splats.covariances())
    covariance = torch.stack([torch.stack([yy, xy], -1), torch.stack([xy, xx], -1)], -2)
    turn = torch.linspace(0, 2 * torch.pi, 200).double()
    # A Cholesky factor takes the unit circle to the points of Mahalanobis distance 1.
    around = torch.stack([turn.cos(), turn.sin()], -1) @ torch.linalg.cholesky(covariance).mT
    relative = (splats.centres[0, :, None].double() + around) / torch.tensor(splats.extent).double() + 0.5
    low, high = torch.tensor(one.view).double().view(2, 2)
    return ((relative - low) / (high - low) * torch.tensor(shape).double()).numpy()


def check_the_largest_are_drawn(browser, studio, count):
    move_to(browser, 0)
    plain = pixels(browser)
    move_to(browser, count)
    changed = abs(pixels(browser) - plain).max(-1) > 40
    points = outlines(studio, count, changed.shape)
    shown = points[((points > NEAR) & (points < numpy.array(changed.shape) - NEAR)).all(-1)]
    assert len(shown)
    # Each point of an outline is seen, and all that is seen is near one.
    places = numpy.argwhere(changed)
    found = [abs(places - point).max(-1).min() <= NEAR for point in shown]
    assert numpy.mean(found) > 0.98
    expected = points.reshape(-1, 2)
    assert all(numpy.hypot(*(expected - place).T).min() <= NEAR + spacing(points) for place in places[::7])


def spacing(points):
    """The most that neighbouring points of an outline are apart."""
    return numpy.hypot(*numpy.moveaxis(numpy.diff(points, axis=1), -1, 0)).max() / 2


def test_the_keyboard_shows_from_none_to_all_and_nothing_moves(browser):
    picture = browser.find_element(By.CSS_SELECTOR, "#viewer img")
    place = picture.rect
    assert drawn(browser) == 0 and said(browser) == f"0 of {COUNT}"
    slider(browser).send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert drawn(browser) == 2 and said(browser) == f"2 of {COUNT}"
    slider(browser).send_keys(Keys.END)
    assert drawn(browser) == COUNT and slider(browser).get_attribute("aria-valuetext") == f"{COUNT} of {COUNT}"
    assert slider(browser).accessible_name == "Splats, largest first"
    assert picture.rect == place
    screenshot(browser, "splats")
    slider(browser).send_keys(Keys.HOME)
    assert drawn(browser) == 0


def test_the_largest_splats_are_drawn_where_they_are_and_follow_the_zoom(browser, studio):
    for count in (1, 5, COUNT):
        check_the_largest_are_drawn(browser, studio, count)
    whole, place = viewed(browser), slider(browser).rect
    frame = browser.find_element(By.CSS_SELECTOR, "#viewer .frame")
    width, height = frame.size["width"], frame.size["height"]
    # A wide part at the lower left.
    ActionChains(browser).move_to_element_with_offset(
        frame, 3 - width // 2, height // 8
    ).click_and_hold().move_by_offset(width * 3 // 4, height // 4).release().perform()
    until(browser, lambda: viewed(browser) != whole)
    assert studio.session.view[1] < 0.1 and studio.session.view[2] < 0.95
    assert drawn(browser) == COUNT and slider(browser).rect == place
    check_the_largest_are_drawn(browser, studio, COUNT)
    screenshot(browser, "splats-zoomed")
    browser.find_element(By.ID, "zoom-out").click()
    until(browser, lambda: viewed(browser) == whole)
    check_the_largest_are_drawn(browser, studio, 5)


def test_they_are_those_of_the_picked_picture_at_any_proportions(browser, studio):
    slider(browser).send_keys(Keys.END)
    first = viewed(browser)
    browser.find_elements(By.CSS_SELECTOR, "#strip .picture")[1].click()
    until(browser, lambda: viewed(browser) != first)
    assert studio.session.picked == 1 and drawn(browser) == COUNT
    check_the_largest_are_drawn(browser, studio, 8)
    # The same latents, decoded wider.
    second = viewed(browser)
    browser.find_element(By.CSS_SELECTOR, "#width input").send_keys(Keys.CONTROL, "a")
    browser.find_element(By.CSS_SELECTOR, "#width input").send_keys("80")
    browser.find_element(By.ID, "decode").click()
    until(browser, lambda: "32x80" in line(browser) and viewed(browser) != second)
    check_the_largest_are_drawn(browser, studio, COUNT)


def test_the_splats_are_downloaded(browser):
    browser.find_element(By.ID, "save").click()
    links = until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "#files a[href*='.npz']"))
    assert links
    addresses = [link.get_attribute("href") for link in browser.find_elements(By.CSS_SELECTOR, "#files a")]
    for suffix in (".png", ".safetensors", ".svg", ".ply", ".npz"):
        assert any(address.endswith(suffix) for address in addresses), suffix
