"""The command line: a thin layer, one file per group of commands. Documents go to stdout, messages to stderr."""
