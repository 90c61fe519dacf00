"""The registry behind the service.

A catalogue in a database, blobs in a folder or an object store.
"""
