"""Work that runs without a person: what sees rows lies in ``clear``, what never does in ``sealed``."""
