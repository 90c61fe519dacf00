"""The registry of dataset versions as a service."""
