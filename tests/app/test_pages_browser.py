"""The pages of several models in a real browser: how a visitor goes from one to another. Run by `make test-browser`."""

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver

from browsing import IN_A_BROWSER, free_port, look_like_a_phone, screenshot, until
from r2id.app.enlarger import Enlarger
from r2id.app.page import build, launch
from r2id.app.studio import Studio

pytestmark = IN_A_BROWSER


@pytest.fixture(scope="module")
def port(word_pipeline, splat_pipeline, make_pyramid):
    number = free_port()
    makers = {
        "Drawings": Studio(word_pipeline),
        "Digits": Studio(splat_pipeline),
        "Photographs": Enlarger(make_pyramid),
    }
    page = launch(build(makers), number)
    yield number
    page.close()


def links(browser: WebDriver):
    return browser.find_elements(By.CSS_SELECTOR, "nav a")


def go(browser: WebDriver, title: str, until_there: str) -> None:
    """Press a link of the navigation, and wait for an element that its page has alone."""
    next(link for link in links(browser) if link.text == title).click()
    until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, until_there))
    until(browser, lambda: browser.title == f"{title} · R2ID")


def write(browser: WebDriver, prompt: str) -> None:
    browser.find_element(By.CSS_SELECTOR, "#texts textarea").send_keys(prompt)


def generated(browser: WebDriver, expected: str) -> int:
    """The number of pictures that the page shows when it has generated what it says."""
    browser.find_element(By.ID, "generate").click()
    until(browser, lambda: browser.find_element(By.ID, "line").text == expected)
    return len(browser.find_elements(By.CSS_SELECTOR, "#strip img"))


@pytest.mark.parametrize("device", ["desktop", "phone"])
def test_a_visitor_goes_from_one_model_to_another_and_generates_with_both(visit, device):
    browser = visit("--window-size=1280,1000")
    if device == "phone":
        look_like_a_phone(browser)
    assert [link.text for link in links(browser)] == ["Drawings", "Digits", "Photographs"]
    until(browser, lambda: browser.title == "Drawings · R2ID")
    write(browser, "red heart")
    assert generated(browser, "2 latents of 4x4, decoded at 64x64") == 2
    screenshot(browser, f"drawings-{device}")

    go(browser, "Digits", "input[type=checkbox]")
    assert not browser.find_elements(By.ID, "texts")
    assert generated(browser, "10 latents of 4x4, decoded at 32x32") == 10
    # It has no need to scroll sideways.
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    screenshot(browser, f"digits-{device}")

    go(browser, "Photographs", "#example")
    assert not browser.find_elements(By.ID, "generate")
    go(browser, "Drawings", "#texts")
    write(browser, "blue rocket")
    assert generated(browser, "2 latents of 4x4, decoded at 64x64") == 2
