"""Statistics, suggestions and samples of an image source, and export to a folder."""
