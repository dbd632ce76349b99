"""The public names of the test kit: they exist, and the old ones work for one more release."""

from __future__ import annotations

import pytest

from openai_stream_guard import testing
from openai_stream_guard.testing import AnswerVariant, ScriptedResponse, Server, ServerBehaviour, build_answer

RENAMED = {
    "Habits": ServerBehaviour,
    "Performance": ScriptedResponse,
    "Take": AnswerVariant,
    "take_answer": build_answer,
}


@pytest.mark.parametrize("name", RENAMED)
def test_an_old_name_warns_and_works(name: str) -> None:
    """It is the new thing, and the warning names it and points at the caller."""
    with pytest.warns(DeprecationWarning, match=f"{name} is now called {RENAMED[name].__name__}") as caught:
        assert getattr(testing, name) is RENAMED[name]
    assert caught[0].filename == __file__
    assert name not in testing.__all__


def test_the_old_habits_of_a_server_warn_and_work() -> None:
    """As an argument and as an attribute, which is the new one."""
    behaviour = ServerBehaviour(prefill="refused")
    with pytest.warns(DeprecationWarning, match="`behaviour`") as caught:
        server = Server(habits=behaviour)
    assert caught[0].filename == __file__
    assert server.behaviour is behaviour
    with pytest.warns(DeprecationWarning, match="`behaviour`"):
        server.habits = ServerBehaviour()
    with pytest.warns(DeprecationWarning, match="`behaviour`"):
        assert server.habits == server.behaviour == ServerBehaviour()


def test_a_name_that_never_was_is_an_attribute_error() -> None:
    """As in any module, so that `hasattr` works; all public names are there."""
    with pytest.raises(AttributeError, match="has no attribute 'Perfomance'"):
        testing.Perfomance  # noqa: B018 - reading it is what is tested
    assert all(hasattr(testing, name) for name in testing.__all__)
