"""The baselines of the doctor, compared with scikit-learn, and their laws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import NearestNeighbors

from vaekit.evaluation.baselines import PrincipalComponents, Probe, nearest_square


def _draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _images(count: int, seed: int) -> torch.Tensor:
    """Images of forty pixels from five factors and a little noise."""
    return 3 + _draws(count, 5, seed=seed) @ _draws(5, 40, seed=9) + 0.1 * _draws(count, 40, seed=seed + 100)


@pytest.mark.parametrize("count", [30, 300])  # fewer and more than there are pixels
def test_principal_components_are_those_of_scikit_learn(count: int) -> None:
    train, held = _images(count, 1), _images(200, 2)
    ours = PrincipalComponents.of(train)
    for size in (1, 3, 5, 20):
        pca = PCA(size).fit(train.numpy())
        rebuilt = pca.inverse_transform(pca.transform(held.numpy()))
        whole = ((held.numpy() - train.numpy().mean(0)) ** 2).sum()
        expected = 1 - ((held.numpy() - rebuilt) ** 2).sum() / whole
        assert ours.explained(held, size) == pytest.approx(expected, abs=1e-9)


def test_images_without_variance_have_no_axis() -> None:
    pca = PrincipalComponents.of(torch.full((9, 4), 0.3))
    assert pca.weights.shape[1] == 0 and pca.explained(torch.full((2, 4), 0.3), 3) == 0
    assert pca.explained(torch.rand(2, 4), 3) == 0


def test_a_probe_reads_what_images_show_and_nothing_of_others() -> None:
    train, held = _images(2000, 1), _images(2000, 2)
    seen = train @ _draws(40, seed=5).unsqueeze(1), held @ _draws(40, seed=5).unsqueeze(1)
    unseen = _draws(2000, 1, seed=6), _draws(2000, 1, seed=7)
    pca, every = PrincipalComponents.of(train), torch.ones(2000, 2, dtype=torch.bool)
    columns = [torch.cat(pair, 1) for pair in zip(seen, unseen, strict=True)]
    probe = Probe.of(pca, train, columns[0], every)
    shown, not_shown = probe.agreement(held, columns[1], every).tolist()
    assert shown == pytest.approx(1, abs=0.05) and not_shown == pytest.approx(0, abs=0.05)
    mixed = probe.agreement(held.roll(1, 0), columns[1], every)  # pictures of other images
    assert float(mixed[0]) == pytest.approx(0, abs=0.1)


def test_a_probe_is_a_regression_on_what_is_known() -> None:
    train = _images(300, 1)
    column = train @ _draws(40, seed=5).unsqueeze(1) + _draws(300, 1, seed=8)
    known = torch.arange(300)[:, None] < 150
    pca = PrincipalComponents.of(train)
    spoilt = torch.where(known, column, torch.full_like(column, 1e6))
    whole = torch.ones_like(known)
    weights = Probe.of(pca, train, column, known).weights
    assert torch.equal(Probe.of(pca, train, spoilt, known).weights, weights)
    torch.testing.assert_close(Probe.of(pca, train, column + 100, known).weights, weights)  # columns are centered
    fitted = LinearRegression().fit(pca.encode(train).numpy(), column.numpy())
    assert Probe.of(pca, train, column, whole).agreement(train, column, whole).item() == pytest.approx(
        fitted.score(pca.encode(train).numpy(), column.numpy()), abs=0.02
    )


def test_the_nearest_image_is_that_of_a_search() -> None:
    a, b = _images(50, 1), _images(70, 2)
    distances, _ = NearestNeighbors(n_neighbors=1).fit(b.numpy()).kneighbors(a.numpy())
    assert nearest_square(a, b) == pytest.approx(float(np.square(distances).mean()))
    assert nearest_square(b, b) == pytest.approx(0, abs=1e-9)
