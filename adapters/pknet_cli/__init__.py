"""The command `pknet`."""
