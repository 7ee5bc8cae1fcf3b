"""Reports in a headless Chromium: nothing fails, nothing is fetched, clips play, keys work, a phone shows all of it."""

import itertools
import json
import re
import shutil
import time

import pytest
from processes import in_this_process

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not shutil.which("chromedriver"), reason="there is no Chromium with a chromedriver here"),
]
SWITCHES = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--autoplay-policy=no-user-gesture-required",
]  # fmt: skip

COLOURS = ("color", "background-color")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="the extra 'browser' is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for switch in [*SWITCHES, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"]:
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def address(finished):
    done = in_this_process("vjax", "report", finished[0], "--probes")
    assert done.returncode == 0, done.stderr
    return f"file://{finished[0]}/report.html"


@pytest.fixture
def page(browser, address):
    """The browser on the page, as wide as a desk."""
    set_width(browser, 1200)
    browser.get(address)
    return browser


def set_width(browser, width):
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def wait_for(browser, script, seconds=20):
    end = time.monotonic() + seconds
    while not browser.execute_script(f"return {script}"):
        assert time.monotonic() < end, script
        time.sleep(0.1)


def test_the_page_has_no_error_and_asks_for_nothing(page, address):
    page.get("about:blank")  # the first tab of a browser asks for pages of its own
    for log in ("browser", "performance"):
        page.get_log(log)
    page.get(address)
    time.sleep(1)
    assert page.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert {url for url in asked if not url.startswith("data:")} == {address}


def test_every_section_has_a_height_and_a_heading(page):
    sections = page.execute_script(
        "return [...document.querySelectorAll('section')].map(s => [s.id, s.offsetHeight, s.innerText.length])"
    )
    assert len(sections) == 9
    assert all(height > 60 and length > 20 for _, height, length in sections), sections


def test_clips_that_are_in_sight_play_and_stop_at_a_key(page):
    video = "document.querySelector('#hits video, #mistakes video')"
    page.execute_script(f"{video}.scrollIntoView({{block: 'center'}})")
    wait_for(page, f"{video}.currentTime > 0 && !{video}.paused")
    page.execute_script(f"{video}.focus()")
    from selenium.webdriver.common.keys import Keys

    page.switch_to.active_element.send_keys(Keys.SPACE)
    wait_for(page, f"{video}.paused")
    page.switch_to.active_element.send_keys(Keys.SPACE)
    wait_for(page, f"!{video}.paused")


def test_the_tab_key_goes_through_links_buttons_and_clips_in_the_order_of_the_page(page):
    from selenium.webdriver.common.keys import Keys

    where = "[document.activeElement.tagName, document.activeElement.getBoundingClientRect().top + scrollY]"
    seen = []
    page.execute_script("document.body.focus()")
    for _ in range(80):
        page.switch_to.active_element.send_keys(Keys.TAB)
        tag, top = page.execute_script(f"return {where}")
        if tag == "BODY":
            break
        seen.append((tag, top))
    tags = [tag for tag, _ in seen]
    assert {"A", "BUTTON", "VIDEO"} <= set(tags)
    # Within a row of the page, a later element may begin a little higher.
    assert all(before <= after + 60 for (_, before), (_, after) in itertools.pairwise(seen)), seen


def test_the_buttons_sort_the_confusion_matrix(page):
    texts = (
        "[...document.querySelectorAll('.matrix text.row')]"
        ".sort((a, b) => a.getAttribute('y') - b.getAttribute('y')).map(t => t.textContent)"
    )
    before = page.execute_script(f"return {texts}")
    assert before == ["bright", "dark"]
    orders = page.execute_script("return JSON.parse(document.querySelector('.matrix').dataset.orders)")
    for button in page.find_elements("css selector", ".matrix button"):
        button.click()
        assert button.get_attribute("aria-pressed") == "true"
        assert page.execute_script(f"return {texts}") == [before[i] for i in orders[button.get_attribute("data-order")]]


def test_the_cell_that_is_pointed_at_is_said_in_words(page):
    from selenium.webdriver import ActionChains

    cell = page.find_element("css selector", ".matrix .cell")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", cell)
    ActionChains(page).move_to_element(cell).perform()
    said = page.find_element("css selector", ".matrix .said").text
    assert "videos" in said
    assert "Point at" not in said


@pytest.mark.parametrize("width", [360, 800, 1600])
def test_no_width_needs_sideways_scrolling(page, width):
    set_width(page, width)
    assert page.execute_script("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_in_light_and_dark(page, scheme):
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    colours = [page.find_element("css selector", "body").value_of_css_property(name) for name in COLOURS]
    levels = [sum(map(int, re.findall(r"\d+", colour)[:3])) / 3 for colour in colours]
    assert abs(levels[0] - levels[1]) > 150
    assert (levels[1] < 128) == (scheme == "dark")
