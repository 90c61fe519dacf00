"""Immutable dataset versions on disk: written whole, read verified, compared, traced, erased."""
