"""Images, arrays, IDX, the built-ins, and the real datasets."""

from __future__ import annotations

import gzip
import hashlib
import struct
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vaekit.data import Images, builtin_names, open_images, open_in, peek
from vaekit.data.ingest import loader as load
from vaekit.data.sources.archive import list_archive
from vaekit.data.sources.folder import read_tree
from vaekit.data.sources.idx import parse_idx
from vaekit.data.sources.layout import arrange
from vaekit.errors import UserError
from vaekit.pixels.image_form import Form


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def hand_made(count: int = 12) -> Images:
    return Images(
        torch.from_numpy(noise(count, 1, 2, 2)),
        tuple(f"{i}" for i in range(count)),
        labels=torch.arange(count) % 2,
        classes=("even", "odd"),
        attributes={"number": np.arange(count, dtype=float)},
        parts=np.array([0] * (count - 4) + [1, 1, 2, 2], np.uint8),
    )


@pytest.mark.parametrize(
    ("index", "rows"),
    [
        (3, [3]),
        (-1, [11]),
        (np.int64(2), [2]),
        (slice(2, 5), [2, 3, 4]),
        (slice(None, None, 4), [0, 4, 8]),
        (slice(3, 0, -1), [3, 2, 1]),
        ([5, 1, 5], [5, 1, 5]),
        ([-1, 0], [11, 0]),
        ([], []),
        (torch.tensor([4, 5]), [4, 5]),
        (np.arange(12) > 9, [10, 11]),
        (torch.zeros(12, dtype=torch.bool), []),
    ],
)
def test_indexing(index, rows: list[int]) -> None:
    images = hand_made()
    picked = images[index]
    assert picked.pixels.equal(images.pixels[torch.tensor(rows, dtype=torch.int64)])
    assert picked.names == tuple(str(row) for row in rows)
    assert picked.attributes["number"].tolist() == rows
    assert picked.labels is not None and picked.labels.tolist() == [row % 2 for row in rows]
    assert picked.parts.tolist() == images.parts[rows].tolist()


def test_slices_and_parts_that_lie_together_share_their_pixels() -> None:
    images = hand_made()
    assert images[2:].pixels.data_ptr() == images.pixels[2:].data_ptr()
    assert images.part("train").pixels.data_ptr() == images.pixels.data_ptr()
    assert images.part("val").pixels.data_ptr() == images.pixels[8:].data_ptr()
    assert images.part("all") is images
    assert [len(images.part(part)) for part in ("train", "val", "test")] == [8, 2, 2]


def test_bad_indices() -> None:
    with pytest.raises(IndexError):
        hand_made()[12]
    with pytest.raises(IndexError):
        hand_made()[np.zeros(3, bool)]


def test_select_and_repr() -> None:
    images = hand_made()
    assert images.select("label:odd").attributes["number"].tolist() == [1, 3, 5, 7, 9, 11]
    assert repr(images) == (
        "Images(12 of 1×2×2; 2 classes (even, odd); attributes number; train 8 val 2 test 2; array)"
    )


@pytest.mark.parametrize("shape", [(12, 5, 6), (12, 5, 6, 1), (12, 5, 6, 3)])
def test_numpy_arrays(shape: tuple[int, ...]) -> None:
    array = noise(*shape)
    images = open_images(array)
    channels = shape[3] if len(shape) == 4 else 1
    assert images.pixels.numpy().tolist() == array.reshape(12, 5, 6, channels).transpose(0, 3, 1, 2).tolist()
    assert images.names[7] == "000007" and images.source == "array"


def test_one_color_image_is_no_stack_of_gray_ones() -> None:
    """Also for other sizes: a run on gray images of 9x8 gets [9, 8, 3], or an image of another size."""
    color, gray = noise(9, 8, 3), Form((9, 8), 1)
    for one in (color, color.transpose(2, 0, 1)[None], [color], [Image.fromarray(color)]):
        images = open_in(one, gray)
        assert images.pixels.equal(open_in(color[None], gray).pixels) and len(images) == 1
    assert open_in(color, Form((9, 8))).shape == (3, 9, 8)
    assert len(open_in(noise(9, 8, 3), Form((8, 3)))) == 9 and len(open_in(noise(3, 9, 8), gray)) == 3
    for array, form in ((noise(16, 12, 3), gray), (noise(16, 12, 3), Form(None, 1)), (noise(3, 9, 8), Form((9, 8), 3))):
        with pytest.raises(UserError, match="which is one RGB image of .* or .* gray images of"):
            open_in(array, form)
    with pytest.raises(UserError, match="one RGB image of 9x8 or 3 gray images of 9x8"):
        open_in(torch.zeros(3, 9, 8), gray)
    assert open_images([noise(8, 3), noise(8, 3)]).shape == (1, 8, 3)  # an item of two axes is gray, however narrow


