"""The gateway's door for Arrow Flight SQL: calls are authenticated, counted and answered by the gateway service."""
