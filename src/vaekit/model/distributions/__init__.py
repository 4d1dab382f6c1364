"""Distributions over latents and over pixels."""
