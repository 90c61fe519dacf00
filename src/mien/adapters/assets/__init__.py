"""Open data that is fetched by name: where it lies, how it is checked, accepted and converted."""
