"""The HTML report in a real browser that has no network."""

import json
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from gupstress.reporting import page
from gupstress.reporting.sources import Source
from gupstress.running.result import RunResult

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

PROBE = """
<script>
addEventListener("load", function look() {
  // Drawn is what was unpacked.
  if (document.querySelector(".plot") && !("drawn" in document.body.dataset)) {
    setTimeout(look, 50);
    return;
  }
  const text = document.querySelector(".xtick text");
  document.body.dataset.probe = JSON.stringify({
    requests: performance.getEntriesByType("resource").map((entry) => entry.name),
    plots: document.querySelectorAll(".plot").length,
    drawn: document.querySelectorAll(".plot .main-svg .trace, .plot .main-svg .bars").length,
    page: getComputedStyle(document.body).backgroundColor,
    text: text && getComputedStyle(text).fill,
    wide: document.documentElement.scrollWidth,
    plot: Math.max(
      ...[...document.querySelectorAll(".plot .main-svg")].map((svg) => svg.clientWidth)
    ),
  });
});
</script>
"""


def looked_at(text: str, scheme: str) -> tuple[dict[str, Any], list[str]]:
    """Return what a page is like once it is loaded, and what is on the console."""
    file = Path("page.html").resolve()
    file.write_text(text + PROBE)
    assert CHROMIUM is not None
    ended = subprocess.run(
        [
            CHROMIUM,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            "--allow-file-access-from-files",
            f"--user-data-dir={file.parent / 'browser'}",
            f"--blink-settings=preferredColorScheme={['dark', 'light'].index(scheme)}",
            "--virtual-time-budget=5000",
            "--enable-logging=stderr",
            "--dump-dom",
            file.as_uri(),
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    _, _, probe = ended.stdout.partition('data-probe="')
    console = [line for line in ended.stderr.splitlines() if "CONSOLE" in line]
    return json.loads(unescape(probe.partition('"')[0])), console


@pytest.mark.parametrize(
    ("scheme", "paper", "ink"),
    [
        ("light", "rgb(255, 255, 255)", "rgb(26, 29, 33)"),
        ("dark", "rgb(20, 23, 26)", "rgb(232, 234, 237)"),
    ],
)
def test_it_draws_everything_and_asks_for_nothing(
    small_run: RunResult, scheme: str, paper: str, ink: str
) -> None:
    found, console = looked_at(page.html([Source("a.json", small_run)]), scheme)
    assert console == []
    assert found["requests"] == []
    assert found["plots"] == 7
    assert found["drawn"] >= 7
    assert (found["page"], found["text"]) == (paper, ink)


def test_it_fits_a_screen_of_400_pixels(small_run: RunResult) -> None:
    text = page.html([Source("a.json", small_run)])
    # No window is as narrow, but a frame in it is.
    Path("inner.html").write_text(text + PROBE)
    frame = '<!doctype html><iframe src="inner.html" style="width:400px;border:0"></iframe>'
    asks = """<script>
      addEventListener("load", function look() {
        const body = document.querySelector("iframe").contentDocument.body;
        if (!body.dataset.probe) return setTimeout(look, 50);
        document.body.dataset.probe = body.dataset.probe;
      });
    </script>"""
    found, _ = looked_at(frame + asks, "light")
    assert found["wide"] <= 400
    assert 250 < found["plot"] < 400


def test_a_request_and_an_error_would_have_been_seen() -> None:
    found, console = looked_at(
        '<!doctype html><img src="http://192.0.2.1/x.png"><script>console.error("seen")</script>',
        "light",
    )
    assert found["requests"] == ["http://192.0.2.1/x.png"]
    assert len(console) == 1
    assert "seen" in console[0]
