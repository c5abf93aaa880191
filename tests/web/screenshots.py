#!/usr/bin/env python3
"""usage: screenshots.py SAELAB FOLDER OUT: every page of the feature browser over the indices in FOLDER, light and dark, as OUT/serve-NAME-{light,dark}.png."""
import os
import sys
from urllib.parse import urlencode

from pages import Page, Server, settle

TEXT = "ROMEO: But, soft! what light through yonder window breaks?"


def shots(sets, composed, best):
    a = sets[0]
    yield "feature", {"set": a, "id": best[0]}, None
    yield "neighbours", {"set": a, "id": best[0]}, "h2:last-of-type"
    yield "search", {"set": a, "id": best[1], "q": "density:1e-2..5e-2 max:>4", "sort": "max", "columns": "top_token,density,max,max_cosine"}, None
    yield "text", {"set": a, "view": "text", "id": best[0], "text": TEXT}, None
    if composed:
        yield "compositions", {"set": composed, "view": "compositions"}, None
        yield "composition", {"set": composed, "view": "compositions"}, "composition"
    yield "steer", {"set": a, "view": "steer", "clamps": f"{best[0]}:12", "text": "ROMEO:\n"}, "steer"
    if len(sets) > 1:
        yield "compare", {"set": a, "view": "compare", "other": sets[1]}, None


def take(page, url, name, query, then, path):
    page.open(url + "?" + urlencode(query))
    page.until(lambda: page.text("#detail h1") and page.all("#rows tr.row"))
    settle(page)
    if then == "steer":
        page.click("#run")
        page.until(lambda: page.all(".out"))
    elif then == "composition":  # of the strongest that have members, the first with two
        page.d.execute_script("[...document.querySelectorAll('#compositions tbody tr')].sort((a, b) => b.children[1].children.length - a.children[1].children.length)[0].querySelector('a').click()")
        page.until(lambda: page.all(".heat"))
    elif then:
        page.d.execute_script("document.querySelectorAll('#detail h2').forEach((h) => { if (h.textContent === 'How strongly') h.scrollIntoView(); })")
    settle(page)
    page.shot(path)


def main():
    saelab, folder, out = sys.argv[1:4]
    server = Server(saelab, folder)
    try:
        for dark in (False, True):
            page = Page(dark=dark)
            page.open(server.url)
            page.until(lambda: page.all("#rows tr.row"))
            known = page.d.execute_async_script("const done = arguments[0]; fetch('api/sets').then((r) => r.json()).then((j) => done(j.sets))")
            composed = next((s["name"] for s in known if s["compositions"]), None)
            sets = [s["name"] for s in known if not s["compositions"]]
            best = page.d.execute_async_script("""const [set, done] = arguments;
                fetch('api/set/' + set + '/rows?n=200&sort=max&down=1&q=density:0.002..0.03').then((r) => r.json())
                .then((j) => done(j.rows.filter((r) => r[0] > 20).slice(0, 9).map((r) => r[0])))""", sets[0])
            for name, query, then in shots(sets, composed, best):
                take(page, server.url, name, query, then, os.path.join(out, f"serve-{name}-{'dark' if dark else 'light'}.png"))
            page.close()
            page = Page(360, 740, dark)
            for name, query in (("phone-list", {"set": sets[0]}), ("phone", {"set": sets[0], "id": best[0]})):
                page.open(server.url + "?" + urlencode(query))
                page.until(lambda: page.text("#detail h1") or page.all("#rows tr.row"))
                settle(page)
                page.shot(os.path.join(out, f"serve-{name}-{'dark' if dark else 'light'}.png"))
            page.close()
    finally:
        server.stop()


main()