def test_labels_tell_a_stack_of_gray_images_only_if_there_is_one_each(tmp_path: Path) -> None:
    np.savez(tmp_path / "stack.npz", images=noise(9, 8, 3), labels=np.arange(9))
    assert open_images(tmp_path / "stack.npz").shape == (1, 8, 3)
    np.savez(tmp_path / "one.npz", images=noise(9, 8, 3), labels=np.arange(1))
    with pytest.raises(UserError, match="one RGB image of 9x8 or 9 gray images of 8x3"):
        open_images(tmp_path / "one.npz")
    np.savez(tmp_path / "few.npz", images=noise(9, 8, 8), labels=np.arange(5))
    with pytest.raises(UserError, match="9 images but 5 labels"):
        open_images(tmp_path / "few.npz")


def test_gray_arrays_are_not_copied_and_tensors_agree() -> None:
    array = noise(12, 5, 6)
    assert open_images(array).pixels.data_ptr() == array.ctypes.data
    color = noise(12, 5, 6, 3)
    tensor = torch.from_numpy(color).permute(0, 3, 1, 2)
    assert open_images(tensor).fingerprint == open_images(color).fingerprint
    assert open_images(tensor).pixels.equal(open_images(color).pixels)


def test_floats_become_bytes() -> None:
    array = noise(12, 5, 6)
    for floats in (array / 255, (array / 255).astype(np.float32), torch.from_numpy(array / 255)):
        assert open_images(floats).pixels.equal(open_images(array).pixels)


def test_alpha_of_arrays_lies_over_white() -> None:
    array = np.array([[[[10, 20, 30, 255], [10, 20, 30, 0]]]], np.uint8)
    assert open_images(array).pixels[0, :, 0].T.tolist() == [[10, 20, 30], [255, 255, 255]]


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((5, 6, 6), np.int64), "int64 values"),
        (np.full((5, 6, 6), 2.0), "floats from 2 to 2"),
        (np.full((5, 6, 6), np.nan), "floats from nan"),
        (np.zeros((64, 48, 3), np.uint8), "one RGB image of 64x48 or 64 gray images of 48x3"),
        (torch.zeros(3, 64, 48), "one RGB image of 64x48 or 3 gray images of 64x48"),
        (np.full((5, 6, 6), 4095, np.uint16), r"by the largest value of the set: \(x \* \(255 / 4095\)\)"),
        (np.full((5, 6, 6), 0.004), "use only 0.4 % of their range"),
        (np.zeros((4, 4), np.uint8), "has the shape"),
        (np.zeros((0, 4, 4), np.uint8), "contains no images"),
    ],
)
def test_arrays_that_are_no_images(array, said: str) -> None:
    with pytest.raises(UserError, match=said):
        open_images(array)


def test_size_and_channels_of_arrays_and_of_images() -> None:
    images = open_images(noise(12, 8, 8))
    small = open_images(noise(12, 8, 8), size=(4, 2), channels=3)
    assert small.shape == (3, 4, 2) and small.fingerprint == images.fingerprint
    assert open_images(images, size=(4, 2), channels=3).pixels.equal(small.pixels)
    assert open_images(images) is images
    assert len(open_images(images, split="test")) == (images.parts == 2).sum()
    flat = Image.fromarray(images.pixels[0, 0].numpy()).resize((4, 4), Image.Resampling.BICUBIC)
    assert open_images(images, size=4).pixels[0, 0].tolist() == np.asarray(flat).tolist()


