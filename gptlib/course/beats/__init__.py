"""Chapter 9: what only its pages need for beats, pairs and votes."""
