"""The one exception that a user of this library is meant to read and act on."""


class InputError(ValueError):
    """Input the caller can mend: one sentence that names the value and what is accepted."""
