"""Realistic folders: every kind of file is decoded correctly, or reported with the reason."""

from __future__ import annotations

import json
import os
import random
import re
import tarfile
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torture
from PIL import Image, ImageCms

from vaekit.data import Form, Images, open_images
from vaekit.data.ingest import loader as load
from vaekit.data.ingest import workers as ingest
from vaekit.data.portraits import portraits
from vaekit.errors import UserError
from vaekit.pixels.decode import decode, upright_size
from vaekit.pixels.jpeg import decode_plain_jpeg

SIZE = torture.SIZE


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray | str]]:
    place = tmp_path_factory.mktemp("torture") / "folder"
    return place, torture.build(place)


def check(images: Images, expected: dict[str, np.ndarray | str]) -> None:
    good = {name: shown for name, shown in expected.items() if isinstance(shown, np.ndarray)}
    assert set(images.names) == set(good)
    for name, pixels in zip(images.names, images.pixels.permute(0, 2, 3, 1).numpy(), strict=True):
        worst = int(np.abs(pixels.astype(int) - good[name]).max())
        # JPEG of four colors has no lossless form
        assert worst <= (8 if name == "jpeg-cmyk-adobe-inverted.jpg" else 0), (name, worst)
    reasons = dict(images.skipped)
    assert set(reasons) == set(expected) - set(good)
    for name, why in reasons.items():
        assert re.search(str(expected[name]), why, re.IGNORECASE), (name, why)


def test_it_is_worth_the_name(folder) -> None:
    _, expected = folder
    good = sum(isinstance(shown, np.ndarray) for shown in expected.values())
    assert good >= 75 and len(expected) - good >= 25


@pytest.mark.parametrize("way", ["threads", "workers"])
def test_the_right_images_come_out_and_the_rest_is_named(way: str, folder, monkeypatch) -> None:
    place, expected = folder
    if way == "workers":
        monkeypatch.setattr(load, "_FEWEST_CACHED", 1)
        monkeypatch.setattr(ingest, "_FEWEST_FOR_WORKERS", 1)
    check(open_images(place, size=SIZE, channels=3), expected)


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_the_same_from_an_archive(kind: str, folder, tmp_path: Path) -> None:
    place, expected = folder
    files = [path for path in place.iterdir() if path.is_file() and not path.is_symlink()]
    path = tmp_path / f"all.{kind}"
    if kind == "zip":
        files = [file for file in files if file.name.isprintable()]  # names in a zip are text
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in files:
                archive.write(file, file.name)
    else:
        with tarfile.open(path, f"w:{kind[4:]}") as tar:
            for file in files:
                tar.add(file, file.name)
    names = {file.name for file in files}
    check(open_images(path, size=SIZE, channels=3), {name: shown for name, shown in expected.items() if name in names})


def test_the_command_line_tells_of_it(folder, vaekit) -> None:
    place, expected = folder
    answer = vaekit("data", place, "--size", "24x32")
    assert answer.code == 0 and "bad-empty.jpg" in answer.out and "empty file" in answer.out
    told = json.loads(vaekit("data", place, "--size", "24x32", "--json").out)
    assert len(told["skipped"]) + told["images"] == len(expected)
    assert told["modes"]["palette"] > 3 and told["formats"]["TIFF"] > 5


def test_scaled_decoding_is_near_the_exact_one() -> None:
    faces = portraits.draw(4, (768, 1024), seed=3)
    for face in faces:
        image = Image.fromarray(face)
        for size in ((64, 64), (96, 128), (128, 96)):
            for options in ({"quality": 92}, {"quality": 85, "progressive": True}, {"quality": 90, "subsampling": 0}):
                file = BytesIO()
                image.save(file, "JPEG", **options)
                fast = decode(file.getvalue(), Form(size, 3)).astype(int)
                with Image.open(BytesIO(file.getvalue())) as whole:
                    whole.load()
                    file = BytesIO()
                    whole.save(file, "PNG")
                exact = decode(file.getvalue(), Form(size, 3)).astype(int)
                assert np.abs(fast - exact).max() <= 8 and np.abs(fast - exact).mean() <= 1


def test_plain_jpegs_are_decoded_as_all_others() -> None:
    """A file with an empty EXIF block is decoded by PIL; the pixels are the same."""
    exif = Image.Exif()
    exif[0x0112] = 1
    for number, face in enumerate(portraits.draw(3, (300, 500), seed=4)):
        for image in (Image.fromarray(face), Image.fromarray(face).convert("L")):
            for options in ({}, {"progressive": True}, {"subsampling": 0}, {"quality": 30}):
                plain, noted = BytesIO(), BytesIO()
                image.save(plain, "JPEG", **options)
                image.save(noted, "JPEG", exif=exif, **options)
                assert decode_plain_jpeg(plain.getvalue(), 0, 10**9) is not None
                assert decode_plain_jpeg(noted.getvalue(), 0, 10**9) is None
                for form in (Form(), Form((20 + number, 30), 3), Form((64, 64), 1), Form((150, 150)), Form((40, 9))):
                    assert (decode(plain.getvalue(), form) == decode(noted.getvalue(), form)).all()


