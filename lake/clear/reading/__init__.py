"""Ciphertext in, permitted rows out. Holds DEKs and hidden rows while it decodes; runs no user SQL, writes nothing."""
