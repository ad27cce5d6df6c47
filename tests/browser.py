"""Chromium without a window, in real time: what a script in a page says, once it says it, however slow the machine."""

import html
import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from time import monotonic
from typing import Any
from urllib.parse import unquote

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needed = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian's package chromium)")
SWITCHES = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync")
SWITCHES += ("--disable-background-networking", "--disable-component-update", "--disable-default-apps")
SWITCHES += ("--remote-debugging-port=0", "--enable-logging=stderr")  # stay open; what the page reports of itself
# What scripts of tests are given: `until` waits for a condition, `say` ends the visit with a value.
HELPERS = """
const say = (value) => console.log("SAID " + encodeURIComponent(JSON.stringify(value)));
const until = async (condition, what) => {
  const begin = performance.now();
  while (!condition()) {
    if (performance.now() - begin > 90000) { say({ waited: String(what || condition) }); throw new Error("waited"); }
    await new Promise((done) => setTimeout(done, 20));
  }
};
"""


def scripted(page: Path, script: str) -> Path:
    """A copy of a page beside it, with a script at its end; errors of the script are said too."""
    before, _, after = page.read_text(encoding="utf-8").rpartition("</body>")
    run = f"<script>{HELPERS}(async () => {{ {script} }})().catch((err) => say({{ failed: String(err) }}));</script>"
    copy = page.with_name(f"scripted-{page.name}")
    copy.write_text(f"{before}{run}</body>{after}", encoding="utf-8")
    return copy


def visit(url: str, profile: Path, *switches: str, seconds: float = 180) -> tuple[Any, list[str]]:
    """What a page says, and what Chromium complains of while it is open: errors of scripts, loads that were refused."""
    command = [CHROMIUM, *SWITCHES, *switches, f"--user-data-dir={profile}", url]
    browser = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True
    )
    lines: Queue[str] = Queue()
    reader = Thread(target=lambda: [lines.put(line) for line in browser.stderr], daemon=True)
    reader.start()
    end, seen = monotonic() + seconds, []
    try:
        while monotonic() < end:
            try:
                seen.append(lines.get(timeout=0.5))
            except Empty:
                if browser.poll() is not None:
                    break
                continue
            if said := re.search(r'"SAID ([^"]*)"', seen[-1]):
                return json.loads(unquote(html.unescape(said[1]))), [line for line in seen if _complains(line)]
        raise AssertionError(f"the page said nothing in {seconds} s:\n" + "".join(seen[-20:]))
    finally:
        os.killpg(browser.pid, signal.SIGKILL)  # its helpers too, which hold the pipe
        browser.wait()
        reader.join(10)
        browser.stderr.close()


def _complains(line: str) -> bool:
    return "CONSOLE" in line and any(word in line for word in ("Uncaught", "Refused", "violates", "Failed to load"))
