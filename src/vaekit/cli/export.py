"""Commands that show a run in the browser, or export it to other machines."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from vaekit.cli.app import PORT, Json, Run
from vaekit.cli.output import say
from vaekit.cli.shared import loaded
from vaekit.errors import printable
from vaekit.system.notes import note

__all__ = ["explore", "export", "publish", "verify"]


def export(
    run: Run,
    data: Annotated[
        str | None,
        Parameter(help="Images to compare on, at most 100. Default: the run's own test images."),
    ] = None,
    /,
    *,
    out: Annotated[Path, Parameter(help="Folder to write.")],
    precision: Annotated[str, Parameter(help="Precision of the networks: fp32 or fp16.")] = "fp32",
    json_: Json = False,
) -> None:
    """Export a run to ONNX, for use without PyTorch.

    The folder contains the networks, a description of the steps around them, an example, a README and checksums. The
    command writes it only if the networks agree with PyTorch on real images.

    Example: vaekit export runs/portraits --out portraits-onnx
    """
    opened = loaded(run, "cpu")
    if opened.leads:
        say(opened.export(out, data, precision=precision).numbers, json_)


def explore(
    run: Run,
    /,
    *,
    port: Annotated[
        int | None,
        Parameter(help="Port on 127.0.0.1. Default: any free port.", validator=PORT),
    ] = None,
    no_browser: Annotated[bool, Parameter(negative="", show_default=False, help="Only print the address.")] = False,
    json_: Json = False,
) -> None:
    """Explore a run in the browser.

    The page has random samples, sliders, your own photos and a map. The model runs in the browser; Ctrl-C stops the
    server.

    The command stores the data of the page in the run folder, as explorer/; it includes thumbnails of the images. Other
    users of this machine can open the address if they know it.

    Example: vaekit explore runs/portraits
    """
    note(f"vaekit: opening {printable(str(run))}")
    from vaekit.explorer import served
    from vaekit.explorer.site import check_page

    check_page()  # before loading anything
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

    served.explore(opened, port, ready)


def publish(
    run: Run,
    site: Annotated[Path, Parameter(help="Folder to write.")],
    /,
    *,
    count: Annotated[int, Parameter(help="Largest number of images on the map, up to 5,000.")] = 1000,
    without_images: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="Show samples instead of your images. Leave out their names, latents and reconstructions.",
        ),
    ] = False,
    json_: Json = False,
) -> None:
    """Write the page of 'vaekit explore' as a static site.

    Visitors download the model, and see images of your data unless you leave them out. Browsers open the page from a
    web server only, not as a file; 'python -m http.server -d SITE' starts one.

    Example: vaekit publish runs/portraits portraits-site
    """
    from vaekit.explorer.site import check_page
    from vaekit.explorer.site import publish as publish_run

    check_page()  # before loading anything
    opened = loaded(run, "cpu")
    if opened.leads:
        say(publish_run(opened, site, count, with_images=not without_images), json_)


def verify(
    folder: Annotated[Path, Parameter(help="Exported folder.")],
    /,
    *,
    digest: Annotated[
        str | None, Parameter(help="Digest that 'vaekit export' printed. Detects changed checksums, too.")
    ] = None,
    json_: Json = False,
) -> None:
    """Check an exported folder.

    The command checks that the folder is complete and unchanged, and that it computes here what PyTorch computed when
    it was exported.

    Example: vaekit verify portraits-onnx
    """
    from vaekit.export.bundle import verify as verified

    say(verified(folder, digest), json_)
