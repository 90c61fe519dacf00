"""What every training loop shares: device, precision, tensors, weights and states on disk."""
