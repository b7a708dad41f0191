"""A company's set of processes on one machine: what Compose runs in containers, without them.

``lake dev up`` starts other programs and opens no lake itself; the preparation of a lake does. The files here that are
not Python are what Compose mounts, too.
"""
