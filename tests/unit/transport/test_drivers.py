"""The law: the synchronous and the asynchronous driver are one text, but for the words of asynchronous code."""

from __future__ import annotations

import inspect
import re

import pytest

from openai_stream_guard.transport import drivers, exchange

WORDS = [
    (r"\basync def a(?=drive|watch)", "def "),
    (r"\basync def ", "def "),
    (r"\bawait ", ""),
    (r"\basync for ", "for "),
    (r"\bStopAsyncIteration\b", "StopIteration"),
    (r"\bAsyncIterator\b", "Iterator"),
    (r"\bAsyncExchange\b", "SyncExchange"),
]


def without_async_words(text: str) -> str:
    """The synchronous reading of an asynchronous text."""
    for word, plain in WORDS:
        text = re.sub(word, plain, text)
    return text


@pytest.mark.parametrize(("plain", "asynchronous"), [(drivers.drive, drivers.adrive), (drivers.watch, drivers.awatch)])
def test_both_drivers_are_one_text(plain: object, asynchronous: object) -> None:
    """What is mended in one is mended in the other: comments and all."""
    texts = inspect.getsource(plain), inspect.getsource(asynchronous)
    assert texts[0] != texts[1]
    assert without_async_words(texts[1]) == texts[0]


def test_the_exchanges_are_one_but_for_async() -> None:
    """Both exchanges have the same methods, and each reading, waiting or closing one is a coroutine function."""
    plain, asynchronous = vars(exchange.SyncExchange), vars(exchange.AsyncExchange)
    names = {name for name, member in plain.items() if inspect.isfunction(member) and not name.startswith("_")}
    assert names == {"receive", "close", "release", "drain", "sleep", "wait", "reopen"}
    for name in names:
        assert inspect.iscoroutinefunction(asynchronous[name])
        assert not inspect.iscoroutinefunction(plain[name])
        assert list(inspect.signature(plain[name]).parameters) == list(inspect.signature(asynchronous[name]).parameters)
