"""From hostile bytes to aligned faces: one preprocessing for training and serving."""
