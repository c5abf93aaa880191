"""A human study in a real browser: fifty questions for each of two raters, by keyboard, in two sessions, with the server killed in the middle; then the
analysis. Without selenium, chromium or chromedriver: 77, a skip.

    test_raters.py --shots docs/images    draws the pictures of docs/RATERS.md again"""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
import raters_lab

try:
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import WebDriverWait
except ImportError:
    print("SKIP: no selenium (python3-selenium)")
    sys.exit(77)
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
if not CHROMIUM or not DRIVER:
    print("SKIP: no chromium or no chromedriver (chromium, chromium-driver)")
    sys.exit(77)

BIN = os.environ["SAELAB_BIN"]
PATIENCE = 120  # seconds; a machine may be busy

class Lab:
    """A folder with two SAEs of a tiny model, their indexes, and studies of them."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="saelab-raters-")
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("XDG_")}
        self.env.update(SAELAB_CACHE=os.path.join(self.dir, "cache"), SAELAB_OFFLINE="1", TERM="dumb")
        self.servers = []

    def path(self, name):
        return os.path.join(self.dir, name)

    def run(self, *args, code=0):
        p = subprocess.run([BIN, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, cwd=self.dir, env=self.env, timeout=600)
        assert p.returncode == code, f"saelab {' '.join(args)}\n{p.stdout}{p.stderr}"
        return p.stdout

    def json(self, *args):
        return json.loads(self.run(*args, "--json"))["result"]

    def make(self, text):
        with open(self.path("t.txt"), "w") as f:
            f.write(text)
        raters_lab.make(self.run, "t.txt")

    def serve(self, study, port=0):
        """The process and its links; the port of a server that was killed is taken again."""
        p = subprocess.Popen([BIN, "raters", "serve", study, "--port", str(port)], stdout=subprocess.PIPE, text=True, cwd=self.dir, env=self.env)
        self.servers.append(p)
        links = []
        while len(links) < 2:
            line = p.stdout.readline()
            assert line, "the server ended"
            found = re.search(r"http://\S+", line)
            if line.startswith("rater ") and found:
                links.append(found.group())
        return p, links

    def close(self):
        for p in self.servers:
            if p.poll() is None:
                p.kill()
            p.wait()
            p.stdout.close()
        shutil.rmtree(self.dir, ignore_errors=True)


class Page:
    """A browser window on a rater's link."""

    def __init__(self, dark=False, width=1200, height=900):
        o = Options()
        o.binary_location = CHROMIUM
        for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars"):
            o.add_argument(flag)
        o.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.d = webdriver.Chrome(service=Service(DRIVER), options=o)
        self.d.set_page_load_timeout(PATIENCE)
        self.d.set_script_timeout(PATIENCE)
        self.size(width, height)
        self.d.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
                                                                           {"name": "prefers-reduced-motion", "value": "reduce"}]})

    def size(self, width, height):
        self.d.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500})

    def open(self, link):
        self.d.get("about:blank")
        self.d.get(link)
        self.until("document.querySelector('h1')")

    def js(self, code, *args):
        return self.d.execute_script(code, *args)

    def until(self, condition):
        WebDriverWait(self.d, PATIENCE, .02).until(lambda d: d.execute_script(f"return !!({condition})"))

    def press(self, *keys):
        """Keys to whatever has the focus, as a person would type them."""
        self.d.switch_to.active_element.send_keys(*keys)

    def text(self):
        return self.d.find_element(By.TAG_NAME, "main").text

    def item(self):
        return self.js("return document.getElementById('main').dataset.item || null")

    def begin(self):
        self.press(Keys.ENTER)
        self.until("document.getElementById('main').dataset.item || !document.querySelector('footer:not([hidden])')")

    def fill(self):
        """An answer to the question that is up, by keyboard alone; not yet sent. The odd one out is found where the marks tell it."""
        task = self.js("return document.getElementById('main').dataset.task")
        if task == "intruder":
            words = self.js("return [...document.querySelectorAll('.choice')].map(c => [...c.querySelectorAll('mark')].map(m => m.textContent).sort().join('|'))")
            odd = [i for i, w in enumerate(words) if words.count(w) == 1]
            self.press(str((odd[0] if len(odd) == 1 else 0) + 1))
        elif task == "detection":
            for i in range(10):
                self.press("yn"[i % 2])
        elif task == "rating":
            self.press("4")
            self.press(Keys.TAB)
            self.until("document.activeElement.id === 'label'")
            self.press("1 vowel, I think")
        else:
            raise AssertionError(task)
        return task

    def send(self, wait=True):
        before = self.item()
        self.press(Keys.ENTER)
        if wait:
            self.until(f"document.getElementById('main').dataset.item !== {json.dumps(before)}")

    def errors(self):
        return [e["message"] for e in self.d.get_log("browser") if e["level"] == "SEVERE" and "ERR_CONNECTION" not in e["message"]]

    def close(self):
        self.d.quit()


