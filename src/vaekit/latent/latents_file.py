"""Write latents or codes of images to a file for other programs: .npz, .parquet or .csv."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from vaekit.data.csv_table import check_place, write_table
from vaekit.errors import UserError
from vaekit.system.files import atomic_write_bytes

__all__ = ["check_latents_file", "write_latents"]

_ENDINGS = (".npz", ".parquet", ".csv")


def check_latents_file(path: Path) -> None:
    """Check before a long encoding that latents can be written to ``path``; raises :class:`UserError`."""
    if path.suffix.lower() not in _ENDINGS:
        raise UserError(f"{path}: latents are written as {', '.join(_ENDINGS)}; use a name that ends so")
    check_place(path)
    if path.suffix.lower() == ".parquet":
        try:
            import pyarrow  # noqa: F401
        except ImportError as error:
            raise UserError(f"{path}: Parquet needs pip install 'vaekit[parquet]'; or use .npz or .csv") from error


def write_latents(path: Path, names: Sequence[str], latents: Tensor, labels: Sequence[str] | None = None) -> None:
    """Write names, latents or codes and, if given, labels of N images atomically.

    .npz has arrays ``names``, ``latents`` and ``labels``. .parquet has columns ``name``, ``label`` and ``latent``, a
    list of float32. .csv has columns ``name``, ``label`` and ``z0`` to ``z(L−1)``. Codes are called ``codes`` in .npz;
    ``codes``, a list of rows, in .parquet; and ``c0``, ``c1``, ... row by row in .csv.

    Args:
        path: File with one of these extensions.
        names: Names of the images.
        latents: Latents, float ``[N, L]``; or codes, int64 ``[N, rows, columns]``.
        labels: Class names of the images.
    """
    are_codes = not latents.is_floating_point()
    values = latents.numpy() if are_codes else latents.float().numpy()
    extension = path.suffix.lower()
    if extension == ".npz":
        arrays: dict[str, Any] = {"names": np.array(names, dtype=str), "codes" if are_codes else "latents": values}
        if labels is not None:
            arrays["labels"] = np.array(labels, dtype=str)
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        atomic_write_bytes(path, buffer.getvalue())
        return
    columns: dict[str, Sequence[object]] = {"name": names}
    if labels is not None:
        columns["label"] = labels
    if extension == ".csv":
        flat = values.reshape(len(values), -1)
        columns |= {f"{'c' if are_codes else 'z'}{i}": column.tolist() for i, column in enumerate(flat.T)}
        write_table(path, columns)
        return
    import pyarrow
    from pyarrow import parquet

    lists = pyarrow.array(values.reshape(-1))
    for size in values.shape[:0:-1]:
        lists = pyarrow.FixedSizeListArray.from_arrays(lists, size)
    table = pyarrow.table({**columns, "codes" if are_codes else "latent": lists})
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(table, sink)
    atomic_write_bytes(path, sink.getvalue().to_pybytes())
