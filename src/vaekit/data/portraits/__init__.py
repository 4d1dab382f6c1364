"""Face portraits drawn by vaekit, with exactly known attributes."""