class Raters(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.addClassCleanup(cls.lab.close)
        cls.lab.make(raters_lab.sentences(60000))

    def study(self, name, *more):
        return self.lab.json("raters", "init", "plain", "other", "-o", name, "--features", "4", "--raters", "2", "--session", "4", "--catches", "1", *more)

    def test_a_whole_study(self):
        made = self.study("study")
        self.assertEqual(made["per_rater"], 50)
        self.assertEqual(self.lab.json("raters", "analyse", "study")["status"], "NOT RUN")
        self.assertIn("NOT RUN", self.lab.run("raters", "analyse", "study"))
        server, links = self.lab.serve("study")
        port = int(re.search(r":(\d+)/", links[0]).group(1))
        seen = []
        for rater, link in enumerate(links):
            page = Page(width=1200 if rater == 0 else 360, height=900 if rater == 0 else 740)
            self.addCleanup(page.close)
            page.open(link)
            self.assertIn("50 questions in 2 sessions", page.text())
            page.begin()
            tasks, items = [], []
            for k in range(25):
                items.append(page.item())
                tasks.append(page.fill())
                if rater == 1:  # a phone: nothing is wider than the screen
                    self.assertLessEqual(page.js("return document.documentElement.scrollWidth"), 360)
                if rater == 0 and k == 10:
                    server.send_signal(signal.SIGKILL)
                    server.wait()
                    page.send(wait=False)
                    page.until("document.getElementById('say').textContent.startsWith('Not saved yet')")
                    server, _ = self.lab.serve("study", port)
                page.send()
            self.assertEqual(tasks[:17].count("intruder"), 17)
            self.assertEqual(tasks[17:], ["detection", "rating"] * 4)
            self.assertIn("Session 1 of 2 is done", page.text())
            self.assertEqual(page.errors(), [])
            page.close()
            page = Page()  # another day
            self.addCleanup(page.close)
            page.open(link)
            self.assertIn("25 of 50 questions are answered and saved", page.text())
            page.begin()
            for k in range(25):
                items.append(page.item())
                page.fill()
                page.send()
            self.assertIn("That was the last question", page.text())
            self.assertEqual(page.errors(), [])
            page.close()
            self.assertEqual(len(set(items)), 50)
            seen.append(items)
        self.assertNotEqual(seen[0], seen[1])
        self.analysis(links, seen, server)

    def analysis(self, links, seen, server):
        self.assertEqual(self.lab.json("raters", "freeze", "study")["answers"], 100)
        page = Page()
        self.addCleanup(page.close)
        page.open(links[0])
        self.assertIn("last question", page.text())
        page.close()
        server.send_signal(signal.SIGINT)
        server.wait(PATIENCE)
        result = self.lab.json("raters", "analyse", "study")
        self.assertEqual((result["status"], result["answers"], result["questions"], result["simulated"]), ("RUN", 100, 100, False))
        self.assertEqual([r["catches"] for r in result["raters"]], [2, 2])
        self.assertEqual([r["catches_right"] for r in result["raters"]], [2, 2])
        for task, n in (("intruder", 64), ("detection", 16), ("rating", 16)):
            self.assertEqual(result["tasks"][task]["answers"], n)
        rating = result["tasks"]["rating"]
        self.assertEqual([m["score"] for m in rating["methods"]], [4, 4])
        self.assertIsNone(rating["alpha"])  # all alike: nothing is said of agreement
        self.assertEqual(result["tasks"]["detection"]["alpha"]["values"], 160)
        self.lab.run("raters", "export", "study", "--open-key")
        with open(self.lab.path("study/export/answers.jsonl")) as f:
            answers = [json.loads(line) for line in f]
        self.assertEqual(len(answers), 100)
        for rater in (1, 2):  # in the order of the screen, each once, and none of the killed server's is missing
            mine = sorted((a for a in answers if a["rater"] == rater), key=lambda a: a["ts"])
            self.assertEqual([a["item_id"] for a in mine], seen[rater - 1])
            self.assertTrue(all(a["ms"] > 0 and a["client_version"] == "raters-1" for a in mine))
        labels = {a["answer"].get("label") for a in answers} - {None}
        self.assertEqual(labels, {"1 vowel, I think"})

    def test_links_and_marks(self):
        self.study("marked", "--simulated", "--skill", "0.5")
        self.study("links")
        _, links = self.lab.serve("links")
        page = Page()
        self.addCleanup(page.close)
        page.open(links[0][:-1])
        self.assertIn("This link does not open the study", page.text())
        page.open(links[0])
        page.begin()
        first = page.item()
        page.press(Keys.ENTER)  # nothing chosen yet
        page.until("document.getElementById('say').textContent.startsWith('Choose one')")
        self.assertEqual(page.item(), first)
        page.open(links[0])  # the same question again
        page.begin()
        self.assertEqual(page.item(), first)
        marks = page.js("return [...document.querySelectorAll('mark')].map(m => [getComputedStyle(m).textDecorationLine, m.title])")
        self.assertTrue(marks and all(line == "underline" and "of 10" in title for line, title in marks))  # never colour alone
        self.assertEqual(page.js("return performance.getEntriesByType('resource').filter(r => !r.name.startsWith(location.origin)).length"), 0)
        _, links = self.lab.serve("marked")
        page.open(links[0])
        self.assertIn("SIMULATED", page.d.find_element(By.ID, "simulated").text)


def shots(folder):
    """Each kind of page, light and dark, and one at the width of a phone."""
    lab = Lab()
    try:
        text = os.path.join(os.environ.get("SAELAB_DATA", "../shared/data"), "tinyshakespeare", "input.txt")
        if os.path.exists(text):
            with open(text) as f:
                lab.make(f.read()[:100000])
        else:
            lab.make(raters_lab.sentences(60000))
        lab.run("raters", "init", "plain", "other", "-o", "study", "--features", "4", "--raters", "2", "--session", "4", "--catches", "1")
        _, links = lab.serve("study")
        for link, dark in zip(links, (False, True)):
            page = Page(dark=dark)
            tone = "dark" if dark else "light"
            page.open(link)
            page.d.save_screenshot(f"{folder}/raters-begin-{tone}.png")
            page.begin()
            done = set()
            while len(done) < 3:
                task = page.fill()
                if task not in done:
                    page.js("window.scrollTo(0, 0)")
                    time.sleep(.3)
                    page.d.save_screenshot(f"{folder}/raters-{task}-{tone}.png")
                    if not dark:
                        page.size(360, 740)
                        time.sleep(.3)
                        page.d.save_screenshot(f"{folder}/raters-{task}-phone.png")
                        page.size(1200, 900)
                done.add(task)
                page.send()
            page.close()
    finally:
        lab.close()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--shots"]:
        shots(sys.argv[2])
    else:
        unittest.main(verbosity=2)
