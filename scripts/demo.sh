#!/usr/bin/env bash
# Two models from nothing, and what one can do with them. Picture sheets go into demo/, the runs into runs/.
# Repeated, finished trainings are not done again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

digits=runs/digits
portraits=runs/portraits
faces=demo/faces
mkdir -p demo

say() { printf '\n== %s\n' "$*"; }

# The first face of demo/faces for which a column of metadata.csv has the given value.
face_with() {
    awk -F, -v column="$1" -v value="$2" -v folder="$faces" '
        { sub(/\r$/, "") }
        NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
        $at[column] + 0 == value { print folder "/" $at["file_name"]; exit }' "$faces/metadata.csv"
}

say "An autoencoder of 1,797 real handwritten digits (seconds)"
vaekit train digits --recipe ae --epochs 60 --out "$digits"
vaekit reconstruct "$digits" --count 10 --overwrite --out demo/digits-reconstructed.png
vaekit interpolate "$digits" label:1 label:8 --steps 6 --overwrite --out demo/digits-interpolated.png

say "A variational autoencoder of drawn portraits (four minutes)"
vaekit train portraits --recipe vae --size 64 --budget 4m --out "$portraits"
vaekit evaluate "$portraits"

say "Pictures"
vaekit reconstruct "$portraits" --count 10 --overwrite --out demo/portraits-reconstructed.png
vaekit generate "$portraits" --count 18 --seed 0 --overwrite --out demo/portraits-generated.png
vaekit interpolate "$portraits" attr:male=1,smiling=0 attr:male=0,smiling=1 --steps 6 \
    --overwrite --out demo/portraits-interpolated.png

say "Glasses on, glasses off: latents of groups, then of single faces"
vaekit arithmetic "$portraits" "attr:glasses=0,male=0 + attr:glasses=1,male=1 - attr:glasses=0,male=1" \
    --overwrite --out demo/woman-with-glasses.png
vaekit arithmetic "$portraits" "attr:glasses=1,male=1 - attr:glasses=1,male=0 + attr:glasses=0,male=0" \
    --overwrite --out demo/man-without-glasses.png
test -d "$faces" || vaekit data portraits --write "$faces" --count 40 --size 64
vaekit arithmetic "$portraits" "$(face_with glasses 0) + attr:glasses=1 - attr:glasses=0" \
    --overwrite --out demo/glasses-put-on.png
vaekit arithmetic "$portraits" "$(face_with glasses 1) - attr:glasses=1 + attr:glasses=0" \
    --overwrite --out demo/glasses-taken-off.png

say "All of it in one picture"
python scripts/demo_picture.py "$portraits" demo/demo.jpg

say "Done"
ls -l demo/*.png demo/*.jpg
echo "Open $portraits/report.html for the curves, or touch the model in the browser:"
echo
echo "    .venv/bin/vaekit explore $portraits"
