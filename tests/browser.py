"""A headless browser that opens pages and says what is wrong with them.

Needs a Chromium or one of its kin, and no driver: a page of our own shows the others in a frame, one after the
other, and sends what it finds to the server that they come from.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest
from headless import BROWSER, NAMES, running

needs_browser = pytest.mark.skipif(
    BROWSER is None, reason=f"there is no browser here ({', '.join(NAMES)})"
)
PROBE = "/probe.html"
# for all pages together, on a busy machine
SECONDS = 280
# runs before all scripts of a page; a listener that captures also hears of files that do not load
WATCH = """<script>
window.problems = [];
addEventListener("error", event => problems.push(
  event.message ? `script: ${event.message}` : `not loaded: ${event.target.src || event.target.href}`), true);
addEventListener("securitypolicyviolation", event => problems.push(`forbidden: ${event.blockedURI}`));
addEventListener("unhandledrejection", event => problems.push(`script: ${event.reason}`));
</script>"""
SHOW = """<!DOCTYPE html><meta charset="utf-8"><title>probe</title>
<iframe id="frame" width="1200" height="900"></iframe>
<script>
const frame = document.getElementById("frame"), found = {}, pause = ms => new Promise(done => setTimeout(done, ms));
async function look([page, wanted]) {
  await new Promise(done => { frame.onload = done; frame.src = page; });
  const inner = frame.contentWindow, root = inner.document;
  for (let i = 0; i < 50 && !(wanted && root.querySelector(wanted)) && (wanted || i < 2); i++) await pause(200);
  root.querySelectorAll("details").forEach(part => part.open = true);
  const problems = [...inner.problems];
  if (wanted && !root.querySelector(wanted)) problems.push(`missing: ${wanted}`);
  for (const image of root.images) if (!image.naturalWidth) problems.push(`empty picture: ${image.src}`);
  for (const drawn of root.querySelectorAll("figure, svg")) {
    const box = drawn.getBoundingClientRect();
    if (drawn.checkVisibility() && (box.width < 5 || box.height < 5)) problems.push(`empty figure: ${drawn.outerHTML.slice(0, 80)}`);
  }
  found[page] = problems;
}
(async () => {
  for (const page of PAGES) await look(page);
  await fetch(location, {method: "POST", body: JSON.stringify(found)});
})();
</script>"""


def look_at(folder: Path, pages: Sequence[str | tuple[str, str]]) -> dict[str, list[str]]:
    """Open pages in the browser, and list the problems of each: errors of scripts, files that do not load,
    pictures and figures without size.

    folder (Path): The folder that they and their files are in.
    pages (Sequence): Their paths within it. With a CSS selector beside it, there must be such an element, after some
        seconds at the latest.
    """
    # without a port for debugging, the browser may end before the page does
    with (
        _served(folder, pages) as (address, missing, answers),
        running("--remote-debugging-port=0", address + PROBE),
    ):
        found = answers.get(timeout=SECONDS)
    problems: dict[str, list[str]] = json.loads(found)
    for path in missing:
        problems.setdefault(path, []).append("not there")
    return {page: texts for page, texts in problems.items() if texts}


@contextmanager
def _served(
    folder: Path, pages: Sequence[str | tuple[str, str]]
) -> Iterator[tuple[str, set[str], Queue[bytes]]]:
    """Serve a folder with the probe to this machine.

    YIELDS (tuple): Address, paths that were not there, and what the probe has found.
    """
    missing: set[str] = set()
    answers: Queue[bytes] = Queue()
    shown = [(page, "") if isinstance(page, str) else page for page in pages]
    probe = SHOW.replace("PAGES", json.dumps(shown))

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            path = Path(self.translate_path(self.path))
            path = path / "index.html" if path.is_dir() else path
            if urlsplit(self.path).path == PROBE:
                self.send_page(probe)
            elif path.suffix == ".html" and path.is_file():
                self.send_page(
                    path.read_text(encoding="utf8").replace("<head>", f"<head>{WATCH}", 1)
                )
            else:
                super().do_GET()

        def do_POST(self) -> None:
            answers.put(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_page("")

        def copyfile(self, source: Any, outputfile: Any) -> None:
            # the browser hangs up when the next page is asked for
            with suppress(ConnectionError):
                super().copyfile(source, outputfile)

        def send_page(self, text: str) -> None:
            content = text.encode("utf8")
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def send_error(self, code: int, *rest: object, **named: object) -> None:
            # browsers ask for it of their own accord
            if self.path != "/favicon.ico":
                missing.add(self.path)
            super().send_error(code)

        def log_message(self, *rest: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", missing, answers
    finally:
        server.shutdown()
        server.server_close()
