"""Portraits with and without glasses: directions.   python examples/portraits_glasses.py [OUT] [IMAGES] [SIZE]"""

import sys
from pathlib import Path

import vaekit as vk

out = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/example-portraits")
images = int(sys.argv[2]) if len(sys.argv) > 2 else 60_000
size = int(sys.argv[3]) if len(sys.argv) > 3 else 64

run = vk.train("portraits:2000", recipe="vae", size=size, out=out, images=images)

for name, direction in run.directions().items():
    if direction.accuracy is not None:
        print(f"{name:20} tells {direction.accuracy:.0%} of {direction.held_out} held-out faces right")

faces = run.images("test").pixels[:8]
run.edit_sheet(faces, {"glasses": 1}).save(out / "with-glasses.png")
run.edit_sheet(faces, {"glasses": -1, "smiling": 1}).save(out / "without-but-smiling.png")
run.traverse(count=4).save(out / "traverse.png")
