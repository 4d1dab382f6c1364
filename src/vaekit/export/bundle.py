"""A trained model as a folder that does not need PyTorch, with checks of its integrity.

    encoder.onnx   image float32 [N, C, H, W] in [0, 1] → mean [N, L], log_variance [N, L] (an autoencoder: only mean)
    decoder.onnx   latent float32 [N, L] → image float32 [N, C, H, W] in [0, 1]
                   of discrete codes: image → codes int64 [N, rows, columns], and codes → image; without their prior
    prior.onnx     noise float32 [N, L + 1], standard normal → latent [N, L], if the prior is not normal
    model.json     preprocessing, prior, directions, and the measured differences from PyTorch
    check.npz      inputs that reveal nothing about the training images, and PyTorch's outputs
    example.py     encodes, edits and decodes an image with numpy, pillow and onnxruntime
    README.md      the files and the commands that use them
    SHA256SUMS     checksums of all other files, in the format of ``sha256sum --check``

The checksums do not reveal a change of both a file and its checksum. The ``digest``, the SHA-256 of SHA256SUMS, does,
if it is stored elsewhere. An export may come from a stranger, so only regular files are read, and a separate process
with limited time and memory runs the networks.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence, Sized
from pathlib import Path
from typing import Any

import numpy as np

from vaekit.errors import UserError
from vaekit.export.description import PRIOR, Description, read_description
from vaekit.system.number_text import size_text
from vaekit.system.regular_files import odd_kind, open_plain, read_plain

__all__ = [
    "CODE_SHARES",
    "SUMS",
    "TOLERANCES",
    "Session",
    "allowed_in",
    "differences",
    "digest_of",
    "sums_of",
    "verify",
]

SUMS = "SHA256SUMS"

#: Largest allowed differences from PyTorch: latents in units of 1 + |latent|, pictures on the [0, 1] scale.
TOLERANCES = {"fp32": {"latents": 1e-4, "pictures": 1e-4}, "fp16": {"latents": 0.05, "pictures": 2 / 255}}

#: Largest allowed share of discrete codes that differ from PyTorch's.
CODE_SHARES = {"fp32": 0.02, "fp16": 0.1}

_MOST_TEXT_BYTES = 1 << 26  # of SHA256SUMS
_MOST_CHECK_BYTES = 1 << 30  # of check.npz, uncompressed
_MOST_SECONDS = 120.0  # to load the networks and compute four images
_FEW = 4  # images in check.npz, and threads to compute them
_SOURCE = str(Path(__file__).resolve().parents[2])
_START = "import sys; from pathlib import Path; from vaekit.export.bundle import _answer; _answer(Path(sys.argv[1]))"
_REQUIRED = ("encoder.onnx", "decoder.onnx", "model.json", "check.npz")
_LINE = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9._-]+)")


class Session:
    """The networks of an export, run by onnxruntime on the CPU."""

    def __init__(self, folder: Path, threads: int = 0) -> None:
        """Load the networks of an export; ``threads`` is the number of threads, 0 for one per core."""
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
        except Exception as error:  # onnxruntime's exceptions have no common base class
            reason = str(error).splitlines()[0]
            raise UserError(
                f"{folder}: onnxruntime cannot read its networks ({reason}); export the run again"
            ) from error

    def encode(self, images: np.ndarray) -> list[np.ndarray]:
        """Return mean and log-variance, mean and noise, only the mean, or codes, of float32 images ``[N, C, H, W]``."""
        result: list[np.ndarray] = self._networks["encoder"].run(None, {"image": images})
        return result

    def decode(self, latents: np.ndarray) -> np.ndarray:
        """Decode latents ``[N, L]``, or codes ``[N, rows, columns]``, to float32 pictures ``[N, C, H, W]``."""
        name = "latent" if latents.dtype.kind == "f" else "codes"
        result: np.ndarray = self._networks["decoder"].run(None, {name: latents})[0]
        return result

    def draw(self, noise: np.ndarray) -> np.ndarray:
        """Transform noise ``[N, L + 1]`` to float32 latents ``[N, L]``, if the prior is a network."""
        if "prior" not in self._networks:
            raise UserError(f"{PRIOR} is missing; export the run again")
        result: np.ndarray = self._networks["prior"].run(None, {"noise": noise})[0]
        return result


def differences(session: Session, expected: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return the largest differences from PyTorch.

    Args:
        session: The networks.
        expected: The inputs ``images`` and ``latents``, and PyTorch's outputs ``mean``, ``pictures`` (of ``latents``),
            ``round_trips`` (pictures of ``mean``) and, if there is one, ``log_variance`` or ``noise_of_mean``. If the
            prior is a network, also its input ``noise`` and output ``drawn``. For discrete codes: ``images``,
            ``codes``, ``sampled_codes``, ``pictures`` (of ``sampled_codes``) and ``round_trips`` (of ``codes``).

    Returns:
        ``latents`` in units of 1 + |latent|, or ``codes``, the share of discrete codes that differ; and ``pictures`` on
        the [0, 1] scale.
    """
    if "codes" in expected:
        return _code_differences(session, expected)
    outputs = session.encode(expected["images"])
    targets = [expected[name] for name in ("mean", "log_variance", "noise_of_mean") if name in expected]
    if len(outputs) != len(targets):
        raise UserError(f"the encoder has {len(outputs)} outputs, expected {len(targets)}; export the run again")
    if "noise" in expected:
        outputs, targets = [*outputs, session.draw(expected["noise"])], [*targets, expected["drawn"]]
    latents = [np.abs(a - b) / (1 + np.abs(b)) for a, b in zip(outputs, targets, strict=True)]
    pictures = [
        np.abs(session.decode(expected["latents"]) - expected["pictures"]),
        np.abs(session.decode(outputs[0]) - expected["round_trips"]),
    ]
    return {"latents": _largest(latents), "pictures": _largest(pictures)}


