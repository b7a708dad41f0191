"""What a person who asks holds in their hands; knows nothing of keys or of the lake's inside."""
