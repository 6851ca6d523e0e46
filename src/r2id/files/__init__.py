"""Files: atomic writing, locks, images of any size, latents; imports errors, geometry and runtime."""
