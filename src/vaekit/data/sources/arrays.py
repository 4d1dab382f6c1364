"""Read arrays of images: .npy and .npz files, numpy arrays, tensors, torch Datasets and other sequences."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from vaekit.data.convert import bytes_from_unit
from vaekit.data.fingerprint import hash_rows
from vaekit.data.ingest.loader import join, refuse_unequal
from vaekit.data.ingest.mapped import empty, mapped_limit_bytes, pack
from vaekit.data.number_inputs import as_dense
from vaekit.data.ranges import Dim, out_of_range_message, range_notes
from vaekit.data.sources.axes import channels_first, is_plainly_a_stack
from vaekit.data.sources.npz import Npz
from vaekit.data.sources.rows import Rows, number_names, reshape_pixels
from vaekit.data.sources.targets import NAMES, Targets, array_targets, joined, plain_target, targets_of
from vaekit.data.splits import split_of
from vaekit.errors import UserError, argument, lacks_memory
from vaekit.pixels.bit_depth import PEAK, RANGE
from vaekit.pixels.decode import reason, upright
from vaekit.pixels.image_form import Form

__all__ = ["read_array", "read_npy", "read_sequence"]

_PARTS = ("train", "val", "valid", "validation", "test")


def read_array(array: np.ndarray | torch.Tensor, form: Form) -> Rows:
    """Read one array or tensor ``[N, H, W]``, ``[N, H, W, C]`` or ``[N, C, H, W]`` with C = 1, 3 or 4.

    Values are uint8, bool, or floats in [0, 1]. The pixels are shared with the array if they need no conversion.

    Raises:
        UserError: If the type or range is another, or the shape has two readings.
    """
    is_tensor = isinstance(array, torch.Tensor)
    where = "the tensor" if is_tensor else "the array"
    values = _numpy(array, where) if isinstance(array, torch.Tensor) else array
    pixels = _pixels(values, where, form, is_tensor)
    notes, dim = _range(_share(values), where)
    shaped, sizes = reshape_pixels(pixels, form), [pixels.shape[2:]]
    return Rows(shaped, number_names(len(pixels)), hash_rows(pixels), notes=notes, dim=dim, sizes=sizes)


def read_npy(path: Path, form: Form) -> Rows:
    """Read a .npy file, or a .npz file with ``images`` and ``labels``, or with ``x_train``, ``y_train`` and so on.

    A .npz file with other names is accepted if exactly one array can be images. Other arrays are not decompressed.
    """
    limit_bytes = mapped_limit_bytes()
    try:
        loaded = _load(path, limit_bytes)
        if isinstance(loaded, np.ndarray):
            return _read_parts([("", loaded, None)], str(path), form)
        loaded.close()
        with Npz(path) as npz:
            pairs, names, notes = _chosen(npz)
            rows = _read_parts(pairs, str(path), form, names)
    except UserError:
        raise
    except PermissionError as error:
        raise UserError(f"cannot read {path} (permission denied); request access") from error
    except Exception as error:  # numpy raises anything from EOFError to BadZipFile
        raise UserError(f"{path} cannot be read as arrays ({reason(error)}); save it again with numpy") from error
    rows.notes = [*notes, *rows.notes]
    return rows


def read_sequence(source: Any, form: Form) -> Rows:
    """Read a torch Dataset, or any sequence, of images or (image, label) pairs.

    An image is a PIL image, an array ``[H, W(, C)]`` or a tensor ``[C, H, W]``. Integers and strings are labels; floats
    and vectors of numbers are attributes (:mod:`vaekit.data.sources.targets`).
    """
    items = _items(source)
    first = next(items, None)
    if first is None:
        raise UserError("the dataset is empty; expected images or (image, label) pairs")
    images, targets, longest = [], [], 0
    most = 0.0  # largest share of their range that values of more than 8 bits use
    for index, item in enumerate(chain([first], items)):
        image, target = (item[0], item[1]) if isinstance(item, tuple | list) and len(item) > 1 else (item, None)
        longest = max(longest, len(item) if isinstance(item, tuple | list) else 1)
        if isinstance(image, tuple | list) and len(image) == 1:
            image = image[0]
        pixels, share = _one(image, f"item {index} of the dataset")
        images.append(pixels)
        most = max(most, share)
        targets.append(plain_target(target))
    rows = _rows_of_list(images, targets_of(targets, source), form)
    range_notes, rows.dim = _range(most, "the dataset")
    further = f"items have up to {longest} values; only the first two, image and label, are used"
    rows.notes = [*range_notes, *rows.notes, *([further] if longest > 2 else [])]
    return rows


def _load(path: Path, limit_bytes: int) -> Any:
    """Load an array or open a .npz file; arrays above the limit stay in their file."""
    if path.stat().st_size <= limit_bytes:
        return np.load(path, allow_pickle=False)
    try:
        return np.load(path, mmap_mode="c", allow_pickle=False)  # writes go to memory, not to the file
    except OSError as error:
        if error.errno != errno.ENOMEM:
            raise
        # Linux reserves memory for all possible writes; a read-only map may be larger than the memory
        return np.load(path, mmap_mode="r", allow_pickle=False)


def _rows_of_list(images: list[np.ndarray], targets: Targets, form: Form) -> Rows:
    sizes = [(image.shape[1], image.shape[2]) for image in images]
    if form.size is None:
        refuse_unequal(sizes, "the dataset", form.fit)
    channels, size = form.channels or (3 if any(len(image) != 1 for image in images) else 1), form.size or sizes[0]
    form = replace(form, channels=channels, size=size)
    pixels = empty((len(images), channels, *size))
    contents = []
    for index, image in enumerate(images):
        contents += hash_rows(image[None])
        pixels[index] = reshape_pixels(image[None], form)[0]
    return Rows(
        pixels=pixels,
        names=number_names(len(images)),
        contents=contents,
        labels=targets.labels,
        classes=targets.classes,
        attributes=targets.attributes,
        notes=targets.notes,
        sizes=sizes,
    )


def _items(source: Any) -> Iterator[Any]:
    if isinstance(source, Mapping) or hasattr(source, "iloc"):  # a dict, or a pandas table or column
        raise UserError(
            f"cannot read images from a {type(source).__name__}; pass a list of paths, such as "
            "table['path'].tolist(), or an array of images"
        )
    if hasattr(source, "__getitem__") and hasattr(source, "__len__"):
        # map-style datasets of torch may raise anything past their end, so they are indexed instead of iterated
        return (_item(source, index) for index in range(len(source)))
    if isinstance(source, Iterable):
        return iter(source)
    raise UserError(
        f"cannot read images from {type(source).__name__}; expected a path, a built-in name, "
        "an array, a tensor or a torch Dataset"
    )


def _item(source: Any, index: int) -> Any:
    """Return one item of a dataset, which may raise anything."""
    try:
        return source[index]
    except Exception as error:
        if isinstance(error, UserError) or lacks_memory(error):
            raise
        raise UserError(f"item {index} of the {type(source).__name__} cannot be read: {reason(error)}") from error


def _one(image: Any, where: str) -> tuple[np.ndarray, float]:
    """Return one image as uint8 ``[C, H, W]``, and the share of its range that it uses (0 for at most 8 bits)."""
    share = 0.0
    if isinstance(image, Image.Image):
        image, share = _of_pil(image, where)
    is_tensor = isinstance(image, torch.Tensor)
    if not isinstance(image, torch.Tensor | np.ndarray):
        raise UserError(
            f"{where} is a {type(image).__name__}; expected a PIL image, an array [H,W,C] or a tensor [C,H,W]"
        )
    array = _numpy(image, where) if isinstance(image, torch.Tensor) else image
    pixels = pack(bytes_from_unit(channels_first(array[None], where, is_tensor, is_stack=True), where))[0]
    return pixels, max(share, _share(array))


def _of_pil(image: Image.Image, where: str) -> tuple[np.ndarray, float]:
    """Return uint8 ``[H, W]`` or ``[H, W, C]``, upright, and the share of the range used as in :func:`_one`."""
    known = {"L": "L", "RGB": "RGB", "RGBA": "RGBA", "1": "L"}
    try:
        image, peak = upright(image)
    except (OSError, ValueError) as error:
        if str(error).startswith(RANGE):  # use the same message as for files
            raise UserError(out_of_range_message(where, 1, [(where, str(error))])) from error
        raise UserError(f"{where} cannot be read as an image: {reason(error)}") from error
    mode = known.get(image.mode, "RGBA" if image.has_transparency_data else "RGB")
    return np.asarray(image.convert(mode)), max(0, peak) / PEAK


def _numpy(tensor: torch.Tensor, where: str) -> np.ndarray:
    tensor = as_dense(tensor, where)
    return (tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor).numpy()


def _pixels(array: np.ndarray, where: str, form: Form, is_tensor: bool = False, is_stack: bool = False) -> np.ndarray:
    """Convert a set to uint8 ``[N, C, H, W]``; ``is_stack``: its first axis is the number of images."""
    arranged = channels_first(array, where, is_tensor, is_stack, form)
    if array.size == 0:
        raise UserError(f"{where} contains no images (shape {list(array.shape)}); pass at least one")
    return pack(bytes_from_unit(arranged, where))


def _share(values: np.ndarray) -> float:
    """Return the largest float as a share of [0, 1]; 0 for integers."""
    return max(0.0, float(values.max())) if values.dtype.kind == "f" and values.size else 0.0


def _range(share: float, where: str) -> tuple[list[str], Dim | None]:
    return range_notes(share, f"the values of {where}", "open them again")


def _read_parts(
    pairs: list[tuple[str, np.ndarray, np.ndarray | None]], where: str, form: Form, attribute_names: Any = None
) -> Rows:
    """Read triples (part or '', images, labels or attributes)."""
    names: list[str] = []
    given: list[int] = []
    contents: list[bytes] = []
    shaped = []
    sizes: list[tuple[int, ...]] = []
    targets: list[Targets] = []
    share = 0.0
    sizes_of_stacks = {images.shape[1:] for _, images, _ in pairs if is_plainly_a_stack(images.shape)}
    for part, images, numbers in pairs:
        share = max(share, _share(images))
        # a single label may belong to a single image; several labels imply a stack, or are refused below
        is_stack = (numbers is not None and numbers.size != 1) or images.shape[1:] in sizes_of_stacks
        pixels = _pixels(images, where, form, is_stack=is_stack)
        names += number_names(len(pixels), f"{part}/" if part else "")
        given += [-1 if (number := split_of(part)) is None else number] * len(pixels)
        contents += hash_rows(pixels)
        found = Targets() if numbers is None else array_targets(numbers, len(pixels), attribute_names, where)
        targets.append(found)
        shaped.append(reshape_pixels(pixels, form))
        sizes += [pixels.shape[2:]] * len(pixels)
    if len({pixels.shape[1:] for pixels in shaped}) > 1:
        raise UserError(
            f"the parts of {where} differ in shape; choose one with {argument('size')} and {argument('channels')}"
        )
    notes, dim = _range(share, where)
    both = joined(targets, where)
    return Rows(
        pixels=join(shaped),
        names=names,
        contents=contents,
        labels=both.labels,
        attributes=both.attributes,
        given=given,
        notes=[*notes, *both.notes],
        dim=dim,
        sizes=sizes,
    )


def _chosen(npz: Npz) -> tuple[list[tuple[str, np.ndarray, np.ndarray | None]], np.ndarray | None, list[str]]:
    """(part or '', images, labels) of the arrays to use, names of attributes, and notes about the other arrays."""
    parts = [part for part in _PARTS if f"x_{part}" in npz.names]
    if parts:
        keys = [(part, f"x_{part}", f"y_{part}") for part in parts]
    else:
        images = next((key for key in ("images", "x", "arr_0") if key in npz.names), "") or npz.only_images()
        keys = [("", images, "labels" if "labels" in npz.names else "y")]
    naming = next((name for name in NAMES if name in npz.names), None)
    used = {naming} | {key for _, *both in keys for key in both}
    left = [name for name in npz.names if name not in used]
    notes = [f"arrays not used: {', '.join(left)}"] if left else []
    pairs = [(part, npz.read(x), npz.read(y) if y in npz.names else None) for part, x, y in keys]
    return pairs, None if naming is None else npz.read(naming), notes
