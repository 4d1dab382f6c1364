"""Random streams: each has a name, and those of images follow from their pixels."""

from __future__ import annotations

import torch

from vaekit.system.rng import EVALUATION, SAMPLES, image_noise, keys_of, noise_of


def test_noise_by_key_is_noise_by_place_where_places_are_the_keys() -> None:
    assert torch.equal(noise_of([2, 5], 3, SAMPLES, (4, 3))[1], image_noise(3, SAMPLES, 5, 1, (4, 3))[0])


def test_the_key_of_an_image_follows_from_all_of_its_bytes() -> None:
    pixels = torch.randint(256, (20, 3, 5, 5), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    keys = keys_of(pixels)
    assert len(set(keys)) == 20 and all(0 <= key < 2**64 for key in keys)
    assert keys_of(pixels.flip(0)) == keys[::-1] and keys_of(pixels.mT.contiguous().mT) == keys
    for place in (0, 74):
        changed = pixels.clone().flatten(1)
        changed[:, place] ^= 1
        assert not set(keys_of(changed.view_as(pixels))) & set(keys)


def test_seeds_purposes_and_keys_have_streams_of_their_own() -> None:
    keys = keys_of(torch.arange(3, dtype=torch.uint8).view(3, 1, 1, 1))
    names = [
        (seed, purpose, key) for seed in (0, 1, 2**40) for purpose in (SAMPLES, EVALUATION) for key in (*keys, 0, 1)
    ]
    drawn = [tuple(noise_of([key], seed, purpose, (2,))[0].tolist()) for seed, purpose, key in names]
    assert len(set(drawn)) == len(names)
