"""The web page of `r2id app`; imports errors, geometry, runtime, files, networks, diffusion and batch."""
