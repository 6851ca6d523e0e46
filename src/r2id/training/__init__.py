"""Training both networks;
imports errors, geometry, runtime, files, networks, conditioning, diffusion and data."""
