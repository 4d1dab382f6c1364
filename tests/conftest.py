"""Settings and fixtures of all tests: one thread, no display, real images, and no deadline for hypothesis."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("MPLBACKEND", "Agg")

import torch  # noqa: E402  (after the environment is set)
from traced import traced_once  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]

# Sums over several threads come out in an order that depends on the machine.
torch.set_num_threads(1)

# The first example may import a library for seconds; on a busy machine any example may be slow.
SLOW = [HealthCheck.too_slow]
settings.register_profile("vaekit", deadline=None, print_blob=True, suppress_health_check=SLOW)
settings.load_profile("vaekit")


@pytest.fixture(scope="session", autouse=True)
def _cache_of_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests do not use the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAEKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the real images: ``$VAEKIT_TEST_DATA``, or ``../shared/data`` beside the repository."""
    folder = Path(os.environ.get("VAEKIT_TEST_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real images in {folder}: set VAEKIT_TEST_DATA to the folder that holds mnist/")
    return folder


class Answer(NamedTuple):
    """The result of a command."""

    code: int
    out: str
    err: str


@pytest.fixture
def vaekit(capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Run a command in this process: ``vaekit("train", "digits", "--epochs", 1)``."""
    from vaekit.cli import main

    def run(*words: object) -> Answer:
        capsys.readouterr()
        code = main([str(word) for word in words])
        return Answer(code, *capsys.readouterr())

    return run


def _trained(folder: Path, data: str, recipe: str, **options: object) -> Path:
    from vaekit.api import train

    train(data, recipe, folder, quiet=True, **options)  # type: ignore[arg-type]
    return folder


@pytest.fixture(scope="session")
def digits_vae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished small ``vae`` on digits."""
    return _trained(tmp_path_factory.mktemp("runs") / "digits-vae", "digits", "vae", epochs=2, settings={"width": "8"})


@pytest.fixture(scope="session")
def digits_ae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished ``seed-ae`` on digits."""
    return _trained(tmp_path_factory.mktemp("runs") / "digits-ae", "digits", "seed-ae", epochs=2)


@pytest.fixture(scope="session")
def portraits_vae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished ``vae`` on sixty drawn faces, which have attributes."""
    folder = tmp_path_factory.mktemp("runs") / "portraits-vae"
    return _trained(folder, "portraits:60", "vae", size=16, epochs=2, settings={"width": "8"})


@pytest.fixture(autouse=True, scope="session")
def _networks_are_traced_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.onnx, "export", traced_once(torch.onnx.export))
        yield


@pytest.fixture(autouse=True, scope="session")
def _ctrl_c_works() -> None:
    """Background jobs ignore Ctrl-C, and ``nohup`` ignores SIGHUP; tests must not depend on how they were started."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
