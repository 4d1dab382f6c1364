"""The run folder, and a trained run with its verbs."""
