"""Verbs that leave the machine or the terminal."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from vaekit.cli.app import PORT, Json, app
from vaekit.cli.output import say
from vaekit.cli.shared import loaded
from vaekit.errors import printable
from vaekit.system.notes import note

__all__ = ["explore", "export", "publish", "verify"]


@app.command
def export(
    run: Path,
    data: Annotated[
        str | None,
        Parameter(help="Images to compare with PyTorch on, 100 at most. Default: the run's own test images."),
    ] = None,
    /,
    *,
    out: Annotated[Path, Parameter(help="Folder to write.")],
    precision: Annotated[str, Parameter(help="fp32 or fp16, of the networks.")] = "fp32",
    json_: Json = False,
) -> None:
    """Write a run as a folder that needs no PyTorch: ONNX networks, what to do around them, an example, checksums.

    It is compared with PyTorch on real images before it is called done.

    Example: vaekit export runs/portraits --out portraits-onnx
    """
    opened = loaded(run, "cpu")
    if opened.leads:
        say(opened.export(out, data, precision=precision).numbers, json_)


@app.command
def explore(
    run: Path,
    /,
    *,
    port: Annotated[
        int | None,
        Parameter(help="Port of 127.0.0.1. Default: a free one, new each time.", validator=PORT),
    ] = None,
    no_browser: Annotated[
        bool, Parameter(negative="", show_default=False, help="Print the address, open nothing.")
    ] = False,
    json_: Json = False,
) -> None:
    """Open a run in the browser: samples, sliders, your own photos, a map. The model computes there; Ctrl-C ends it.

    What the page shows is kept in the run folder, as explorer/, with thumbnails of the images. Others who use this
    machine can open the address, too, if they know it.

    Example: vaekit explore runs/portraits
    """
    note(f"vaekit: opening {printable(str(run))}")
    from vaekit import explorer

    explorer.check_page()  # before loading anything
    opened = loaded(run, "cpu")
    if not opened.leads:
        return

    def ready(address: str) -> None:
        say({"explorer": address}, json_)
        sys.stdout.flush()
        note("vaekit: serving the page until you press Ctrl-C")
        if not no_browser:
            import webbrowser
            from threading import Thread

            Thread(target=webbrowser.open, args=(address,), daemon=True).start()  # some wait until they are closed

    explorer.explore(opened, port, ready)


@app.command
def publish(
    run: Path,
    site: Path,
    /,
    *,
    count: Annotated[int, Parameter(help="Images on the map, at most; up to 5,000.")] = 1000,
    without_images: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="Show samples of the prior in place of images; no names, codes, reconstructions.",
        ),
    ] = False,
    json_: Json = False,
) -> None:
    """Write the page of 'vaekit explore' into the folder SITE, for any host of static files.

    Whoever visits it downloads the model, and sees images of your data unless you leave them out. Browsers open it from
    a host alone, not as a file; here 'python -m http.server -d SITE' is one.

    Example: vaekit publish runs/portraits portraits-site
    """
    from vaekit import explorer

    explorer.check_page()  # before loading anything
    opened = loaded(run, "cpu")
    if opened.leads:
        say(explorer.publish(opened, site, count, with_images=not without_images), json_)


@app.command
def verify(
    folder: Path,
    /,
    *,
    digest: Annotated[
        str | None, Parameter(help="What 'vaekit export' printed; finds out whoever changes all.")
    ] = None,
    json_: Json = False,
) -> None:
    """Check that an exported folder is whole and unchanged, and that it computes here what PyTorch computed there.

    Example: vaekit verify portraits-onnx
    """
    from vaekit.export.bundle import verify as verified

    say(verified(folder, digest), json_)
