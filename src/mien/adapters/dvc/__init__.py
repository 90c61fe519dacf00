"""DVC with a second look: every object is compared with its name."""
