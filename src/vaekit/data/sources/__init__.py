"""Readers of image sources: folders, archives, arrays, datasets on the network and built-in sets."""
