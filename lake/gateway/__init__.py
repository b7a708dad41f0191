"""The front door: who asks, what is decided, what is recorded, which keys are asked for. Never holds rows to plan."""
