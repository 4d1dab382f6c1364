"""A trained run and its methods, which the command line calls too. They check arguments and call the verbs' modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from vaekit.config.run_config import RunConfig
from vaekit.config.table import Recipe, get
from vaekit.data import Form, Images, open_in
from vaekit.errors import UserError, counted
from vaekit.latent.directions import Direction
from vaekit.latent.flow_prior import FLOW_MATCHING
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
from vaekit.system.durations import parse_duration
from vaekit.system.progress import Counted, Silent, choose, count_silently
from vaekit.training.prior import FlowOptions, fit_flow

__all__ = ["Run"]


@checked
class Run:
    """A trained run.

    Methods are deterministic; those that draw random numbers take a seed. Most return a :class:`~vaekit.Result` with a
    figure, numbers, or both. :meth:`encode` and :meth:`latent` return latents; :meth:`denoise` and :meth:`inpaint`
    return float images.

    Images are anything that :func:`vaekit.open_images` takes, and are converted to the run's size and channels. Only
    ``denoise`` and ``inpaint`` take floats in [0, 1] of the run's size. Latents and floats may be tensors, arrays or
    lists. A wrong value raises :class:`~vaekit.errors.UserError`, whose message begins with the name of the parameter.
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
        """Create a run from a model that you trained in your own loop.

        The run holds no optimizer, so it cannot be resumed; ``vaekit.train`` with ``init`` starts from its weights.

        Args:
            model: The trained model, from ``vaekit.model.factory.build_model(recipe, images.shape)``.
            recipe: The recipe that it was built from, or its name.
            images: The images. The model was trained on the train part; val and test are measured.
            out: The run folder, which must not exist. It is created atomically.
            images_seen: Training images in total, counting repeats. By default, each image once.

        Raises:
            UserError: If ``out`` exists, or the model does not fit the recipe and the images.
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
        """The configuration."""
        return self.context.config

    @property
    def model(self) -> LatentModel:
        """The trained model, in eval mode."""
        return self.context.model

    @property
    def row(self) -> Recipe:
        """The resolved recipe."""
        return self.context.recipe

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the images."""
        return self.context.shape

    @property
    def form(self) -> Form:
        """The form that images are converted to."""
        return self.context.form

    @property
    def leads(self) -> bool:
        """Whether this is the main process, which prints and writes files."""
        return self.context.leads

    @property
    def is_finished(self) -> bool:
        """Whether training has ended."""
        return bool(self.final_numbers())

    def needs(self, verb: str) -> None:
        """Raise :class:`UserError` if the model does not support a verb, such as ``"interpolate"``.

        Args:
            verb: A name in :data:`vaekit.config.capabilities.NEEDS`.
        """
        self.context.needs(verb)

    def final_numbers(self) -> dict[str, Any]:
        """Return the final numbers, such as ``final_psnr_db``; empty before training has ended."""
        return self.context.final_numbers()

    def images_seen(self) -> int:
        """Return the number of images that the weights were trained on, counting repeats."""
        return self.context.images_seen()

    # Images

    def images(self, split: str = "all") -> Images:
        """Return the images that the run was trained on.

        Args:
            split: ``"train"``, ``"val"``, ``"test"`` or ``"all"``.

        Raises:
            UserError: If they are missing or have changed.
        """
        return self.context.images(split)

    def choose(self, data: Any = None, split: str | None = None) -> Images:
        """Return the images that a verb works on.

        Args:
            data: Images. By default, the run's own.
            split: The part. By default, test, or all without a test part.

        Raises:
            UserError: If the part is empty.
        """
        chosen = self.context.choose(data, split)
        return chosen.opened[chosen.rows]

    def pick(self, data: Any, split: str | None, count: int, *, own_size: bool = False) -> Tensor:
        """Return up to ``count`` of the images of :meth:`choose`, one per class first, uint8 ``[count, C, H, W]``.

        Args:
            data: Images, or None for the run's own.
            split: As in :meth:`choose`.
            count: Number of images.
            own_size: Whether ``data`` keeps its size, which must be the same for all images.
        """
        return self.context.pick(data, split, count, own_size)

    def pixels(self, data: Any) -> Tensor:
        """Convert images to uint8 ``[N, C, H, W]`` as in training, binarized if the run's are."""
        return self.context.pixels(data)

    # Latents

    def encode(self, data: Any, *, tiled: bool = False) -> Tensor:
        """Encode images to posterior means, float32 ``[N, latent_dim]`` on the CPU.

        Args:
            data: Images.
            tiled: As in :meth:`reconstruct`. The result is then a grid per image, ``[N, channels, rows, columns]``.
        """
        return reconstruct.encode_in_tiles(self.context, data) if tiled else self.context.encode(data)

    def codes(self, data: Any) -> Tensor:
        """Encode images to discrete codes, int64 ``[N, rows, columns]`` on the CPU, with recipes such as ``vq-vae``.

        :meth:`encode` returns their vectors, which is what all other methods work on. :meth:`decode` takes both.

        Args:
            data: Images.

        Raises:
            UserError: If the latents of the model are not codes.
        """
        return search.codes(self.context, data)

    def decode(self, latents: Any, *, size: tuple[int, int] | None = None) -> Result:
        """Decode latents to a figure; its ``pixels`` are uint8 ``[N, C, H, W]``.

        Args:
            latents: ``[N, latent_dim]``, or integers ``[N, rows, columns]`` as :meth:`codes` returns them; with
                ``size``, grids ``[N, channels, rows, columns]`` as ``encode`` returns them for ``tiled=True``.
            size: Height and width of images that are not of the run's size.
        """
        if size is not None:
            return reconstruct.decode_in_tiles(self.context, latents, size)
        return generate.decode(self.context, latents)

    def latent(self, name: Any) -> Tensor:
        """Return the latent ``[latent_dim]`` of an image, or the mean latent of several images or of a group.

        Args:
            name: An image file, a folder, images, or a group of the run's data such as ``"label:smiling"`` or
                ``"attr:glasses=1,male=0"``.

        Raises:
            UserError: If there is no such file or group.
        """
        return walk.latent(self.context, name)

    def stored(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the stored latents of up to 20,000 training images.

        Returns:
            Tensors ``latents`` float32 ``[n, latent_dim]``, ``labels`` int64 ``[n]`` and ``attribute.NAME`` ``[n]``, if
            the data has them; and the names of classes and text values by index.
        """
        return self.context.stored()

    def save_latents(self, out: str | Path, data: Any = None, split: str | None = None) -> Result:
        """Write names, labels and latents of images to a file; discrete codes are written as integers.

        A file that exists is replaced.

        Args:
            out: A ``.npz``, ``.parquet`` or ``.csv`` file.
            data: Images. By default, the run's own.
            split: The part. By default, all.

        Returns:
            The numbers ``written``, ``images`` and ``latents``; for codes, ``rows``, ``columns`` and
            ``number_of_codes`` in place of the latter.
        """
        return search.save_latents(self.context, Path(out), data, split)

    save_codes = save_latents  # the old name

    # Pictures

    def generate(
        self,
        count: int = 18,
        seed: int = 0,
        condition: Mapping[str, Any] | Sequence[str] = (),
        *,
        temperature: float | Sequence[float] = 1.0,
        steps: int | None = None,
        guidance: float | None = None,
        image: Any = None,
        strength: float | None = None,
    ) -> Result:
        """Generate images from the prior, or from that fitted by :meth:`fit_prior`, as a figure.

        Args:
            count: Number of images.
            seed: Random seed. Image i of a seed is the same for every count.
            condition: Condition of a conditional model, or of a flow-matching prior, such as
                ``{"glasses": 1, "label": "7"}`` or ``["glasses=1", "label=7"]``.
            temperature: Factor of the standard deviation of a normal prior: below 1, images are more typical and vary
                less. A hierarchy takes one number, or one per level, top first, such as ``[1, 0.8, 0.7]``.
            steps: Steps of the solver of a flow-matching prior. By default 20.
            guidance: How strongly a flow-matching prior follows the condition: 1 by default, more exaggerates it.
            image: An image whose variations a flow-matching prior draws.
            strength: How far these go, from 0 (the image itself) to 1 (any image). By default 0.5.

        Raises:
            UserError: If the model has no prior, or was not trained with such a condition, or its prior is not normal
                and ``temperature`` is not 1, or it does not take ``steps``, ``guidance`` or
                ``image``.
        """
        return generate.generate(self.context, count, seed, condition, temperature, steps, guidance, image, strength)

    def reconstruct(self, data: Any, *, tiled: bool = False, levels: int | bool = False) -> Result:
        """Encode images and decode their posterior means, as a figure of the reconstructions only.

        Args:
            data: Images.
            tiled: Whether the images keep their size, which may be larger than that of the training. They must all be
                of one size. Memory is bounded by overlapping tiles, which do not show (:mod:`vaekit.latent.tiles`).
            levels: Show one row per level of a hierarchy. Row i keeps the first i levels, and the others take the mean
                of their prior. The last row has all levels. A number limits the rows before the last one. The result
                contains the number of images, the PSNR of each row, and the rate of each level in nats per image.

        Raises:
            UserError: With ``tiled``, if the model has no latent grid, or the images differ in size. With ``levels``,
                if the model has no levels.
        """
        return reconstruct.reconstruct(self.context, data, tiled, levels)

    def compare(self, data: Any, *, tiled: bool = False, levels: int | bool = False) -> Result:
        """Draw a figure of originals above their reconstructions.

        Args:
            data: Images.
            tiled: As in :meth:`reconstruct`.
            levels: As in :meth:`reconstruct`.
        """
        return reconstruct.compare(self.context, data, tiled, levels)

    def interpolate(
        self, *stops: Any, steps: int = 6, path: str = "linear", levels: int = 1, keep_detail: bool = False
    ) -> Result:
        """Decode a path between latents, such as ``run.interpolate("label:0", "label:1", steps=6)``.

        Args:
            stops: Two or more latents ``[latent_dim]``, image files, folders, groups, or expressions as in
                :meth:`arithmetic`.
            steps: Pictures from each stop to the next, including both.
            path: ``"linear"`` or ``"spherical"`` (:mod:`vaekit.latent.paths`).
            levels: Number of levels of a hierarchy to move, from the top. The finer ones follow.
            keep_detail: Whether finer levels keep their detail on the way, or take the mean of their prior
                (:mod:`vaekit.latent.levels`).

        Returns:
            A figure with a row from each stop to the next; a single row wraps.
        """
        return walk.interpolate(self.context, stops, steps, path, levels, keep_detail)

    def arithmetic(self, expression: str, *, levels: int = 1, keep_detail: bool = False) -> Result:
        """Decode a sum of latents, such as ``run.arithmetic("me.png + attr:glasses=1 - attr:glasses=0")``.

        Args:
            expression: Names that :meth:`latent` takes, with spaces around ``+`` and ``-``, weights such as ``0.5 *``,
                and quotes around names with spaces.
            levels: Number of levels of a hierarchy to add, from the top. The finer ones follow.
            keep_detail: Whether finer levels keep the detail of the first term, or take the mean of their prior.

        Returns:
            A figure of one picture.
        """
        return walk.arithmetic(self.context, expression, levels, keep_detail)

    def traverse(
        self,
        image: Any = None,
        count: int = 5,
        steps: int = 7,
        reach: float = 2.0,
        *,
        levels: int = 1,
        keep_detail: bool = False,
    ) -> Result:
        """Vary the most active dimensions, and the first principal components of the latents.

        Args:
            image: Starting point: anything that :meth:`latent` takes. By default, the mean latent.
            count: Number of dimensions, and of components.
            steps: Pictures per row.
            reach: Rows go from ``-reach`` to ``reach`` standard deviations of the latents.
            levels: Number of levels of a hierarchy to move, from the top. The finer ones follow.
            keep_detail: Whether finer levels keep their detail, or take the mean of their prior
                (:mod:`vaekit.latent.levels`).

        Returns:
            A figure with a row for each, and the numbers ``levels`` (change of the pixels over two standard deviations
            of a dimension, root mean square, in gray levels of 255) and ``variance_shares`` of the components.
        """
        return traverse.traverse(self.context, image, count, steps, reach, levels, keep_detail)

    def axes(self, count: int, start: Any = None) -> list[Axis]:
        """Return the dimensions that change a picture most; in a hierarchy, those of the top level.

        Args:
            count: Number of dimensions.
            start: Latent ``[latent_dim]`` of the picture. By default, the mean latent.
        """
        return traverse.axes(self.context, count, start)

    # Edits

    def edit(
        self,
        data: Any,
        moves: Mapping[str, float],
        directions: Mapping[str, Direction] | None = None,
        *,
        keep_detail: bool = False,
    ) -> Result:
        """Add or remove attributes, such as ``run.edit("me.png", {"glasses": 1, "smiling": -1})``.

        Args:
            data: Images.
            moves: Strength of each direction. 1 is the distance from images without the attribute to those with it;
                negative strengths remove it.
            directions: By default, :meth:`directions`. In a hierarchy, they say which levels move.
            keep_detail: Whether the finer levels of a hierarchy keep their detail, or take the mean of their prior.

        Returns:
            A figure of the edited images, and strength, accuracy and method of each direction.
        """
        return edit.edit(self.context, data, moves, directions, keep_detail)

    def edit_sheet(
        self,
        data: Any,
        moves: Mapping[str, float],
        directions: Mapping[str, Direction] | None = None,
        *,
        keep_detail: bool = False,
    ) -> Result:
        """Draw rows of images, reconstructions and edited images; the arguments are those of :meth:`edit`."""
        return edit.edit_sheet(self.context, data, moves, directions, keep_detail)

    def directions(
        self, method: str = "adjusted", is_orthogonal: bool = False, levels: int = 1
    ) -> dict[str, Direction]:
        """Return the directions of labels, attributes and folders by name.

        They are fitted on the stored latents, and stored in the run. Their accuracy is measured on the run's held-out
        images or, if those are missing, on a fifth of the stored latents.

        Args:
            method: ``"adjusted"``, ``"means"`` or ``"classifier"`` (:mod:`vaekit.latent.directions`).
            is_orthogonal: Whether to project out the directions of other attributes.
            levels: Number of levels of a hierarchy that they move, from the top.
        """
        return directing.directions(self.context, method, is_orthogonal, levels)

    def add_direction(
        self,
        name: str,
        with_: str,
        without: str,
        method: str = "means",
        is_orthogonal: bool = False,
        levels: int = 1,
    ) -> Direction:
        """Fit a direction on two folders of images, and store it in the run.

        Every fifth image of each folder is held out for the accuracy, if both have five. ``"adjusted"`` equals
        ``"means"`` here, because these images have no other attributes.

        Args:
            name: Its name. A direction of that name is replaced.
            with_: Folder of images with the attribute.
            without: Folder of images without it.
            method: As in :meth:`directions`.
            is_orthogonal: As in :meth:`directions`.
            levels: As in :meth:`directions`.

        Raises:
            UserError: If the run's data has a column of that name, or both folders contain the same images.
        """
        return directing.add_direction(self.context, name, with_, without, method, is_orthogonal, levels)

    # Restoring

    def denoise(self, noisy: Any) -> Tensor:
        """Remove noise from images; returns float32 ``[N, C, H, W]`` in [0, 1].

        Args:
            noisy: Floats on the [0, 1] scale, ``[N, C, H, W]`` or ``[N, H, W, C]`` of the run's size. Values may be out
                of [0, 1].
        """
        return restore.denoise(self.context, noisy)

    def denoise_sheet(self, pixels: Any, noise_std: float | None, seed: int = 0) -> Result:
        """Draw noisy images above the denoised ones.

        Args:
            pixels: Images.
            noise_std: Standard deviation of normal noise to add first. None adds no noise.
            seed: Seed of the noise.

        Returns:
            A figure. With ``noise_std``, the first row shows the clean images, and the numbers are how many there are,
            and their PSNR before and after.
        """
        return restore.denoise_sheet(self.context, pixels, noise_std, seed)

    def inpaint(self, images: Any, hidden: Any, seed: int = 0) -> Tensor:
        """Fill in hidden pixels; returns ``[N, C, H, W]`` in the type of ``images``. Visible pixels do not change.

        Args:
            images: Floats on the [0, 1] scale, as in :meth:`denoise`.
            hidden: bool ``[N, 1, H, W]``, True where hidden. Hidden pixels are never read; they may be NaN.
            seed: Seed of the starting points.
        """
        return restore.inpaint(self.context, images, hidden, seed)

    def inpaint_sheet(self, pixels: Any, mask: Any, seed: int = 0) -> Result:
        """Draw rows of images, images with hidden pixels, and filled images.

        Args:
            pixels: Images.
            mask: bool ``[N, 1, H, W]`` or ``[H, W]``, True where hidden; or a description such as ``"center:14x14"``,
                or the name of a picture (:mod:`vaekit.latent.masks`).
            seed: Seed of random masks and starting points.

        Returns:
            A figure, the number of images, and their PSNR on the hidden pixels.
        """
        return restore.inpaint_sheet(self.context, pixels, mask, seed)

    # Search

    def neighbors(self, image: Any, data: Any = None, split: str | None = None, count: int = 9) -> Result:
        """Find the images whose latents are nearest to those of given images, leaving out the given files themselves.

        Args:
            image: Up to ten images.
            data: Images to search. By default, the run's own.
            split: Part to search. By default, all.
            count: Neighbors per image.

        Returns:
            A figure with a row per image: itself and at most twenty neighbors. ``neighbors`` has a list per image, of
            names, labels and distances, nearest first (:mod:`vaekit.latent.neighbors`).
        """
        return search.neighbors(self.context, image, data, split, count)

    neighbours = neighbors  # the old spelling

    def map(self, data: Any = None, split: str | None = None) -> Result:
        """Draw images at the first two principal components of their latents.

        Args:
            data: Images. By default, the run's own.
            split: The part. By default, all.

        Returns:
            A mosaic, and the numbers ``images``, ``variance_shares`` of both axes, and the ``points`` of all images.
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
        """Measure the model on images; ``docs/numbers.md`` defines each number.

        Args:
            data: Images. By default, the run's own.
            split: As in :meth:`choose`.
            seed: Seed of the posterior samples.
            iwae_samples: Samples per image of the importance-weighted bound. None omits it.
            samples: Number of generated images to compare with the given ones (:mod:`vaekit.evaluation.frechet`).
            features: File of Inception-v3 weights for this comparison. By default, vaekit's small classifier is used.
            per_image: CSV file to write, with a row per image. Replaces a file that exists.
            factors: Whether to measure disentanglement (:mod:`vaekit.evaluation.disentanglement`).
            counted: Called with what is counted, the number done, and the total.

        Returns:
            Numbers by name, and a table with a row per image.
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
        """Compute anomaly scores, and flag images above a threshold (:mod:`vaekit.evaluation.anomaly`).

        Args:
            data: Images. By default, the run's own.
            split: As in :meth:`choose`.
            by: The score: ``"negative_elbo_nats"``, ``"distortion_nats"``, ``"rate_nats"`` or ``"sse"``. By default,
                the first that the model has.
            false_alarms: Largest fraction of new normal images to flag; sets the threshold.
            normal: Groups of ``data`` that are normal, such as ``"label:good"``. By default, the classes that the run
                was trained on, or those called good or normal.
            normal_images: Images that set the threshold. By default, the run's held-out images.
            seed: Seed of the posterior samples.
            table: CSV file to write, with a row per image. Replaces a file that exists.
            count: Number of images to show.
            counted: As in :meth:`evaluate`.

        Returns:
            A figure of the most unusual images, their reconstructions, and maps that are bright where they are
            unlikely; numbers, with the ``strangest`` names and scores; and a table with a row per image.
        """
        scoring = score.Scoring(by, false_alarms, normal, normal_images, table, count)
        return score.score(self.context, data, split, seed, scoring, counted)

    def doctor(self, data: Any = None) -> Result:
        """Diagnose the training (:mod:`vaekit.evaluation.doctor`).

        Args:
            data: The images that the run was trained on, if they have moved.

        Returns:
            The ``verdict``, its ``reason``, ``advice``, the evidence in ``rows``, and the ``next_command``.

        Raises:
            UserError: If ``data`` does not contain the run's images.
        """
        return doctor.doctor(self.context, data)

    # Prior and export

    def fit_prior(
        self,
        kind: str | None = None,
        components: int | None = None,
        seed: int | None = None,
        *,
        images: int | None = None,
        budget: str | float | None = None,
        width: int | None = None,
        depth: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        quiet: bool = False,
    ) -> Result:
        """Fit a prior to the latents, and store it in the run; new images are then sampled from it.

        ``"flow-matching"`` trains a velocity field (:mod:`vaekit.model.flow_matching`) on the latents of the training
        images, conditioned on their labels and attributes. The same call resumes an interrupted training. The field
        has no density. The two other kinds have one, and are fitted in seconds to minutes.

        Args:
            kind: ``"mixture"`` of normals, ``"flow"``, ``"flow-matching"``, or ``"none"`` to remove the fitted prior.
                By default, a mixture for vectors, and flow matching for grids.
            components: Normals of the mixture. By default 1, 2, 5 or 10, whichever is best for held-out latents.
            seed: Random seed. By default 0.
            images: Flow matching: latents seen in training, counting repeats. By default 200,000.
            budget: Flow matching: wall time in place of ``images``, such as ``"15m"``.
            width: Flow matching: width of the network. By default 64 channels for grids, 256 units for vectors.
            depth: Flow matching: blocks on each grid; for vectors, half the number of blocks. By default 2.
            batch_size: Flow matching: latents per step. By default 64.
            learning_rate: Flow matching: peak learning rate. By default 0.001.
            quiet: Flow matching: whether to show no progress.

        Returns:
            The log density of held-out latents under it, and under a single normal (:mod:`vaekit.latent.fit_prior`).
            For flow matching: the squared error of the velocity of held-out latents per dimension, and the lowest error
            possible if the latents were standard normal noise.

        Raises:
            UserError: If the kind does not fit the latent, an option does not belong to the kind, or another process
                writes to the run.
        """
        kind = kind or ("mixture" if self.model.latent == "vector" else FLOW_MATCHING)
        options = FlowOptions(
            images, None if budget is None else parse_duration(budget), width, depth, batch_size, learning_rate, seed
        )
        if kind != FLOW_MATCHING:
            options.refuse_with(kind)
            return fit_prior.fit_prior(self.context, kind, components, seed or 0)
        if components is not None:
            raise UserError(f"components {components}: a {kind} prior has none; leave it out", "components")
        fit_prior.check_kind_of_latent(self.context, kind)
        prior, facts = fit_flow(self.context, options, choose(quiet) if self.leads else Silent())
        self.model.fitted_prior = prior
        return Result(numbers=facts)

    def export(self, out: str | Path, data: Any = None, *, precision: str = "fp32") -> Result:
        """Export the run to a folder of ONNX networks (:mod:`vaekit.export.bundle`).

        Args:
            out: The new folder.
            data: Images for the comparison with PyTorch, at most 100. By default, the run's test images.
            precision: ``"fp32"`` or ``"fp16"``.

        Returns:
            The largest differences from PyTorch, and the digest for ``vaekit verify``.

        Raises:
            UserError: If they are too large; no files are left behind.
        """
        return export.export(self.context, Path(out), data, precision)

    def __repr__(self) -> str:
        shape = "×".join(map(str, self.shape))
        return f"Run({self.path}: {self.row.name} of {shape} images, {counted(self.model.latent_dim, 'latent')})"

    def _repr_html_(self) -> str:
        return overview_html(self.context)
