"""The report and the model card: complete, self-contained, and safe for any names."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from vaekit.config import table as recipes
from vaekit.config.run_config import DataConfig, RunConfig
from vaekit.errors import UserError
from vaekit.figures.grid import Sheet, stacked_sheet
from vaekit.model.factory import build_model, parameter_count, resolve
from vaekit.runs import report
from vaekit.runs.report.curves import Panel, Series, _limits, _thinned, draw, panels
from vaekit.runs.report.facts import Facts
from vaekit.runs.report.gallery import frames

HOSTILE = "<img src=x onerror=alert(1)>"
VOID = {"meta", "img", "input", "br", "link", "hr"}


def numbers(prefix: str, is_vae: bool, shift: float = 0.0) -> dict[str, float | None]:
    values = {"sse_per_image": 7.968 + shift, "psnr_db": 19.937 + shift, "distortion_nats": -1234.56 + shift}
    bound = {"rate_nats": 23.45 + shift, "elbo_nats": 1211.11 - shift}
    return {f"{prefix}_{k}": v for k, v in (values | (bound if is_vae else dict.fromkeys(bound))).items()}


def metrics(epochs: int, is_vae: bool) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = [{"images": 0, "kind": "start"}]
    for step in range(1, 2 * epochs + 1):
        bound = (
            {"rate_nats": step + 0.5, "elbo_nats": -200.0 / step} if is_vae else {"rate_nats": None, "elbo_nats": None}
        )
        line = {
            "images": 50 * step,
            "kind": "train",
            "epoch": step / 2,
            "distortion_nats": 180.0 / step,
            **bound,
        }
        lines.append(
            line | {"learning_rate": 1e-3 / step, "rate_weight": min(1.0, step / 4), "images_per_second": 321.0}
        )
        if step % 2 == 0:
            head = {"images": 50 * step, "kind": "validation", "part": "val", "epoch": step // 2}
            lines.append(head | numbers("validation", is_vae, shift=-1.0 / step))
    head = {"images": 100 * epochs, "kind": "final", "part": "test", "final_images": 1234}
    return [*lines, head | numbers("final", is_vae)]


def make_run(folder: Path, recipe: str = "vae", epochs: int = 3, **data: Any) -> Path:
    """A run folder like that of a training, without training."""
    is_vae = recipe == "vae"
    row = replace(resolve(recipes.get(recipe), (1, 8, 8), 100), epochs=None)
    about = {"source": "/home/someone/faces", "size": (8, 8), "channels": 1, "fingerprint": "ab" * 32}
    config = RunConfig(
        row,
        DataConfig(**{**about, "images": 130, "train_images": 100, **data}),
        total_images=100 * epochs,
    )
    (folder / "pictures").mkdir(parents=True)
    (folder / "config.json").write_text(config.to_json())
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in metrics(epochs, is_vae)))
    for epoch in range(epochs + 1):
        pixels = torch.full((10, 1, 8, 8), 20 * epoch % 256, dtype=torch.uint8)
        stacked_sheet(pixels, pixels).save(folder / "pictures" / f"epoch-{epoch:04d}-reconstructions.png")
        if is_vae:
            Sheet(pixels, columns=6).save(folder / "pictures" / f"epoch-{epoch:04d}-samples.png")
    return folder


def set_config(run: Path, **values: Any) -> None:
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | values))


def page_of(run: Path) -> str:
    report.write(run)
    return (run / "report.html").read_text("utf-8")


class Reader(HTMLParser):
    """Collects tags and text, and checks that every element is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def images(self, kind: str) -> list[dict[str, str | None]]:
        return [a for tag, a in self.tags if tag == "img" and str(a.get("alt")).startswith(kind)]


@pytest.fixture(scope="module")
def vae_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = make_run(tmp_path_factory.mktemp("runs") / "my faces", classes=("anna", "bob"), attributes=("glasses",))
    report.write(run)
    return run


@pytest.fixture(scope="module")
def vae_page(vae_run: Path) -> Reader:
    return Reader((vae_run / "report.html").read_text("utf-8"))


def test_the_numbers_are_in_the_page_with_their_units(vae_page: Reader) -> None:
    for shown in ("19.94 dB", "1,211.1 nats", "23.4 nats", "1,234 test images", "7.97", "−1,234.6", "19.77"):
        assert shown in vae_page.text, shown
    assert "vae on faces" in vae_page.text
    row = resolve(recipes.get("vae"), (1, 8, 8), 100)
    assert f"{parameter_count(build_model(row, (1, 8, 8))):,} parameters" in vae_page.text
    assert "300 images seen (3 epochs)" in vae_page.text
    assert "321 images per second" in vae_page.text
    assert "anna, bob" in vae_page.text and "ab" * 32 in vae_page.text


