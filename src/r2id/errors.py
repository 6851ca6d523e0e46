"""The exception for input that the user can correct."""


class InputError(ValueError):
    """Invalid input: one sentence names the value and what is accepted."""
