"""Digits in a minute: train, look, walk, find the odd ones.   python examples/digits.py [OUT] [EPOCHS]"""

import sys
from pathlib import Path

import vaekit as vk

out = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/example-digits")
epochs = float(sys.argv[2]) if len(sys.argv) > 2 else 20

run = vk.train("digits", recipe="vae", out=out, epochs=epochs)  # the 1,797 real digits of scikit-learn

run.compare(run.pick(None, "test", 10)).save(out / "reconstructions.png")
run.generate(18, seed=0).save(out / "new.png")
run.interpolate("label:0", "label:1", "label:8", steps=6).save(out / "walk.png")
run.map(split="test").save(out / "map.png")

numbers = run.evaluate(iwae_samples=10)
print(f"PSNR {numbers['psnr_db']:.1f} dB; {numbers['elbo_nats']:.1f} ≤ {numbers['iwae_nats']:.1f} ≤ log p(x) nats")

odd = run.score(false_alarms=0.05)
odd.save(out / "strange.png")
print(f"{odd['flagged']} of {odd['images']} digits are stranger than 95 % of held-out ones")
