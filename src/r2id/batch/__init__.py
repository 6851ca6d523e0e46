"""Many pictures or latents over many processes;
imports errors, geometry, runtime, files, fields, networks, diffusion and data."""
