"""A trained model as a folder that needs no PyTorch, and the proof that it is whole.

    encoder.onnx   image float32 [N, C, H, W] in [0, 1] → mean [N, L], log_variance [N, L] (an autoencoder: mean alone)
    decoder.onnx   latent float32 [N, L] → image float32 [N, C, H, W] in [0, 1]
    prior.onnx     noise float32 [N, L + 1], standard normal → latent [N, L], where the prior is not a normal
    model.json     what to do before and after: preprocessing, prior, directions; and how near to PyTorch it was found
    check.npz      inputs that show nothing of anyone, and what PyTorch made of them
    example.py     encodes, edits and decodes an image with numpy, pillow and onnxruntime
    SHA256SUMS     of all the others, as ``sha256sum --check`` reads it

The checksums do not reveal a change of both a file and its checksum. The ``digest``, the SHA-256 of SHA256SUMS, does,
if it is kept elsewhere. An export may come from a stranger, so only regular files are read, and a separate process runs
its networks, with a limit on time and memory.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sized
from pathlib import Path
from typing import Any

import numpy as np

from vaekit.errors import UserError
from vaekit.export.description import PRIOR, Description, read_description
from vaekit.system.regular_files import odd_kind, open_plain, read_plain

__all__ = ["SUMS", "TOLERANCES", "Session", "differences", "digest_of", "sums_of", "verify"]

SUMS = "SHA256SUMS"

#: How far from PyTorch the numbers may be: of codes in units of 1 + |code|, of pictures on the [0, 1] scale.
TOLERANCES = {"fp32": {"codes": 1e-4, "pictures": 1e-4}, "fp16": {"codes": 0.05, "pictures": 2 / 255}}

_MOST_TEXT_BYTES = 1 << 26  # of SHA256SUMS
_MOST_CHECK_BYTES = 1 << 30  # of check.npz, unpacked
_MOST_SECONDS = 120.0  # to load the networks and compute four images
_FEW = 4  # images in check.npz, and threads for them
_SOURCE = str(Path(__file__).resolve().parents[2])
_START = "import sys; from pathlib import Path; from vaekit.export.bundle import _answer; _answer(Path(sys.argv[1]))"
_REQUIRED = ("encoder.onnx", "decoder.onnx", "model.json", "check.npz")
_LINE = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9._-]+)")


class Session:
    """Both networks, run by onnxruntime on the processor."""

    def __init__(self, folder: Path, threads: int = 0) -> None:
        """Reads the networks of an export; ``threads`` compute them, 0 for one per core."""
        try:
            import onnxruntime
        except ImportError as error:
            raise UserError("running ONNX networks needs pip install 'vaekit[export]'") from error
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads
        providers = ["CPUExecutionProvider"]
        try:
            self._networks = {
                name: onnxruntime.InferenceSession(folder / f"{name}.onnx", options, providers=providers)
                for name in ("encoder", "decoder", *["prior"] * (folder / PRIOR).exists())
            }
        except Exception as error:  # of onnxruntime's own kinds, which have no common one
            reason = str(error).splitlines()[0]
            raise UserError(
                f"{folder}: onnxruntime cannot read its networks ({reason}); export the run again"
            ) from error

    def encode(self, images: np.ndarray) -> list[np.ndarray]:
        """Mean and log variance, or the mean alone, of float32 images ``[N, C, H, W]``."""
        return self._networks["encoder"].run(None, {"image": images})

    def decode(self, latents: np.ndarray) -> np.ndarray:
        """Float32 pictures ``[N, C, H, W]`` of latents ``[N, L]``."""
        return self._networks["decoder"].run(None, {"latent": latents})[0]

    def draw(self, noise: np.ndarray) -> np.ndarray:
        """Float32 latents ``[N, L]`` of noise ``[N, L + 1]``, where the prior is a network."""
        if "prior" not in self._networks:
            raise UserError(f"{PRIOR} is missing; export the run again")
        return self._networks["prior"].run(None, {"noise": noise})[0]


def differences(session: Session, expected: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The largest differences from PyTorch, of codes (in units of 1 + |code|) and of pictures (on the [0, 1] scale).

    ``expected`` has ``images`` and ``latents`` that go in, ``mean``, ``pictures`` and where there is one
    ``log_variance`` that should come out; ``round_trips`` are the pictures of ``mean``. Where the prior is a network,
    ``drawn`` is what it makes of ``noise``.
    """
    found = session.encode(expected["images"])
    wanted = [expected[name] for name in ("mean", "log_variance") if name in expected]
    if len(found) != len(wanted):
        raise UserError(f"the encoder has {len(found)} outputs, expected {len(wanted)}; export the run again")
    if "noise" in expected:
        found, wanted = [*found, session.draw(expected["noise"])], [*wanted, expected["drawn"]]
    codes = [np.abs(f - w) / (1 + np.abs(w)) for f, w in zip(found, wanted, strict=True)]
    pictures = [
        np.abs(session.decode(expected["latents"]) - expected["pictures"]),
        np.abs(session.decode(found[0]) - expected["round_trips"]),
    ]
    return {
        name: float(np.max([np.nan_to_num(each, nan=np.inf).max() for each in parts]))
        for name, parts in (("codes", codes), ("pictures", pictures))
    }


