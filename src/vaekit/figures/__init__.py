"""Grids of images, animations, mosaics and contact sheets."""