def test_a_photo_turned_by_xmp_alone_is_turned() -> None:
    file = BytesIO()
    Image.fromarray(torture.smooth()).save(file, "JPEG", quality=95)
    note = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF "
    note += b"xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'><rdf:Description "
    note += b"xmlns:tiff='http://ns.adobe.com/tiff/1.0/' tiff:Orientation=\"6\"/></rdf:RDF></x:xmpmeta>"
    plain = file.getvalue()
    data = plain[:2] + b"\xff\xe1" + (len(note) + 2).to_bytes(2, "big") + note + plain[2:]
    assert upright_size(BytesIO(data)) == SIZE[::-1]
    assert (decode(data, Form()) == np.rot90(decode(plain, Form()), -1)).all()


def test_gray_on_a_colored_background() -> None:
    file = BytesIO()
    Image.new("L", (30, 10), 200).save(file, "PNG")
    seen = decode(file.getvalue(), Form((30, 30), 3, fit="pad", background="#000080"))
    assert (seen[0] == (0, 0, 128)).all() and (seen[15] == 200).all()
    assert decode(file.getvalue(), Form((30, 30), 1, fit="pad", background="#000080"))[0, 0] == round(0.114 * 128)
    assert decode(file.getvalue(), Form((30, 30), 3, fit="pad", background="#000000")).ndim == 2
    file = BytesIO()
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.new("L", (30, 10), 200).convert("P").save(file, "PNG", icc_profile=profile)
    assert decode(file.getvalue(), Form()).ndim == 2  # a palette without colors is gray, whatever its profile


def test_profiles_are_brought_to_srgb() -> None:
    rgb = torture.source()
    lab = ImageCms.createProfile("LAB")
    wide = swapped_profile()
    file = BytesIO()
    Image.fromarray(rgb).save(file, "PNG", icc_profile=wide)
    seen = decode(file.getvalue(), Form(None, 3))
    assert np.abs(seen.astype(int) - rgb[..., [1, 0, 2]]).max() <= 2  # red and green are swapped by this profile
    file = BytesIO()
    Image.fromarray(rgb).save(file, "PNG", icc_profile=ImageCms.ImageCmsProfile(lab).tobytes())
    assert (decode(file.getvalue(), Form(None, 3)) == rgb).all()  # a profile of another kind of image says nothing
    with_alpha = Image.fromarray(np.dstack([rgb, rgb[..., 0]]))
    file = BytesIO()
    with_alpha.save(file, "PNG", icc_profile=wide)
    seen = decode(file.getvalue(), Form(None, 4))
    assert (seen[..., 3] == rgb[..., 0]).all()
    visible = seen[..., 3] > 0
    assert np.abs(seen[..., :3].astype(int) - rgb[..., [1, 0, 2]])[visible].max() <= 2


