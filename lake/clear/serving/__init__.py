"""Between reading and the sandbox: hands slices over in shared memory. Holds permitted rows; no key, no user SQL."""