def test_npy_and_npz(tmp_path: Path) -> None:
    array = noise(12, 5, 6)
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "b.npz", images=array, labels=np.arange(12) % 3)
    np.savez(tmp_path / "c.npz", x_train=array[:9], y_train=["a"] * 9, x_test=array[9:], y_test=["b"] * 3)
    plain = open_images(tmp_path / "a.npy")
    assert plain.pixels[:, 0].numpy().tolist() == array.tolist()
    assert plain.source == str(tmp_path / "a.npy") and plain.fingerprint == open_images(array).fingerprint
    labeled = open_images(tmp_path / "b.npz")
    assert labeled.classes == ("0", "1", "2") and labeled.pixels.equal(plain.pixels)
    split = open_images(tmp_path / "c.npz")
    assert split.classes == ("a", "b") and split.names[8:10] == ("train/000008", "test/000000")
    assert split.part("test").pixels.equal(plain.pixels[9:])


@pytest.mark.parametrize("count", [3, 4])
def test_parts_of_one_archive_are_read_alike(count: int, tmp_path: Path) -> None:
    """[3, 8, 8] alone may be one color image, but not together with [12, 8, 8]."""
    test = noise(count, 8, 8)
    np.savez(tmp_path / "a.npz", x_train=noise(12, 8, 8), x_test=test)
    np.savez(tmp_path / "alone.npz", x_test=test)
    assert open_images(tmp_path / "a.npz").part("test").pixels[:, 0].numpy().tolist() == test.tolist()
    with pytest.raises(UserError, match="which is one RGBA? image of 8x8"):
        open_images(tmp_path / "alone.npz")


def test_channels_are_found_wherever_they_are(tmp_path: Path) -> None:
    array = noise(12, 5, 6, 3)
    expected = torch.from_numpy(array).permute(0, 3, 1, 2)
    np.save(tmp_path / "a.npy", expected.numpy())
    for source in (tmp_path / "a.npy", expected.numpy(), torch.from_numpy(array)):
        assert open_images(source).pixels.equal(expected)
    assert open_images(noise(12, 1, 5, 6)).shape == (1, 5, 6)
    assert len(open_images(noise(3, 9, 8), channels=1)) == 3 == len(open_images(noise(3, 9, 8), (9, 8), channels=1))


def test_bool_is_black_and_white_and_a_pil_image_is_a_list_of_one() -> None:
    mask = noise(12, 5, 6) > 127
    assert open_images(mask).pixels[:, 0].numpy().tolist() == (mask * 255).tolist()
    deep = Image.fromarray(np.full((8, 9), 25700, np.uint16))
    deep.getexif()[0x0112] = 6
    assert open_images(deep).pixels.equal(open_images([deep]).pixels)
    assert open_images(deep).shape == (1, 9, 8) and open_images(deep).pixels.unique().tolist() == [100]


def test_npz_with_other_names(tmp_path: Path) -> None:
    array, objects = noise(12, 5, 6), np.array({"a": 1}, dtype=object)
    np.savez_compressed(tmp_path / "a.npz", metadata=objects, imgs=array, latents=np.zeros((12, 6)))
    images = open_images(tmp_path / "a.npz")
    assert images.pixels[:, 0].numpy().tolist() == array.tolist()
    assert "arrays not used: metadata, latents" in images.notes


def test_npz_that_cannot_be_used(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((3, 4, 4), np.uint8), labels=np.zeros(2, int))
    np.savez(tmp_path / "b.npz", pixels=np.zeros((3, 4, 4), np.uint8), other=np.zeros((3, 4, 4), np.uint8))
    np.savez_compressed(tmp_path / "e.npz", images=np.zeros((600, 1024, 1024), np.uint8))
    np.save(tmp_path / "c.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (tmp_path / "d.npy").write_bytes(b"nothing")
    for name, said in [
        ("a.npz", "3 images but 2 labels"),
        ("b.npz", "contains pixels, other, of which pixels and other may be images"),
        ("e.npz", "decompression bomb"),
        ("c.npy", "cannot be read as arrays"),
        ("d.npy", "cannot be read as arrays"),
    ]:
        with pytest.raises(UserError, match=said):
            open_images(tmp_path / name)


class Pairs(torch.utils.data.Dataset):
    classes = ["no", "yes"]

    def __init__(self, items: list) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int):
        return self.items[index]