def swapped_profile() -> bytes:
    """sRGB with red and green primaries swapped."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = int.from_bytes(data[128:132], "big")
    tags = {bytes(data[132 + 12 * i : 136 + 12 * i]): 132 + 12 * i for i in range(count)}
    red, green = tags[b"rXYZ"], tags[b"gXYZ"]
    data[red : red + 4], data[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(data)


def test_fits_and_backgrounds() -> None:
    file = BytesIO()
    Image.new("RGB", (30, 10), (200, 0, 0)).save(file, "PNG")
    data = file.getvalue()
    padded = decode(data, Form((30, 30), 3, fit="pad", background="#102030"))
    assert (
        (padded[:10] == (16, 32, 48)).all()
        and (padded[10:20] == (200, 0, 0)).all()
        and (padded[20:] == padded[:10]).all()
    )
    assert (decode(data, Form((7, 9), 3, fit="stretch")) == (200, 0, 0)).all()
    assert decode(data, Form((10, 10), 1, fit="pad", background="black")).max() == round(200 * 0.299)
    ramp = np.linspace(0, 255, 60).round().astype(np.uint8)[None].repeat(20, 0)
    file = BytesIO()
    Image.fromarray(ramp).save(file, "PNG")
    stretched = decode(file.getvalue(), Form((20, 20), 1, fit="stretch"))
    assert np.abs(stretched[8].astype(float) - ramp[0].reshape(20, 3).mean(1)).max() < 1.5


def test_alpha_is_kept_where_it_is_asked_for(tmp_path: Path) -> None:
    rgb = torture.source()
    alpha = np.where(np.indices(SIZE).sum(0) % 3 == 0, 0, 130).astype(np.uint8)
    Image.fromarray(np.dstack([rgb, alpha])).save(tmp_path / "a.png")
    Image.fromarray(rgb).save(tmp_path / "b.png")
    images = open_images(tmp_path, channels=4, background="navy")
    seen = images.pixels.permute(0, 2, 3, 1).numpy()
    assert (seen[0, ..., 3] == alpha).all() and (seen[1, ..., 3] == 255).all() and (seen[1, ..., :3] == rgb).all()
    assert (seen[0, ..., :3][alpha > 0] == rgb[alpha > 0]).all() and (seen[0, ..., :3][alpha == 0] == (0, 0, 128)).all()
    flat = open_images(tmp_path, background="navy").pixels.permute(0, 2, 3, 1).numpy()
    mixed = (rgb * (alpha[..., None] / 255.0) + np.array([0, 0, 128]) * (1 - alpha[..., None] / 255.0)).round()
    assert np.abs(flat[0] - mixed).max() <= 1
    assert open_images(images, channels=3, background="navy").pixels.equal(
        open_images(tmp_path, background="navy").pixels
    )


def test_all_frames(tmp_path: Path) -> None:
    colors = [(index * 20, 0, 0) for index in range(5)]
    frames = [Image.new("RGB", (8, 8), color) for color in colors]
    for name, options in {"a.gif": {}, "b.tiff": {}, "c.webp": {"lossless": True}, "d.png": {}}.items():
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
    frames[3].save(tmp_path / "e.png")
    (tmp_path / "metadata.csv").write_text("file_name,age\na.gif,1\nb.tiff,2\nc.webp,3\nd.png,4\ne.png,5\n")
    first = open_images(tmp_path)
    assert len(first) == 5 and first.attributes["age"].tolist() == [1, 2, 3, 4, 5]
    images = open_images(tmp_path, frames="all", channels=3)
    assert len(images) == 21 and images.names[:6] == ("a.gif", "a.gif#1", "a.gif#2", "a.gif#3", "a.gif#4", "b.tiff")
    assert images.pixels[:, 0, 0, 0].tolist() == [0, 20, 40, 60, 80] * 4 + [60]
    assert images.attributes["age"].tolist() == [1] * 5 + [2] * 5 + [3] * 5 + [4] * 5 + [5] and not images.notes
    assert images.fingerprint != first.fingerprint


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (dict(fit="crup"), "fit.*did you mean 'crop'"),
        (dict(background="reddish"), "background.*'reddish'.*expected a color"),
        (dict(frames="second"), "frames.*choose from: first, all"),
        (dict(channels=2), "channels.*expected 1"),
    ],
)
def test_mistakes_in_the_form(options: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        open_images("digits", **options)


@pytest.mark.parametrize("seed", range(4))
def test_mutated_files_cost_themselves_alone(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    kinds = [data for data, shown in torture.bytes_of_kinds().values() if isinstance(shown, np.ndarray)]
    for index in range(120):
        (tmp_path / f"{index:03d}.jpg").write_bytes(mutated(draw.choice(kinds), draw))
    Image.fromarray(torture.source()).save(tmp_path / "good.png")
    copies = {f"good-{index}.png": (tmp_path / "good.png").read_bytes() for index in range(130)}
    for name, data in copies.items():
        (tmp_path / name).write_bytes(data)  # so that more than half are good
    images = open_images(tmp_path, size=SIZE, channels=3)
    assert len(images) + len(images.skipped) == 251 and set(copies) <= set(images.names)
    assert all(why and "\n" not in why for _, why in images.skipped)


def mutated(data: bytes, draw: random.Random) -> bytes:
    """Change, remove or double some bytes, or cut off the end."""
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 5, 40))):
        at = draw.randrange(len(changed))
        kind = draw.randrange(5)
        if kind == 0:
            changed[at] = draw.randrange(256)
        elif kind == 1:
            changed[at] ^= 1 << draw.randrange(8)
        elif kind == 2:
            del changed[at : at + draw.randrange(1, 9)]
        elif kind == 3:
            changed[at:at] = changed[at : at + draw.randrange(1, 99)]
        else:
            changed[at : at + 4] = draw.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"))
        if not changed:
            return b""
    return bytes(changed[: draw.randrange(len(changed))] if draw.random() < 0.1 else changed)


# Archives


def zip_with(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_a_bomb_of_an_archive_is_refused(tmp_path: Path) -> None:
    zeros = b"\0" * (1 << 27)
    path = zip_with(tmp_path / "bomb.zip", **{f"{index}.png": zeros for index in range(9)})
    with pytest.raises(UserError, match=r"unpacks to more than .* GB \(the limit: 100 times its size plus 1 GB\)"):
        open_images(path, size=8)


def test_a_bomb_of_a_tar_is_refused_while_it_is_read(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("vaekit.data.sources.archive._ALWAYS_ALLOWED_BYTES", 1 << 22)
    with tarfile.open(tmp_path / "bomb.tar.gz", "w:gz") as tar:
        for index in range(40):
            info = tarfile.TarInfo(f"{index}.png")
            info.size = 1 << 20
            tar.addfile(info, BytesIO(b"\0" * info.size))
    with pytest.raises(UserError, match="the limit"):
        open_images(tmp_path / "bomb.tar.gz", size=8)
    with tarfile.open(tmp_path / "header.tar.gz", "w:gz", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("a.png")
        info.pax_headers = {"comment": "x" * (1 << 25)}
        tar.addfile(info, BytesIO(b""))
    with pytest.raises(UserError, match=r"damaged or not an archive \(a header of more than"):
        open_images(tmp_path / "header.tar.gz", size=8)


def test_a_member_larger_than_the_limit_is_named(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("vaekit.data.sources.archive.LARGEST_BYTES", 1000)
    good = torture.bytes_of_kinds()["png-palette-2-bit.png"][0]
    path = zip_with(tmp_path / "a.zip", **{"large.png": b"\0" * 5000, "a.png": good, "b.png": good})
    images = open_images(path, size=8)
    assert dict(images.skipped) == {"large.png": "unpacks to 5,000 bytes; the limit for one file is 1,000 bytes"}


def test_no_name_in_an_archive_leads_out_of_it(tmp_path: Path) -> None:
    good = torture.bytes_of_kinds()["png-rgb.png"][0]
    names = ["../../outside.png", "/etc/outside.png", "a/../../outside.png", "C:\\outside.png", "fine.png"]
    before = sorted(path for path in tmp_path.rglob("*"))
    path = zip_with(tmp_path / "evil.zip", **dict.fromkeys(names, good))
    images = open_images(path, size=8)
    assert "fine.png" in images.names and not any(name.startswith(("..", "/")) for name in images.names)
    assert sorted(path for path in tmp_path.rglob("*") if path.name != "evil.zip") == before


def test_a_zip_that_lies_about_its_files(tmp_path: Path) -> None:
    good = torture.bytes_of_kinds()["png-rgb.png"][0]
    path = zip_with(tmp_path / "a.zip", **{"a.png": good, "b.png": good, "c.png": good})
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02", 0, data.rindex(b"PK\x01\x02"))  # the second entry of the directory
    data[at + 24 : at + 28] = (len(good) - 9).to_bytes(4, "little")
    (tmp_path / "size.zip").write_bytes(data)
    images = open_images(tmp_path / "size.zip", size=8)
    assert images.names == ("a.png", "c.png") and "does not have the size" in images.skipped[0][1]
    data[at + 24 : at + 28] = len(good).to_bytes(4, "little")
    data[at + 16] ^= 1
    (tmp_path / "checksum.zip").write_bytes(data)
    assert "checksum" in open_images(tmp_path / "checksum.zip", size=8).skipped[0][1]


def test_archives_that_are_not_what_they_say(tmp_path: Path) -> None:
    good = torture.bytes_of_kinds()["png-rgb.png"][0]
    inner = zip_with(tmp_path / "inner.zip", **{"inner.png": good})
    with tarfile.open(tmp_path / "outer.tar", "w") as tar:
        (tmp_path / "one.png").write_bytes(good)
        tar.add(tmp_path / "one.png", "one.png")
        tar.add(inner, "z.zip")
    assert open_images(tmp_path / "outer.tar", size=8).names == ("one.png",)
    path = zip_with(tmp_path / "version.zip", **{"a.png": good})
    data = bytearray(path.read_bytes())
    data[data.rindex(b"PK\x01\x02") + 6] = 99  # the version needed to unpack it
    path.write_bytes(data)
    with pytest.raises(UserError, match="damaged or not an archive"):
        open_images(path, size=8)
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 1
    (tmp_path / "deep.tar").write_bytes((header.tobuf(tarfile.GNU_FORMAT) + b"a".ljust(512, b"\0")) * 1500)
    with pytest.raises(UserError, match="damaged or not an archive"):
        open_images(tmp_path / "deep.tar", size=8)


def test_names_that_no_terminal_can_show(tmp_path: Path, vaekit) -> None:
    for index in range(3):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{index}.png")
    (tmp_path / "broken\nline.png").write_bytes(b"x")
    (tmp_path / os.fsdecode(b"\xff\xfe.png")).write_bytes(b"x") if os.name == "posix" else None
    answer = vaekit("data", tmp_path)
    assert answer.code == 0 and r"broken\nline.png" in answer.out and r"\udcff" in answer.out
