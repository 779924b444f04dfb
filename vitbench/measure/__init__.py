"""What a model costs: latency, memory, FLOPs, and what reduced precision changes."""
