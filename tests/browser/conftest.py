"""Chromium, without a window, for the tests in this folder."""

import shutil

import pytest


@pytest.fixture(scope="session")
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


@pytest.hookimpl(hookwrapper=True)
def pytest_exception_interact(node, call, report):
    yield
    b = node.funcargs.get("browser") if hasattr(node, "funcargs") else None
    if b:
        b.save_screenshot(f"/tmp/w/{node.name[:40]}.png")
        try:
            print(b.get_log("browser")[-10:])
        except Exception as e:
            print(e)