def test_the_page_needs_nothing_from_elsewhere(vae_run: Path, vae_page: Reader) -> None:
    for tag, attributes in vae_page.tags:
        assert tag not in ("link", "iframe", "object", "base", "embed")
        for name, value in attributes.items():
            if name in ("src", "href", "xlink:href", "data", "action", "srcset", "poster"):
                assert str(value).startswith(("data:image/", "#")), (tag, name, value)
            assert not name.startswith("on"), (tag, name)
    page = re.sub(r"base64,[A-Za-z0-9+/=]+", "", (vae_run / "report.html").read_text("utf-8"))
    assert "http:" not in page and "https:" not in page and "@import" not in page
    assert "prefers-color-scheme: dark" in page and "width=device-width" in page


def test_the_folders_of_the_machine_are_not_told(vae_run: Path) -> None:
    set_config(vae_run, initial="/home/someone/secret/first-run")
    assert "someone" not in page_of(vae_run) + (vae_run / "README.md").read_text("utf-8")


def test_without_a_script_the_last_pictures_are_seen(vae_page: Reader) -> None:
    for kind in ("reconstructions", "samples"):
        images = vae_page.images(kind)
        assert [a["data-epoch"] for a in images] == ["0", "1", "2", "3"]
        assert ["hidden" in a for a in images] == [True, True, True, False]
        assert images[0]["alt"] == f"{kind} before training"
    slider = next(a for tag, a in vae_page.tags if a.get("class") == "epochs")
    assert "hidden" in slider and json.loads(str(slider["data-epochs"])) == [0, 1, 2, 3]


def test_small_pictures_are_embedded_as_they_are(vae_run: Path, vae_page: Reader) -> None:
    last = vae_page.images("samples")[-1]
    data = base64.b64decode(str(last["src"]).partition(",")[2])
    kept = Image.open(vae_run / "pictures" / "epoch-0003-samples.png")
    assert Image.open(io.BytesIO(data)).tobytes() == kept.tobytes()
    assert (last["width"], last["height"]) == tuple(str(side) for side in kept.size)


def test_many_and_large_pictures_stay_small(tmp_path: Path) -> None:
    files = {epoch: tmp_path / f"{epoch}.png" for epoch in range(101)}
    Image.effect_noise((2600, 20), 60).convert("RGB").save(files[0], compress_level=0)
    for path in files.values():
        path.write_bytes(files[0].read_bytes())
    files[100].write_bytes(b"not a picture")
    shown = frames(files)
    assert len(shown) == 39 and shown[0].epoch == 0 and shown[-1].epoch == 97  # the damaged last one is left out
    assert {(frame.width, frame.height) for frame in shown} == {(2600, 20)}
    assert all(frame.uri.startswith("data:image/webp;base64,") for frame in shown)
    embedded = Image.open(io.BytesIO(base64.b64decode(shown[0].uri.partition(",")[2])))
    assert embedded.size == (1000, 8)


def test_an_autoencoder_has_no_empty_figures(tmp_path: Path) -> None:
    page = Reader(page_of(make_run(tmp_path / "run", "ae")))
    labels = [a["aria-label"] for tag, a in page.tags if tag == "svg"]
    assert labels == [f"{name} by images seen" for name in ("PSNR", "Distortion", "Learning rate")]
    assert "ELBO" not in page.text and "no density" in page.text
    assert not page.images("samples") and len(page.images("reconstructions")) == 4
    assert not re.search(r"\b(None|nan|null)\b", page.text.split("Full configuration")[0])
    card = (tmp_path / "run" / "README.md").read_text("utf-8")
    assert "generate" not in card and "vaekit reconstruct run new-images/" in card


def test_what_comes_from_outside_is_escaped(tmp_path: Path) -> None:
    folder = tmp_path / "a'b <i>"
    make_run(folder, source=f"/data/{HOSTILE}", classes=(HOSTILE, "</pre></code>"), attributes=("<u>x", "a|b`c"))
    set_config(folder, notes=[f"3 files were skipped: {HOSTILE}"])
    page = Reader(page_of(folder))
    assert "onerror" not in {name for _, attributes in page.tags for name in attributes}
    assert not {"i", "u"} & {tag for tag, _ in page.tags}
    assert page.text.count(HOSTILE) >= 4  # title, heading, classes, notes
    assert "</pre></code>" in page.text and "<u>x" in page.text
    card = (folder / "README.md").read_text("utf-8")
    assert f"# vae on `{HOSTILE}`" in card
    assert "``a|b`c``" in card.replace(" ", "")
    assert r"\<img src=x onerror=alert(1)\>" in card
    assert "vaekit evaluate 'a'\"'\"'b <i>' new-images/" in card


