"""The Chromium of `book.browser`, under the name that the tests have for it."""

from book.browser import Browser, chromium

__all__ = ["Browser", "chromium"]
