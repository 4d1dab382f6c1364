"""Metrics of models and of their samples, and the doctor."""