def test_torch_datasets() -> None:
    array = noise(12, 5, 6, 3)
    expected = torch.from_numpy(array).permute(0, 3, 1, 2)
    kinds = [
        [(Image.fromarray(image), index % 2) for index, image in enumerate(array)],
        [(image, torch.tensor(index % 2)) for index, image in enumerate(expected)],
        [(image / 255, index % 2) for index, image in enumerate(expected)],
        [(image, np.int64(index % 2)) for index, image in enumerate(array)],
    ]
    for items in kinds:
        images = open_images(Pairs(items))
        assert images.pixels.equal(expected) and images.classes == ("no", "yes")
        assert images.labels is not None and images.labels.tolist() == [0, 1] * 6
        assert images.fingerprint == open_images(Pairs(kinds[0])).fingerprint
    assert open_images(Pairs([image for image in array])).labels is None
    tensors = open_images(torch.utils.data.TensorDataset(expected))
    assert tensors.pixels.equal(expected) and tensors.labels is None


def test_datasets_that_are_no_images() -> None:
    with pytest.raises(UserError, match="is empty"):
        open_images(Pairs([]))
    with pytest.raises(UserError, match="item 0 of the dataset is a str"):
        open_images(Pairs([("a", 1)]))
    with pytest.raises(UserError, match="differ in size"):
        open_images(Pairs([noise(4, 4), noise(5, 5)]))
    assert open_images(Pairs([noise(4, 4), noise(5, 5)]), size=4).shape == (1, 4, 4)


def test_idx_folder(tmp_path: Path) -> None:
    pixels, labels = noise(15, 4, 3), np.arange(15, dtype=np.uint8) % 10
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(pixels[:12])))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(labels[:12]))
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(pixels[12:]))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(labels[12:]))
    images = open_images(tmp_path)
    assert images.pixels[:, 0].numpy().tolist() == pixels.tolist()
    assert images.names[0] == "train/000000" and images.names[14] == "test/000002"
    assert [images.classes[i] for i in images.labels.tolist()] == [str(v) for v in labels]
    assert images.part("test").names == tuple(f"test/00000{i}" for i in range(3))
    assert len(images.part("val")) >= 1
    one = open_images(tmp_path / "t10k-images-idx3-ubyte")
    assert one.pixels.equal(images.pixels[12:]) and one.classes == ("2", "3", "4")
    assert (one.parts == 2).all()
    assert open_images(tmp_path, size=8, channels=3).shape == (3, 8, 8)


def test_an_idx_file_and_the_same_packed_are_read_once(tmp_path: Path) -> None:
    for name, values in (("images-idx3", noise(12, 4, 3)), ("labels-idx1", np.arange(12, dtype=np.uint8) % 3)):
        (tmp_path / f"train-{name}-ubyte").write_bytes(idx(values))
        (tmp_path / f"train-{name}-ubyte.gz").write_bytes(gzip.compress(idx(values)))
    images = open_images(tmp_path)
    assert len(images) == 12 and images.classes == ("0", "1", "2")
    assert any("not used: train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz" in note for note in images.notes)


def test_idx_that_is_none(tmp_path: Path) -> None:
    good = idx(noise(3, 4, 4))
    for data, said in [
        (b"\x01" + good[1:], "begins with 01 00 08 03"),
        (good[:-1], "contains 47 values, but its header declares 48"),
        (good[:9], "truncated within its header"),
        (b"", "is not an IDX file"),
        (gzip.compress(good)[:-12], "is damaged"),
        (struct.pack(">BBBB3I", 0, 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1), "its header declares"),
    ]:
        with pytest.raises(UserError, match=said):
            parse_idx(data, "x")
    (tmp_path / "train-images-idx3-ubyte").write_bytes(good)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(2, np.uint8)))
    with pytest.raises(UserError, match="3 images but 2 labels"):
        open_images(tmp_path)
    with pytest.raises(UserError, match="pass the file of images"):
        open_images(tmp_path / "train-labels-idx1-ubyte")


