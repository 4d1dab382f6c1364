"""What all tests share: one thread, no display, the real images, and no deadline for hypothesis."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("MPLBACKEND", "Agg")

import torch  # noqa: E402  (after the environment is set)

ROOT = Path(__file__).resolve().parents[1]

# Sums over several threads come out in an order that depends on the machine.
torch.set_num_threads(1)

# The first example may import a library for seconds; on a busy machine any example may be slow.
SLOW = [HealthCheck.too_slow]
settings.register_profile("vaekit", deadline=None, print_blob=True, suppress_health_check=SLOW)
settings.load_profile("vaekit")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the real images: ``$VAEKIT_TEST_DATA``, or ``../shared/data`` beside the repository."""
    folder = Path(os.environ.get("VAEKIT_TEST_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real images in {folder}: set VAEKIT_TEST_DATA to the folder that holds mnist/")
    return folder
