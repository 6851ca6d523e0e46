"""Metrics, the judge, reports; imports errors, geometry, runtime, files, networks, conditioning, diffusion and data."""
