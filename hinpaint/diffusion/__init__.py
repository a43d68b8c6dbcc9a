"""Score-based inpainting of crystal sites: MatterGen's network, a noise level per site, samplers, training."""
