"""The plan of a training as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vaekit.config.steps import epochs_text
from vaekit.pixels.choices import COLORS
from vaekit.system.durations import duration_text
from vaekit.system.number_text import size_text

__all__ = ["in_words"]


def in_words(plan: Mapping[str, Any]) -> dict[str, str | int]:
    """Return the lines of a plan for people: units, and only the values of the recipe that are often changed."""
    config, out = plan["config"], plan["out"]
    row, data, total = config["recipe"], config["data"], config["total_images"]
    height, width = data["size"]
    channels = COLORS[data["channels"]]
    shown = ("latent_dim", "width", "likelihood", "learning_rate", "flip", "shift", "jitter", "noise_std")
    values = [
        f"{name} {row[name]:g}" if isinstance(row[name], float) else f"{name} {row[name]}"
        for name in shown
        if row[name]
    ]
    is_fitted = config["budget_seconds"] and plan["status"] == "new"
    about = "about " if is_fitted else ""
    trained = f"{'about ' if plan['is_split_estimated'] else ''}{data['train_images']:,}"
    return {
        "out": out,
        "run": plan["sentence"].removeprefix(out).removeprefix(":").strip(),
        "images": f"{data['images']:,}, {trained} of them for training, {width}x{height}, {channels}",
        "recipe": f"{row['name']} ({', '.join(values)})",
        "parameters": plan["parameters"],
        "memory": _memory_text(plan["memory_bytes"], plan["process_bytes"]),
        "training": f"{about}{total:,} images ({epochs_text(total, data['train_images'])})",
        "steps": f"{about}{plan['steps']:,} of up to {min(row['batch_size'], data['train_images']):,} images",
        "time": f"about {duration_text(max(1.0, plan['estimated_seconds']))}" if plan["steps"] else "none",
    }


def _memory_text(on_device: int, process: int) -> str:
    """Return the memory of the training, with that of Python and PyTorch if it is known."""
    if not process:
        return f"{size_text(on_device)}, without Python and PyTorch"
    return f"about {size_text(on_device + process)}, {size_text(process)} of them for Python and PyTorch"
