"""Named features: their input, reproducibility, and refused files."""

from __future__ import annotations

import io
import json
import math
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from vaekit.data import Images, Selection, open_images
from vaekit.errors import UserError
from vaekit.evaluation import features
from vaekit.evaluation.features import CLASSIFIER_FILE, METADATA, digest, inception, prepare, small_classifier
from vaekit.evaluation.frechet import frechet_distance
from vaekit.evaluation.inception import Inception, check_weights, shapes


def pixels(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


# what networks are shown


def test_gray_is_repeated_and_all_values_survive() -> None:
    ramp = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    shown = prepare(ramp, 16)
    assert shown.shape == (1, 3, 16, 16) and shown.dtype == torch.float32
    assert torch.equal(shown[:, 0], shown[:, 1]) and torch.equal(shown[:, 0], shown[:, 2])
    assert torch.equal(((shown[:, :1] + 1) * 127.5).round().to(torch.uint8), ramp)
    assert (shown.min(), shown.max()) == (-1, 1)
    assert torch.equal(prepare(ramp.expand(1, 3, 16, 16), 16), shown)


def test_what_is_transparent_lies_over_white() -> None:
    rgba = torch.tensor([200, 100, 0, 0, 200, 100, 0, 255, 0, 0, 0, 51], dtype=torch.uint8).view(3, 4, 1, 1)
    expected = torch.tensor([[255.0] * 3, [200, 100, 0], [204.0] * 3])
    assert torch.allclose((prepare(rgba, 1).view(3, 3) + 1) * 127.5, expected, atol=1e-4)


def test_shrinking_takes_means_and_growing_is_bilinear() -> None:
    """Without antialiasing, only the middle two of four pixels would count, and all would be white."""
    stripes = torch.tensor([0, 255, 255, 0], dtype=torch.uint8).repeat(16).expand(1, 1, 64, 64)
    assert prepare(stripes, 16)[..., 1:-1].abs().max() < 0.01
    small = pixels(1, 3, 8, 8)
    plain = functional.interpolate(small.float() / 127.5 - 1, (20, 20), mode="bilinear", align_corners=False)
    assert torch.allclose(prepare(small, 20), plain, atol=1e-5)


def test_other_numbers_of_channels_are_refused() -> None:
    with pytest.raises(UserError, match="2 channels; expected 1"):
        small_classifier().of(pixels(1, 2, 8, 8))


# the classifier that comes with the package


def test_the_file_is_small_and_says_what_it_is() -> None:
    assert CLASSIFIER_FILE.stat().st_size < 600_000
    with safe_open(CLASSIFIER_FILE, framework="pt") as file:
        facts = json.loads(file.metadata()[METADATA])
    assert facts["name"] == small_classifier().name == "cifar10-classifier-1"
    assert facts["sha256"] == digest(load_file(CLASSIFIER_FILE))
    assert facts["test_accuracy"] > 0.7 and len(facts["classes"]) == 10


def test_another_file_under_its_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name identifies the weights: one changed bit is another function."""
    weights = load_file(CLASSIFIER_FILE)
    with safe_open(CLASSIFIER_FILE, framework="pt") as file:
        facts = file.metadata()
    weights["0.bias"][0] += 1
    save_file(weights, tmp_path / "w.safetensors", facts)
    monkeypatch.setattr(features, "CLASSIFIER_FILE", tmp_path / "w.safetensors")
    with pytest.raises(UserError, match="reinstall vaekit"):
        small_classifier()


@pytest.mark.parametrize("shape", [(5, 1, 28, 28), (5, 3, 32, 32), (5, 4, 40, 24), (5, 3, 1, 1), (0, 3, 32, 32)])
def test_features_of_any_images_are_64_finite_numbers(shape: tuple[int, ...]) -> None:
    judge = small_classifier()
    found = judge.of(pixels(*shape))
    assert found.shape == (shape[0], judge.size) == (shape[0], 64)
    assert found.dtype == torch.float32 and found.device.type == "cpu" and bool(found.isfinite().all())


def test_features_depend_on_their_image_alone() -> None:
    judge, some = small_classifier(), pixels(11, 3, 32, 32)
    whole = judge.of(some)
    assert torch.equal(whole, judge.of(some)) and torch.equal(whole, small_classifier().of(some))
    for size in (1, 4, 11):
        assert torch.allclose(judge.of(some, size), whole, rtol=1e-4, atol=1e-5)
    rows = torch.tensor([7, 2, 9])
    assert torch.allclose(judge.of(Selection(some, rows), 2), whole[rows], rtol=1e-4, atol=1e-5)
    assert judge.of(Selection(some, rows[:0])).shape == (0, 64)


@pytest.fixture(scope="session")
def photos(shared_data: Path) -> Images:
    """The 10,000 test images of CIFAR-10."""
    return open_images(shared_data / "cifar10.tar.gz", split="test")


def test_the_accuracy_in_the_file_is_that_of_the_file(photos: Images) -> None:
    weights = {name: tensor.float() for name, tensor in load_file(CLASSIFIER_FILE).items()}
    with safe_open(CLASSIFIER_FILE, framework="pt") as file:
        facts = json.loads(file.metadata()[METADATA])
    assert photos.labels is not None and tuple(facts["classes"]) == photos.classes
    logits = functional.linear(small_classifier().of(photos.pixels), weights["logits.weight"], weights["logits.bias"])
    assert float((logits.argmax(1) == photos.labels).double().mean()) == pytest.approx(facts["test_accuracy"], abs=2e-4)


def test_distances_order_what_the_eye_would(photos: Images) -> None:
    """Halves of one set are nearer than two classes; blurred images and noise are far from photographs."""
    judge = small_classifier()
    some = photos.pixels[torch.randperm(len(photos), generator=torch.Generator().manual_seed(0))[:4000]]
    one, other = judge.of(some[:2000]), judge.of(some[2000:])
    halves = frechet_distance(one, other)
    softened = functional.avg_pool2d(some[2000:].float(), 3, 1, 1).round().to(torch.uint8)
    blurred = frechet_distance(one, judge.of(softened))
    noise = frechet_distance(one, judge.of(pixels(2000, 3, 32, 32)))
    ships, frogs = (judge.of(photos.select(f"label:{name}").pixels) for name in ("ship", "frog"))
    classes = frechet_distance(ships, frogs)
    assert 10 * halves < min(blurred, noise, classes)
    assert noise > blurred


# Inception-v3


def random_weights(seed: int = 0) -> dict[str, Tensor]:
    """Return weights for torchvision's network, with kernels that preserve the signal and statistics near (0, 1)."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, shape in shapes().items():
        values = torch.randn(shape, generator=generator)
        if name.endswith("conv.weight"):
            found[name] = values * math.sqrt(2 / math.prod(shape[1:]))
        else:
            found[name] = values * 0.1 + float(name.endswith(("bn.weight", "running_var")))
        if name.endswith("running_var"):
            found[name] = found[name].abs() + 0.1
            found[name.replace("running_var", "num_batches_tracked")] = torch.tensor(7)
    return found


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_file(random_weights(), path)
    return path


def test_names_and_shapes_are_those_of_torchvision() -> None:
    """27,161,264 parameters in all, 23,834,568 without the auxiliary logits; 94 units below the logits."""
    parameters = {name: math.prod(shape) for name, shape in shapes().items() if "running" not in name}
    assert sum(parameters.values()) == 27_161_264
    auxiliary = sum(count for name, count in parameters.items() if name.startswith("AuxLogits"))
    assert auxiliary == 27_161_264 - 23_834_568
    assert sum(name.endswith("conv.weight") for name in shapes(with_logits=False)) == 94
    assert set(shapes(with_logits=False)) < set(shapes())
    known = {
        "Conv2d_1a_3x3.conv.weight": (32, 3, 3, 3),
        "Conv2d_3b_1x1.conv.weight": (80, 64, 1, 1),
        "Mixed_5b.branch1x1.conv.weight": (64, 192, 1, 1),
        "Mixed_5b.branch_pool.conv.weight": (32, 192, 1, 1),
        "Mixed_5d.branch5x5_2.conv.weight": (64, 48, 5, 5),
        "Mixed_6a.branch3x3.conv.weight": (384, 288, 3, 3),
        "Mixed_6b.branch7x7_2.conv.weight": (128, 128, 1, 7),
        "Mixed_6b.branch7x7dbl_2.conv.weight": (128, 128, 7, 1),
        "Mixed_6e.branch7x7dbl_5.conv.weight": (192, 192, 1, 7),
        "Mixed_7a.branch7x7x3_4.conv.weight": (192, 192, 3, 3),
        "Mixed_7b.branch3x3dbl_1.conv.weight": (448, 1280, 1, 1),
        "Mixed_7c.branch3x3_2b.conv.weight": (384, 384, 3, 1),
        "Mixed_7c.branch3x3dbl_3a.bn.running_var": (384,),
        "AuxLogits.conv1.conv.weight": (768, 128, 5, 5),
        "AuxLogits.fc.weight": (1000, 768),
        "fc.weight": (1000, 2048),
    }
    assert {name: shapes().get(name) for name in known} == known


def reference(weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """A second implementation of the network from the figures of the paper, with separate batch normalization."""

    def unit(name: str, x: Tensor, stride: int = 1, pad: bool = True) -> Tensor:
        kernel = weights[f"{name}.conv.weight"]
        padding = [side // 2 if pad else 0 for side in kernel.shape[2:]]
        x = functional.conv2d(x, kernel, None, stride, padding)
        norm = nn.BatchNorm2d(len(kernel), eps=0.001).eval()
        norm.load_state_dict({key: weights[f"{name}.bn.{key}"] for key in norm.state_dict()})
        return norm(x).relu()

    def chain(prefix: str, x: Tensor, *names: str) -> Tensor:
        for name in names:
            x = unit(prefix + name, x)
        return x

    def pooled(x: Tensor) -> Tensor:
        return functional.avg_pool2d(x, 3, 1, 1, count_include_pad=True)

    x = unit("Conv2d_2a_3x3", unit("Conv2d_1a_3x3", x, 2, False), pad=False)
    x = functional.max_pool2d(unit("Conv2d_2b_3x3", x), 3, 2)
    x = functional.max_pool2d(unit("Conv2d_4a_3x3", unit("Conv2d_3b_1x1", x), pad=False), 3, 2)
    for m in ("Mixed_5b.", "Mixed_5c.", "Mixed_5d."):
        five = chain(m, x, "branch5x5_1", "branch5x5_2")
        three = chain(m, x, "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3")
        x = torch.cat([chain(m, x, "branch1x1"), five, three, chain(m, pooled(x), "branch_pool")], 1)
    m = "Mixed_6a."
    three = unit(m + "branch3x3dbl_3", chain(m, x, "branch3x3dbl_1", "branch3x3dbl_2"), 2, False)
    x = torch.cat([unit(m + "branch3x3", x, 2, False), three, functional.max_pool2d(x, 3, 2)], 1)
    for m in ("Mixed_6b.", "Mixed_6c.", "Mixed_6d.", "Mixed_6e."):
        seven = chain(m, x, "branch7x7_1", "branch7x7_2", "branch7x7_3")
        double = chain(m, x, *(f"branch7x7dbl_{i}" for i in range(1, 6)))
        x = torch.cat([chain(m, x, "branch1x1"), seven, double, chain(m, pooled(x), "branch_pool")], 1)
    m = "Mixed_7a."
    three = unit(m + "branch3x3_2", chain(m, x, "branch3x3_1"), 2, False)
    seven = chain(m, x, "branch7x7x3_1", "branch7x7x3_2", "branch7x7x3_3")
    x = torch.cat([three, unit(m + "branch7x7x3_4", seven, 2, False), functional.max_pool2d(x, 3, 2)], 1)
    for m in ("Mixed_7b.", "Mixed_7c."):
        three = chain(m, x, "branch3x3_1")
        double = chain(m, x, "branch3x3dbl_1", "branch3x3dbl_2")
        forks = [unit(f"{m}branch3x3_2{i}", three) for i in "ab"] + [
            unit(f"{m}branch3x3dbl_3{i}", double) for i in "ab"
        ]
        x = torch.cat([chain(m, x, "branch1x1"), *forks, chain(m, pooled(x), "branch_pool")], 1)
    assert x.shape[1:] == (2048, 8, 8)
    return x.mean((2, 3))


@torch.inference_mode()
def test_the_table_is_the_network_of_the_paper(weights_file: Path) -> None:
    judge, some = inception(weights_file), pixels(2, 3, 64, 64)
    found = judge.of(some, 2)
    assert found.shape == (2, 2048) and found.dtype == torch.float32
    assert torch.allclose(found, reference(random_weights(), prepare(some, 299)), rtol=1e-3, atol=1e-3)
    assert float(found.std()) > 0.01 and not torch.allclose(found[0], found[1], rtol=0.01)
    assert torch.allclose(judge.of(some[1:], 1), found[1:], rtol=1e-3, atol=1e-4)


def test_the_name_says_which_weights(weights_file: Path, tmp_path: Path) -> None:
    judge = inception(weights_file)
    start, _, sha = judge.name.rstrip(")").partition(", ")
    assert start == "inception-v3 (random.safetensors" and len(sha) == 8
    other = tmp_path / "random.safetensors"
    save_file({**random_weights(), "fc.bias": torch.ones(1000)}, other)
    assert inception(other).name != judge.name


def test_weights_without_logits_or_in_halves_are_taken(tmp_path: Path) -> None:
    few = {name: tensor.half() for name, tensor in random_weights().items() if name in shapes(with_logits=False)}
    save_file(few, tmp_path / "few.safetensors")
    assert inception(tmp_path / "few.safetensors").size == 2048


@pytest.mark.parametrize("name", ["weights.pth", "weights.PT", "weights.safetensors"])
def test_a_pickle_is_refused_whatever_it_is_called(name: str, tmp_path: Path) -> None:
    path, packed = tmp_path / name, io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
    path.write_bytes(packed.getvalue())
    with pytest.raises(UserError, match="is a pickle.*refused.*save_file.*use the .safetensors"):
        inception(path)
    path.write_bytes(b"\x80\x02}.")
    with pytest.raises(UserError, match="is a pickle"):
        inception(path)
    path.write_bytes(b"anything")
    with pytest.raises(UserError, match="cannot be read" if path.suffix == ".safetensors" else "is a pickle"):
        inception(path)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none.safetensors does not exist"):
        inception(tmp_path / "none.safetensors")
    (tmp_path / "half.safetensors").write_bytes(b"no tensors in here")
    with pytest.raises(UserError, match="half.safetensors cannot be read as safetensors"):
        inception(tmp_path / "half.safetensors")
    with pytest.raises(UserError, match="cannot be read"):
        inception(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"Mixed_5b.branch1x1.conv.weight": None}, "'Mixed_5b.branch1x1.conv.weight' is missing$"),
        ({"Mixed_5b.branch1x1.conv.weight": None, "x": torch.ones(1)}, r"is missing \(and 1 more like this\)"),
        ({"layer1.0.conv1.weight": torch.ones(1)}, "'layer1.0.conv1.weight' is unknown"),
        # the converted weights of TensorFlow's FID have 1,008 classes, and want another network
        ({"fc.weight": torch.ones(1008, 2048)}, r"'fc.weight' is \[1008, 2048\] instead of \[1000, 2048\]"),
    ],
)
def test_weights_of_another_network_are_refused_in_a_sentence(change: dict[str, Tensor | None], said: str) -> None:
    changed = {name: tensor for name, tensor in {**random_weights(), **change}.items() if tensor is not None}
    with pytest.raises(UserError, match=said):
        check_weights(changed, "w.safetensors")
    check_weights(random_weights(), "w.safetensors")
    assert callable(Inception(random_weights()))
