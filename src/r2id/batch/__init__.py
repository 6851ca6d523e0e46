"""Many pictures or latents over many processes;
imports errors, geometry, runtime, files, networks, diffusion and data."""
