"""``params.yaml``, typed: everything that decides a result, and nothing that says where.

A section is named like its stage. Unknown keys and values out of range are errors naming the key.
"""
