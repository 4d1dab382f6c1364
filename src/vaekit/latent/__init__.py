"""Operations on latents: edits, directions, traversals, neighbors, inpainting and fitted priors."""
