"""What runs for every packet, compiled by Cython. Import it through the packages above, not from here."""
