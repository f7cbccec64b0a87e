"""What other software that speaks uTP does on this machine."""
