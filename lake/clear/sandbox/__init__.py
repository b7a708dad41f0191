"""Where user SQL runs: DuckDB over slices. Holds no key, no hidden row, no path, no socket. Imports no reading code."""
