"""A browser and a server for tests of the pages. Exits 77 (a skip) where Chromium, its driver or Selenium are missing."""
import os
import re
import shutil
import subprocess
import sys
import time

try:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.support.ui import WebDriverWait
except ImportError:
    print("SKIP: python3-selenium is not installed")
    sys.exit(77)

DRIVER = shutil.which("chromedriver")
if not DRIVER or not shutil.which("chromium"):
    print("SKIP: chromium or chromium-driver is not installed")
    sys.exit(77)


class Server:
    """saelab serve over paths; .url is where."""

    def __init__(self, binary, *paths):
        self.process = subprocess.Popen([binary, "serve", *paths, "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        line = self.process.stdout.readline()
        self.url = re.match(r"(http://\S+)", line).group(1)

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=60)
        self.process.stdout.close()
        return self.process.returncode


class Page:
    """Headless Chromium. Waiting is by condition: `until` returns what the function gives once that is true."""

    def __init__(self, width=1440, height=940, dark=False):
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium")
        for a in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--force-device-scale-factor=1",
                  "--no-first-run", "--disable-background-networking", f"--window-size={width},{height}"):
            options.add_argument(a)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.d = webdriver.Chrome(service=Service(DRIVER), options=options)
        self.d.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500})
        self.d.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]})

    def open(self, url):
        self.d.get(url)

    def until(self, what, message="the page did not get there", seconds=60):
        return WebDriverWait(self.d, seconds, poll_frequency=.1).until(lambda d: what(), message)

    def all(self, css):
        return self.d.find_elements("css selector", css)

    def one(self, css):
        return self.until(lambda: (self.all(css) or [None])[0], f"no {css}")

    def text(self, css):
        """Text of the first element, "" while there is none; read in one step, as pages draw anew."""
        return self.d.execute_script("const e = document.querySelector(arguments[0]); return e ? e.textContent : ''", css)

    def texts(self, css):
        return self.d.execute_script("return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)", css)

    def click(self, css):
        self.one(css)
        self.d.execute_script("document.querySelector(arguments[0]).click()", css)

    def type(self, css, text):
        e = self.one(css)
        e.clear()
        e.send_keys(text)
        return e

    def keys(self, text):
        webdriver.ActionChains(self.d).send_keys(text).perform()

    def problems(self):
        """What the browser complained of: errors of scripts, files that were refused."""
        return [m["message"] for m in self.d.get_log("browser") if m["level"] in ("SEVERE", "WARNING")]

    def shot(self, path):
        self.d.save_screenshot(path)

    def close(self):
        self.d.quit()


def scratch(name):
    """An empty folder in the build."""
    path = os.path.join(os.environ.get("SAELAB_BUILD", "/tmp"), "web", name)
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)
    return path


def settle(page):
    """Until nothing is asked of the server any more for a moment."""
    seen, since = None, time.time()
    while time.time() - since < .4:
        now = page.d.execute_script("return performance.getEntriesByType('resource').length + document.body.textContent.length")
        if now != seen:
            seen, since = now, time.time()
        time.sleep(.05)
