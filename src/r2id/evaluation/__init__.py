"""Metrics, the judge, reports; imports errors, geometry, runtime, files, networks, diffusion and data."""
