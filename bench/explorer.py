"""How long does it take from moving a slider to new pixels in the browser, with threads and without? How long until the
page is ready, with an empty cache? The default model at 64 and 128 px, in a headless Chromium.

    python web/e2e/make_runs.py build/web      the two runs, as `make test-web` makes them
    python bench/explorer.py build/web
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import subprocess
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from headline import Headline
from machine import describe, write_result

import vaekit as vk
from vaekit.model.factory import parameter_count
from vaekit.system.http import bind

WEB = Path(__file__).resolve().parents[1] / "web"
RUNS = {"64 px": "portraits", "128 px": "large"}
LIMITS_MILLISECONDS = {"64 px": 40, "128 px": 80}


class Plain(SimpleHTTPRequestHandler):
    """A static host that does not send vaekit's headers."""

    def log_message(self, *_: object) -> None:
        pass


def measured(server: ThreadingHTTPServer) -> dict[str, Any]:
    """Return the browser's measurements of a server."""
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/"
    done = subprocess.run(["node", "bench/latency.mjs", url], cwd=WEB, capture_output=True, text=True, check=True)
    server.shutdown()
    return dict(json.loads(done.stdout))


def headlines(result: dict[str, Any]) -> Iterator[Headline]:
    """Delays in the browser."""
    for size in ("64 px", "128 px"):
        threads, alone = (result[size][side]["slider_milliseconds"]["median"] for side in ("threads", "one_thread"))
        what = f"Explorer with the default `vae` at {size} in Chromium: from slider to new pixels, several threads"
        yield Headline(what, f"{threads:.0f} ms", f"one thread: {alone:.0f} ms")
    sides = [result[size][side] for size in ("64 px", "128 px") for side in ("threads", "one_thread")]
    ready = max(statistics.median(side["ready_milliseconds"]) for side in sides)
    yield Headline(
        "Explorer: time until the page is ready, empty browser cache (slowest of the four cases above)",
        f"{ready / 1000:.1f} s",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    folder = parser.parse_args().runs
    result: dict[str, Any] = {
        "what": "milliseconds from a slider's event to new pixels on the canvas; page: until drawn"
    }
    for size, name in RUNS.items():
        site = folder / name / "explorer"
        handler = functools.partial(Plain, directory=str(site))
        sides = {
            "threads": measured(bind(site)),
            "one_thread": measured(ThreadingHTTPServer(("127.0.0.1", 0), handler)),
        }
        decoder = vk.load(folder / name).model.decoder
        result[size] = {"decoder_parameters": parameter_count(decoder), **sides}
        for side, found in sides.items():
            median = found["slider_milliseconds"]["median"]
            ready = statistics.median(found["ready_milliseconds"])
            print(
                f"{size} {side}: slider {median} ms (limit {LIMITS_MILLISECONDS[size]}), page {ready:.0f} ms",
                flush=True,
            )
    print(write_result("explorer", result | {"machine": describe()}, headlines))


if __name__ == "__main__":
    main()