def test_a_run_that_has_only_begun(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    for picture in (run / "pictures").iterdir():
        picture.unlink()
    (run / "metrics.jsonl").write_text('{"images": 0, "kind": "start"}\n')
    page = Reader(page_of(run))
    assert "No metrics yet" in page.text and not [tag for tag, _ in page.tags if tag in ("svg", "img", "table")]
    assert "None yet" in (run / "README.md").read_text("utf-8")


def test_a_run_that_was_stopped_shows_its_last_validation(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    lines = (run / "metrics.jsonl").read_text().splitlines()[:-1]
    (run / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    page = Reader(page_of(run))
    assert "19.77 dB" in page.text and "validation images" in page.text
    assert "On the validation images." in (run / "README.md").read_text("utf-8")


def test_infinite_values_are_drawn_around(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with open(run / "metrics.jsonl", "a") as file:
        file.write('{"images": 300, "kind": "final", "part": "all", "final_images": 3, "final_psnr_db": Infinity}\n')
    assert "∞ dB" in Reader(page_of(run)).text


def test_the_same_files_give_the_same_report(vae_run: Path) -> None:
    assert page_of(vae_run) == page_of(vae_run)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a run"):
        report.write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_card_says_what_it_is_and_how_to_load_it(vae_run: Path) -> None:
    card = (vae_run / "README.md").read_text("utf-8")
    assert card.startswith("---\nlibrary_name: vaekit\n")
    assert "| PSNR | 19.94 dB |" in card and "| SSE | 7.97 per image |" in card
    assert r"KL(q(z\|x) ‖ p(z))" in card  # an unescaped bar would end the cell
    assert 'run = vk.load("my faces")' in card and "vaekit generate 'my faces' --out new.png" in card
    assert "130, of which 100 for training" in card and "`anna`, `bob`" in card and "ab" * 32 in card
    assert "](pictures/epoch-0003-reconstructions.png)" in card
    assert "trained on only 100 images" in card


def test_curves_carry_the_values_of_the_metrics(vae_run: Path) -> None:
    found = {panel.title: panel for panel in panels(Facts.of(vae_run))}
    assert list(found) == ["PSNR", "ELBO", "Distortion", "Rate", "Learning rate", "Weight of the rate"]
    train, validation = found["Rate"].series
    assert train == Series("train", (50, 100, 150, 200, 250, 300), (1.5, 2.5, 3.5, 4.5, 5.5, 6.5))
    assert validation.x == (100, 200, 300) and validation.y == pytest.approx([22.95, 23.2, 23.45 - 1 / 6])
    assert found["PSNR"].unit == "dB" and found["Rate"].unit == "nats per image"
    rate = found["Learning rate"]
    assert rate.unit == "10⁻³ per step" and rate.series[0].y[:2] == pytest.approx([1.0, 0.5])


def test_long_curves_are_thinned_by_means() -> None:
    points = [(float(i), float(i % 2)) for i in range(3000)]
    thin = _thinned(points)
    assert len(thin) == 300 and {y for _, y in thin} == {0.5} and thin[-1][0] == 2999
    assert _thinned(points[:300]) == points[:300]


def test_the_first_guess_does_not_flatten_the_curve() -> None:
    train = Series("train", (1, 10, 50, 100), (1e6, 5.0, 3.0, 2.0))
    low, high = _limits((train, Series("validation", (100,), (4.0,))))
    assert (low, high) == pytest.approx((2 - 0.18, 5 + 0.18))
    assert _limits((train,))[1] > 1e6  # a schedule is shown from its start


def test_a_figure_takes_its_colors_and_letters_from_the_page() -> None:
    svg = draw(Panel("Rate", "nats per image", "", (Series("train", (1, 2000), (3.0, 4.0)),)))
    assert svg.startswith("<svg viewBox=") and svg.endswith("</svg>")
    assert set(re.findall(r"#[0-9a-f]{6}\b", svg)) <= {"#000000"}
    for variable in ("--muted", "--line", "--train"):
        assert f"var({variable})" in svg
    assert ">nats per image</text>" in svg and ">2k</text>" in svg
    assert "font-family" not in svg and "DejaVu" not in svg


@pytest.mark.parametrize("name", ["photos", "new-images"])
def test_the_examples_use_other_images_than_the_folder_of_the_run(tmp_path: Path, name: str) -> None:
    make_run(tmp_path / name)
    page_of(tmp_path / name)
    card = (tmp_path / name / "README.md").read_text("utf-8")
    folders = re.findall(rf"vaekit (?:reconstruct|evaluate) {name} (\S+)/", card)
    assert len(folders) == 2 and name not in folders
    assert all(f"`{folder}/`" in card and f'("{folder}/")' in card for folder in folders)
