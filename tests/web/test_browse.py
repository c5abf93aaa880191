#!/usr/bin/env python3
"""The feature browser in headless Chromium: browse, search, sort, a feature, marks, keys, texts, steering, comparison, a phone."""
import os
import subprocess
import sys
import unittest

from pages import Page, Server, scratch, settle

BIN, MAKE = os.environ["SAELAB_BIN"], sys.argv.pop(1)


def setUpModule():
    global server, page
    folder = scratch("browse")
    subprocess.run([MAKE, folder], check=True)
    server = Server(BIN, folder)
    page = Page()


def tearDownModule():
    page.close()
    assert server.stop() == 0, "Ctrl-C is a clean end"


def ids():
    return [int(t) for t in page.texts("#rows tr.row td:nth-child(2)")]


def here():
    return page.d.execute_script("return location.search")


class Browse(unittest.TestCase):
    def start(self, query=""):
        page.open(server.url + query)
        page.until(lambda: ids() or page.text("#q-error"))

    def test_first_page(self):
        self.start()
        self.assertEqual(page.text("#count"), "96 features")
        page.until(lambda: page.text("#detail h1").startswith("#"))
        page.until(lambda: page.all("#density svg rect.fit"))
        self.assertEqual([p for p in page.problems() if "favicon" not in p], [])
        resources = page.d.execute_script("return performance.getEntriesByType('resource').map((r) => r.name)")
        self.assertTrue(all(r.startswith(server.url) for r in resources), resources)

    def test_sort(self):
        self.start("?set=sae-a&sort=id&down=0")
        self.assertEqual(ids()[:3], [0, 1, 2])
        page.click("#table th button[data-sort=id]")
        page.until(lambda: ids()[:2] == [95, 94])
        self.assertEqual(page.one("#table th[aria-sort=descending]").text, "# ↓")
        page.click("#table th button[data-sort=max]")
        page.until(lambda: "sort=max" in here())

    def test_scroll(self):
        self.start("?set=sae-a&sort=id&down=0")
        page.d.execute_script("document.querySelector('#scroll').scrollTop = 1e6")
        page.until(lambda: ids() and ids()[-1] == 95)

    def test_search(self):
        self.start()
        page.type("#q", "#10-14 -#12")
        page.until(lambda: sorted(ids()) == [10, 11, 13, 14])
        self.assertEqual(page.text("#count"), "4 of 96 features")
        self.assertIn("q=", here())
        page.type("#q", "density:<oops")
        page.until(lambda: "no number" in page.text("#q-error"))
        page.type("#q", "starred -starred")
        page.until(lambda: "No feature fits" in page.one("#none").text)
        page.type("#q", "#33\n")
        page.until(lambda: page.text("#detail h1").startswith("#33 "))
        self.assertIn("id=33", here())

    def test_feature(self):
        self.start("?set=sae-a&id=5")
        page.until(lambda: page.all("#detail h1"))
        page.click("#rows tr.row")
        first = ids()[0]
        page.until(lambda: page.text("#detail h1").startswith(f"#{first} "))
        self.assertTrue(page.all(".contexts tr.c .t.focus"))
        self.assertTrue(page.all(".contexts .t.f3"))
        row = page.text(".contexts tr.c")
        page.click(".contexts tr.c")
        page.until(lambda: len(page.text(".contexts tr.around")) > len(row))
        page.click(".contexts tr.c")
        page.until(lambda: not page.all(".contexts tr.around"))
        self.assertTrue(page.text(".t.focus") and page.d.execute_script("return document.querySelector('.t.focus').dataset.v"))
        page.d.back()
        page.until(lambda: page.text("#detail h1").startswith("#5 "))

    def test_folds(self):
        self.start("?set=sae-a&id=3")
        page.until(lambda: page.text("#detail h1").startswith("#3 "))
        folds = page.texts("details.fold summary")
        self.assertEqual(folds[:2], ["Stability", "Compositions"])
        fold = page.texts("details.fold")
        self.assertIn("Not measured: FSS and SCI come with saelab features build --stability ROWS", fold[0])
        svg = page.one(".curve")
        self.assertEqual(page.text(".curve title"), "FSS of this SAE under gauss noise")
        self.assertEqual(page.text(".curve desc"), "From 1.00 at magnitude 0 to 0.25 at 0.400")
        stroke = "return getComputedStyle(document.querySelector('.curve .fine')).stroke"
        self.assertNotIn("none", page.d.execute_script(stroke))
        self.assertIsNotNone(svg)
        self.assertIn("c075.0%", fold[1].replace(" ", ""))
        page.click("details.fold a[href*='c=0']")
        page.until(lambda: page.text("#detail h1") == "Composition c0")
        self.start("?set=sae-b&id=3")
        page.until(lambda: page.text("#detail h1").startswith("#3 "))
        fold = page.texts("details.fold")
        self.assertIn("No robustness curve", fold[0])
        self.assertIn("This SAE does not compose", fold[1])

    def test_compositions(self):
        self.start("?set=sae-a&sort=id&down=0")
        page.click("nav a[data-view=compositions]")
        page.until(lambda: page.all("#compositions tbody tr"))
        rows = page.texts("#compositions tbody tr")
        self.assertEqual([r[:2] for r in rows], ["c0", "c2", "c1", "c3"])  # by energy; those that never fired last
        self.assertIn("80.0%", rows[0])
        self.assertTrue(rows[2] == "c1dead" and rows[3] == "c3dead", rows)
        self.assertIn("2 fire in 100 rows, 2 are dead", page.text("#detail"))
        page.click("#compositions tbody a[href*='c=0']")
        page.until(lambda: page.text("#detail h1") == "Composition c0")
        self.assertIn("c=0", here())
        self.assertEqual(page.texts(".heat tbody td"), ["", "1.00", "-.50", ""])
        self.assertEqual(page.texts(".heat thead th"), ["#3", "#5"])
        self.assertEqual(page.texts("#pairs-of tbody td"), ["#3 with #5", "0.250", "0.125"])
        self.assertEqual(len(page.all(".contexts tr.c")), 2)
        page.d.back()
        page.until(lambda: page.all("#compositions tbody tr"))
        self.start("?set=sae-a&view=compositions&c=1")
        page.until(lambda: "Dead: it never fired in 100 rows." in page.text("#detail"))
        self.start("?set=sae-b&view=compositions")
        page.until(lambda: "there are no compositions" in page.text("#detail .error"))
        self.assertFalse(page.one("nav a[data-view=compositions]").is_displayed())
        page.problems()  # the browser notes the 404; other tests look at what it notes

    def test_brush_by_keyboard(self):
        self.start("?set=sae-a&sort=id&down=0")
        page.until(lambda: len(page.all("#density .handle")) == 2)
        end = lambda k, name: page.d.execute_script("return document.querySelectorAll('#density .handle')[arguments[0]].getAttribute(arguments[1])", k, name)
        self.assertEqual((end(0, "role"), end(0, "aria-label"), end(1, "aria-label")), ("slider", "Lowest density in the list", "Highest density in the list"))
        self.assertEqual((end(0, "aria-valuenow"), end(1, "aria-valuenow")), ("-7.00", "0.00"))
        page.d.execute_script("document.querySelectorAll('#density .handle')[1].focus()")
        for _ in range(10):  # ten bins of seven sixtieths of a decade
            before = end(1, "aria-valuenow")
            page.keys("\ue012")
            page.until(lambda: end(1, "aria-valuenow") != before)
        self.assertEqual(page.d.execute_script("return document.activeElement.dataset.end"), "1")  # still held after it was drawn anew
        self.assertTrue(abs(float(end(1, "aria-valuenow")) + 70 / 60) < .03 and end(1, "aria-valuetext") == "0.068 of the tokens", end(1, "aria-valuetext"))
        self.assertIn("density%3A%3C%3D0.068", here())
        page.until(lambda: page.text("#count") != "96 features")
        page.d.execute_script("document.querySelectorAll('#density .handle')[0].focus()")
        page.keys("\ue014")
        page.until(lambda: "density%3A1.3e-7..0.068" in here())
        page.until(lambda: float(end(0, "aria-valuenow")) > -6.95)
        page.d.execute_script("document.activeElement.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowRight', shiftKey: true, bubbles: true }))")  # both ends
        page.until(lambda: "density%3A1.7e-7..0.089" in here())
        page.keys("\ue017")
        page.until(lambda: page.text("#count") == "96 features" and "density" not in here())

    def test_marks(self):
        self.start("?set=sae-a&id=21&sort=id&down=0")
        page.until(lambda: page.all(".star"))
        page.click(".star")
        page.until(lambda: page.d.execute_script("return document.querySelector('.star').getAttribute('aria-pressed')") == "true")
        page.type("#m-label", "rivers <b>&</b> mills").send_keys("\t")
        page.until(lambda: page.text("#label-shown") == "rivers <b>&</b> mills")
        page.type("#m-tags", "water").send_keys("\t")
        page.until(lambda: page.text(".title .busy") == "Saved.")
        self.start("?set=sae-a&q=starred+tag:water+MILLS")
        page.until(lambda: ids() == [21])
        self.assertIn("rivers <b>&</b> mills", page.text("#rows tr.row"))

    def test_keys(self):
        self.start("?set=sae-a&id=40&sort=id&down=0")
        page.until(lambda: page.text("#detail h1").startswith("#40 "))
        page.keys("j")
        page.until(lambda: page.text("#detail h1").startswith("#41 "))
        page.keys("k")
        page.until(lambda: page.text("#detail h1").startswith("#40 "))
        page.keys("s")
        page.until(lambda: page.text(".star") == "★")
        page.keys("?")
        page.until(lambda: page.d.execute_script("return document.querySelector('#help').open"))
        page.keys("\ue00c")
        page.until(lambda: not page.d.execute_script("return document.querySelector('#help').open"))
        page.keys("/")
        page.until(lambda: page.d.execute_script("return document.activeElement.id") == "q")

    def test_text(self):
        self.start("?set=sae-a&view=text")
        page.type("#text", "the old king")
        page.until(lambda: "".join(page.texts(".word b")) == "the␣old␣king")
        page.type("#why", "7")
        page.until(lambda: "Feature #7" in page.text("#text-out"))
        self.assertEqual(len(page.all("#text-out > table tbody tr")), 12)
        page.type("#text", "QQ")
        page.until(lambda: "not in the vocabulary" in page.text("#detail .busy"))

    def test_steer(self):
        self.start("?set=sae-a&view=steer&clamps=7:40")
        page.type("#prompt", "the old ")
        page.click("#run")
        page.until(lambda: len(page.all(".out")) == 2)
        plain, steered = page.texts(".out")
        self.assertTrue(plain.startswith("the old ") and steered.startswith("the old "))
        self.assertNotEqual(plain, steered)
        self.assertIn("clamps=7%3A40", here())

    def test_compare(self):
        self.start("?set=sae-a&view=compare&other=sae-b")
        page.until(lambda: page.all("#pairs tbody tr"))
        mutual = page.texts("#pairs tbody tr td:nth-child(6)")
        self.assertEqual(mutual, sorted(mutual))  # "no" before "yes"
        page.d.execute_script("const s = document.querySelector('#set'); s.value = 'sae-b'; s.dispatchEvent(new Event('change'))")
        page.until(lambda: "set=sae-b" in here())

    def test_no_such_feature(self):
        self.start("?set=sae-a&id=4000")
        page.until(lambda: "there is no '4000'" in page.text("#detail .error"))


class Phone(unittest.TestCase):
    def test_narrow(self):
        phone = Page(360, 740)
        try:
            phone.open(server.url + "?set=sae-a&sort=id&down=0")
            phone.until(lambda: phone.all("#rows tr.row"))
            phone.click("#rows tr.row")
            phone.until(lambda: phone.text("#detail h1").startswith("#0 "))
            settle(phone)
            self.assertLessEqual(phone.d.execute_script("return document.documentElement.scrollWidth"), 360)
            phone.open(server.url + "?set=sae-a&view=compositions&c=0")
            phone.until(lambda: phone.all(".heat"))
            self.assertLessEqual(phone.d.execute_script("return document.documentElement.scrollWidth"), 360)
            self.assertLessEqual(phone.d.execute_script("return document.querySelector('#help-open').getBoundingClientRect().right"), 360)
            phone.click(".back")
            phone.until(lambda: phone.one("#list").is_displayed())
        finally:
            phone.close()


unittest.main()
