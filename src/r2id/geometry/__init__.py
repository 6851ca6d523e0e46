"""Where samples of a picture lie, and how much noise their density asks for; imports errors alone."""
