"""A missing peer must not pass for a tested one."""

import os

import pytest

from tests.interop.peers import require


def test_a_missing_peer_fails_the_test_as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(pytest.fail.Exception, match="no `a-peer-that-nobody-wrote` on the path"):
        require.require_peer("a-peer-that-nobody-wrote")


def test_a_missing_peer_skips_the_test_for_others_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(pytest.skip.Exception, match="no `a-peer-that-nobody-wrote` on the path"):
        require.require_peer("a-peer-that-nobody-wrote")


def test_utp_native_is_missing_without_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert require.missing("utp-native") == "there is no `node` on the path"


def test_a_peer_that_is_here_is_no_reason_to_skip() -> None:
    require.require_peer("env")
