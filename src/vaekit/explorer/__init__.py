"""The explorer of a run: a static page, its data, and the server of ``vaekit explore``."""
