"""Everything on disk: whole files, locks, images of any size, latents; imports errors, geometry and runtime."""
