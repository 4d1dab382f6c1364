"""Datasets that are downloaded by name into the cache: ``mnist``, ``fashion-mnist``, ``cifar10``.

CIFAR-10 is the binary version, because the other one is pickled and vaekit never unpickles.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vaekit.data.ingest.mapped import cache_folder
from vaekit.data.sources.download import Download, fetch, is_whole
from vaekit.data.sources.rows import Rows
from vaekit.errors import UserError

__all__ = ["KNOWN", "KnownSet", "fetch_known", "is_known", "name_classes"]


@dataclass(frozen=True)
class KnownSet:
    """Files of a dataset, and its class names if the files do not contain them."""

    files: tuple[Download, ...]
    classes: tuple[str, ...] = ()


def _idx(places: tuple[str, ...], *sums: tuple[str, int, str]) -> tuple[Download, ...]:
    """Return the files of an MNIST-like set from (name, bytes, checksum), each available at all ``places``."""
    named = [(f"{name}-ubyte.gz", size_bytes, sha256) for name, size_bytes, sha256 in sums]
    return tuple(Download(*file, tuple(place + file[0] for place in places)) for file in named)


# Sizes and SHA-256 checksums: TensorFlow Datasets, tensorflow_datasets/url_checksums/{mnist,fashion_mnist,cifar10}.txt.
# The second URL of MNIST is torchvision's, that of Fashion-MNIST is Keras's; the checksums hold for both.
KNOWN: dict[str, KnownSet] = {
    "mnist": KnownSet(
        _idx(
            ("https://storage.googleapis.com/cvdf-datasets/mnist/", "https://ossci-datasets.s3.amazonaws.com/mnist/"),
            ("train-images-idx3", 9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
            ("train-labels-idx1", 28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
            ("t10k-images-idx3", 1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
            ("t10k-labels-idx1", 4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
        )
    ),
    "fashion-mnist": KnownSet(
        _idx(
            (
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
                "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
            ),
            ("train-images-idx3", 26_421_880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
            ("train-labels-idx1", 29_515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
            ("t10k-images-idx3", 4_422_102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
            ("t10k-labels-idx1", 5_148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
        ),
        # Xiao et al. 2017, Table 2
        ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    "cifar10": KnownSet(
        (
            Download(
                "cifar-10-binary.tar.gz",
                170_052_171,
                "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
                (
                    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
                    "https://cave.cs.toronto.edu/kriz/cifar-10-binary.tar.gz",
                ),
            ),
        )
    ),
}


def is_known(source: str) -> bool:
    """Whether ``source`` is the name of a known set, with or without a suffix after a colon.

    >>> is_known("cifar10"), is_known("./cifar10")
    (True, False)
    """
    return source.split(":")[0] in KNOWN


def fetch_known(source: str, may_fetch: bool = True) -> Path:
    """Return the folder or archive of a known set in the cache, downloading what is missing.

    Raises:
        UserError: If the name has a count, a download fails, or a file is missing and ``may_fetch`` is False.
    """
    name = source.split(":")[0]
    if source != name:
        raise UserError(f"{source!r}: {name} is always used as a whole; write {name}")
    files, folder = KNOWN[name].files, cache_folder() / "downloads" / name
    if not may_fetch and not all(is_whole(folder / file.name, file) for file in files):
        raise UserError(
            f"the run was trained on {name}, which is not in the cache; pass {name} as DATA to download it, or pass "
            "other images"
        )
    one = len(files) == 1
    where = "it on another machine" if one else f"all {len(files)} files on another machine into a folder"
    fetch(name, files, folder, f"check the network, or download {where} and use that instead")
    return folder / files[0].name if one else folder


def name_classes(source: str, rows: Rows) -> Rows:
    """Replace class numbers by names, for sets whose class names are in the table."""
    classes = KNOWN[source].classes
    if classes and rows.labels is not None:
        rows.labels = [classes[int(label)] for label in rows.labels]
        rows.classes = [name for name in classes if name in set(rows.labels)]
    return rows
