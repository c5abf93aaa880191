"""A hub for tests on loopback: usage: hub_server.py FOLDER. Prints its port, serves FOLDER/files as repository `own/sae` (and as data set `own/texts`)
the way the hub's interface does, with ranges, and appends every request to FOLDER/log. FOLDER/mode changes its ways: `norange` answers all
to a range, `short` ends after 100 bytes, `wrong` flips a byte, `private` answers 401. Ends when its standard input does, or after two minutes."""
import hashlib
import http.server
import json
import os
import sys
import threading

ROOT = sys.argv[1]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def mode():
    try:
        with open(os.path.join(ROOT, "mode")) as f:
            return f.read().strip()
    except FileNotFoundError:
        return ""


def entry(path, full):
    with open(full, "rb") as f:
        data = f.read()
    e = {"type": "file", "path": path, "size": len(data), "oid": hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()}
    if path.endswith((".safetensors", ".npz")):
        e["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data)}
    return e


class Hub(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def answer(self, code, data=b"", headers=()):
        self.send_response(code)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[:100] if mode() == "short" and "/resolve/" in self.path else data)

    def tree(self, sub):
        full = os.path.join(ROOT, "files", sub)
        if not os.path.isdir(full):
            return self.answer(404)
        names = sorted(os.listdir(full))
        paths = [(os.path.join(sub, n), os.path.join(full, n)) for n in names]
        self.answer(200, json.dumps([entry(p, f) if os.path.isfile(f) else {"type": "directory", "path": p} for p, f in paths]).encode())

    def resolve(self, sub):
        full = os.path.join(ROOT, "files", sub)
        if not os.path.isfile(full):
            return self.answer(404)
        with open(full, "rb") as f:
            data = f.read()
        if mode() == "wrong":
            data = bytes([data[0] ^ 1]) + data[1:]
        wanted = self.headers.get("Range")
        if not wanted or mode() == "norange":
            return self.answer(200, data)
        start = int(wanted.removeprefix("bytes=").split("-")[0])
        self.answer(206, data[start:], [("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")])

    def do_GET(self):
        with open(os.path.join(ROOT, "log"), "a") as f:
            f.write(f"{self.path} {self.headers.get('Range') or ''}\n")
        if mode() == "private":
            return self.answer(401)
        for api, files in (("/api/models/own/sae/", "/own/sae/"), ("/api/datasets/own/texts/", "/datasets/own/texts/")):
            if self.path == f"{api}revision/main":
                return self.answer(200, json.dumps({"sha": COMMIT}).encode())
            if self.path.startswith(f"{api}tree/{COMMIT}"):
                return self.tree(self.path[len(f"{api}tree/{COMMIT}"):].strip("/"))
            if self.path.startswith(f"{files}resolve/{COMMIT}/"):
                return self.resolve(self.path[len(f"{files}resolve/{COMMIT}/"):])
        self.answer(404)


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
threading.Timer(120, lambda: os._exit(0)).start()
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_address[1], flush=True)
sys.stdin.read()
os._exit(0)