def verify(folder: str | Path, digest: str | None = None) -> dict[str, Any]:
    """Checks that an exported folder is whole, and that its networks still give here what PyTorch gave there.

    ``digest`` is that of the export, if it was kept. Raises :class:`UserError` that names what is missing, changed,
    added or wrong.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder; give the folder that 'vaekit export' wrote")
    sums = _read_sums(folder)
    found = digest_of(folder)
    if digest is not None and digest.strip().lower() != found:
        raise UserError(f"{folder}: its digest is {found}, not the given {digest}; it is not that export")
    present = {path.name for path in folder.iterdir()}
    for name in sorted(present):
        if what := odd_kind(folder / name):
            raise UserError(f"{folder / name} is {what}, not a regular file; export the run again")
    for name in _REQUIRED:
        if name not in sums:
            raise UserError(f"{folder / SUMS} does not list {name}; export the run again")
    for name in sorted(present - set(sums) - {SUMS}):
        raise UserError(f"{folder / name} is not part of the export; take it away")
    for name in sorted(set(sums) - present):
        raise UserError(f"{folder / name} is missing; export the run again")
    computed = _sums(folder)
    for name in sums:
        if computed[name] != sums[name]:
            raise UserError(f"{folder / name} has changed since it was exported; export the run again")
    if read_plain(folder / SUMS, _MOST_TEXT_BYTES) != _written(computed).encode():
        raise UserError(f"{folder / SUMS} has been changed; export the run again")
    precision, off = _computed_apart(folder)
    allowed = TOLERANCES[precision]
    for name, value in off.items():
        if value > allowed[name]:
            raise UserError(
                f"{folder}: {name} differ by {value:.2g} from those of PyTorch here, at most {allowed[name]:.2g} is "
                "allowed; another version of onnxruntime may help"
            )
    return {
        "verified": str(folder),
        "files": len(sums),
        "digest": found,
        "precision": precision,
        "largest_difference": off,
        "allowed": allowed,
    }


def _computed_apart(folder: Path) -> tuple[str, dict[str, float]]:
    """Precision and differences of an export, computed by a process with a limit on its time and memory.

    A stranger's network may loop forever or ask for any amount of memory. Raises :class:`UserError` if it does.
    """
    try:
        answer = subprocess.run(
            [sys.executable, "-P", "-c", _START, str(folder)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            env={**os.environ, "PYTHONPATH": os.pathsep.join([_SOURCE, *filter(None, [os.environ.get("PYTHONPATH")])])},
            timeout=_MOST_SECONDS,
            check=False,
        )
        told = json.loads(answer.stdout)
    except subprocess.TimeoutExpired as error:
        raise UserError(
            f"{folder}: its networks were not done with {_FEW} images after {_MOST_SECONDS:g} seconds, so one of them "
            "may never end; do not use them, or export the run again"
        ) from error
    except ValueError as error:  # it was ended: by the system, for its memory, or by a fault in onnxruntime
        raise UserError(
            f"{folder} cannot be computed with: onnxruntime ended without an answer, perhaps at the limit of "
            f"{_most_bytes(folder) / 1e9:.0f} GB of memory; do not use it, or export the run again"
        ) from error
    if "error" in told:
        raise UserError(told["error"])
    return told["precision"], told["off"]


def _answer(folder: Path) -> None:
    """What the process of :func:`_computed_apart` does: it prints a line of JSON."""
    _limit_memory(_most_bytes(folder))
    try:
        described = read_description(folder)
        expected = _expected(folder / "check.npz")
        _check_prior(folder, described, expected)
        _check_shapes(folder, described, expected)
        off = differences(Session(folder, threads=_FEW), expected)
        told: dict[str, Any] = {"precision": described.precision, "off": off}
    except UserError as error:
        told = {"error": str(error)}
    except Exception as error:  # whatever a file of another making brings up, in numpy, json or onnxruntime
        reason = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
        told = {"error": f"{folder} cannot be computed with ({reason}); export the run again"}
    print(json.dumps(told))


def _expected(path: Path) -> dict[str, np.ndarray]:
    """The arrays of check.npz, unless they unpack to more than a few images."""
    with zipfile.ZipFile(path) as archive:
        size_bytes = sum(each.file_size for each in archive.infolist())
    if size_bytes > _MOST_CHECK_BYTES:
        raise UserError(f"{path} unpacks to {size_bytes / 1e6:,.0f} MB; export the run again")
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _most_bytes(folder: Path) -> int:
    """The memory that a check may take: what onnxruntime itself does, and several times the networks."""
    return (6 << 30) + 8 * sum(os.lstat(path).st_size for path in folder.glob("*.onnx"))


def _limit_memory(most_bytes: int) -> None:
    try:
        import resource
    except ImportError:  # Windows: the limit on time is the only one
        return
    resource.setrlimit(resource.RLIMIT_AS, (most_bytes, most_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def sums_of(folder: Path) -> str:
    """What SHA256SUMS says of the files of a folder."""
    return _written(_sums(folder))


def digest_of(folder: Path) -> str:
    """The SHA-256 of SHA256SUMS: one number that stands for all files."""
    return _sum_of(folder / SUMS)


def _read_sums(folder: Path) -> dict[str, str]:
    try:
        lines = read_plain(folder / SUMS, _MOST_TEXT_BYTES).decode("ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{folder} is not an export: {SUMS} cannot be read; give the folder that 'vaekit export' wrote"
        ) from error
    found = [_LINE.fullmatch(line) for line in lines]
    if not all(found) or not found:
        raise UserError(f"{folder / SUMS} has been changed: it has a line that is no sum; export the run again")
    return {match[2]: match[1] for match in found if match}


def _sums(folder: Path) -> dict[str, str]:
    names = sorted(path.name for path in folder.iterdir() if path.name != SUMS)
    return {name: _sum_of(folder / name) for name in names}


def _written(sums: Mapping[str, str]) -> str:
    return "".join(f"{value}  {name}\n" for name, value in sums.items())


def _sum_of(path: Path) -> str:
    try:
        with open_plain(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); export the run again") from error


def _check_prior(folder: Path, described: Description, expected: Mapping[str, np.ndarray]) -> None:
    """That the network of the prior is where model.json names one, there alone, and is compared."""
    named = None if described.prior is None else described.prior.network
    there = PRIOR if (folder / PRIOR).exists() else None
    if named != there:
        raise UserError(
            f"{folder / 'model.json'} names {named or 'no network'} as that of its prior, "
            f"there is {there or 'none'}; export the run again"
        )
    if there and not {"noise", "drawn"} <= expected.keys():
        raise UserError(f"{folder / 'check.npz'} does not tell what {PRIOR} should give; export the run again")


def _check_shapes(folder: Path, described: Description, expected: Mapping[str, np.ndarray]) -> None:
    """That what model.json says of images and latents is what the networks take."""
    image, prior = described.image, described.prior
    told = (image.channels, image.height, image.width)
    vectors: list[Sized] = [each.vector for each in described.directions.values()]
    if prior is not None:
        vectors += [prior.mean, prior.factor, *prior.factor]
    if "drawn" in expected:
        vectors += [*expected["drawn"]]
    for what, found, wanted in (
        ("images", told, expected["images"].shape[1:]),
        ("latents", {described.latent_dim, *map(len, vectors)}, {expected["latents"].shape[1]}),
    ):
        if found != wanted:
            raise UserError(
                f"{folder / 'model.json'} tells of other {what} than its networks take; export the run again"
            )
