"""Generation of faces as a service."""
