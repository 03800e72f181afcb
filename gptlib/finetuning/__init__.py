"""A trained model taught something more: what it should prefer."""
