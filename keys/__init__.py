"""Key bytes: roots, bucket keys, KEKs and the DEKs on their way out. Imports nothing of the lake."""
