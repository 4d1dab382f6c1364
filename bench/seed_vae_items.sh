#!/bin/sh
# Every item of founding system B from the command line: on a written folder of portraits with four groups, and on
# real faces with two groups and hand-picked files. Pictures go to OUT.
#   bench/seed_vae_items.sh PORTRAITS_RUN SMILES_RUN SMILES_FOLDER [OUT]
# PORTRAITS_RUN: vaekit data portraits --write faces --count 2000 --size 256
#                vaekit train faces --recipe seed-vae --size 256 --budget 10m --out PORTRAITS_RUN
# SMILES_RUN:    see compare_vaes.py; SMILES_FOLDER: the unpacked archive.
set -eu
portraits=${1:?} smiles=${2:?} files=${3:?} out=${4:-demo/seed-vae}
vaekit=${VAEKIT:-.venv/bin/vaekit}

men_glasses="attr:male=1,glasses=1" men="attr:male=1,glasses=0"
women_glasses="attr:male=0,glasses=1" women="attr:male=0,glasses=0"

"$vaekit" reconstruct "$portraits" --count 20 --out "$out/portraits-reconstructed.png"
"$vaekit" generate "$portraits" --count 18 --out "$out/portraits-generated.png"
"$vaekit" arithmetic "$portraits" "$men_glasses - $women_glasses + $women" --out "$out/man-without-glasses.png"
"$vaekit" arithmetic "$portraits" "$men - $women + $women_glasses" --out "$out/man-with-glasses.png"
"$vaekit" arithmetic "$portraits" "$women_glasses - $men_glasses + $men" --out "$out/woman-without-glasses.png"
"$vaekit" arithmetic "$portraits" "$women - $men + $men_glasses" --out "$out/woman-with-glasses.png"
"$vaekit" interpolate "$portraits" "$men_glasses" "$women" --steps 6 --out "$out/walk-1.png"
"$vaekit" interpolate "$portraits" "$men" "$women_glasses" --steps 6 --out "$out/walk-2.png"
"$vaekit" interpolate "$portraits" "$men_glasses" "$men" --steps 6 --out "$out/walk-3.png"
"$vaekit" interpolate "$portraits" "$women_glasses" "$men_glasses" --steps 6 --out "$out/walk-4.png"

"$vaekit" generate "$smiles" --count 18 --out "$out/smiles-generated.png"
"$vaekit" interpolate "$smiles" "label:not-smiling" "label:smiling" --steps 6 --out "$out/smiles-walk.png"
one=$(ls "$files"/not-smiling/*.jpg | sed -n 11p) two=$(ls "$files"/not-smiling/*.jpg | sed -n 301p)
"$vaekit" reconstruct "$smiles" "$files/smiling" --count 20 --out "$out/smiles-reconstructed.png"
"$vaekit" arithmetic "$smiles" "$one + label:smiling - label:not-smiling" --out "$out/smile-put-on.png"
"$vaekit" arithmetic "$smiles" "0.5*$one + 0.5*$two" --out "$out/between-two-files.png"
