"""The port Serving.

Recognition by the champion, and how a model becomes champion, on a machine or a cluster.
"""
