#!/bin/sh
# Trains the runs that editing.py and compare_vaes.py measure, ten minutes each, one after the other.
#   bench/train_edit.sh SMILES [OUT]
# SMILES: an archive or folder of faces in class folders smiling and not-smiling; OUT: default runs/bench.
# VAEKIT: the command, default .venv/bin/vaekit; BUDGET: default 10m.
set -eu
smiles=${1:?name the archive or folder of smiling and not-smiling faces}
out=${2:-runs/bench}
vaekit=${VAEKIT:-.venv/bin/vaekit}
budget=${BUDGET:-10m}

for recipe in vae seed-vae; do
    "$vaekit" train portraits --recipe "$recipe" --size 64 --budget "$budget" --out "$out/portraits-$recipe"
    "$vaekit" train "$smiles" --recipe "$recipe" --size 256 --channels 3 --latent-dim 100 \
        --budget "$budget" --out "$out/smiles-$recipe"
done
