"""A folder of your own: train, search, judge, ship.   python examples/own_folder.py FOLDER [OUT] [BUDGET]"""

import sys
from pathlib import Path

import vaekit as vk
from vaekit.export.bundle import verify

if len(sys.argv) < 2:
    sys.exit(__doc__)
folder = sys.argv[1]
out = Path(sys.argv[2] if len(sys.argv) > 2 else "runs/example-folder")
budget = sys.argv[3] if len(sys.argv) > 3 else "10m"

images = vk.open_images(folder, size=64)
print(images)
run = vk.train(images, recipe="vae", out=out, budget=budget)
print(run.doctor())

run.neighbors(images.pixels[:3], count=6).save(out / "alike.png")
run.save_latents(out / "latents.npz")

if not (out / "onnx").exists():
    print(run.export(out / "onnx"))  # needs pip install 'vaekit[export]'
print(verify(out / "onnx"))
