"""Read and decode image files, with a cache of decoded images on disk."""
