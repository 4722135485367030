"""Chromium, without a window, for the tests in this folder."""

import shutil

import pytest


@pytest.fixture(scope="module")  # a browser of their own: fingers leave their trace
def browser():
    from selenium import webdriver  # here, as only `make browser-test` installs it

    options = webdriver.ChromeOptions()
    for option in ("--headless=new", "--no-sandbox", "--window-size=1200,900"):
        options.add_argument(option)
    options.binary_location = shutil.which("chromium")
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    driver = webdriver.Chrome(options, service)
    yield driver
    driver.quit()
