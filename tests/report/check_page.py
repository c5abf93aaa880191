"""check_page.py FILE...: an .svg is well-formed XML; an .html has balanced tags, no id twice, fetches nothing, and runs at most one script, its own
and last. Prints the first thing that is wrong."""
import html.parser
import sys
import xml.etree.ElementTree

VOID = {"meta", "br", "hr", "img", "input", "link", "use", "path", "circle", "rect", "line", "polygon"}


class Page(html.parser.HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.ids, self.wrong, self.scripts = [], set(), [], 0

    def start(self, tag, attrs, closed):
        self.scripts += tag == "script"
        if tag == "script" and (attrs or self.scripts > 1 or self.open != ["html", "body"]):
            self.wrong.append("a script with attributes, a second one, or one inside the page")
        if tag in {"link", "iframe", "object", "embed", "base", "img", "image", "foreignobject"}:
            self.wrong.append(f"<{tag}>")
        for name, value in attrs:
            value = value or ""
            if name.startswith("on"):
                self.wrong.append(f"{name}= in <{tag}>")
            if name in {"src", "srcset", "data", "action", "poster"} or (name.endswith("href") and (":" in value or value.startswith("//"))):
                self.wrong.append(f"{name}={value!r}")
            if name == "id":
                if value in self.ids:
                    self.wrong.append(f"id {value} twice")
                self.ids.add(value)
            if name.endswith("href") and value.startswith("#") and value[1:] not in self.ids:
                self.wrong.append(f"{value} is not in the page")
        if not closed and tag not in VOID:
            self.open.append(tag)

    def handle_starttag(self, tag, attrs):
        self.start(tag, attrs, False)

    def handle_startendtag(self, tag, attrs):
        self.start(tag, attrs, True)

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"</{tag}> at {self.getpos()} closes nothing")


def check(path):
    text = open(path, encoding="utf-8").read()
    if path.endswith(".svg"):
        root = xml.etree.ElementTree.fromstring(text)
        return [] if root.tag.endswith("svg") else ["no svg element"]
    page = Page()
    page.feed(text)
    page.close()
    if "@import" in text or "url(http" in text:
        page.wrong.append("a style sheet that fetches")
    return page.wrong + [f"<{t}> is not closed" for t in page.open]


for name in sys.argv[1:]:
    try:
        found = check(name)
    except Exception as error:
        found = [str(error)]
    if found:
        sys.exit(f"{name}: {found[0]}")
