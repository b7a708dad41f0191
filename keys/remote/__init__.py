"""The broker as a process of its own: it alone opens the key store, and others ask it over a socket."""