def test_digits() -> None:
    from sklearn.datasets import load_digits

    real = load_digits()
    images = open_images("digits")
    expected = [[[round(v * 255 / 16) for v in row] for row in image] for image in real.images[:50]]
    assert images.pixels[:50, 0].tolist() == expected
    assert images.labels is not None and images.labels.tolist() == real.target.tolist()
    assert images.classes == tuple("0123456789") and len(images) == 1797
    assert int(images.pixels.max()) == 255 and images.source == "digits"


def test_portraits() -> None:
    images = open_images("portraits:24", size=16)
    assert images.shape == (3, 16, 16) and images.names[5] == "000005.png"
    assert set(np.unique(images.attributes["glasses"])) <= {0.0, 1.0}
    assert images.attributes["hair_colour"].dtype.kind == "U"
    large = open_images("portraits:30", size="24x20")
    assert large.shape == (3, 24, 20)
    # the same faces, whatever the size and however many
    assert large[:24].fingerprint == images.fingerprint
    assert open_images("portraits:24", size=16, channels=1).shape == (1, 16, 16)
    from vaekit.data.portraits import portraits

    assert images.pixels.permute(0, 2, 3, 1).numpy().tolist() == portraits.draw(24, 16).tolist()


def test_builtins_come_before_folders(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    assert builtin_names() == ("digits", "portraits")
    assert any("./digits" in note for note in open_images("digits").notes)
    with pytest.raises(UserError, match="is empty"):
        open_images("./digits")


def test_real_mnist(shared_data: Path) -> None:
    folder = shared_data / "mnist"
    unpacked = gzip.decompress((folder / "train-images-idx3-ubyte.gz").read_bytes())
    assert hashlib.md5(unpacked).hexdigest() == "6bbc9ace898e44ae57da46a324031adb"
    images = open_images(folder)
    assert images.pixels[:60000].numpy().tobytes() == unpacked[16:]
    assert images.labels is not None and images.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert len(images.part("test")) == 10000 and abs(len(images.part("val")) - 6000) < 200
    assert images.part("test").names[0] == "test/000000"


def test_real_smiles(shared_data: Path) -> None:
    files = list_archive(shared_data / "smiles.tar.gz")
    layout = arrange(list(files.names))
    assert layout.root == "smiles/" and Counter(layout.labels) == {"not-smiling": 9475, "smiling": 3690}
    form = Form((32, 32))
    images = read_tree(files, form, most=330).images("smiles", 0, form)
    assert images.shape == (1, 32, 32) and 300 < len(images) <= 330 and not images.skipped
    assert images.names[0] == "not-smiling/10.jpg" and images.classes == ("not-smiling", "smiling")
    assert 60 < images.pixels.float().mean() < 190 and images.pixels.float().std() > 30


def test_peek_counts_without_reading_all(shared_data: Path, tmp_path: Path) -> None:
    sample, count, train, _ = peek("portraits:5000", Form((16, 16)))
    assert len(sample) == 64 and (count, train) == (5000, 4000) and sample.shape == (3, 16, 16)
    assert sample.pixels.equal(open_images("portraits:64", size=16).pixels)
    assert peek("portraits:5000", Form((16, 16)), with_val=True)[2] == 4500
    whole = open_images("digits")
    sample, count, train, _ = peek("digits", Form((16, 16), 3))
    assert (count, train) == (1797, len(whole.part("train"))) and sample.shape == (3, 16, 16)
    assert peek("digits", with_val=True)[2] == len(whole.part("train")) + len(whole.part("val"))
    for name in ("train", "test"):
        (tmp_path / name).mkdir()
        for index in range(100):
            Image.fromarray(noise(4, 4) ^ np.uint8(index)).save(tmp_path / name / f"{index:03d}.png")
    sample, count, train, _ = peek(tmp_path)
    assert (len(sample), count, train) == (50, 200, 90) and sample.names[1] == "test/004.png"
    assert peek(tmp_path, with_val=True)[2] == 100
    assert peek(shared_data / "mnist")[1] == 70000


def test_unequal_sizes_are_found_beyond_the_first_headers(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(load, "_HEADERS", 2)
    for index in range(8):
        Image.fromarray(noise(4 if index != 5 else 9, 4)).save(tmp_path / f"{index}.png")
    with pytest.raises(UserError, match="from 4x4 to 9x4"):
        open_images(tmp_path)
