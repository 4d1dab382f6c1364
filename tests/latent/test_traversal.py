"""Paths between latents, and axes of the latent space, compared with their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vaekit.latent.neighbors import components
from vaekit.latent.paths import spherical
from vaekit.latent.traversal import active_axes, principal_axes, walk
from vaekit.system.memory import resident_bytes


@given(st.integers(2, 8), st.integers(0, 1000), st.floats(0, 1))
def test_a_spherical_path_turns_evenly_and_changes_its_length_evenly(latents: int, seed: int, weight: float) -> None:
    rng = np.random.default_rng(seed)
    a, b = (torch.from_numpy(rng.normal(size=latents) * scale) for scale in (1.0, 3.0))
    z = spherical(a, b, torch.tensor([weight], dtype=torch.float64))
    angle = torch.acos((a @ b / a.norm() / b.norm()).clamp(-1, 1))
    if angle.sin() < 1e-2:
        return
    assert float(z.norm()) == pytest.approx(float((1 - weight) * a.norm() + weight * b.norm()), rel=1e-6)
    turned = torch.acos((a @ z / a.norm() / z.norm()).clamp(-1, 1))
    assert float(turned) == pytest.approx(weight * float(angle), abs=1e-5)


def test_a_spherical_path_has_its_ends_and_is_straight_where_there_is_no_plane() -> None:
    weights = torch.tensor([[0.0], [0.5], [1.0]])
    a, b = torch.tensor([1.0, 2.0, 0.5]), torch.tensor([-2.0, 0.3, 1.0])
    ends = spherical(a, b, weights)
    torch.testing.assert_close(ends[[0, 2]], torch.stack([a, b]))
    for other in (2 * a, -a, torch.zeros(3)):
        torch.testing.assert_close(spherical(a, other, weights)[1], (a + other) / 2)


def test_axes_are_those_of_the_variance() -> None:
    rng = np.random.default_rng(0)
    latents = torch.from_numpy(rng.normal(size=(500, 4)) * [0.1, 3.0, 1.0, 2.0])
    active = active_axes(latents, torch.tensor([1.0, 3.0, 8.0, 5.0]), 3)
    assert [(axis.name, axis.size) for axis in active] == [("z2", 8.0), ("z3", 5.0), ("z1", 3.0)]
    np.testing.assert_allclose(active[0].step.numpy(), [0, 0, float(latents[:, 2].std(unbiased=False)), 0])
    values = np.linalg.eigvalsh(np.cov(latents.numpy().T, bias=True))[::-1]
    principal = principal_axes(latents, 2)
    assert [axis.size for axis in principal] == pytest.approx((values / values.sum())[:2].tolist())
    assert [float(axis.step.norm()) for axis in principal] == pytest.approx(np.sqrt(values[:2]).tolist())
    axes, variances = components(latents)
    torch.testing.assert_close(axes @ axes.mT, torch.eye(4).double())
    np.testing.assert_allclose(variances.numpy(), values)
    ways = walk(latents[0], principal, 5, 2.0)
    torch.testing.assert_close(ways[1, 2], latents[0].float())
    torch.testing.assert_close(ways[0, 4] - ways[0, 0], (4 * principal[0].step).float())


def test_a_latent_of_thousands_of_numbers_has_axes_within_memory() -> None:
    """8,192 dimensions: a matrix of all of their covariances would take 512 MiB, and minutes."""
    rng, dimensions = np.random.default_rng(0), 8192
    hidden = rng.normal(size=(1500, 2)) * [30.0, 20.0]
    rows = np.linalg.qr(rng.normal(size=(dimensions, 2)))[0].T
    latents = torch.from_numpy((hidden @ rows + 0.01 * rng.normal(size=(1500, dimensions))).astype(np.float32))
    before = resident_bytes() or 0
    principal = principal_axes(latents, 3)
    active = active_axes(latents, torch.arange(dimensions).float(), 2)
    assert (resident_bytes() or 0) - before < 3e8
    found = torch.stack([axis.step / axis.step.norm() for axis in principal[:2]]).numpy()
    np.testing.assert_allclose(np.abs(found @ rows.T), np.eye(2), atol=0.1)
    assert principal[0].size + principal[1].size > 0.99 and len(principal) == 3
    assert [axis.name for axis in active] == ["z8191", "z8190"]
    assert [int(axis.step.count_nonzero()) for axis in active] == [1, 1]
