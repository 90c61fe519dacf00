"""Recognition, and promotion of models, as a service."""
