"""The words of the domain. Imports nothing else of ours."""
