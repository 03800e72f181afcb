"""Feeds the tests of a `CheckPromises` class from its tables."""

from check_promises import CheckPromises


def pytest_generate_tests(metafunc):
    cls, names = metafunc.cls, metafunc.fixturenames
    if cls is None or not issubclass(cls, CheckPromises) or "check" not in names:
        return
    if "words" in names:
        metafunc.parametrize(("check", "answer", "words"), cls.wrong)
    elif "answer" in names:
        metafunc.parametrize(("check", "answer"), cls.right)
    else:
        metafunc.parametrize("check", list(dict.fromkeys(check for check, _ in cls.right)))
