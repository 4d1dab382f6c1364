"""Diagnosis of a finished or running training, with the next command to run."""
