"""The frame every service stands in: errors, log, metrics, health, auth, drain."""
