"""Readers of image sources: folders, archives, arrays, data sets on the network and built-in sets."""
