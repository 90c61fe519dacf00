"""Subject-disjoint splits, and mixes of real and synthetic faces by ratio."""
