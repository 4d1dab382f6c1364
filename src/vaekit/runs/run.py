"""A trained run with its verbs: everything that can be done with it in Python. The command line calls the same methods.

The methods check their arguments and call :mod:`vaekit.runs.verbs`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from vaekit.config.run_config import RunConfig
from vaekit.config.table import Recipe, get
from vaekit.data import Form, Images, open_in
from vaekit.latent.directions import Direction
from vaekit.latent.traversal import Axis
from vaekit.model.latent_model import LatentModel
from vaekit.runs.context import RunContext
from vaekit.runs.create import create_run
from vaekit.runs.folder import load_model
from vaekit.runs.overview import overview_html
from vaekit.runs.result import Result
from vaekit.runs.verbs import directions as directing
from vaekit.runs.verbs import (
    doctor,
    edit,
    evaluate,
    export,
    fit_prior,
    generate,
    reconstruct,
    restore,
    score,
    search,
    traverse,
    walk,
)
from vaekit.system.arguments import checked
from vaekit.system.progress import Counted, count_silently

__all__ = ["Run"]


@checked
class Run:
    """A trained model with its verbs.

    All verbs are deterministic; those that draw random numbers take a seed. Most return a :class:`~vaekit.Result`, with
    a figure, numbers, or both. :meth:`encode` and :meth:`latent` return latents, :meth:`denoise` and :meth:`inpaint`
    images as float tensors, so that they can be computed with.

    Images may be anything that :func:`vaekit.open_images` takes; they are brought to the run's size and channels. Only
    ``denoise`` and ``inpaint`` take floats in [0, 1] of the run's size. Latents and floats may be tensors, arrays or
    lists. The message about a wrong value begins with the name of the parameter.

    Attributes:
        path: the run folder.
        config: its configuration.
        model: the trained :class:`~vaekit.model.latent_model.LatentModel`, in eval mode.
    """

    def __init__(self, path: Path, config: RunConfig, model: LatentModel) -> None:
        self.context = RunContext(path, config, model)

    @classmethod
    @checked
    def create(
        cls,
        model: LatentModel,
        recipe: str | Recipe,
        images: Any,
        out: str | Path,
        *,
        images_seen: int | None = None,
    ) -> Run:
        """Makes a run of a model that you trained in your own loop. All verbs then work on it.

        Args:
            model: the trained model, as ``vaekit.model.factory.build_model(recipe, images.shape)`` built it. It is not
                changed.
            recipe: the recipe that it was built from, or its name.
            images: the images that it was trained on. Their train part counts as seen; val and test are measured.
            out: the run folder, which must not exist. It appears whole or not at all.
            images_seen: how many images the model was trained on, repeats counted; by default each once.

        Returns:
            The run. It cannot be trained further, since it holds no optimizer; ``vaekit.train`` with ``init`` starts
            from its weights.

        Raises:
            UserError: if ``out`` exists, or the model is not one of that recipe for such images.
        """
        form = Form() if model.image_shape is None else Form(model.image_shape[1:], model.image_shape[0])
        opened = open_in(images, form)
        create_run(model, get(recipe) if isinstance(recipe, str) else recipe, opened, Path(out), images_seen)
        created, config = load_model(Path(out))
        return cls(Path(out), config, created)

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.context.path

    @property
    def config(self) -> RunConfig:
        """The configuration that it was trained with."""
        return self.context.config

    @property
    def model(self) -> LatentModel:
        """The trained model, in eval mode."""
        return self.context.model

    @property
    def row(self) -> Recipe:
        """Its recipe, with every value chosen."""
        return self.context.recipe

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of its images."""
        return self.context.shape

    @property
    def form(self) -> Form:
        """The size and channels that every image is brought to, as in training."""
        return self.context.form

    @property
    def leads(self) -> bool:
        """Whether this process prints and writes. Without other processes it does."""
        return self.context.leads

    @property
    def is_finished(self) -> bool:
        """Whether its training has ended, by its length or by ``patience``."""
        return bool(self.final_numbers())

    def needs(self, verb: str) -> None:
        """Checks that the model can do something.

        Args:
            verb: a name in :data:`vaekit.config.capabilities.NEEDS`, such as ``"interpolate"``.

        Raises:
            UserError: if it cannot; the message names recipes that can.
        """
        self.context.needs(verb)

    def final_numbers(self) -> dict[str, Any]:
        """The numbers measured when training ended: ``final_psnr_db`` and so on; empty before."""
        return self.context.final_numbers()

    def images_seen(self) -> int:
        """How many images its weights were trained on, repeats counted; with ``patience`` up to the best epoch."""
        return self.context.images_seen()

    # Images

    def images(self, split: str = "all") -> Images:
        """The run's own images.

        Args:
            split: ``"train"``, ``"val"``, ``"test"`` or ``"all"``.

        Raises:
            UserError: if they are missing or have changed since the training.
        """
        return self.context.images(split)

    def choose(self, data: Any = None, split: str | None = None) -> Images:
        """The images that a verb works on.

        Args:
            data: images, by default the run's own.
            split: the part to take; by default the test part if the run's data or ``data`` has one, else all.

        Raises:
            UserError: if that part holds no images.
        """
        chosen = self.context.choose(data, split)
        return chosen.opened[chosen.rows]

    def pick(self, data: Any, split: str | None, count: int) -> Tensor:
        """Some of the images of :meth:`choose`: the first of every class before the second.

        Args:
            data: images, or None for the run's own.
            split: as in :meth:`choose`.
            count: how many.

        Returns:
            uint8 ``[count, C, H, W]``, fewer if there are fewer.
        """
        return self.context.pick(data, split, count)

    def pixels(self, data: Any) -> Tensor:
        """Any images as uint8 ``[N, C, H, W]`` of the run's size and channels, black and white if the run's are."""
        return self.context.pixels(data)

    # Latents

    def encode(self, data: Any) -> Tensor:
        """The latents of images: their posterior means, without sampling.

        Args:
            data: images.

        Returns:
            float32 ``[N, latent_dim]`` on the CPU.
        """
        return self.context.encode(data)

    def decode(self, latents: Any) -> Result:
        """The pictures of latents.

        Args:
            latents: ``[N, latent_dim]``.

        Returns:
            A figure with a picture for each; ``.pixels`` is uint8 ``[N, C, H, W]``.
        """
        return generate.decode(self.context, latents)

    def latent(self, name: Any) -> Tensor:
        """One latent ``[latent_dim]``: of an image, the mean of several, or the mean of a group of the run's data.

        Args:
            name: an image file, a folder, or a group such as ``"label:smiling"`` or ``"attr:glasses=1,male=0"``; or
                images, if it is neither a text nor a path.

        Raises:
            UserError: if there is no such file or group.
        """
        return walk.latent(self.context, name)

    def stored(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The stored latents of up to 20,000 training images.

        Returns:
            Tensors ``latents`` float32 ``[n, latent_dim]``, ``labels`` int64 ``[n]`` and ``attribute.NAME`` ``[n]``, as
            far as the data has them; and the names of classes and words that they point to.
        """
        return self.context.stored()

    def save_codes(self, out: str | Path, data: Any = None, split: str | None = None) -> Result:
        """Writes names, labels and latents of images to a file.

        Args:
            out: a ``.npz``, ``.parquet`` or ``.csv`` file.
            data: images, by default all of the run.
            split: the part to take, by default all.

        Returns:
            The numbers ``written``, ``images`` and ``latents``.
        """
        return search.save_codes(self.context, Path(out), data, split)

    # Pictures

    def generate(self, count: int = 18, seed: int = 0, condition: Mapping[str, Any] | Sequence[str] = ()) -> Result:
        """New images from the prior, or from the density that :meth:`fit_prior` fitted.

        Args:
            count: how many.
            seed: image i of a seed is the same whatever the count.
            condition: what a conditional model conditions on, such as ``{"glasses": 1, "label": "7"}`` or
                ``["glasses=1", "label=7"]``.

        Returns:
            A figure.

        Raises:
            UserError: if the model has no prior, or was not trained with such conditions.
        """
        return generate.generate(self.context, count, seed, condition)

    def reconstruct(self, data: Any) -> Result:
        """Images encoded and decoded, from the posterior mean.

        Args:
            data: images.

        Returns:
            A figure of the reconstructions alone; :meth:`compare` shows the originals too.
        """
        return reconstruct.reconstruct(self.context, data)

    def compare(self, data: Any) -> Result:
        """Originals above their reconstructions.

        Args:
            data: images.

        Returns:
            A figure of pairs.
        """
        return reconstruct.compare(self.context, data)

    def interpolate(self, *stops: Any, steps: int = 6, path: str = "linear") -> Result:
        """Pictures on a walk from one latent to the next: ``run.interpolate("label:0", "label:1", steps=6)``.

        Args:
            stops: two or more latents ``[latent_dim]``, image files, folders, groups or expressions as in
                :meth:`arithmetic`.
            steps: pictures from each stop to the next, both included.
            path: ``"linear"`` or ``"spherical"`` (:func:`vaekit.latent.ops.interpolate`).

        Returns:
            A figure with a row for each stretch; a single stretch wraps.
        """
        return walk.interpolate(self.context, stops, steps, path)

    def arithmetic(self, expression: str) -> Result:
        """The picture of a sum of latents: ``run.arithmetic("me.png + attr:glasses=1 - attr:glasses=0")``.

        Args:
            expression: names that :meth:`latent` takes, with ``+`` and ``-`` between spaces, weights such as ``0.5 *``,
                and quotes around names with spaces.

        Returns:
            A figure of one picture.
        """
        return walk.arithmetic(self.context, expression)

    def traverse(self, image: Any = None, count: int = 5, steps: int = 7, reach: float = 2.0) -> Result:
        """What the most active dimensions and the first principal components of the latents change.

        Args:
            image: an image, or anything that :meth:`latent` takes, to start from; by default the mean latent.
            count: dimensions, and as many components.
            steps: pictures in a row.
            reach: a row goes from ``-reach`` to ``reach`` standard deviations of the latents.

        Returns:
            A figure with a row for each; and the numbers ``levels`` (how much two standard deviations of a dimension
            change the pixels, root mean square in levels of 0 to 255) and ``variance_shares`` of the components.
        """
        return traverse.traverse(self.context, image, count, steps, reach)

    def axes(self, count: int, start: Any = None) -> list[Axis]:
        """The dimensions that change a picture most.

        Args:
            count: how many.
            start: the latent ``[latent_dim]`` of the picture; by default the mean latent.
        """
        return traverse.axes(self.context, count, start)

    # Edits

    def edit(self, data: Any, moves: Mapping[str, float], directions: Mapping[str, Direction] | None = None) -> Result:
        """Images with attributes added or removed: ``run.edit("me.png", {"glasses": 1, "smiling": -1})``.

        Args:
            data: images.
            moves: a strength for each direction. 1 goes as far as from images without the attribute to those with it;
                a negative strength removes it.
            directions: by default :meth:`directions`.

        Returns:
            A figure of the edited images in the order of ``data``, and what is known of the directions.
        """
        return edit.edit(self.context, data, moves, directions)

    def edit_sheet(
        self, data: Any, moves: Mapping[str, float], directions: Mapping[str, Direction] | None = None
    ) -> Result:
        """Images, their reconstructions, and the result of :meth:`edit`, in rows; the arguments are the same."""
        return edit.edit_sheet(self.context, data, moves, directions)

    def directions(self, method: str = "adjusted", is_orthogonal: bool = False) -> dict[str, Direction]:
        """The directions of labels and attributes of the run's data and of folders, by name.

        They are fitted on the stored latents of training images and kept in the run. Their accuracy is measured on the
        run's own held-out images. If those are missing, a fifth of the stored latents is held out instead.

        Args:
            method: ``"adjusted"``, ``"means"`` or ``"classifier"`` (:mod:`vaekit.latent.directions`).
            is_orthogonal: leave out what each shares with directions of other attributes.
        """
        return directing.directions(self.context, method, is_orthogonal)

    def add_direction(
        self, name: str, with_: str, without: str, method: str = "means", is_orthogonal: bool = False
    ) -> Direction:
        """A direction from one folder of images to another, kept in the run.

        Every fifth image of each folder is held out for the accuracy, if both have five. ``"adjusted"`` is ``"means"``
        here, since nothing else is known of these images.

        Args:
            name: its name; an older direction of that name is replaced.
            with_: a folder of images with the attribute.
            without: a folder of images without it.
            method: as in :meth:`directions`.
            is_orthogonal: as in :meth:`directions`.

        Raises:
            UserError: if the run's data has a column of that name.
        """
        return directing.add_direction(self.context, name, with_, without, method, is_orthogonal)

    # Restoring

    def denoise(self, noisy: Any) -> Tensor:
        """Noisy images, cleaned.

        Args:
            noisy: floats on the [0, 1] scale, ``[N, C, H, W]`` or ``[N, H, W, C]`` of the run's size. Values may leave
                [0, 1].

        Returns:
            float32 ``[N, C, H, W]`` in [0, 1].
        """
        return restore.denoise(self.context, noisy)

    def denoise_sheet(self, pixels: Any, noise_std: float | None, seed: int = 0) -> Result:
        """Noisy images above the denoised ones.

        Args:
            pixels: images.
            noise_std: if given, the images are taken as clean, and normal noise of this standard deviation is added.
            seed: of the noise.

        Returns:
            A figure. With ``noise_std`` its first row is the clean images, and the numbers are the PSNR before and
            after.
        """
        return restore.denoise_sheet(self.context, pixels, noise_std, seed)

    def inpaint(self, images: Any, hidden: Any, seed: int = 0) -> Tensor:
        """Images with their hidden pixels filled in; visible pixels do not change.

        Args:
            images: floats on the [0, 1] scale, as in :meth:`denoise`.
            hidden: bool ``[N, 1, H, W]``, True where hidden. Hidden pixels are never read; they may be NaN.
            seed: of the starting points.

        Returns:
            ``[N, C, H, W]`` in the float type of ``images``.
        """
        return restore.inpaint(self.context, images, hidden, seed)

    def inpaint_sheet(self, pixels: Any, mask: Any, seed: int = 0) -> Result:
        """Images, the same with some pixels hidden, and filled in.

        Args:
            pixels: images.
            mask: bool ``[N, 1, H, W]`` or ``[H, W]``, True where hidden; or a text such as ``"center:14x14"``, or the
                name of a picture (:mod:`vaekit.latent.masks`).
            seed: of random masks and starting points.

        Returns:
            A figure of three rows, and the PSNR on the hidden pixels.
        """
        return restore.inpaint_sheet(self.context, pixels, mask, seed)

    # Search

    def neighbors(self, image: Any, data: Any = None, split: str | None = None, count: int = 9) -> Result:
        """The images whose latents are nearest to those of one or more others.

        Args:
            image: up to ten images.
            data: the images to search, by default all of the run.
            split: the part to search, by default all.
            count: how many neighbors of each.

        Returns:
            A figure with a row for each image, itself first and at most twenty neighbors; and under ``neighbors`` a
            list for each image of names, labels and distances, nearest first (:mod:`vaekit.latent.neighbors`).
        """
        return search.neighbors(self.context, image, data, split, count)

    neighbours = neighbors  # the spelling that it had

    def map(self, data: Any = None, split: str | None = None) -> Result:
        """Images laid out in the plane of the first two principal components of their latents.

        Args:
            data: images, by default all of the run.
            split: the part to take, by default all.

        Returns:
            A mosaic; and the numbers ``images``, ``variance_shares`` of both axes, and the ``points`` of all images.
        """
        return search.map_(self.context, data, split)

    # Measuring

    def evaluate(
        self,
        data: Any = None,
        split: str | None = None,
        seed: int = 0,
        *,
        iwae_samples: int | None = None,
        samples: int | None = None,
        features: str | Path | None = None,
        per_image: str | Path | None = None,
        factors: bool = False,
        counted: Counted = count_silently,
    ) -> Result:
        """Numbers on images; ``docs/numbers.md`` explains each.

        Args:
            data: images, by default the run's own.
            split: as in :meth:`choose`.
            seed: of the posterior samples.
            iwae_samples: samples per image for the importance-weighted bound, which is left out by default.
            samples: new images whose distances from the measured ones are computed (:mod:`vaekit.evaluation.frechet`).
            features: a file of Inception-v3 weights to compare them by, in place of a small classifier of our own.
            per_image: a CSV file to write, with a line for each image.
            factors: also measure how far the latents keep labels and attributes apart
                (:mod:`vaekit.evaluation.disentanglement`).
            counted: is called with what is done, how many images are done, and how many there are.

        Returns:
            Numbers by name, and a table with the columns of each image.
        """
        measures = evaluate.Measures(iwae_samples, samples, features, per_image, factors)
        return evaluate.evaluate(self.context, data, split, seed, measures, counted)

    def score(
        self,
        data: Any = None,
        split: str | None = None,
        *,
        by: str | None = None,
        false_alarms: float = 0.05,
        normal: Sequence[str] = (),
        normal_images: Any = None,
        seed: int = 0,
        table: str | Path | None = None,
        count: int = 10,
        counted: Counted = count_silently,
    ) -> Result:
        """How unlikely images are under the model (:mod:`vaekit.evaluation.anomaly`).

        Args:
            data: images, by default the run's own.
            split: as in :meth:`choose`.
            by: the score: ``"negative_elbo_nats"``, ``"distortion_nats"``, ``"rate_nats"`` or ``"sse"``; by default the
                first that the model has.
            false_alarms: the fraction of further normal images that may be flagged, at most; it sets the threshold.
            normal: groups of ``data`` that are normal, such as ``"label:good"``; by default the classes that the run
                was trained on, or one called good or normal.
            normal_images: the images that set the threshold; by default the run's own held-out ones.
            seed: of the posterior samples.
            table: a CSV file to write, with a line for each image.
            count: how many of the strangest images to show.
            counted: as in :meth:`evaluate`.

        Returns:
            A figure of the strangest images, their reconstructions and maps that are bright where they are unlikely;
            numbers, with the ``strangest`` names and scores; and a table with the scores of every image.
        """
        scoring = score.Scoring(by, false_alarms, normal, normal_images, table, count)
        return score.score(self.context, data, split, seed, scoring, counted)

    def doctor(self, data: Any = None) -> Result:
        """A diagnosis of the training (:mod:`vaekit.evaluation.doctor`).

        Args:
            data: the images that the run was trained on, if they have moved.

        Returns:
            The ``verdict``, its ``reason``, ``advice``, the evidence in ``rows``, and the ``next_command`` to run. It
            prints as text.

        Raises:
            UserError: if ``data`` does not hold the run's images.
        """
        return doctor.doctor(self.context, data)

    # Prior and export

    def fit_prior(self, kind: str = "mixture", components: int | None = None, seed: int = 0) -> Result:
        """Fits a density to the latents of the training images and keeps it in the run; new images are drawn from it.

        Args:
            kind: ``"mixture"`` of normals, ``"flow"``, or ``"none"``, which forgets what was fitted.
            components: normals of the mixture; by default 1, 2, 5 or 10, whichever gives held-out latents the highest
                likelihood.
            seed: of the start of the fit.

        Returns:
            The log density of held-out latents under it, and under a single normal (:mod:`vaekit.latent.fit_prior`).
        """
        return fit_prior.fit_prior(self.context, kind, components, seed)

    def export(self, out: str | Path, data: Any = None, *, precision: str = "fp32") -> Result:
        """Writes a folder of ONNX networks with all that is needed to use them (:mod:`vaekit.export.bundle`).

        Args:
            out: the new folder.
            data: images to compare it with PyTorch on, 100 at most; by default the run's own test images.
            precision: ``"fp32"`` or ``"fp16"``.

        Returns:
            How near it is to PyTorch, and the digest that ``vaekit verify`` can be given.

        Raises:
            UserError: if it is too far from PyTorch; nothing is then left behind.
        """
        return export.export(self.context, Path(out), data, precision)

    def __repr__(self) -> str:
        shape = "×".join(map(str, self.shape))
        return f"Run({self.path}: {self.row.name} of {shape} images, {self.model.latent_dim} latents)"

    def _repr_html_(self) -> str:
        return overview_html(self.context)
