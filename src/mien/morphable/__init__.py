"""3D heads: models behind one interface, expressions as units, a software renderer, fitting."""
