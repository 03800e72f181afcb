"""Texts to train on, asked of a server: the questions, the answers, what they cost, which stay."""
