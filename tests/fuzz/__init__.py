"""Fuzz targets: plain functions that take bytes, raise nothing, and check what must hold whatever the bytes.

`make fuzz` looks for bytes that break one; `test_corpus` replays those found so far, and changes of them.
"""
