"""The ``seed-ae`` trained by pythae 0.1.2, as released: its data processing, its AE, its trainer, its Adam.

pythae lives in a virtual environment of its own, made once in ``build/bench/pythae``; the training is a process of its
own there. The loss is pythae's, the squared error summed over an image's pixels and averaged over the batch:
L = 1/B Σ_b Σ_i (x̂_bi − x_bi)², the literal loop's loss divided by B, of which Adam's steps hardly depend.

    python bench/pythae_seed_ae.py setup
    python bench/pythae_seed_ae.py measure ../shared/data/mnist --epochs 1
    build/bench/pythae/bin/python bench/pythae_seed_ae.py run ../shared/data/mnist --epochs 1
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

__all__ = ["environment", "measure"]

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build" / "bench" / "pythae"
REQUIREMENTS = ["torch==2.13.0", "pythae==0.1.2"]
LEARNING_RATE = 2.5e-4


def environment() -> Path:
    """The python that has pythae; the environment is made if it is missing, unfinished or of other requirements."""
    python = FOLDER / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    marker = FOLDER / ".installed"
    wanted = "\n".join([*REQUIREMENTS, sys.version, ""])
    if python.exists() and marker.exists() and marker.read_text(encoding="utf-8") == wanted:
        return python
    shutil.rmtree(FOLDER, ignore_errors=True)
    _call(sys.executable, "-m", "venv", FOLDER)
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
    for count in range(1, len(REQUIREMENTS) + 1):  # what is installed is named again, so that it stays as it is
        _call(*pip, *REQUIREMENTS[:count])
    _call(python, "-c", "import pythae.models, pythae.pipelines, pythae.trainers")
    marker.write_text(wanted, encoding="utf-8")
    return python


def measure(
    data: Path,
    epochs: int = 10,
    batch_size: int = 32,
    seed: int = 0,
    threads: int | None = None,
    limit: int | None = None,
) -> dict[str, Any]:
    """What ``run`` returns, from a fresh process in pythae's environment.

    ``data`` is the folder of MNIST's four IDX files; ``threads`` and ``limit`` (images) may be left to themselves.
    Raises ``RuntimeError`` with the end of what was said when the process fails.
    """
    options = {"epochs": epochs, "batch-size": batch_size, "seed": seed, "threads": threads, "limit": limit}
    flags = [f"--{name}={value}" for name, value in options.items() if value is not None]
    result: dict[str, Any] = json.loads(_call(environment(), __file__, "run", data, *flags).splitlines()[-1])
    return result


def run(
    data: Path, epochs: int, batch_size: int, seed: int, threads: int | None = None, limit: int | None = None
) -> dict[str, Any]:
    """Trains and tests in this process, on the CPU: times, the test error per image, the memory.

    For a fresh process only, as what is imported already costs nothing. Reading the files is in none of the times.
    """
    start = time.perf_counter()
    import torch

    after_torch = _memory_bytes()
    import pythae.data.preprocessors
    import pythae.models
    import pythae.trainers.trainer_utils

    import_seconds = time.perf_counter() - start
    after_imports = _memory_bytes()
    if threads:
        torch.set_num_threads(threads)
    pythae.trainers.trainer_utils.set_seed(seed)
    model = _model()
    times = _train(model, _images(data, "train", limit), epochs, batch_size, seed)
    after_training = _memory_bytes()
    test = _images(data, "t10k", limit)
    return {
        "system": "seed-ae by pythae",
        "epochs": epochs,
        "batch_size": batch_size,
        "threads": torch.get_num_threads(),
        "import_seconds": import_seconds,
        **times,
        "test_images": len(test),
        "test_sse_per_image": _squared_error(model, test) / len(test),
        "resident_after_torch_bytes": after_torch["VmRSS"],
        "resident_after_imports_bytes": after_imports["VmRSS"],
        "peak_after_torch_bytes": after_torch["VmHWM"],
        "peak_after_training_bytes": after_training["VmHWM"],
        "peak_bytes": _memory_bytes()["VmHWM"],
        "ru_maxrss_bytes": _ru_maxrss_bytes(),
        "versions": {name: importlib.metadata.version(name) for name in ("pythae", "torch", "numpy", "pydantic")},
    }


def _train(model: Any, images: Any, epochs: int, batch_size: int, seed: int) -> dict[str, Any]:
    """``seconds`` is the trainer alone, from its making to its saved model.

    Apart stand ``configuration_seconds``, nearly all torch's late import of its compiler, which the first optimiser of
    a process sets off (pythae makes one to try the options); and ``processing_seconds``, pythae's checks and conversion
    of the images.
    """
    from pythae.data.preprocessors import DataProcessor
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        config = BaseTrainerConfig(
            output_dir=folder,
            num_epochs=epochs,
            per_device_train_batch_size=batch_size,
            learning_rate=LEARNING_RATE,
            seed=seed,
            no_cuda=True,
        )
        configured = time.perf_counter()
        processor = DataProcessor()
        dataset = processor.to_dataset(processor.process_data(images))
        del images
        processed = time.perf_counter()
        BaseTrainer(model, dataset, training_config=config).train()
        seconds = time.perf_counter() - processed
    return {
        "train_images": len(dataset),
        "configuration_seconds": configured - start,
        "processing_seconds": processed - configured,
        "seconds": seconds,
        "seconds_per_epoch": seconds / epochs,
    }


def _model() -> Any:
    """The literal loop's network, cut at the code into what pythae calls an encoder and a decoder."""
    from literal_loop import seed_ae
    from pythae.models import AE, AEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    network = seed_ae()

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.layers = network[:4]

        def forward(self, x: Any) -> ModelOutput:
            return ModelOutput(embedding=self.layers(x))

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.layers = network[4:]

        def forward(self, z: Any) -> ModelOutput:
            return ModelOutput(reconstruction=self.layers(z))

    return AE(AEConfig(input_dim=(1, 28, 28), latent_dim=20), encoder=Encoder(), decoder=Decoder())


