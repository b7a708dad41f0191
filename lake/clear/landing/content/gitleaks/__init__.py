"""Third-party data: the rules by which gitleaks recognises secrets, under their own licence (MIT, ``LICENSE``)."""
