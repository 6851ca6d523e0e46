"""R2IR, R2ID, what they are made of and how they are loaded; imports errors, geometry, runtime, files and fields."""