def _images(data: Path, part: str, limit: int | None) -> Any:
    """float32 [N, 1, 28, 28] in [0, 1], as pythae's own examples hand MNIST over."""
    import torch
    from literal_loop import read_idx

    pixels = read_idx(data / f"{part}-images-idx3-ubyte.gz")[:limit]
    return torch.tensor(pixels).reshape(-1, 1, 28, 28) / 255.0


def _squared_error(model: Any, images: Any) -> float:
    """The sum over all pixels of all images, in eval mode and without gradients."""
    import torch

    model.eval()
    with torch.no_grad():
        return sum((model.reconstruct(x) - x).square().sum().item() for x in images.split(64))


def _memory_bytes() -> dict[str, int]:
    """What the kernel says of this process: ``VmRSS``, resident now, and ``VmHWM``, the most that ever was."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return {name: int(fields[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM")}


def _ru_maxrss_bytes() -> int:
    """Linux counts in it what the parent held when it started this process, which ``VmHWM`` does not."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _call(*command: object) -> str:
    """The standard output of ``command``."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} failed:\n{(done.stdout + done.stderr)[-4000:]}")
    return done.stdout


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("setup", help="make the environment, print its python")
    for verb, function, text in (
        ("run", run, "train in this process, in pythae's environment"),
        ("measure", measure, "the same from any environment, in a process of its own"),
    ):
        sub = verbs.add_parser(verb, help=text)
        sub.set_defaults(function=function)
        sub.add_argument("data", type=Path, help="the folder of MNIST's four IDX files")
        sub.add_argument("--epochs", type=int, default=10)
        sub.add_argument("--batch-size", type=int, default=32)
        sub.add_argument("--seed", type=int, default=0)
        sub.add_argument("--threads", type=int, help="without it: what torch takes by itself")
        sub.add_argument("--limit", type=int, help="read no more images than this")
    given = vars(parser.parse_args())
    if given.pop("verb") == "setup":
        print(environment())
        return
    function = given.pop("function")
    print(json.dumps(function(**given)), flush=True)


if __name__ == "__main__":
    main()
