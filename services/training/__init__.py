"""Training jobs as a service."""
