"""Recipes, their table and the configuration of a run."""
