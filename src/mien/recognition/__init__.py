"""Classifiers of expression and affect: networks, the training loop, prediction, model files."""
