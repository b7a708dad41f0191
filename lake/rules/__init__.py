"""Pure decisions. Nothing secret, no I/O, no clock, no pyarrow: everything that decides, decides here."""
