"""Rendering and checking of the manifests: ``python -m k8s.check``, or ``make k8s-check``."""
