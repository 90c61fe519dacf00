"""Demo databases: faces of nobody, rendered by seed, therefore endless.

What makes their people (shape fields, asymmetry, skin, wrinkles, expression style) is defined
here and read by no engine; an architecture test holds that.
"""
