"""Pages in a real browser, for tests that `make test-browser` runs."""

import json
import os
import shutil
import socket
from contextlib import contextmanager

import pytest

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
IN_A_BROWSER = [
    pytest.mark.browser,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver"),
]
SCREENSHOTS = os.environ.get("R2ID_SCREENSHOTS")
"""A folder for pictures of the page, to look at."""
# No network but the page's own.
QUIET = ("background-networking", "component-update", "sync")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def browsers(port, folder, until_there):
    """Opens the page in a browser of its own; when all is done, none may have complained or asked anybody else.

    Args:
        port: of the page.
        folder: for what browsers keep.
        until_there: id of an element that the page ends with.
    """
    opened: list[WebDriver] = []

    def open_page(*arguments: str, query: str = "") -> WebDriver:
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        options.set_capability("goog:loggingPrefs", {"browser": "SEVERE", "performance": "ALL"})
        for argument in (
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            *(f"--disable-{name}" for name in QUIET), f"--user-data-dir={folder / str(len(opened))}", *arguments,
        ):  # fmt: skip
            options.add_argument(argument)
        browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
        opened.append(browser)
        browser.get(f"http://127.0.0.1:{port}/{query}")
        until(browser, lambda: browser.find_elements(By.ID, until_there))
        return browser

    yield open_page
    complaints = [entry for browser in opened for entry in browser.get_log("browser")]
    asked = {address for browser in opened for address in requested(browser)}
    for browser in opened:
        browser.quit()
    assert not complaints
    page = f"http://127.0.0.1:{port}/"
    assert asked & {page, f"{page}?__theme=dark"}
    # The browser's own pages are chrome://.
    own = (page, "data:", "blob:", "chrome:", "chrome-untrusted:", "chrome-extension:")
    assert not [address for address in asked if not address.startswith(own)]


def requested(browser: WebDriver) -> set[str]:
    """Every address that the browser asked for."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return {one["params"]["request"]["url"] for one in events if one["method"] == "Network.requestWillBeSent"}


def until(browser: WebDriver, condition):
    return WebDriverWait(browser, 180).until(lambda _: condition())


def look_like_a_phone(browser: WebDriver) -> None:
    phone = {"width": 390, "height": 840, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})


def screenshot(browser: WebDriver, name: str) -> None:
    if SCREENSHOTS:
        browser.save_screenshot(f"{SCREENSHOTS}/{name}.png")
