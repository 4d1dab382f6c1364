"""Train ``seed-ae`` with pythae 0.1.2 as released: its data processing, autoencoder, trainer and Adam.

pythae has its own virtual environment in ``build/bench/pythae``, and trains in a separate process. Its loss is the
squared error summed over pixels and averaged over the batch: L = 1/B Σ_b Σ_i (x̂_bi − x_bi)². This is the loss of the
plain loop divided by B, which hardly affects the steps of Adam.

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
    """Return the python with pythae; creates the environment if it is missing, incomplete or outdated."""
    python = FOLDER / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    marker = FOLDER / ".installed"
    wanted = "\n".join([*REQUIREMENTS, sys.version, ""])
    if python.exists() and marker.exists() and marker.read_text(encoding="utf-8") == wanted:
        return python
    shutil.rmtree(FOLDER, ignore_errors=True)
    _call(sys.executable, "-m", "venv", FOLDER)
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
    for count in range(1, len(REQUIREMENTS) + 1):  # also names installed packages, so that they are not changed
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
    """Call ``run`` in a fresh process in pythae's environment.

    ``data`` is the folder of MNIST's four IDX files. Raises ``RuntimeError`` with the end of the output if the process
    fails.
    """
    options = {"epochs": epochs, "batch-size": batch_size, "seed": seed, "threads": threads, "limit": limit}
    flags = [f"--{name}={value}" for name, value in options.items() if value is not None]
    result: dict[str, Any] = json.loads(_call(environment(), __file__, "run", data, *flags).splitlines()[-1])
    return result


def run(
    data: Path, epochs: int, batch_size: int, seed: int, threads: int | None = None, limit: int | None = None
) -> dict[str, Any]:
    """Train and test in this process, on the CPU; returns times, the test error per image, and memory.

    The process must be fresh, because imports are timed. Reading the files is not.
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
    """``seconds`` is the time of the trainer, from its creation to the saved model.

    Separate are ``configuration_seconds``, mostly the import of torch's compiler by the first optimizer of a process
    (pythae creates one to check the options), and ``processing_seconds``, for pythae's checks and conversion of images.
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
    """Split the network of the plain loop at the latent into pythae's encoder and decoder."""
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
    """Return float32 [N, 1, 28, 28] in [0, 1], as in pythae's examples."""
    import torch
    from literal_loop import read_idx

    pixels = read_idx(data / f"{part}-images-idx3-ubyte.gz")[:limit]
    return torch.tensor(pixels).reshape(-1, 1, 28, 28) / 255.0


def _squared_error(model: Any, images: Any) -> float:
    """Return the squared error summed over all pixels of all images, in eval mode and without gradients."""
    import torch

    model.eval()
    with torch.no_grad():
        return sum((model.reconstruct(x) - x).square().sum().item() for x in images.split(64))


def _memory_bytes() -> dict[str, int]:
    """Return a number of this process from the kernel: ``VmRSS``, resident now, or ``VmHWM``, its peak."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return {name: int(fields[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM")}


def _ru_maxrss_bytes() -> int:
    """On Linux it includes the parent's memory when this process was started; ``VmHWM`` does not."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _call(*command: object) -> str:
    """Return the standard output of ``command``."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} failed:\n{(done.stdout + done.stderr)[-4000:]}")
    return done.stdout


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("setup", help="create the environment and print its python")
    for verb, function, text in (
        ("run", run, "train in this process, in pythae's environment"),
        ("measure", measure, "the same from any environment, in a separate process"),
    ):
        sub = verbs.add_parser(verb, help=text)
        sub.set_defaults(function=function)
        sub.add_argument("data", type=Path, help="the folder of MNIST's four IDX files")
        sub.add_argument("--epochs", type=int, default=10)
        sub.add_argument("--batch-size", type=int, default=32)
        sub.add_argument("--seed", type=int, default=0)
        sub.add_argument("--threads", type=int, help="by default, torch chooses")
        sub.add_argument("--limit", type=int, help="most images to read")
    given = vars(parser.parse_args())
    if given.pop("verb") == "setup":
        print(environment())
        return
    function = given.pop("function")
    print(json.dumps(function(**given)), flush=True)


if __name__ == "__main__":
    main()
