"""Codes of images as a file that other programs read: .npz, .parquet or .csv."""

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

__all__ = ["check_codes_file", "write_codes"]

_ENDINGS = (".npz", ".parquet", ".csv")


def check_codes_file(path: Path) -> None:
    """Refuses a file that could not be written, before a long encoding."""
    if path.suffix.lower() not in _ENDINGS:
        raise UserError(f"{path}: codes are written as {', '.join(_ENDINGS)}; give a name that ends so")
    check_place(path)
    if path.suffix.lower() == ".parquet":
        try:
            import pyarrow  # noqa: F401
        except ImportError as error:
            raise UserError(f"{path}: Parquet needs pip install 'vaekit[parquet]'; or give .npz or .csv") from error


def write_codes(path: Path, names: Sequence[str], latents: Tensor, labels: Sequence[str] | None = None) -> None:
    """Writes N names, float32 latents ``[N, L]``, and the names of the labels where there are any; whole or not at all.

    .npz: arrays ``names``, ``latents`` and ``labels``. .parquet: columns ``name``, ``label`` and ``latent``, a list of
    float32. .csv: columns ``name``, ``label`` and ``z0`` … ``z(L−1)``.
    """
    values = latents.float().numpy()
    ending = path.suffix.lower()
    if ending == ".npz":
        arrays: dict[str, Any] = {"names": np.array(names, dtype=str), "latents": values}
        if labels is not None:
            arrays["labels"] = np.array(labels, dtype=str)
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        atomic_write_bytes(path, buffer.getvalue())
        return
    columns: dict[str, Sequence[object]] = {"name": names}
    if labels is not None:
        columns["label"] = labels
    if ending == ".csv":
        columns |= {f"z{i}": column.tolist() for i, column in enumerate(values.T)}
        write_table(path, columns)
        return
    import pyarrow
    from pyarrow import parquet

    flat = pyarrow.array(values.reshape(-1))
    table = pyarrow.table({**columns, "latent": pyarrow.FixedSizeListArray.from_arrays(flat, values.shape[1])})
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(table, sink)
    atomic_write_bytes(path, sink.getvalue().to_pybytes())
