"""Engines that make labelled faces, and the requests they answer. Judges nothing."""
