"""A trained model for something of one's own: a style, a format, another voice."""
