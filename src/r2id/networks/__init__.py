"""R2IR and R2ID, their layers and their loading; imports errors, geometry, runtime, files and fields."""
