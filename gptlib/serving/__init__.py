"""A page to write with: what is asked for, who writes it, and who may come in."""
