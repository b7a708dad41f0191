"""Who is at the door: tokens of identity providers, certificates of services, and the lake's own tokens.

``authenticator.Authenticator`` is the door's one question; ``document.load_identity`` reads what it goes by.
"""