def _code_differences(session: Session, expected: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return the differences of the networks of a model with discrete codes."""
    (found, *more), codes = session.encode(expected["images"]), expected["codes"]
    if more or found.dtype.kind != "i" or found.shape != codes.shape:
        raise UserError("the encoder does not return codes of the expected shape; export the run again")
    pictures = [
        np.abs(session.decode(expected["sampled_codes"]) - expected["pictures"]),
        np.abs(session.decode(codes) - expected["round_trips"]),
    ]
    return {"codes": float((found != codes).mean()), "pictures": _largest(pictures)}


def _largest(parts: Sequence[np.ndarray]) -> float:
    return float(np.max([np.nan_to_num(part, nan=np.inf).max() for part in parts]))


def allowed_in(precision: str, has_codes: bool) -> dict[str, float]:
    """Return the largest allowed differences from PyTorch, for a model with discrete codes or with latents."""
    allowed = TOLERANCES[precision]
    return {"codes": CODE_SHARES[precision], "pictures": allowed["pictures"]} if has_codes else allowed


def verify(folder: str | Path, digest: str | None = None) -> dict[str, Any]:
    """Check that an export is complete, and that its networks give the same results here as in PyTorch.

    Args:
        folder: Folder of the export.
        digest: Digest of the export, if it was kept.

    Returns:
        The number of files, the digest, the precision and the largest differences.

    Raises:
        UserError: If a file is missing, changed, added or invalid, or results differ. The message names it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder; give the folder that 'vaekit export' wrote")
    sums = _read_sums(folder)
    actual = digest_of(folder)
    if digest is not None and digest.strip().lower() != actual:
        raise UserError(f"{folder}: its digest is {actual}, not {digest}; it is another export")
    _check_names(folder, sums)
    _check_sums(folder, sums)
    precision, has_codes, off = _computed_apart(folder)
    allowed = allowed_in(precision, has_codes)
    for name, value in off.items():
        if value > allowed[name]:
            raise UserError(
                f"{folder}: {name} differ from PyTorch by {value:.2g} here, but at most {allowed[name]:.2g} is "
                "allowed; another version of onnxruntime may help"
            )
    return {
        "verified": str(folder),
        "files": len(sums),
        "digest": actual,
        "precision": precision,
        "largest_difference": off,
        "allowed": allowed,
    }


def _check_names(folder: Path, sums: Mapping[str, str]) -> None:
    """Check that the folder contains exactly the files that SHA256SUMS lists, all of them regular."""
    present = {path.name for path in folder.iterdir()}
    for name in sorted(present):
        if what := odd_kind(folder / name):
            raise UserError(f"{folder / name} is {what}, not a regular file; export the run again")
    for name in _REQUIRED:
        if name not in sums:
            raise UserError(f"{folder / SUMS} does not list {name}; export the run again")
    for name in sorted(present - set(sums) - {SUMS}):
        raise UserError(f"{folder / name} is not part of the export; remove it")
    for name in sorted(set(sums) - present):
        raise UserError(f"{folder / name} is missing; export the run again")


def _check_sums(folder: Path, sums: Mapping[str, str]) -> None:
    computed = _sums(folder)
    for name in sums:
        if computed[name] != sums[name]:
            raise UserError(f"{folder / name} has changed since it was exported; export the run again")
    if read_plain(folder / SUMS, _MOST_TEXT_BYTES) != _written(computed).encode():
        raise UserError(f"{folder / SUMS} has been changed; export the run again")


def _computed_apart(folder: Path) -> tuple[str, bool, dict[str, float]]:
    """Return the precision of an export, whether it has codes, and its differences from PyTorch.

    They are computed by a process with limited time and memory.

    A stranger's network may run forever or request any amount of memory.

    Raises:
        UserError: If it exceeds a limit, or cannot be computed.
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
        result = json.loads(answer.stdout)
    except subprocess.TimeoutExpired as error:
        raise UserError(
            f"{folder}: its networks did not finish {_FEW} images in {_MOST_SECONDS:g} seconds, so they may "
            "never finish; do not use them, or export the run again"
        ) from error
    except ValueError as error:  # killed by the system for its memory, or crashed in onnxruntime
        raise UserError(
            f"cannot compute with {folder}: onnxruntime ended without an answer, perhaps at the limit of "
            f"{size_text(_most_bytes(folder))} of memory; do not use it, or export the run again"
        ) from error
    if "error" in result:
        raise UserError(result["error"])
    return result["precision"], result["has_codes"], result["off"]


def _answer(folder: Path) -> None:
    """Run in the process of :func:`_computed_apart`: print the result as a line of JSON."""
    _limit_memory(_most_bytes(folder))
    try:
        described = read_description(folder)
        expected = _expected(folder / "check.npz")
        _check_prior(folder, described, expected)
        _check_shapes(folder, described, expected)
        off = differences(Session(folder, threads=_FEW), expected)
        has_codes = described.codes is not None
        result: dict[str, Any] = {"precision": described.precision, "has_codes": has_codes, "off": off}
    except UserError as error:
        result = {"error": str(error)}
    except Exception as error:  # a stranger's file may raise anything in numpy, json or onnxruntime
        reason = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
        result = {"error": f"cannot compute with {folder} ({reason}); export the run again"}
    print(json.dumps(result))


def _expected(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of check.npz, unless they are larger than a few images."""
    with zipfile.ZipFile(path) as archive:
        size_bytes = sum(member.file_size for member in archive.infolist())
    if size_bytes > _MOST_CHECK_BYTES:
        raise UserError(f"{path} unpacks to {size_text(size_bytes)}; export the run again")
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _most_bytes(folder: Path) -> int:
    """Return the memory that a check may use: onnxruntime's own, and several times the size of the networks."""
    return (6 << 30) + 8 * sum(os.lstat(path).st_size for path in folder.glob("*.onnx"))


def _limit_memory(most_bytes: int) -> None:
    try:
        import resource
    except ImportError:  # Windows, where only the time is limited
        return
    resource.setrlimit(resource.RLIMIT_AS, (most_bytes, most_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def sums_of(folder: Path) -> str:
    """Return the content of SHA256SUMS for the files of a folder."""
    return _written(_sums(folder))


def digest_of(folder: Path) -> str:
    """Return the SHA-256 of SHA256SUMS, which identifies all files."""
    return _sum_of(folder / SUMS)


def _read_sums(folder: Path) -> dict[str, str]:
    try:
        lines = read_plain(folder / SUMS, _MOST_TEXT_BYTES).decode("ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{folder} is not an export: {SUMS} cannot be read; give the folder that 'vaekit export' wrote"
        ) from error
    matches = [_LINE.fullmatch(line) for line in lines]
    if not all(matches) or not matches:
        raise UserError(f"{folder / SUMS} has been changed: it has an invalid line; export the run again")
    return {match[2]: match[1] for match in matches if match}


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
    """Check that there is a network of the prior if and only if model.json names it, and that it is compared."""
    named = None if described.prior is None else described.prior.network
    existing = PRIOR if (folder / PRIOR).exists() else None
    if named != existing:
        raise UserError(
            f"{folder / 'model.json'} names {named or 'no network'} for its prior, but the folder has "
            f"{existing or 'none'}; export the run again"
        )
    if existing and not {"noise", "drawn"} <= expected.keys():
        raise UserError(f"{folder / 'check.npz'} lacks the expected output of {PRIOR}; export the run again")


def _check_shapes(folder: Path, described: Description, expected: Mapping[str, np.ndarray]) -> None:
    """Check that the shapes in model.json are those of the networks."""
    image, prior = described.image, described.prior
    declared = (image.channels, image.height, image.width)
    _check_described(folder, "images", declared == expected["images"].shape[1:])
    if described.codes is not None or "codes" in expected:
        _check_codes(folder, described, expected)
        return
    vectors: list[Sized] = [direction.vector for direction in described.directions.values()]
    if prior is not None:
        vectors += [prior.mean, *([prior.factor, *prior.factor] if prior.factor else [])]
    if "drawn" in expected:
        vectors += [*expected["drawn"]]
    sizes = {described.latent_dim, *map(len, vectors)}
    _check_described(folder, "latents", sizes == {expected["latents"].shape[1]})


def _check_codes(folder: Path, described: Description, expected: Mapping[str, np.ndarray]) -> None:
    """Check that model.json describes the codes that the networks use, and no prior or directions of vectors."""
    grid = described.codes
    if grid is None or not {"codes", "sampled_codes"} <= expected.keys():
        raise UserError(f"{folder / 'model.json'} or {folder / 'check.npz'} lacks the codes; export the run again")
    arrays = [expected["codes"], expected["sampled_codes"]]
    fits = all(array.dtype == np.int64 and array.shape[1:] == (grid.rows, grid.columns) for array in arrays)
    fits = fits and all(((array >= 0) & (array < grid.count)).all() for array in arrays)
    fits = fits and described.latent_dim % (grid.rows * grid.columns) == 0
    _check_described(folder, "codes", fits and described.prior is None and not described.directions)


def _check_described(folder: Path, what: str, fits: bool) -> None:
    if not fits:
        raise UserError(f"{folder / 'model.json'} describes other {what} than its networks use; export the run again")
